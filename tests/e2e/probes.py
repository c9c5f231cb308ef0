"""What tests look at from outside: a server's log, its counts, and its processes in /proc."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from tests.conftest import TIMEOUT_S
from tests.e2e.servers import GtoolServer, receive_exactly

LOOPBACK = "127.0.0.1:0"
TURN_BYTES = 16_384


def exchange(client: socket.socket, message: bytes = b"are you there?") -> None:
    """Send a message, of any size, and check that it comes back.

    In turns, and not by two threads: before Python 3.13 an SSLSocket may not be read and written at once.
    """
    for start in range(0, len(message), TURN_BYTES):
        turn = message[start : start + TURN_BYTES]
        client.sendall(turn)
        assert receive_exactly(client, len(turn)) == turn


def is_refused(server: GtoolServer, number: int = 0) -> bool:
    """Whether the kernel refuses a connection, or takes it back: nobody listens any more."""
    try:
        server.connect(number).close()
    except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
        return True
    return False


def is_dropped(client: socket.socket) -> bool:
    """Whether the server closes this connection without a word."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def is_turned_away(server: GtoolServer, number: int = 0) -> bool:
    """Whether a new connection is not served: refused by the kernel, or dropped.

    It says something: whose handshake meets the close of the listener is told by Linux only then (6.18 leaves its own
    side in SYN-RECV, and the client believes that it is connected).
    """
    try:
        client = server.connect(number)
    except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
        return True
    with client:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(b"?")
        return is_dropped(client)


def events(server: GtoolServer, event: str) -> list[dict[str, str]]:
    """The fields of each line of the log that tells of this event."""
    found = re.findall(rf"^\S+ \w+ +{re.escape(event)}((?: \w+=.*)?)$", server.err, re.MULTILINE)
    return [dict(pair.split("=", 1) for pair in shlex.split(fields)) for fields in found]


def fetch(url: str) -> tuple[int, str, str]:
    """GET it, past any proxy: status, content type, body."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def metrics(server: GtoolServer) -> dict[str, float]:
    """The numbers at the last of its ready lines, by name and labels, less the `gtool_`."""
    _, _, text = fetch(server.urls[-1])
    samples = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("gtool_"): float(value) for name, _, value in samples}


def wait_for_metric(server: GtoolServer, name: str, value: float) -> dict[str, float]:
    """Ask again and again until that number is there; give all numbers."""
    deadline = time.monotonic() + TIMEOUT_S
    while (found := metrics(server))[name] != value:
        assert time.monotonic() < deadline, f"{name} is {found[name]}, not {value}"
    return found


def workers(server: GtoolServer, count: int) -> list[int]:
    """Wait until so many workers have been started; give their process ids, in the order of that. It wants `-v`."""
    server.wait_for_log("worker started", count)
    return [int(fields["pid"]) for fields in events(server, "worker started")]


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold up a process: what is done meanwhile, another does. It may end meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while _state(pid) != "T":  # another processor may be running it
            os.sched_yield()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def connect_to_both(server: GtoolServer, pids: list[int]) -> list[socket.socket]:
    """Give a connection to each of two workers, which the other could not take."""
    clients = []
    for number in (0, 1):
        with stopped(pids[1 - number]):
            clients.append(server.connect())
            exchange(clients[-1])
    return clients


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def wait_until_ended(pids: list[int]) -> None:
    """Wait until these processes run no more; a zombie does not run."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], TIMEOUT_S)[0], f"process {pid} still runs"
        finally:
            os.close(descriptor)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
