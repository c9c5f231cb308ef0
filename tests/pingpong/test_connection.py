"""A connection is made in time, or it is told why not: in words, and as soon as that is known."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing as closed
from contextlib import contextmanager

import pytest
import zmq

from gtool.errors import PeerGone, UsageError
from gtool.pingpong import blocking, green
from gtool.pingpong.connection import connected
from gtool.pingpong.endpoints import bind, closing
from gtool.pingpong.job import ClientKeys

SOON_S = 1.0
LONG_S = 10.0


@pytest.fixture(params=[green, blocking], ids=["green", "blocking"])
def engine(request):
    return request.param


@pytest.fixture
def context():
    with closing(zmq.Context()) as context:
        yield context


@pytest.fixture
def server(context):
    """Bind a socket, and give its endpoint."""
    kept = []

    def make(kind=zmq.ROUTER, endpoint="tcp://127.0.0.1:*", **options):
        kept.append(context.socket(kind))
        for name, value in options.items():
            setattr(kept[-1], name, value)
        return bind(kept[-1], endpoint)

    return make


@pytest.fixture
def attempt(engine, context):
    """Connect a socket: a context, whose end closes it."""

    def make(endpoint, timeout_s=LONG_S, keys=None, kind=zmq.DEALER):
        return connected(engine, context.socket(kind), endpoint, keys, timeout_s)

    return make


def own_keys(server_key=None):
    public, secret = zmq.curve_keypair()
    return ClientKeys((server_key or zmq.curve_keypair()[0]).decode(), public.decode(), secret.decode())


@contextmanager
def tcp_server(treat):
    """Listen on TCP, and give each connection to `treat` in a thread; give the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    treat(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(LONG_S)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "tcp://[::1]:*", "ipc://{}/path"])
def test_a_connection_is_made_with_who_is_there(attempt, server, tmp_path, endpoint):
    with attempt(server(endpoint=endpoint.format(tmp_path))) as connection:
        assert connection.link.send([b"hello"], LONG_S)


def test_a_connection_is_made_with_who_has_the_key(attempt, server):
    public, secret = zmq.curve_keypair()
    with attempt(server(curve_server=True, curve_secretkey=secret), keys=own_keys(public)) as connection:
        assert connection.link.send([b"hello"], LONG_S)


def test_who_comes_in_time_is_waited_for(attempt, server, tmp_path):
    endpoint = f"ipc://{tmp_path}/path"
    late = threading.Timer(0.1, server, kwargs={"endpoint": endpoint})
    late.start()
    with attempt(endpoint):
        late.join()


def test_a_socket_is_closed_at_the_end(engine, server, context):
    sock = context.socket(zmq.DEALER)
    with connected(engine, sock, server(), None, LONG_S):
        pass
    assert sock.closed


@pytest.mark.parametrize("endpoint", ["rubbish", "tcp://127.0.0.1", "tcp://127.0.0.1:99999"])
def test_an_endpoint_that_is_none_is_a_usage_error_and_leaves_no_socket(engine, context, endpoint):
    sock = context.socket(zmq.DEALER)
    with pytest.raises(UsageError, match=f"'{endpoint}'"), connected(engine, sock, endpoint, None, LONG_S):
        pass
    assert sock.closed


def test_nobody_there_is_told_in_time(attempt, refused_port):
    started_at = time.monotonic()
    expected = f"nobody at tcp://127.0.0.1:{refused_port} within 1 s .is the server there"
    with pytest.raises(PeerGone, match=expected), attempt(f"tcp://127.0.0.1:{refused_port}", SOON_S):
        pass
    assert SOON_S <= time.monotonic() - started_at < 5


def test_nobody_at_a_path_is_told_in_time(attempt, tmp_path):
    with pytest.raises(PeerGone, match="nobody at ipc://"), attempt(f"ipc://{tmp_path}/nobody", SOON_S):
        pass


def test_one_that_says_nothing_may_not_be_zeromq(attempt):
    with closed(socket.create_server(("127.0.0.1", 0))) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with (
            pytest.raises(PeerGone, match=r"no handshake with .* within 1 s .*is it ZeroMQ"),
            attempt(endpoint, SOON_S),
        ):
            pass


def http(connection):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def hangs_up(connection):
    connection.recv(4096)


@pytest.mark.parametrize("treat", [http, hangs_up])
def test_one_that_breaks_off_may_not_be_zeromq(attempt, treat):
    with tcp_server(treat) as endpoint, pytest.raises(PeerGone, match=f"{endpoint} .*is it ZeroMQ"), attempt(endpoint):
        pass


@pytest.mark.parametrize(("mine", "theirs"), [(zmq.DEALER, zmq.PUB), (zmq.REQ, zmq.PULL), (zmq.PUSH, zmq.ROUTER)])
def test_a_socket_of_another_pattern_is_told(attempt, server, mine, theirs):
    with (
        pytest.raises(PeerGone, match=r"is a socket of another pattern .--pattern"),
        attempt(server(theirs), kind=mine),
    ):
        pass


def test_one_that_wants_keys_is_told(attempt, server):
    _, secret = zmq.curve_keypair()
    endpoint = server(curve_server=True, curve_secretkey=secret)
    with pytest.raises(PeerGone, match=r"wants CURVE .give --curve-server-key"), attempt(endpoint):
        pass


def test_one_that_has_no_keys_is_told(attempt, server):
    with pytest.raises(PeerGone, match=r"does not use CURVE .leave out"), attempt(server(), keys=own_keys()):
        pass


def test_one_that_has_another_key_is_told(attempt, server):
    _, secret = zmq.curve_keypair()
    endpoint = server(curve_server=True, curve_secretkey=secret)
    with (
        pytest.raises(PeerGone, match=r"breaks off the handshake .is --curve-server-key its key"),
        attempt(endpoint, keys=own_keys()),
    ):
        pass


def test_what_is_known_at_once_is_told_before_the_time_is_up(attempt, server):
    started_at = time.monotonic()
    with pytest.raises(PeerGone), attempt(server(zmq.PUB)):
        pass
    assert time.monotonic() - started_at < LONG_S / 2


def test_silence_of_one_that_is_there_is_told_as_such(attempt, server):
    with attempt(server()) as connection:
        assert "no answer from" in str(connection.silence())


def test_silence_of_one_that_has_gone_is_told_as_such(engine, context):
    with closing(zmq.Context()) as theirs:
        sock = theirs.socket(zmq.ROUTER)
        endpoint = bind(sock, "tcp://127.0.0.1:*")
        with connected(engine, context.socket(zmq.DEALER), endpoint, None, SOON_S) as connection:
            sock.close()
            theirs.term()
            deadline = time.monotonic() + LONG_S
            while "has gone, and not come back" not in str(connection.silence()):
                assert time.monotonic() < deadline
                engine.sleep(0.01)
