"""ws-feed against other servers: frames per second of a broadcast, its delay, memory of idle clients, echoes.

The clients are C programs, lest they be what is measured.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.bench.frame import ROOT, Comparison, Figure, Unavailable, compare, gtool
from tests.bench.servers import Peer, compile_c, contenders, need_descriptors, resident_kib, running

SOURCES = ROOT / "tests/bench/ws_peers"
MESSAGE = "0123456789" * 5
FLOOD_S = 3.0
IDLE = 10_000
ECHO_BYTES = 1 << 16
TRIES = 40  #: to connect in the flood
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def broadcast(rounds: int) -> Iterator[Comparison]:
    """Frames per second that all clients together get of a feed that runs flat out."""
    for clients in (100, 1000):
        peers = [Peer("gtool ws-feed --stdin, from yes(1)", _feed("--stdin"), stdin=["yes", MESSAGE])]
        peers.append(Peer("websockets.broadcast() on uvloop", _python("flood")))
        if clients == 100 and shutil.which("websocketd"):
            command = ["websocketd", "--port={port}", "--address=127.0.0.1", "yes", MESSAGE]
            peers.append(Peer("websocketd yes, a process per client", command, forks=True))
        values = _in_turn(peers, rounds, lambda port, clients=clients: _sink(port, clients, FLOOD_S, "count")[0])
        yield compare(f"broadcast to {clients:,} clients, 50 bytes", "frames/s", "2 x", contenders(peers), values)


def accept(rounds: int) -> Iterator[Comparison]:
    """How long a new client waits for its upgrade while the feed runs flat out to 1,000 others; the worst of 40."""
    peer = Peer("gtool ws-feed --stdin, from yes(1)", _feed("--stdin"), stdin=["yes", MESSAGE])
    worst = []
    for _ in range(rounds):
        with running(peer) as (_, port), _holding(port, 1000, 60):
            worst.append(max(_upgrade_ms(port) for _ in range(TRIES)))
    figures = (Figure(peer.name, statistics.median(worst), None),)
    yield Comparison("connect while 1,000 clients are flooded, worst", "ms", "100 ms", figures)


def delay(rounds: int) -> Iterator[Comparison]:
    """From a message's birth to its arrival at 1,000 clients, ten messages a second; the 95th percentile."""
    times = [sys.executable, "-m", "tests.bench.ws_peers.times"]
    peers = [
        Peer("gtool ws-feed --stdin", _feed("--stdin"), stdin=times),
        Peer("websockets.broadcast() on uvloop", _python("paced")),
    ]
    values = _in_turn(peers, rounds, lambda port: _sink(port, 1000, FLOOD_S, "latency")[1])
    yield compare("delay to 1,000 clients, p95", "ms", "under 47 ms", contenders(peers), values)


def idle(rounds: int) -> Iterator[Comparison]:
    """Memory of a client that is connected and silent."""
    need_descriptors(IDLE)
    peers = [
        Peer("gtool ws-feed", _feed("--interval", "1h")),
        Peer("websockets on uvloop", _python("idle")),
    ]
    values: list[list[float]] = [[] for _ in peers]
    for _ in range(min(rounds, 3)):
        for peer, own in zip(peers, values, strict=True):
            with running(peer) as (process, port):
                before = resident_kib(process.pid)
                with _holding(port, IDLE, 600):
                    own.append((resident_kib(process.pid) - before) / IDLE)
    yield compare(f"{IDLE:,} idle clients", "KiB each", "at most 16 KB", contenders(peers), values)


def echo(rounds: int) -> Iterator[Comparison]:
    """Echoes of 64 KiB messages per second, on ten connections."""
    peers = [
        Peer("gtool ws-feed --echo", _feed("--echo")),
        Peer("websockets asyncio server on uvloop", _python("echo")),
    ]
    with tempfile.TemporaryDirectory() as folder:
        load = compile_c(SOURCES / "echo.c", Path(folder))

        def measure(port: int) -> float:
            return float(_run([load, str(port), "10", str(ECHO_BYTES), str(FLOOD_S)]))

        values = _in_turn(peers, rounds, measure)
    yield compare("echo of 64 KiB, 10 connections", "messages/s", "0.8 x", contenders(peers), values)


def _in_turn(peers: Sequence[Peer], rounds: int, measure: Callable[[int], float]) -> list[list[float]]:
    """Measure all in turn, round by round, after one round that does not count."""
    values: list[list[float]] = [[] for _ in peers]
    for number in range(rounds + 1):
        for peer, own in zip(peers, values, strict=True):
            with running(peer) as (_, port):
                value = measure(port)
            if number:
                own.append(value)
    return values


def _sink(port: int, clients: int, seconds: float, what: str) -> list[float]:
    need_descriptors(clients)
    with tempfile.TemporaryDirectory() as folder:
        program = compile_c(SOURCES / "sink.c", Path(folder))
        return [float(word) for word in _run([program, str(port), str(clients), str(seconds), what]).split()[1:]]


@contextmanager
def _holding(port: int, clients: int, seconds: float) -> Iterator[None]:
    """Have so many clients connected, that read what comes."""
    need_descriptors(clients)
    with tempfile.TemporaryDirectory() as folder:
        argv = [compile_c(SOURCES / "sink.c", Path(folder)), str(port), str(clients), str(seconds), "hold"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout
                if not process.stdout.readline():
                    raise RuntimeError("the clients could not connect")
                yield
            finally:
                process.kill()


def _upgrade_ms(port: int) -> float:
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(UPGRADE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(4096)
        return (time.perf_counter() - started) * 1000


def _run(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def _feed(*options: str) -> list[str]:
    return gtool("ws-feed", "-l", "127.0.0.1:0", *options)


def _python(name: str) -> list[str]:
    if not find_spec("uvloop"):
        raise Unavailable("this benchmark needs the package uvloop")
    return [sys.executable, "-m", "tests.bench.ws_peers.python", name]


BENCHMARKS: dict[str, Callable[[int], Iterator[Comparison]]] = {
    "broadcast": broadcast,
    "accept": accept,
    "delay": delay,
    "idle": idle,
    "echo": echo,
}
