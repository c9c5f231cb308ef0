"""Fixtures of all tests: gtool as a real process, real servers on loopback, and peers that misbehave."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trustme

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 30
MOMENT_S = 1  #: in which what was told to end does so


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a program that is not there, or fail where all are said to be (GTOOL_TEST_ALL=1)."""
    for marker in item.iter_markers("needs"):
        program = marker.args[0]
        if shutil.which(program) is None:
            skip_unless_all(f"there is no {program}")


def pytest_xdist_auto_num_workers() -> int:
    """How many `-n auto` are: more than processors, for most tests wait for processes that they have started."""
    return 3 * len(os.sched_getaffinity(0)) // 2


def skip_unless_all(reason: str) -> NoReturn:
    """Skip a test, but fail it where all are to be run (GTOOL_TEST_ALL=1)."""
    if os.environ.get("GTOOL_TEST_ALL") == "1":
        pytest.fail(f"GTOOL_TEST_ALL=1, and {reason}")
    pytest.skip(reason)


@dataclass(frozen=True)
class Result:
    """How a gtool process has ended."""

    code: int
    out: bytes
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of stdout, each of which must be a JSON object."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**variables: str) -> dict[str, str]:
    """The environment of a gtool process: ours, without what would change its ways."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    kept = {name: value for name, value in kept.items() if not name.startswith("GTOOL_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", **variables}


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "gtool", *map(str, args)]


def run_gtool(*args: str | Path, stdin: bytes = b"", cwd: Path | None = None, **variables: str) -> Result:
    """Run gtool to its end and give what it said."""
    done = subprocess.run(
        command(*args), input=stdin, capture_output=True, timeout=TIMEOUT_S, cwd=cwd, env=environment(**variables)
    )
    return Result(done.returncode, done.stdout, done.stderr.decode())


@pytest.fixture
def gtool(tmp_path: Path) -> Callable[..., Result]:
    """Run gtool in an empty directory: `gtool("fetch", url, stdin=b"", GTOOL_X="y")`."""

    def run(*args: str | Path, stdin: bytes = b"", cwd: Path = tmp_path, **variables: str) -> Result:
        return run_gtool(*args, stdin=stdin, cwd=cwd, **variables)

    return run


@pytest.fixture
def start_gtool(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start gtool with pipes, to be talked to; it is killed at the end of the test."""
    with ExitStack() as stack:

        def start(*args: str | Path, **popen: Any) -> subprocess.Popen[bytes]:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen(command(*args), **{"cwd": tmp_path, "env": environment(), **pipes, **popen})
            stack.callback(_end, process)
            return process

        yield start


@pytest.fixture(scope="session")
def path_with_gtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which `gtool` is the one that is tested."""
    script = tmp_path_factory.mktemp("bin") / "gtool"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m gtool "$@"\n')
    script.chmod(0o755)
    return f"{script.parent}:{os.environ['PATH']}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with suppress(OSError):
                pipe.close()


def _serve_httpbin(*args: str) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.servers.httpbin", *args],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert process.stdout
    with process:
        yield int(process.stdout.readline())
        process.terminate()


@pytest.fixture(scope="session")
def httpbin() -> Iterator[str]:
    """The address of httpbin over HTTP: `http://127.0.0.1:port`."""
    for port in _serve_httpbin():
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts by default."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def httpbin_tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of httpbin over TLS, with a certificate for localhost: `https://localhost:port`."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    for port in _serve_httpbin(str(path)):
        yield f"https://localhost:{port}"


Handler = Callable[[socket.socket, bytes], None]


class Peer:
    """A TCP server on loopback that gives each connection to its handler: the socket and a request's head."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.host}"
        self.requests: list[bytes] = []  #: the heads, in the order in which they came
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()
        for thread in self._threads:
            while thread.is_alive():
                self._shut_down()  # again and again: it may have been about to secure its connection
                thread.join(0.1)

    def _shut_down(self) -> None:
        """By another socket of the same connection: one over TLS must not be touched while its thread reads."""
        for connection in self._connections[:]:
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._treat, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _treat(self, connection: socket.socket) -> None:
        with connection, suppress(OSError), ExitStack() as stack:
            if self._context:
                secure = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                connection = stack.enter_context(secure)
                self._connections.append(connection)
                secure.do_handshake()
            while head := read_head(connection):
                self.requests.append(head)
                self._handler(connection, head)


def read_head(connection: socket.socket) -> bytes:
    """Read up to the empty line that ends a request's head; empty if the peer has gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP/1.1 answer, with its Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Make a Peer: `peer(lambda connection, head: connection.sendall(answer(b"hello")))`."""
    peers: list[Peer] = []

    def make(handler: Handler, context: ssl.SSLContext | None = None) -> Peer:
        peers.append(Peer(handler, context))
        return peers[-1]

    yield make
    for made in peers:
        made.close()


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port on loopback on which nothing listens, and nothing will while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Have a test's way of logging be no other test's."""
    root = logging.getLogger("gtool")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], level, root.propagate = before
    root.setLevel(level)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves files or sockets of this process open, or greenlets of gevent running."""
    with no_greenlets_left() if "gevent" in sys.modules else nullcontext():
        before = open_files()
        yield
    left = open_files() - before  # now that greenlets have had their turn
    assert not left, f"left open: {left}"


@contextmanager
def no_greenlets_left() -> Iterator[None]:
    """Assert that those that are spawned here have ended, or do so at once when the loop has its turn."""
    from gevent import Greenlet, get_hub, joinall

    get_hub()  # it is made once, and stays
    spawned: weakref.WeakSet[Greenlet[..., Any]] = weakref.WeakSet()
    Greenlet.add_spawn_callback(spawned.add)
    try:
        yield
    finally:
        Greenlet.remove_spawn_callback(spawned.add)
    running = [greenlet for greenlet in spawned if not greenlet.dead]
    joinall(running, timeout=MOMENT_S)
    left = [greenlet for greenlet in running if not greenlet.dead]
    assert not left, f"left running: {left}"


def open_files() -> set[str]:
    """What this process has open, less the loop's own."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if "eventfd" not in target and "eventpoll" not in target:
                found.add(f"{descriptor} {target}")
    return found
