"""The greenlets' driver against real clients: over TLS, with faults, and plainly."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtool.echo.faults import After, Faults, transit_for
from gtool.echo.greenlets import Conversation
from gtool.echo.services import chargen_line, session_factory
from gtool.runtime import server as runtime_server
from gtool.runtime.greenlets import FunctionDriver, green
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
    secure,
    send_apart,
    server_tls,
)

PATTERN = bytes(range(251)) * 1000
SMALL_BUFFER = 1 << 16
MOST = 1 << 24  #: what a server that reads without end would take
MAX_LINE = 8
MAX_BYTES = 1000
SOON_S = 0.02
FAST = 1 << 30  #: bytes per second

fixed = settings(derandomize=True, deadline=None, max_examples=40)
bursts = st.builds(bytes.__mul__, st.binary(max_size=40), st.sampled_from([1, 1, 1, 2000, 10_000]))
chunkings = st.lists(bursts, max_size=6)
pieces_of_lines = st.sampled_from([b"\n", b"\r\n", b"a", b"bcd", b"efghijkl"])
line_chunkings = st.lists(st.lists(pieces_of_lines, max_size=6).map(b"".join), max_size=6)


class Conversations(runtime_server.Service):
    """A service of conversations only, whatever the faults."""

    def __init__(self, service="echo", max_line=None, max_bytes=None, faults=Faults()):  # noqa: B008
        self.max_bytes = max_bytes
        self.faults = faults
        self.make_session = session_factory(service, max_line)

    def connect(self, connection, sock):
        transit = transit_for(self.faults, 0, connection.number)

        def converse(stream):
            return Conversation(stream, self.make_session(), self.max_bytes, self.faults, transit).run()

        FunctionDriver(connection, sock if connection.is_tls else green(sock), converse)

    def datagrams(self, listener):
        raise AssertionError("there are none")


def conversations(**options):
    return lambda server: Conversations(**options)


def faults(**options):
    return lambda server: Conversations(faults=Faults(**options))


@pytest.fixture(
    scope="module",
    params=[
        Faults(),
        Faults(slice=7),
        Faults(slice=5000, bandwidth=FAST),
        Faults(bandwidth=FAST),
        Faults(jitter=1e-9),
        Faults(latency=1e-6, jitter=1e-6, slice=3000, bandwidth=FAST),
    ],
    ids=["none", "slice", "slice and bandwidth", "bandwidth", "latency 0", "all"],
)
def harmless(request) -> Iterator[Looped]:
    """A server whose faults change when bytes leave, and in which pieces, but none of the bytes."""
    with looped(lambda server: Conversations(faults=request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def by_line() -> Iterator[Looped]:
    with looped(conversations(max_line=1 << 20)) as server:
        yield server


@pytest.fixture(scope="module")
def by_short_line() -> Iterator[Looped]:
    with looped(conversations(max_line=MAX_LINE)) as server:
        yield server


@pytest.fixture(scope="module")
def limited() -> Iterator[Looped]:
    with looped(conversations(max_bytes=MAX_BYTES)) as server:
        yield server


@pytest.fixture(scope="module")
def tls(authority, tmp_path_factory) -> ServerSettings:
    return ServerSettings(tls=server_tls(authority, tmp_path_factory.mktemp("tls")), drain_timeout=0.05)


@pytest.fixture(scope="module", params=[None, 1 << 20], ids=["bytes", "lines"])
def encrypted(request, tls) -> Iterator[Looped]:
    with looped(conversations(max_line=request.param), settings=tls, default_scheme="tls") as server:
        yield server


@given(chunkings)
@settings(fixed, max_examples=25)
def test_whatever_is_sent_comes_back(harmless, chunks):
    with harmless.connect() as client:
        assert exchange(client, chunks) == b"".join(chunks)
    assert harmless.reason() == "closed"


@given(chunkings | line_chunkings)
@fixed
def test_by_lines_too_whatever_is_sent_comes_back(by_line, chunks):
    with by_line.connect() as client:
        assert exchange(client, chunks) == b"".join(chunks)
    assert by_line.reason() == "closed"


@given(chunkings)
@fixed
def test_over_tls_too_whatever_is_sent_comes_back(encrypted, authority, chunks):
    whole = b"".join(chunks) + b"\n"
    with secure(encrypted.connect(), authority) as client:
        sender = gevent.spawn(send_apart, client, [*filter(None, chunks), b"\n"])
        assert receive_exactly(client, len(whole)) == whole
        sender.get(timeout=10)
        client.unwrap()
    assert encrypted.reason() == "closed"


@given(line_chunkings)
@example([b"abc\n", b"d" * MAX_LINE, b"e"])
@fixed
def test_what_comes_before_a_line_that_is_too_long_comes_back_and_no_more(by_short_line, chunks):
    lines = b"".join(chunks).replace(b"\n", b"\n\0").split(b"\0")
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
    with looped(conversations(max_line=100, max_bytes=10)) as server, server.connect() as client:
        send_apart(client, [b"one\ntw", b"o and more"])
        assert receive_all(client) == b"one\ntwo an"


def test_a_line_over_the_limit_in_the_bytes_that_may_still_come_ends_it_for_the_line():
    with looped(conversations(max_line=10, max_bytes=100)) as server, server.connect() as client:
        client.sendall(b"good\n" + b"x" * 200)
        assert receive_all(client) == b"good\n"
        end_input(client)
        assert server.reason() == "line too long"


def test_chunks_come_back_before_the_client_is_done(harmless):
    with harmless.connect() as client:
        for chunk in (b"one", b"two"):
            client.sendall(chunk)
            assert receive_exactly(client, 3) == chunk
    assert harmless.reason() == "closed"


def test_a_client_that_does_not_read_is_stopped():
    with looped(conversations(), buffer_bytes=SMALL_BUFFER) as server:
        assert fill(server.connect(buffer_bytes=SMALL_BUFFER), PATTERN, MOST) < MOST


def test_a_client_over_tls_that_does_not_read_is_stopped(tls, authority):
    with (
        looped(conversations(), settings=tls, default_scheme="tls", buffer_bytes=SMALL_BUFFER) as server,
        secure(server.connect(buffer_bytes=SMALL_BUFFER), authority) as client,
    ):
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(MOST))


def test_what_waits_for_a_client_that_does_not_read_comes_when_it_does():
    with looped(conversations(), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        sent = fill(client, PATTERN, MOST)
        end_input(client)
        assert receive_all(client) == (PATTERN * (sent // len(PATTERN) + 1))[:sent]
        assert server.reason() == "closed"


def test_a_client_that_resets_while_answers_wait_leaves_nothing():
    with looped(conversations(), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        fill(client, PATTERN, MOST)
        reset(client)
        assert (server.reason(), server.counts.open) == ("reset", 0)


def test_a_client_that_resets_while_it_is_listened_to_leaves_nothing():
    with looped(conversations()) as server:
        client = server.connect()
        send_apart(client, [b"hello"])
        reset(client)
        assert (server.reason(), server.counts.open) == ("reset", 0)


def test_a_client_that_still_sends_when_it_is_cut_off_loses_nothing():
    """Closing with unread input sends RST, and that takes from the client what it has not read yet."""
    with looped(conversations(max_bytes=50_000)) as server, server.connect() as client:
        send_apart(client, [PATTERN[:40_000], PATTERN[40_000:90_000], b"more", b"and more"])
        assert receive_all(client) == PATTERN[:50_000]
        end_input(client)
        assert server.reason() == "max bytes"


def test_an_idle_connection_is_closed_for_that_and_its_reader_too():
    with looped(conversations(), settings=ServerSettings(idle_timeout=0.02)) as server, server.connect() as client:
        assert (receive_all(client), server.reason()) == (b"", "idle")


def test_daytime_is_said_over_tls_and_the_end(tls, authority):
    with looped(conversations(service="daytime"), settings=tls, default_scheme="tls") as server:
        with secure(server.connect(), authority) as client:
            assert receive_all(client).endswith(b"-UTC\r\n")
            client.unwrap()
        assert server.reason() == "served"


def test_chargen_goes_on_line_by_line_until_the_client_goes():
    with looped(conversations(service="chargen")) as server:
        with server.connect() as client:
            lines = receive_exactly(client, 1000 * 74)
            assert lines == b"".join(chargen_line(number) for number in range(1000))
        assert server.reason() == "reset"


def test_latency_holds_back_what_is_sent_and_no_less():
    with looped(faults(latency=SOON_S)) as server, server.connect() as client:
        started_at = time.monotonic()
        assert exchange(client, [b"hello"]) == b"hello"
        assert time.monotonic() - started_at >= SOON_S


def test_latency_counts_for_each_chunk_and_not_for_all_in_turn():
    """What is on its way does not hold up what comes after: a latency is not a bandwidth."""
    with looped(faults(latency=0.2)) as server, server.connect() as client:
        started_at = time.monotonic()
        exchange(client, [b"chunk"] * 10)
        assert time.monotonic() - started_at < 1


def test_bandwidth_spreads_what_is_sent():
    with looped(faults(bandwidth=100_000)) as server, server.connect() as client:
        started_at = time.monotonic()
        exchange(client, [bytes(20_000)])
        assert time.monotonic() - started_at >= 0.1  # the first tenth of a second's leaves at once


def test_corruption_changes_bytes_but_not_their_number():
    with looped(faults(corrupt_rate=1.0)) as server, server.connect() as client:
        received = exchange(client, [PATTERN])
        assert len(received) == len(PATTERN)
        assert all(a != b for a, b in zip(received, PATTERN, strict=True))


@pytest.mark.parametrize("slice_bytes", [None, 3])
def test_a_connection_is_reset_after_so_many_bytes(slice_bytes):
    with looped(faults(reset_after=After(size=10), slice=slice_bytes)) as server, server.connect() as client:
        client.sendall(b"0123456789abc")
        assert server.reason() == "fault: reset"
        assert server.counts.sent == 10
        with pytest.raises(ConnectionResetError):
            receive_exactly(client, 11)


def test_a_connection_is_closed_after_so_many_bytes_and_they_arrive():
    with looped(faults(close_after=After(size=10))) as server, server.connect() as client:
        client.sendall(b"0123456789abc")
        assert receive_all(client) == b"0123456789"
        end_input(client)
        assert server.reason() == "fault: closed"


def test_a_connection_is_closed_after_no_bytes_at_all_even_if_it_sends_none():
    with looped(faults(close_after=After(size=0))) as server, server.connect() as client:
        assert receive_all(client) == b""
        end_input(client)
        assert server.reason() == "fault: closed"


def test_the_smaller_of_two_ends_comes_first():
    with looped(faults(close_after=After(size=3), reset_after=After(size=9))) as server, server.connect() as client:
        assert exchange(client, [b"0123456789abc"]) == b"012"
        assert server.reason() == "fault: closed"


def test_a_connection_is_reset_after_so_long():
    with looped(faults(reset_after=After(seconds=SOON_S))) as server, server.connect() as client:
        with pytest.raises(ConnectionResetError):
            receive_all(client)
        assert server.reason() == "fault: reset"


def test_a_connection_is_closed_after_so_long_though_it_is_busy():
    with looped(faults(close_after=After(seconds=SOON_S), latency=10.0)) as server, server.connect() as client:
        client.sendall(b"hello")
        assert receive_all(client) == b""
        end_input(client)
        assert server.reason() == "fault: closed"


def test_a_connection_that_ends_in_time_meets_no_fault():
    with looped(faults(close_after=After(seconds=SOON_S))) as server, server.connect() as client:
        assert exchange(client, [b"hello"]) == b"hello"
        assert server.reason() == "closed"
        gevent.sleep(2 * SOON_S)  # its clock has been stopped, or the loop would have a failure
