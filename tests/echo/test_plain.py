"""The plain driver against real clients: whatever the chunks, whatever the client's manners."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtool.echo import plain as plain_module
from gtool.echo.run import EchoService, Settings
from gtool.echo.services import SECONDS_1900_TO_1970, chargen_line
from gtool.runtime.settings import Settings as ServerSettings
from tests.servers.looped import (
    Looped,
    end_input,
    exchange,
    fill,
    looped,
    receive_all,
    receive_exactly,
    reset,
    send_apart,
)

PATTERN = bytes(range(251)) * 1000
SMALL_BUFFER = 1 << 16
MOST = 1 << 23  #: what a server that reads without end would take
MAX_LINE = 8
MAX_BYTES = 1000

fixed = settings(derandomize=True, deadline=None, max_examples=100)
bursts = st.builds(bytes.__mul__, st.binary(max_size=40), st.sampled_from([1, 1, 1, 2000, 10_000]))
chunkings = st.lists(bursts, max_size=8)
pieces_of_lines = st.sampled_from([b"\n", b"\r\n", b"a", b"bcd", b"efghijkl"])
line_chunkings = st.lists(st.lists(pieces_of_lines, max_size=6).map(b"".join), max_size=8)


def echo(**options):
    return lambda server: EchoService(Settings(**options), server)


@pytest.fixture(scope="module")
def plain() -> Iterator[Looped]:
    with looped(echo()) as server:
        yield server


@pytest.fixture(scope="module")
def by_line() -> Iterator[Looped]:
    with looped(echo(max_line=1 << 20)) as server:
        yield server


@pytest.fixture(scope="module")
def by_short_line() -> Iterator[Looped]:
    with looped(echo(max_line=MAX_LINE)) as server:
        yield server


@pytest.fixture(scope="module")
def limited() -> Iterator[Looped]:
    with looped(echo(max_bytes=MAX_BYTES)) as server:
        yield server


@given(chunkings)
@fixed
def test_whatever_is_sent_comes_back(plain, chunks):
    with plain.connect() as client:
        assert exchange(client, chunks) == b"".join(chunks)
    assert plain.reason() == "closed"


@given(chunkings | line_chunkings)
@fixed
def test_by_lines_too_whatever_is_sent_comes_back(by_line, chunks):
    with by_line.connect() as client:
        assert exchange(client, chunks) == b"".join(chunks)
    assert by_line.reason() == "closed"


@given(line_chunkings)
@fixed
def test_a_line_comes_back_when_it_is_complete_and_no_sooner(by_line, chunks):
    sent = received = b""
    with by_line.connect() as client:
        for chunk in chunks:
            send_apart(client, [chunk])
            sent += chunk
            received += available(client)
            assert received == sent[: sent.rfind(b"\n") + 1]
    by_line.reason()


@given(line_chunkings)
@example([b"a" * MAX_LINE + b"\n"])
@example([b"a" * MAX_LINE + b"b\n"])
@example([b"abc\n", b"d" * MAX_LINE, b"e"])
@fixed
def test_what_comes_before_a_line_that_is_too_long_comes_back_and_no_more(by_short_line, chunks):
    whole = b"".join(chunks)
    lines = re.findall(rb"[^\n]*\n|[^\n]+", whole)
    good = 0
    while good < len(lines) and len(lines[good].rstrip(b"\n")) <= MAX_LINE:
        good += 1
    with by_short_line.connect() as client:
        assert exchange(client, chunks) == b"".join(lines[:good])
    assert by_short_line.reason() == ("closed" if good == len(lines) else "line too long")


@given(chunkings)
@example([b"a" * MAX_BYTES])
@example([b"a" * MAX_BYTES, b"b"])
@fixed
def test_as_many_bytes_come_back_as_may_be_sent(limited, chunks):
    whole = b"".join(chunks)
    with limited.connect() as client:
        assert exchange(client, chunks) == whole[:MAX_BYTES]
    assert limited.reason() == ("closed" if len(whole) <= MAX_BYTES else "max bytes")


def test_the_line_that_max_bytes_cuts_comes_back_as_far_as_it_came():
    with looped(echo(max_line=100, max_bytes=10)) as server, server.connect() as client:
        send_apart(client, [b"one\ntw", b"o and more"])
        assert receive_all(client) == b"one\ntwo an"


def test_a_line_over_the_limit_in_the_bytes_that_may_still_come_ends_it_for_the_line():
    with looped(echo(max_line=10, max_bytes=100)) as server, server.connect() as client:
        client.sendall(b"good\n" + b"x" * 200)
        assert receive_all(client) == b"good\n"
        end_input(client)
        assert server.reason() == "line too long"


def test_chunks_come_back_before_the_client_is_done(plain):
    with plain.connect() as client:
        for chunk in (b"one", b"two"):
            client.sendall(chunk)
            assert receive_exactly(client, 3) == chunk
    plain.reason()


def test_it_counts_bytes_and_messages():
    with looped(echo()) as server, server.connect() as client:
        exchange(client, [b"abc", b"de"])
        server.reason()
        counts = server.counts
        assert (counts.received, counts.sent, counts.messages, counts.accepted) == (5, 5, 2, 1)


def test_a_client_that_does_not_read_is_stopped():
    with looped(echo(), buffer_bytes=SMALL_BUFFER) as server, server.connect(buffer_bytes=SMALL_BUFFER) as client:
        assert fill(client, PATTERN, MOST) < MOST


def test_what_waits_for_a_client_that_does_not_read_comes_when_it_does():
    with looped(echo(), buffer_bytes=SMALL_BUFFER) as server, server.connect(buffer_bytes=SMALL_BUFFER) as client:
        sent = fill(client, PATTERN, MOST)
        end_input(client)
        assert receive_all(client) == (PATTERN * (sent // len(PATTERN) + 1))[:sent]
        assert server.reason() == "closed"


def test_a_client_that_does_not_read_holds_up_no_other():
    with looped(echo(), buffer_bytes=SMALL_BUFFER) as server, server.connect(buffer_bytes=SMALL_BUFFER) as stuck:
        fill(stuck, PATTERN, MOST)
        with server.connect() as client:
            assert exchange(client, [b"hello"]) == b"hello"


def test_a_client_that_does_not_read_is_idle_in_time():
    idle = ServerSettings(idle_timeout=0.05)
    with looped(echo(), settings=idle, buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        fill(client, PATTERN, MOST)
        assert server.reason() == "idle"


def test_a_client_that_resets_while_answers_wait_leaves_nothing():
    with looped(echo(), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        fill(client, PATTERN, MOST)
        reset(client)
        assert (server.reason(), server.counts.open) == ("reset", 0)


def test_a_client_that_resets_while_it_is_listened_to_leaves_nothing():
    with looped(echo()) as server:
        client = server.connect()
        send_apart(client, [b"hello"])
        reset(client)
        assert (server.reason(), server.counts.open) == ("reset", 0)


def test_a_client_that_still_sends_when_it_is_cut_off_loses_nothing():
    """Closing with unread input sends RST, and that takes from the client what it has not read yet."""
    with looped(echo(max_bytes=50_000)) as server, server.connect() as client:
        send_apart(client, [PATTERN[:40_000], PATTERN[40_000:90_000], b"more", b"and more"])
        assert receive_all(client) == PATTERN[:50_000]
        end_input(client)
        assert server.reason() == "max bytes"


def test_a_client_that_never_closes_when_it_is_cut_off_is_closed(monkeypatch):
    monkeypatch.setattr(plain_module, "LINGER_S", 0.01)
    with looped(echo(max_bytes=1)) as server:
        client = server.connect()
        client.sendall(b"ab")
        assert (receive_all(client), server.reason()) == (b"a", "max bytes")


def test_a_client_that_closes_when_it_is_cut_off_is_closed_once(monkeypatch):
    monkeypatch.setattr(plain_module, "LINGER_S", 0.01)
    with looped(echo(max_bytes=1)) as server, server.connect() as client:
        exchange(client, [b"ab"])
        server.reason()
        gevent.sleep(0.02)
        assert server.server.reasons.empty()


def test_a_connection_that_talks_is_not_idle(plain):
    with plain.connect() as client:
        send_apart(client, [b"hello"])
        connection = plain.server.opened[-1]
        before = connection.active_at
        gevent.sleep(0.001)
        send_apart(client, [b"hello"])
        assert connection.active_at > before
        exchange(client, [])
    plain.reason()


def test_a_connection_that_is_idle_is_closed_for_that():
    with looped(echo(), settings=ServerSettings(idle_timeout=0.02)) as server, server.connect() as client:
        assert (receive_all(client), server.reason()) == (b"", "idle")


def test_discard_takes_all_and_says_nothing():
    with looped(echo(service="discard")) as server, server.connect() as client:
        assert exchange(client, [PATTERN, PATTERN]) == b""
        server.reason()
        assert server.counts.received == 2 * len(PATTERN)


def test_daytime_is_one_line_and_the_end():
    with looped(echo(service="daytime")) as server, server.connect() as client:
        assert re.fullmatch(rb"\w+, \w+ \d\d, \d{4} [\d:]{8}-UTC\r\n", receive_all(client))
        end_input(client)
        assert server.reason() == "served"


def test_time_is_the_seconds_since_1900():
    before = int(time.time())
    with looped(echo(service="time")) as server, server.connect() as client:
        seconds = int.from_bytes(receive_exactly(client, 4), "big") - SECONDS_1900_TO_1970
        assert receive_all(client) == b""
    assert before <= seconds <= time.time()


def test_daytime_reaches_a_client_that_talks():
    with looped(echo(service="daytime")) as server, server.connect() as client:
        send_apart(client, [b"hello", b"are you there?"])
        assert receive_all(client).endswith(b"-UTC\r\n")


def test_chargen_goes_on_line_by_line():
    with looped(echo(service="chargen")) as server, server.connect() as client:
        lines = receive_exactly(client, 1000 * 74)
        assert lines == b"".join(chargen_line(number) for number in range(1000))


def test_chargen_goes_on_after_the_client_has_shut_down_its_side():
    with looped(echo(service="chargen"), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        end_input(client)
        assert len(receive_exactly(client, MOST)) == MOST


def test_chargen_waits_for_a_client_that_does_not_read():
    with looped(echo(service="chargen"), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        receive_exactly(client, 1)
        settle()
        sent = server.counts.sent
        settle()
        assert server.counts.sent == sent < MOST


def test_chargen_takes_what_the_client_says():
    with looped(echo(service="chargen")) as server, server.connect() as client:
        client.sendall(PATTERN)
        receive_exactly(client, MOST)
        assert server.counts.received == len(PATTERN)


def test_chargen_ends_when_the_client_goes():
    with looped(echo(service="chargen")) as server:
        with server.connect() as client:
            receive_exactly(client, 1)
        assert (server.reason(), server.counts.open) == ("reset", 0)


def test_a_unix_socket_is_served_as_well(tmp_path):
    with looped(echo(), f"unix:{tmp_path}/socket") as server, server.connect() as client:
        assert exchange(client, [PATTERN]) == PATTERN


def available(client):
    """What has come and is not read yet."""
    received = b""
    client.setblocking(False)
    try:
        while data := client.recv(1 << 16):
            received += data
    except BlockingIOError:
        return received
    finally:
        client.settimeout(10)
    return received


def settle():
    """Let the server do all that it can."""
    for _ in range(20):
        gevent.idle()
