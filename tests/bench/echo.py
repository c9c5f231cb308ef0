"""echo-server against the servers that others write or run: round trips per second, and memory per connection.

The load is a C program, lest it be what is measured: each connection sends a message when the last has come back.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.bench.frame import ROOT, Comparison, Contender, Unavailable, compare, free_port, gtool, need, wait_for

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


@dataclass(frozen=True)
class Peer:
    """A server to be measured. It prints its port (the digits at the end of its first line), or is told it: {port}."""

    name: str
    argv: Sequence[str]
    forks: bool = False


@contextmanager
def running(peer: Peer) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server; give it and its port."""
    told = any("{port}" in word for word in peer.argv)
    port = free_port() if told else 0
    argv = [word.format(port=port) if told else word for word in peer.argv]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            if told:
                wait_for(port)
            else:
                assert process.stdout
                port = int(process.stdout.readline().decode().rsplit(":", 1)[-1])
            yield process, port
        finally:
            process.kill()


def throughput(rounds: int) -> Iterator[Comparison]:
    """Round trips per second, by connections and size of message."""
    with tempfile.TemporaryDirectory() as folder:
        load = _compile("load.c", Path(folder))
        for connections, size in LOADS:
            peers = [peer for peer in _peers(Path(folder)) if not peer.forks or connections <= FORKING_LIMIT]
            name = f"{connections:,} connections, {size // 1024} KiB"
            target = "0.9 x C and uvloop, 2.5 x gevent.StreamServer"
            yield _race(name, target, load, peers, connections, size, rounds)


def limits(rounds: int) -> Iterator[Comparison]:
    """What limits, time-outs and byte counts cost."""
    with tempfile.TemporaryDirectory() as folder:
        load = _compile("load.c", Path(folder))
        peers = [Peer("with all limits", _gtool(*LIMITS)), Peer("without", _gtool())]
        for connections, size in LOADS[::2]:
            name = f"limits: {connections:,} connections, {size // 1024} KiB"
            yield _race(name, "0.9 x", load, peers, connections, size, rounds)


def idle(rounds: int) -> Iterator[Comparison]:
    """Memory of a connection that is open and silent."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 100:
        raise Unavailable(f"{IDLE:,} connections need more descriptors: 'ulimit -Hn' says {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        peers = [peer for peer in _peers(Path(folder)) if not peer.forks]
        values: list[list[float]] = [[] for _ in peers]
        for _ in range(min(rounds, 3)):
            for peer, own in zip(peers, values, strict=True):
                own.append(_kib_per_connection(peer))
        yield compare(f"{IDLE:,} idle connections", "KiB each", "at most 3 KB", _contenders(peers), values)


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
    return compare(name, "round trips/s", target, _contenders(peers), values)


def _kib_per_connection(peer: Peer) -> float:
    with running(peer) as (process, port), ExitStack() as stack:
        before = _resident_kib(process.pid)
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        last = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        last.sendall(b"x")
        last.recv(1)  # all that came before it were accepted
        return (_resident_kib(process.pid) - before) / IDLE


def _resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def _gtool(*options: str) -> list[str]:
    return gtool("echo-server", "-l", "127.0.0.1:0", *options)


def _peers(folder: Path) -> list[Peer]:
    """gtool, then those peers that are installed here."""
    python = [sys.executable, "-m", "tests.bench.echo_peers.python"]
    peers = [
        Peer("gtool echo-server", _gtool()),
        Peer("C, an epoll loop", [_compile("epoll.c", folder)]),
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


def _contenders(peers: list[Peer]) -> list[Contender]:
    return [Contender(peer.name, peer.argv) for peer in peers]


def _compile(source: str, folder: Path) -> str:
    program = folder / source.removesuffix(".c")
    if not program.exists():
        subprocess.run([need("gcc"), "-O2", "-o", program, SOURCES / source], check=True)
    return str(program)


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
