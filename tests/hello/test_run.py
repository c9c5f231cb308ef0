"""hello-server to real clients: what it says, when, and how it closes."""

from __future__ import annotations

import errno
import re
import socket
import time

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.hello import run as run_module
from gtool.hello.run import HelloService, Settings
from gtool.hello.script import Script
from gtool.runtime.settings import Settings as ServerSettings
from tests.servers.looped import (
    end_input,
    exchange,
    looped,
    receive_all,
    receive_exactly,
    reset,
    secure,
    send_apart,
    server_tls,
)

HELLO = Script(b"Hello\n", "{n}", 3)
SAID = b"Hello\n0\n1\n2\n"
UDP = "udp://127.0.0.1:0"
SOON_S = 0.02
SMALL_BUFFER = 1 << 16
BIG = bytes(range(256)) * (1 << 14)


def hello(script=HELLO, **options):
    return lambda server: HelloService(Settings(script, **options), server)


@pytest.fixture(scope="module")
def tls(authority, tmp_path_factory) -> ServerSettings:
    return ServerSettings(tls=server_tls(authority, tmp_path_factory.mktemp("tls")), drain_timeout=0.05)


def test_it_speaks_first_counts_and_closes():
    with looped(hello()) as server, server.connect() as client:
        assert receive_all(client) == SAID
        end_input(client)
        assert server.reason() == "served"


def test_over_tls_too_and_it_says_that_this_is_the_end(tls, authority):
    with looped(hello(), settings=tls, default_scheme="tls") as server:
        with secure(server.connect(), authority) as client:
            assert receive_all(client) == SAID
            client.unwrap()
        assert server.reason() == "served"


def test_over_a_unix_socket_the_peer_has_no_address(tmp_path):
    script = Script(b"", "{peer}", 1)
    with looped(hello(script), f"unix:{tmp_path}/socket") as server, server.connect() as client:
        assert receive_all(client) == b"unix\n"


def test_a_line_names_the_peer_and_the_connection():
    with looped(hello(Script(b"", "{peer} {connection}", 1))) as server:
        for number in (1, 2):
            with server.connect() as client:
                host, port = client.getsockname()
                assert receive_all(client) == f"{host}:{port} {number}\n".encode()


def test_a_line_tells_the_time_in_utc():
    before = time.gmtime()
    with looped(hello(Script(b"", "{time}", 1))) as server, server.connect() as client:
        said = time.strptime(receive_all(client).decode(), "%Y-%m-%dT%H:%M:%SZ\n")
    assert before[:6] <= said[:6] <= time.gmtime()[:6]


def test_it_has_nothing_to_say_and_closes():
    with looped(hello(Script(b"", "", 0))) as server, server.connect() as client:
        assert exchange(client, []) == b""
        assert server.reason() == "served"


@given(message=st.binary(max_size=2000), lines=st.integers(0, 2000), chunk_size=st.none() | st.integers(1, 500))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_whatever_it_is_to_say_it_says_in_chunks_of_any_size(message, lines, chunk_size):
    script = Script(message, "line {n}", lines, b"\r\n")
    with looped(hello(script, chunk_size=chunk_size)) as server, server.connect() as client:
        assert exchange(client, []) == message + b"".join(b"line %d\r\n" % n for n in range(lines))


def test_a_message_larger_than_any_buffer_comes_whole():
    with looped(hello(Script(BIG, "", 0)), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        gevent.sleep(SOON_S)  # it has to wait for us
        assert exchange(client, []) == BIG
        assert server.reason() == "served"


def test_a_client_that_never_reads_holds_up_no_other():
    with looped(hello(Script(BIG, "", 0)), buffer_bytes=SMALL_BUFFER) as server:
        server.connect(buffer_bytes=SMALL_BUFFER)
        with server.connect() as client:
            assert exchange(client, []) == BIG


def test_an_interval_lies_between_lines():
    with looped(hello(interval=SOON_S)) as server, server.connect() as client:
        started_at = time.monotonic()
        lines = client.makefile("rb")
        times = [time.monotonic() - started_at for _ in lines]
    assert [at >= number * SOON_S for number, at in enumerate(times)] == [True] * 4


def test_each_line_is_sent_when_it_is_due():
    with looped(hello(interval=10.0)) as server, server.connect() as client:
        assert receive_exactly(client, 6) == b"Hello\n"


def test_it_waits_for_input_if_it_is_to():
    with looped(hello(wait_for_input=True)) as server, server.connect() as client:
        gevent.idle()
        assert server.counts.sent == 0
        client.sendall(b"hello?")
        assert receive_all(client) == SAID


def test_a_client_that_says_nothing_at_all_hears_nothing():
    with looped(hello(wait_for_input=True)) as server, server.connect() as client:
        assert exchange(client, []) == b""
        assert server.reason() == "closed"


def test_fin_lets_a_client_that_talks_hear_all():
    """Closing with unread input sends RST, and that takes from the client what it has not read yet."""
    with looped(hello(Script(BIG, "", 0)), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        send_apart(client, [b"are", b"you", b"there?"])
        assert exchange(client, [b"still", b"here"]) == BIG
        assert server.reason() == "served"


def test_fin_waits_for_the_client_only_so_long(monkeypatch):
    monkeypatch.setattr(run_module, "LINGER_S", SOON_S)
    with looped(hello()) as server, server.connect():
        assert server.reason() == "served"


def test_linger_waits_for_the_client_however_long(monkeypatch):
    monkeypatch.setattr(run_module, "LINGER_S", 0.0)
    with looped(hello(close="linger")) as server, server.connect() as client:
        assert receive_all(client) == SAID
        gevent.sleep(SOON_S)
        assert server.counts.open == 1
        client.close()
        assert server.reason() == "served"


def test_rst_resets():
    with looped(hello(close="rst")) as server, server.connect() as client:
        server.reason()
        with pytest.raises(ConnectionResetError):
            receive_exactly(client, len(SAID) + 1)


def test_over_tls_rst_resets_too(tls, authority):
    with (
        looped(hello(close="rst"), settings=tls, default_scheme="tls") as server,
        secure(server.connect(), authority) as client,
    ):
        server.reason()
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET


def test_never_leaves_it_open_until_the_client_closes():
    with looped(hello(close="never")) as server, server.connect() as client:
        assert receive_exactly(client, len(SAID)) == SAID
        client.sendall(b"and now?")
        gevent.sleep(SOON_S)
        assert server.counts.open == 1
        end_input(client)
        assert client.recv(1) == b""
        assert server.reason() == "served"


def test_a_client_that_resets_leaves_nothing():
    with looped(hello(close="never")) as server:
        client = server.connect()
        receive_exactly(client, len(SAID))
        reset(client)
        assert (server.reason(), server.counts.open) == ("reset", 0)


def test_an_idle_client_is_closed_for_that():
    with (
        looped(hello(close="never"), settings=ServerSettings(idle_timeout=SOON_S)) as server,
        server.connect() as client,
    ):
        assert (receive_all(client), server.reason()) == (SAID, "idle")


def test_a_connection_counts_as_one_message():
    with looped(hello()) as server, server.connect() as client:
        exchange(client, [b"hello"])
        server.reason()
        counts = server.counts
        assert (counts.messages, counts.sent, counts.received) == (1, len(SAID), 5)


def test_a_datagram_is_answered_by_all_of_it_in_one():
    with looped(hello(), UDP) as server:
        client = server.connect()
        client.send(b"")
        assert client.recv(1 << 16) == SAID


def test_a_datagram_holds_as_much_as_one_can():
    with looped(hello(Script(BIG, "", 0)), UDP) as server:
        client = server.connect()
        client.send(b"hello")
        assert client.recv(1 << 17) == BIG[:65_507]


def test_a_datagram_tells_the_time_when_it_is_sent():
    with looped(hello(Script(b"", "{time}", 1)), UDP) as server:
        client = server.connect()
        client.send(b"hello")
        assert re.fullmatch(rb"[\d-]{10}T[\d:]{8}Z\n", client.recv(100))
