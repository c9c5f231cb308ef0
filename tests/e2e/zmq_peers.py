"""What the tests of zmq-pingpong share: servers and pings as real processes, and peers that misbehave."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import simplejson
import zmq

from gtool.pingpong.endpoints import destroy
from tests.conftest import TIMEOUT_S, Result, command, environment, run_gtool
from tests.e2e.servers import GtoolServer, running

ANY = "tcp://127.0.0.1:*"
ROUND_TRIPS = ("req-rep", "dealer-router")
ONE_WAY = ("push-pull", "pub-sub")
PATTERNS = (*ROUND_TRIPS, *ONE_WAY)
ENGINES = ("green", "blocking")
MAGIC = b"\x00gtool-pingpong"
POLL_MS = 20
BUSY_S = 0.1  #: of a processor: more than an agreement takes, less than a run does
PROCESS = "gtool.pingpong.process"


@contextmanager
def serving(*args: str | Path, bind: str = ANY, **popen: Any) -> Iterator[GtoolServer]:
    """Run `gtool -v zmq-pingpong serve`; its endpoint is `urls[0]`."""
    with running("-v", "zmq-pingpong", "serve", "--bind", bind, *args, **popen) as server:
        yield server


def ping(endpoint: str, *args: str | Path, **variables: str) -> Result:
    """Run `gtool zmq-pingpong ping` to its end."""
    return run_gtool("zmq-pingpong", "ping", endpoint, *args, **variables)


def document(done: Result) -> dict[str, Any]:
    """Give the one JSON object that stdout has to be."""
    assert done.out.count(b"\n") == 1, done
    assert done.out.endswith(b"}\n")
    found = simplejson.loads(done.out)
    assert found["exit_code"] == done.code
    assert found["ok"] == (done.code == 0)
    return found


@contextmanager
def pinging(endpoint: str, *args: str | Path, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start `gtool zmq-pingpong ping`; it and its children are killed at the end."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = {"env": environment(), **pipes, **popen}
    with subprocess.Popen(command("zmq-pingpong", "ping", endpoint, *args), **started) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> Result:
    """Wait for its end."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Result(process.returncode, out, err.decode())


def wait_until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def wait_until_busy(server: GtoolServer) -> None:
    """Wait until it has worked so much that a run must be under way."""
    before = _processor_s(server.process.pid)
    wait_until(lambda: _processor_s(server.process.pid) - before > BUSY_S, "the server has nothing to do")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # proc_pid_stat(5): utime, stime


def client_processes(parent: int) -> list[int]:
    """Give the clients that a ping has in processes of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and PROCESS.encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


Answer = Callable[["zmq.Socket[bytes]", list[bytes]], None]


def echo(sock: zmq.Socket[bytes], frames: list[bytes]) -> None:
    sock.send_multipart(frames)


def silent(sock: zmq.Socket[bytes], frames: list[bytes]) -> None:
    """Take it, and say nothing."""


def reply(frames: list[bytes], **more: Any) -> list[bytes]:
    """Answer a question of a client's control connection, which came to a ROUTER."""
    question = simplejson.loads(frames[-1])
    return [*frames[:-1], simplejson.dumps({"id": question["id"], **more}).encode()]


def agreeing(answer: Answer) -> Answer:
    """Be a server of gtool to those who agree, and something else to those who measure."""

    def either(sock: zmq.Socket[bytes], frames: list[bytes]) -> None:
        if len(frames) > 1 and frames[-2] == MAGIC:
            sock.send_multipart(reply(frames, protocol=1, engine="green", versions={}))
        else:
            answer(sock, frames)

    return either


@contextmanager
def zmq_peer(kind: int, answer: Answer = silent, **options: Any) -> Iterator[str]:
    """Bind a socket in a thread that gives each message to `answer`; give its endpoint."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(kind)
    for name, value in {"linger": 0, **options}.items():
        setattr(sock, name, value)
    sock.bind(ANY)
    endpoint = sock.getsockopt_string(zmq.LAST_ENDPOINT)
    is_over = threading.Event()

    def take() -> None:
        while not is_over.is_set():
            if kind != zmq.PUB and sock.poll(POLL_MS):
                answer(sock, sock.recv_multipart())
            elif kind == zmq.PUB:
                is_over.wait()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield endpoint
    finally:
        is_over.set()
        thread.join()
        sock.close()
        destroy(context)


@contextmanager
def tcp_peer(answer: bytes = b"") -> Iterator[str]:
    """Listen on TCP: say `answer` to whoever connects, then nothing more; give the endpoint."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                connections[-1].sendall(answer)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for sock in (listener, *connections):
            sock.close()


@contextmanager
def asking(kind: int, endpoint: str, **options: Any) -> Iterator[zmq.Socket[bytes]]:
    """Connect a socket of pyzmq that waits for nothing for ever."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(kind)
    limits = {"linger": 0, "rcvtimeo": TIMEOUT_S * 1000, "sndtimeo": TIMEOUT_S * 1000}
    for name, value in {**limits, **options}.items():
        setattr(sock, name, value)
    sock.connect(endpoint)
    try:
        yield sock
    finally:
        sock.close()
        destroy(context)


def ask(sock: zmq.Socket[bytes], do: str, **more: Any) -> dict[str, Any]:
    """Ask a server over a DEALER, as a client does before it measures."""
    sock.send_multipart([b"", MAGIC, simplejson.dumps({"do": do, "id": 1, "run": "test", **more}).encode()])
    answer: dict[str, Any] = simplejson.loads(sock.recv_multipart()[-1])
    return answer


def generate_keys(directory: Path) -> Path:
    """Make key pairs of a server and a client; give the directory."""
    done = run_gtool("zmq-pingpong", "serve", "--curve-generate", directory)
    assert done.code == 0, done
    return directory
