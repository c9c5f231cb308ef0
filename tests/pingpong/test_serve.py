"""A server's life as a process: it says where it is, answers, drains, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
import time
from contextlib import suppress

import pytest
import zmq

from gtool.pingpong import protocol
from gtool.pingpong.endpoints import closing
from gtool.pingpong.sequence import Numbering
from tests.conftest import TIMEOUT_S

HELLO = {"protocol": protocol.VERSION, "pattern": "push-pull", "sizes": [8], "pipeline": 1, "run": "mine"}
OPEN = {"pattern": "push-pull", "size": 8, "idle_s": 60.0, "run": "mine"}
SOON_S = 3.0


@pytest.fixture(params=["green", "blocking"])
def serve(request, start_gtool):
    """Start a server, and give its process and its endpoint."""

    def start(*args, bind="tcp://127.0.0.1:*"):
        process = start_gtool("zmq-pingpong", "serve", "--engine", request.param, "--bind", bind, *args)
        endpoint = process.stdout.readline().decode().strip()
        assert endpoint, process.stderr.read()
        return process, endpoint

    return start


class Client:
    def __init__(self, context, kind, endpoint):
        self.sock = context.socket(kind)
        self.sock.linger = 0
        self.sock.rcvtimeo = self.sock.sndtimeo = TIMEOUT_S * 1000
        self.sock.connect(endpoint)

    def exchange(self, *frames):
        self.sock.send_multipart(frames)
        return self.sock.recv_multipart()

    def ask(self, do, **more):
        return protocol.decode(self.exchange(b"", *protocol.encode({"do": do, "id": 1, **more})))


@pytest.fixture
def connect():
    made = []
    with closing(zmq.Context()) as context:

        def connect(endpoint, kind=zmq.DEALER):
            made.append(Client(context, kind, endpoint))
            return made[-1]

        yield connect


def end(process, timeout_s=SOON_S):
    """Wait for the end; give the exit code, and what it has said."""
    code = process.wait(timeout_s)
    return code, process.stderr.read().decode()


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:*", "ipc://{}/path"])
def test_it_says_where_it_is_and_answers_there(serve, connect, tmp_path, bind):
    _, endpoint = serve(bind=bind.format(tmp_path))
    assert connect(endpoint).exchange(b"a") == [b"a"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_well(serve, number):
    process, _ = serve()
    process.send_signal(number)
    assert end(process) == (0, "")


def test_nothing_is_left_behind(serve, connect, tmp_path):
    process, endpoint = serve("--ready-file", tmp_path / "ready", bind=f"ipc://{tmp_path}/path")
    connect(endpoint).ask("open", **OPEN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["path", "path.1", "ready"]
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_ready_file_says_where_it_is(serve, tmp_path):
    _, endpoint = serve("--ready-file", tmp_path / "ready")
    assert (tmp_path / "ready").read_text() == f"{endpoint}\n"


def test_a_duration_ends_it(serve):
    process, _ = serve("--duration", "0.2s")
    assert end(process) == (0, "")


def test_once_ends_it_when_its_client_has_said_bye(serve, connect):
    process, endpoint = serve("--once")
    client = connect(endpoint)
    client.ask("hello", **HELLO)
    client.ask("bye", run="mine")
    assert end(process) == (0, "")


def test_once_ends_it_when_its_client_has_gone(serve, connect):
    process, endpoint = serve("--once")
    client = connect(endpoint)
    client.exchange(b"a")
    client.sock.close()
    assert end(process) == (0, "")


def test_who_is_in_the_middle_of_something_may_go_on_while_it_drains(serve, connect):
    process, endpoint = serve()
    client = connect(endpoint)
    client.ask("hello", **HELLO)
    process.send_signal(signal.SIGTERM)
    while "error" not in connect(endpoint).ask("hello", **{**HELLO, "run": "other"}):
        client.ask("bye", run="other")
    assert client.exchange(b"a") == [b"a"]
    client.ask("bye", run="mine")
    assert end(process) == (0, "")


def test_who_does_not_end_is_not_waited_for_longer_than_agreed(serve, connect):
    process, endpoint = serve("--drain-timeout", "0.3s")
    connect(endpoint).ask("hello", **HELLO)
    started_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "")
    assert time.monotonic() - started_at >= 0.3


def test_a_second_signal_ends_it_at_once(serve, connect, tmp_path):
    process, endpoint = serve("--drain-timeout", "60s", "--ready-file", tmp_path / "ready")
    client = connect(endpoint)
    client.ask("hello", **HELLO)
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + TIMEOUT_S
    while (tmp_path / "ready").exists():  # until it drains
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert end(process) == (128 + signal.SIGINT, "")


def test_sessions_that_are_still_open_do_not_keep_it(serve, connect):
    process, endpoint = serve("--drain-timeout", "0.1s")
    client = connect(endpoint)
    client.ask("hello", **HELLO)
    for _ in range(8):
        told = client.ask("open", **OPEN)["endpoint"]
        connect(protocol.data_endpoint(endpoint, told), zmq.PUSH).sock.send(next(Numbering(8).messages(0, 1)))
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "")


def test_answers_that_nobody_reads_do_not_keep_it(serve, connect):
    process, endpoint = serve("--drain-timeout", "0.2s")
    client = connect(endpoint)
    client.sock.rcvhwm = 1
    for _ in range(100):
        client.sock.send(b"a" * 100_000)
    client.exchange(b"a")
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "")


def test_a_port_that_is_taken_is_told(gtool):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = gtool("zmq-pingpong", "serve", "--bind", endpoint)
    assert (done.code, done.out) == (5, b"")
    assert f"cannot bind to {endpoint}: Address already in use" in done.err


def test_a_message_that_is_too_long_ends_its_connection_and_no_other(serve, connect):
    _, endpoint = serve("--max-size", "100k")
    other = connect(endpoint)
    other.exchange(b"a")
    long = connect(endpoint)
    long.sock.rcvtimeo = 200
    long.sock.send(b"a" * 200_000)
    with pytest.raises(zmq.Again):
        long.sock.recv()
    assert other.exchange(b"a" * 100_000) == [b"a" * 100_000]


def test_it_answers_after_any_number_of_connections(serve, connect):
    _, endpoint = serve()
    port = int(endpoint.rpartition(":")[2])
    with suppress(OSError):  # it takes none any more
        for _ in range(1100):
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.recv(10)  # its greeting: it has been accepted
    client = connect(endpoint)
    client.sock.rcvtimeo = 1000
    assert client.exchange(b"a") == [b"a"]
