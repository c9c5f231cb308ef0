"""What becomes of a connection, in words: what libzmq's monitor says, and what it means."""

from __future__ import annotations

import pytest
from zmq import Event

from gtool.pingpong.handshake import BREAKS, MECHANISM_MISMATCH, Handshake

ENDPOINT = "tcp://h:1"

TRY, AGAIN = (Event.CONNECT_DELAYED, 0), (Event.CONNECT_RETRIED, 100)
CONNECTED, MADE, GONE = (Event.CONNECTED, 7), (Event.HANDSHAKE_SUCCEEDED, 0), (Event.DISCONNECTED, 7)
REFUSED, BROKEN = (Event.HANDSHAKE_FAILED_AUTH, 400), (Event.HANDSHAKE_FAILED_NO_DETAIL, 104)
MISMATCH = (Event.HANDSHAKE_FAILED_PROTOCOL, MECHANISM_MISMATCH)
MALFORMED = (Event.HANDSHAKE_FAILED_PROTOCOL, 0x10000000)
CLOSED = (Event.CLOSED, 7)

IS_ANOTHER_KEY = "breaks off the handshake (is --curve-server-key its key, and does it use CURVE?)"


def after(*events: tuple[int, int], has_keys: bool = False) -> Handshake:
    handshake = Handshake(ENDPOINT, has_keys)
    for event, value in events:
        handshake.take(event, value)
    return handshake


@pytest.mark.parametrize(
    ("events", "is_made"),
    [
        ([], False),
        ([TRY], False),
        ([TRY, CONNECTED], False),
        ([TRY, CONNECTED, MADE], True),
        ([TRY, CLOSED, AGAIN, CONNECTED, MADE], True),
        ([TRY, CONNECTED, MADE, GONE], False),
        ([TRY, CONNECTED, MADE, GONE, AGAIN, CONNECTED], False),
        ([TRY, CONNECTED, MADE, GONE, AGAIN, CONNECTED, MADE], True),
    ],
)
def test_it_is_made_when_both_have_agreed_and_until_one_has_gone(events, is_made):
    assert after(*events).is_made is is_made


@pytest.mark.parametrize(
    ("events", "has_keys", "failure"),
    [
        ([REFUSED], True, "refuses this client's key (its --curve-client has to name the public one)"),
        ([MISMATCH], False, "wants CURVE (give --curve-server-key and --curve-secret)"),
        (
            [MISMATCH],
            True,
            "does not use CURVE (leave out the --curve options, or start it with --curve-secret)",
        ),
        ([MALFORMED], False, "does not speak ZMTP as it should (libzmq's code 0x10000000)"),
        ([GONE], False, "is a socket of another pattern (--pattern has to fit it)"),
        (
            [BROKEN, GONE, CONNECTED] * BREAKS,
            False,
            "breaks off the handshake (is it ZeroMQ? does it want CURVE, or another --pattern?)",
        ),
        ([BROKEN, GONE, CONNECTED] * BREAKS, True, IS_ANOTHER_KEY),
        (
            [REFUSED, GONE, CONNECTED, GONE],
            True,
            "refuses this client's key (its --curve-client has to name the public one)",
        ),
    ],
)
def test_a_failure_says_what_is_wrong_and_what_to_do(events, has_keys, failure):
    assert str(after(TRY, CONNECTED, *events, has_keys=has_keys).failure) == f"{ENDPOINT} {failure}"


@pytest.mark.parametrize(
    "events",
    [
        [TRY, CLOSED, AGAIN] * 10,
        [TRY, CONNECTED, MADE, GONE],
        [TRY, *[CONNECTED, BROKEN, GONE, AGAIN] * (BREAKS - 1)],
        [TRY, *[CONNECTED, BROKEN, GONE, AGAIN, CONNECTED, MADE, GONE, AGAIN] * 10],
    ],
)
def test_what_may_still_come_right_is_no_failure(events):
    assert after(*events).failure is None


def test_of_several_failures_the_first_is_told():
    assert "refuses" in str(after(TRY, CONNECTED, REFUSED, GONE, CONNECTED, MALFORMED).failure)


@pytest.mark.parametrize(
    ("events", "silence"),
    [
        ([], f"{ENDPOINT} can't be found within 0.5 s (is the name of the host right?)"),
        ([AGAIN, AGAIN], f"{ENDPOINT} can't be found within 0.5 s (is the name of the host right?)"),
        ([TRY, CLOSED, AGAIN], f"nobody at {ENDPOINT} within 0.5 s (is the server there, and the endpoint right?)"),
        (
            [TRY, CONNECTED],
            f"no handshake with {ENDPOINT} within 0.5 s (something listens there; is it ZeroMQ?)",
        ),
        (
            [TRY, CONNECTED, MADE],
            f"no answer from {ENDPOINT} within 0.5 s (it is connected, but does not answer)",
        ),
        (
            [TRY, CONNECTED, MADE, GONE, AGAIN],
            f"{ENDPOINT} has gone, and not come back within 0.5 s (the connection was lost)",
        ),
        ([TRY, CONNECTED, MISMATCH, GONE], f"{ENDPOINT} wants CURVE (give --curve-server-key and --curve-secret)"),
    ],
)
def test_silence_is_told_by_what_is_known(events, silence):
    assert str(after(*events).silence(0.5)) == silence
