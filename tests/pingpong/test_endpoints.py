"""Endpoints that are none, or taken, are named; no wait is for ever; nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack

import pytest
import zmq

from gtool.errors import BindError, GtoolError, UsageError
from gtool.pingpong import endpoints
from gtool.pingpong.endpoints import bind, closing, connect, ipc_path, new_socket, remove_path
from tests.conftest import TIMEOUT_S


@pytest.fixture
def make():
    """Make a socket of some kind; it is closed at the end."""
    with closing(zmq.Context()) as context, ExitStack() as stack:
        yield lambda kind: stack.enter_context(context.socket(kind))


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "inproc://name", "ipc://{}/path"])
def test_what_is_bound_can_be_connected_to(make, tmp_path, endpoint):
    asking, answering = make(zmq.REQ), make(zmq.REP)
    connect(answering, bind(asking, endpoint.format(tmp_path)))
    asking.send(b"hello")
    assert answering.poll(5000)
    assert answering.recv() == b"hello"


def test_a_free_port_is_told(make):
    port = bind(make(zmq.REP), "tcp://127.0.0.1:*").rpartition(":")[2]
    assert 0 < int(port) < 65536


@pytest.mark.parametrize("endpoint", ["", "rubbish", "foo://x", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:99999"])
@pytest.mark.parametrize("use", [bind, connect])
def test_an_endpoint_that_is_none_is_a_usage_error(make, endpoint, use):
    with pytest.raises(UsageError, match=f"'{endpoint}'"):
        use(make(zmq.REQ), endpoint)


def test_a_port_in_use_is_named_and_what_to_do(make):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BindError, match=f"cannot bind to {endpoint}: Address already in use .*another port"):
            bind(make(zmq.REP), endpoint)


def test_an_address_of_another_machine_is_named(make):
    with pytest.raises(BindError, match=r"192\.0\.2\.1:5555"):
        bind(make(zmq.REP), "tcp://192.0.2.1:5555")


def test_a_path_that_a_live_server_has_is_left_to_it(make, tmp_path):
    endpoint = f"ipc://{tmp_path}/path"
    bind(make(zmq.REP), endpoint)
    with pytest.raises(BindError, match="another server listens there"):
        bind(make(zmq.REP), endpoint)


def test_a_path_that_a_dead_server_has_left_is_taken_over(make, tmp_path):
    path = tmp_path / "path"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bind(make(zmq.REP), f"ipc://{path}")


def test_a_file_of_another_kind_is_left_alone(make, tmp_path):
    path = tmp_path / "path"
    path.write_text("mine")
    with pytest.raises(BindError, match="a file of another kind"):
        bind(make(zmq.REP), f"ipc://{path}")
    assert path.read_text() == "mine"


def test_a_path_is_removed_at_the_end(make, tmp_path):
    endpoint = bind(make(zmq.REP), f"ipc://{tmp_path}/path")
    remove_path(endpoint)
    assert os.listdir(tmp_path) == []
    remove_path(endpoint)  # once more is no matter


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:1", "inproc://x", "ipc://@abstract", "ipc://*"])
def test_what_has_no_file_has_no_path(endpoint):
    assert ipc_path(endpoint) is None


def test_what_could_not_be_sent_does_not_hold_up_the_end():
    with closing(zmq.Context()) as context:
        sock = context.socket(zmq.PUSH)
        connect(sock, "tcp://127.0.0.1:1")  # where nobody is
        sock.send(b"never")


def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_no_signal_falls_into_the_end_of_a_context():
    """Which would leave it open."""
    seen = []

    class Watched(zmq.Context):
        def term(self):
            seen.append(blocked())
            super().term()

    before = blocked()
    with closing(Watched()):
        assert blocked() == before
    (meanwhile,) = seen
    assert meanwhile >= {signal.SIGCHLD, signal.SIGINT, signal.SIGALRM}
    assert blocked() == before


def test_a_context_that_does_not_end_is_left_to_the_end_of_the_process(monkeypatch):
    """As while libzmq looks up a name, and the resolver has no answer."""
    has_ended = threading.Event()

    class Looking(zmq.Context):
        def term(self):
            has_ended.wait(TIMEOUT_S)
            super().term()

    monkeypatch.setattr(endpoints, "TERM_S", 0.01)
    started_at = time.monotonic()
    with closing(Looking()) as context:
        pass
    assert time.monotonic() - started_at < TIMEOUT_S
    assert not context.closed
    has_ended.set()
    while not context.closed:
        time.sleep(0.001)


def test_there_may_be_more_sockets_than_libzmq_has_room_for_by_itself():
    with closing(zmq.Context()) as context:
        assert context.get(zmq.MAX_SOCKETS) > 1023


def test_a_socket_that_can_not_be_had_is_said_and_what_to_do():
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, 1)
        with new_socket(context, zmq.REQ), pytest.raises(GtoolError, match=r"Too many open files \('ulimit -n' says"):
            new_socket(context, zmq.REQ)
