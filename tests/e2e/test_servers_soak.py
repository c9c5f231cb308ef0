"""Servers under clients of all manners for a while: nothing is left open, nothing grows, nothing is logged as an error.

`GTOOL_SOAK_S=600 python -m pytest -s tests/e2e/test_servers_soak.py` has it go on for longer, and prints the figures.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.probes import LOOPBACK, descriptors, metrics, resident_bytes, wait_for_metric
from tests.e2e.servers import Ended, GtoolServer, receive_exactly, running

SOAK_S = float(os.environ.get("GTOOL_SOAK_S", "5"))
WARM_UP_S = max(1.5, SOAK_S / 10)
CLIENTS = 2  #: threads per server
IDLE = 20  #: connections per thread that do nothing
GROWTH_BYTES = 4 << 20
FAULTS = ("--latency", "2ms", "--jitter", "2ms", "--slice", "1k", "--reset-after", "20k", "--toxicity", "0.5")
SERVERS = {
    "plain": (),
    "line": ("--line",),
    "tls": ("--tls-cert", "CERTIFICATE"),
    "faults": (*FAULTS, "--corrupt-rate", "0", "--seed", "1"),
}

pytestmark = pytest.mark.timeout(60 + 2 * SOAK_S)


@dataclass
class Figures:
    """What clients did, by name, and what the server was like in the end."""

    done: Counter[str]
    open: float
    descriptors: tuple[int, int]  #: before the first client, in the end
    resident: tuple[int, int]  #: bytes, after the warm-up and in the end
    ended: Ended


class Clients:
    """One thread's: it does one thing after the other to a server, at random."""

    def __init__(self, server: GtoolServer, context: ssl.SSLContext | None, seed: int) -> None:
        self._server = server
        self._context = context
        self._rng = random.Random(seed)
        self._idle: list[socket.socket] = []
        self.done: Counter[str] = Counter()

    def act(self, until: float, is_exact: bool) -> None:
        """Go on until that time; with `is_exact`, whoever reads an echo insists on all of it."""
        actions = [self._echo, self._half_close, self._reset, self._read_partly, self._stay, self._leave, self._babble]
        while time.monotonic() < until:
            action = self._rng.choice(actions)
            try:
                action()
            except (OSError, AssertionError) as error:
                if is_exact and action in (self._echo, self._half_close):
                    self.done[f"failed: {error!r}"] += 1
            self.done[action.__name__.strip("_")] += 1
        for client in self._idle:
            client.close()
        self._idle.clear()

    def _connect(self) -> Any:
        sock = self._server.connect()
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname="localhost")

    def _message(self, most: int = 50_000) -> bytes:
        return self._rng.randbytes(self._rng.randrange(1, most)).replace(b"\n", b"\0") + b"\n"

    def _echo(self) -> None:
        with self._connect() as client:
            for _ in range(self._rng.randrange(1, 5)):
                message = self._message()
                client.sendall(message)
                assert receive_exactly(client, len(message)) == message

    def _half_close(self) -> None:
        message = self._message()
        with self._connect() as client:
            client.sendall(message)
            if self._context is None:
                client.shutdown(socket.SHUT_WR)
            assert receive_exactly(client, len(message)) == message
            if self._context:
                client.unwrap().close()
            else:
                assert client.recv(1) == b""

    def _reset(self) -> None:
        with self._connect() as client:
            client.sendall(self._message())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def _read_partly(self) -> None:
        with self._connect() as client:
            client.sendall(self._message())
            client.recv(self._rng.randrange(1, 100))

    def _stay(self) -> None:
        """Keep a connection, and close the one that has been idle for longest."""
        self._idle.append(self._connect())
        if len(self._idle) > IDLE:
            self._idle.pop(0).close()

    def _leave(self) -> None:
        """Connect and go: under TLS, in the middle of the handshake."""
        self._server.connect().close()

    def _babble(self) -> None:
        """Send what is too long for a line, or no TLS at all."""
        with self._server.connect() as client:
            client.sendall(b"\x16\x03\x01" + self._rng.randbytes(70_000).replace(b"\n", b"\0"))
            client.recv(100)


def soak(name: str, args: tuple[Any, ...], context: ssl.SSLContext | None) -> Figures:
    with running("echo-server", "-l", LOOPBACK, *args, "--metrics", LOOPBACK, listeners=2) as server:
        clients = [Clients(server, context, seed) for seed in range(CLIENTS)]

        def act(seconds: float) -> int:
            """Give the resident bytes once all that was opened is closed."""
            until = time.monotonic() + seconds
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda one: one.act(until, is_exact=name != "faults"), clients))
            with suppress(AssertionError):
                wait_for_metric(server, "open_connections", 0)
            return resident_bytes(server.process.pid)

        files_before = lasting_descriptors(server)
        resident = act(WARM_UP_S), act(SOAK_S)
        done = sum((one.done for one in clients), Counter())
        still_open = metrics(server)["open_connections"]
        files = files_before, lasting_descriptors(server)
        return Figures(done, still_open, files, resident, server.stop())


def lasting_descriptors(server: GtoolServer) -> int:
    """Give how many it has open. A request for the metrics has one too, for a moment after its answer."""
    metrics(server)  # it has begun to serve
    until = time.monotonic() + 0.2
    fewest = descriptors(server.process.pid)
    while time.monotonic() < until:
        fewest = min(fewest, descriptors(server.process.pid))
    return fewest


@pytest.fixture(scope="module")
def soaked(certificate: Any, trusting: ssl.SSLContext) -> dict[str, Figures]:
    """Soak all servers at the same time, and give what came of it."""
    found: dict[str, Figures] = {}

    def run(name: str, args: tuple[str, ...]) -> Callable[[], None]:
        args = tuple(str(certificate) if arg == "CERTIFICATE" else arg for arg in args)
        return lambda: found.update({name: soak(name, args, trusting if name == "tls" else None)})

    with ExitStack() as stack:
        for name, args in SERVERS.items():
            thread = threading.Thread(target=run(name, args))
            thread.start()
            stack.callback(thread.join)
    for name, figures in found.items():
        print(f"{name}: {figures}")
    return found


every_server = pytest.mark.parametrize("name", SERVERS)


@every_server
def test_clients_of_all_manners_were_there(soaked, name):
    manners = {"echo", "half_close", "reset", "read_partly", "stay", "leave", "babble"}
    assert min(soaked[name].done[manner] for manner in manners) >= 5


@every_server
def test_every_echo_was_whole(soaked, name):
    assert [what for what in soaked[name].done if what.startswith("failed")] == []


@every_server
def test_no_connection_is_left_open(soaked, name):
    assert soaked[name].open == 0


@every_server
def test_no_descriptor_is_left_open(soaked, name):
    before, after = soaked[name].descriptors
    assert after == before


@every_server
def test_memory_does_not_grow(soaked, name):
    warm, after = soaked[name].resident
    assert after - warm < GROWTH_BYTES


@every_server
def test_it_ends_with_0_and_without_an_error(soaked, name):
    ended = soaked[name].ended
    assert ended.code == 0
    assert "ERROR" not in ended.err
    assert "Traceback" not in ended.err
