"""The stream that a greenlet serves, and the driver that runs a function."""

from __future__ import annotations

import socket

import gevent
import pytest

from gtool.runtime import server as runtime_server
from gtool.runtime.greenlets import FunctionDriver, green
from gtool.runtime.settings import Settings
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

SMALL_BUFFER = 1 << 16
BIG = bytes(range(256)) * (1 << 14)
SOON_S = 0.02


def serving(function):
    """A service whose connections that function serves."""

    class Tasks(runtime_server.Service):
        def __init__(self, server):
            pass

        def connect(self, connection, sock):
            FunctionDriver(connection, sock if connection.is_tls else green(sock), function)

    return Tasks


def echo(stream):
    while data := stream.read():
        stream.write(data)
    return "said all"


@pytest.fixture(scope="module")
def tls(authority, tmp_path_factory) -> Settings:
    return Settings(tls=server_tls(authority, tmp_path_factory.mktemp("tls")), drain_timeout=0.05)


def test_a_function_ends_its_connection_for_the_reason_it_gives():
    with looped(serving(echo)) as server, server.connect() as client:
        assert exchange(client, [b"hello"]) == b"hello"
        assert (server.reason(), server.counts.open) == ("said all", 0)


def test_a_function_that_its_peer_resets_ends_for_that():
    with looped(serving(echo)) as server:
        client = server.connect()
        send_apart(client, [b"hello"])
        reset(client)
        assert server.reason() == "reset"


def test_a_function_that_fails_ends_its_connection_and_the_failure_is_not_hidden():
    def fail(stream):
        raise ValueError("a bug")

    def run():
        with looped(serving(fail)) as server, server.connect() as client:
            assert receive_all(client) == b""
            assert server.reason() == "failed"

    with pytest.raises(ValueError, match="a bug"):
        run()


def test_a_function_that_is_closed_ends_for_the_reason_given():
    with looped(serving(echo)) as server, server.connect() as client:
        send_apart(client, [b"hello"])
        server.server.opened[0].driver.close("enough")
        assert (server.reason(), receive_all(client)) == ("enough", b"hello")


def test_a_stream_counts_what_goes_in_and_out():
    with looped(serving(echo)) as server, server.connect() as client:
        exchange(client, [b"abc", b"de"])
        (connection,) = server.server.opened
        assert (connection.received, connection.sent) == (5, 5)


def test_a_stream_counts_what_is_sent_so_far():
    def send_big(stream):
        stream.write(BIG)
        return "sent"

    with looped(serving(send_big), buffer_bytes=SMALL_BUFFER) as server:
        server.connect(buffer_bytes=SMALL_BUFFER)
        gevent.idle()
        assert 0 < server.counts.sent < len(BIG)


def test_a_stream_writes_all_however_slowly_it_is_read():
    def send_big(stream):
        stream.write(BIG)
        return "sent"

    with looped(serving(send_big), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        assert receive_all(client) == BIG
        assert server.reason() == "sent"


def test_a_connection_that_receives_is_active():
    with looped(serving(echo)) as server, server.connect() as client:
        send_apart(client, [b"hello"])
        (connection,) = server.server.opened
        before = connection.active_at
        gevent.sleep(0.001)
        send_apart(client, [b"hello"])
        assert connection.active_at > before


def test_a_connection_that_only_sends_is_active_too():
    def send_big(stream):
        stream.write(BIG)
        return "sent"

    with looped(serving(send_big), buffer_bytes=SMALL_BUFFER) as server:
        client = server.connect(buffer_bytes=SMALL_BUFFER)
        gevent.idle()
        (connection,) = server.server.opened
        before = connection.active_at
        receive_exactly(client, len(BIG) // 2)
        assert connection.active_at > before


def finish(**options):
    def serve(stream):
        stream.write(b"goodbye")
        stream.finish(**options)
        return "finished"

    return serving(serve)


def test_finishing_ends_the_peers_input_and_waits_for_its_end():
    with looped(finish()) as server, server.connect() as client:
        assert receive_all(client) == b"goodbye"
        gevent.idle()
        assert server.counts.open == 1
        end_input(client)
        assert server.reason() == "finished"


def test_finishing_takes_what_the_peer_still_sends():
    with looped(finish(), buffer_bytes=SMALL_BUFFER) as server, server.connect() as client:
        client.sendall(BIG)
        end_input(client)
        assert (receive_all(client), server.reason()) == (b"goodbye", "finished")


def test_finishing_waits_only_so_long():
    with looped(finish(linger_s=SOON_S)) as server, server.connect():
        assert server.reason() == "finished"


def test_finishing_with_a_peer_that_is_gone_is_no_other_reason():
    with looped(finish()) as server:
        client = server.connect()
        receive_exactly(client, 7)
        reset(client)
        assert server.reason() == "finished"


def test_finishing_over_tls_says_so_and_waits_for_the_peers_end(tls, authority):
    with looped(finish(), settings=tls, default_scheme="tls") as server:
        with secure(server.connect(), authority) as client:
            assert receive_all(client) == b"goodbye"  # a bare end of TCP's stream would be an error
            gevent.idle()
            assert server.counts.open == 1
            client.unwrap()
        assert server.reason() == "finished"


def test_finishing_over_tls_waits_only_so_long(tls, authority):
    with (
        looped(finish(linger_s=SOON_S), settings=tls, default_scheme="tls") as server,
        secure(server.connect(), authority),
    ):
        assert server.reason() == "finished"


def test_a_reset_stream_resets_its_peer():
    def serve(stream):
        stream.reset()
        return "reset by us"

    with looped(serving(serve)) as server, server.connect() as client:
        server.reason()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_green_socket_takes_over_the_descriptor():
    one, other = socket.socketpair()
    number = one.fileno()
    with other, green(one) as made:
        assert (made.fileno(), one.fileno()) == (number, -1)
        other.send(b"hello")
        assert made.recv(10) == b"hello"


def test_a_green_socket_waits_on_the_loop():
    one, other = socket.socketpair()
    with other, green(one) as made:
        reader = gevent.spawn(made.recv, 10)
        gevent.idle()
        assert not reader.dead  # and we are running
        other.send(b"hello")
        assert reader.get(timeout=10) == b"hello"
