"""echo-server against the servers that others write or run: round trips per second, and memory per connection.

The load is a C program, lest it be what is measured: each connection sends a message when the last has come back.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path

from tests.bench.frame import ROOT, Comparison, Unavailable, compare, gtool, need
from tests.bench.servers import Peer, compile_c, contenders, need_descriptors, resident_kib, running

SOURCES = ROOT / "tests/bench/echo_peers"
LOADS = [(10, 1024), (10, 10_240), (1000, 1024), (1000, 10_240)]  #: connections, message in bytes
LOAD_S = 2.0
IDLE = 15_000
FORKING_LIMIT = 100  #: connections for the peers that start a process for each
LIMITS = [
    "--idle-timeout",
    "60s",
    "--max-bytes",
    "1T",
    "--max-connections",
    "50000",
    "--max-connections-per-ip",
    "50000",
]


def throughput(rounds: int) -> Iterator[Comparison]:
    """Round trips per second, by connections and size of message."""
    with tempfile.TemporaryDirectory() as folder:
        load = compile_c(SOURCES / "load.c", Path(folder))
        for connections, size in LOADS:
            peers = [peer for peer in _peers(Path(folder)) if not peer.forks or connections <= FORKING_LIMIT]
            name = f"{connections:,} connections, {size // 1024} KiB"
            target = "0.9 x C and uvloop, 2.5 x gevent.StreamServer"
            yield _race(name, target, load, peers, connections, size, rounds)


def limits(rounds: int) -> Iterator[Comparison]:
    """What limits, time-outs and byte counts cost."""
    with tempfile.TemporaryDirectory() as folder:
        load = compile_c(SOURCES / "load.c", Path(folder))
        peers = [Peer("with all limits", _gtool(*LIMITS)), Peer("without", _gtool())]
        for connections, size in LOADS[::2]:
            name = f"limits: {connections:,} connections, {size // 1024} KiB"
            yield _race(name, "0.9 x", load, peers, connections, size, rounds)


def idle(rounds: int) -> Iterator[Comparison]:
    """Memory of a connection that is open and silent."""
    need_descriptors(IDLE)
    with tempfile.TemporaryDirectory() as folder:
        peers = [peer for peer in _peers(Path(folder)) if not peer.forks]
        values: list[list[float]] = [[] for _ in peers]
        for _ in range(min(rounds, 3)):
            for peer, own in zip(peers, values, strict=True):
                own.append(_kib_per_connection(peer))
        yield compare(f"{IDLE:,} idle connections", "KiB each", "at most 3 KB", contenders(peers), values)


def _race(name: str, target: str, load: str, peers: list[Peer], connections: int, size: int, rounds: int) -> Comparison:
    """Measure all in turn, round by round, after one round that does not count."""
    values: list[list[float]] = [[] for _ in peers]
    for number in range(rounds + 1):
        for peer, own in zip(peers, values, strict=True):
            with running(peer) as (_, port):
                argv = [load, str(port), str(connections), str(size), str(LOAD_S)]
                done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{peer.name}: {done.stderr}")
            if number:
                own.append(float(done.stdout))
    return compare(name, "round trips/s", target, contenders(peers), values)


def _kib_per_connection(peer: Peer) -> float:
    with running(peer) as (process, port), ExitStack() as stack:
        before = resident_kib(process.pid)
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        last = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        last.sendall(b"x")
        last.recv(1)  # all that came before it were accepted
        return (resident_kib(process.pid) - before) / IDLE


def _gtool(*options: str) -> list[str]:
    return gtool("echo-server", "-l", "127.0.0.1:0", *options)


def _peers(folder: Path) -> list[Peer]:
    """gtool, then those peers that are installed here."""
    python = [sys.executable, "-m", "tests.bench.echo_peers.python"]
    peers = [
        Peer("gtool echo-server", _gtool()),
        Peer("C, an epoll loop", [compile_c(SOURCES / "epoll.c", folder)]),
        Peer("gevent StreamServer", [*python, "gevent"]),
        Peer("asyncio streams", [*python, "asyncio"]),
    ]
    if find_spec("uvloop"):
        peers.insert(2, Peer("uvloop, a protocol", [*python, "uvloop"]))
    with suppress(Unavailable):
        peers.append(Peer("Go, goroutines", [_compile_go(folder)]))
    with suppress(Unavailable):
        peers.append(Peer("ncat -k -e cat", [need("ncat"), "-lk", "127.0.0.1", "{port}", "-e", "/bin/cat"], forks=True))
    with suppress(Unavailable):
        listen = "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=1024"
        peers.append(Peer("socat fork", [need("socat"), listen, "PIPE"], forks=True))
    return peers


def _compile_go(folder: Path) -> str:
    program = folder / "go"
    if not program.exists():
        environment = {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod"}
        subprocess.run([need("go"), "build", "-o", program, SOURCES / "go.go"], check=True, env=environment)
    return str(program)


BENCHMARKS: dict[str, Callable[[int], Iterator[Comparison]]] = {
    "throughput": throughput,
    "limits": limits,
    "idle": idle,
}
