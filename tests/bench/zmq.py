"""zmq-pingpong against libzmq's own tools and bare loops in pyzmq, over TCP on loopback: two processes each.

What each tool says of itself is compared: mean round trips, and messages per second as the receiver counts them.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.bench.frame import ROOT, Comparison, Contender, Unavailable, compare, gtool, need

SOURCE = ROOT / "tests/bench/zmq_peers/perf.c"
PYTHON = [sys.executable, "-m", "tests.bench.zmq_peers.python"]
ENDPOINT = "tcp://127.0.0.1:*"
ROUND_TRIPS, ROUND_TRIP_BYTES = 20_000, 32
MESSAGES, MESSAGE_BYTES = 2_000_000, 100


class Task(NamedTuple):
    """One measurement: the kind is `lat` or `thr`, as libzmq calls them."""

    kind: str
    size: int
    count: int


LATENCY = Task("lat", ROUND_TRIP_BYTES, ROUND_TRIPS)
THROUGHPUT = Task("thr", MESSAGE_BYTES, MESSAGES)

Measure = Callable[[Task], float]


def latency(rounds: int) -> Iterator[Comparison]:
    """Mean round trips of REQ and REP, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        peers = {"pyzmq, plain": _pair(*PYTHON, "plain"), **_libzmq(Path(folder))}
        target = "at most 1.15 x libzmq's"
        yield _race("round trip, blocking: REQ/REP, 32 B", "us", target, "blocking", peers, LATENCY, rounds)
    bare = {"zmq.green, a bare loop": _pair(*PYTHON, "green")}
    yield _race("round trip, green: REQ/REP, 32 B", "us", "at most 1.15 x", "green", bare, LATENCY, rounds)


def throughput(rounds: int) -> Iterator[Comparison]:
    """Messages per second, from PUSH to PULL."""
    with tempfile.TemporaryDirectory() as folder:
        peers = {
            "pyzmq, plain": _pair(*PYTHON, "plain"),
            "zmq.green, a bare loop": _pair(*PYTHON, "green"),
            **_libzmq(Path(folder)),
        }
        for engine in ("blocking", "green"):
            name = f"one way, {engine}: PUSH/PULL, 100 B"
            yield _race(name, "messages/s", "at least 0.9 x plain pyzmq", engine, peers, THROUGHPUT, rounds)


def _race(
    name: str, unit: str, target: str, engine: str, peers: dict[str, Measure], task: Task, rounds: int
) -> Comparison:
    """Measure all in turn, round by round, after one round that does not count."""
    all_of_them = {f"gtool zmq-pingpong --engine {engine}": _gtool(engine), **peers}
    values: list[list[float]] = [[] for _ in all_of_them]
    for number in range(rounds + 1):
        for measure, own in zip(all_of_them.values(), values, strict=True):
            value = measure(task)
            if number:
                own.append(value)
    return compare(name, unit, target, [Contender(peer, ()) for peer in all_of_them], values)


def _gtool(engine: str) -> Measure:
    def measure(task: Task) -> float:
        pattern = "req-rep" if task.kind == "lat" else "push-pull"
        serve = gtool("-q", "zmq-pingpong", "serve", "--bind", ENDPOINT, "--engine", engine)
        with subprocess.Popen(serve, stdout=subprocess.PIPE, cwd=ROOT) as server:
            try:
                assert server.stdout
                endpoint = server.stdout.readline().decode().strip()
                options = ["--pattern", pattern, "--size", str(task.size), "--count", str(task.count)]
                ping = gtool("zmq-pingpong", "ping", endpoint, "--engine", engine, "--json", *options)
                done = subprocess.run(ping, stdout=subprocess.PIPE, check=True, cwd=ROOT)
            finally:
                server.send_signal(signal.SIGTERM)
        (row,) = json.loads(done.stdout)["rows"]
        return float(row["round_trip"]["mean"] * 1e6 if task.kind == "lat" else row["rate"])

    return measure


def _pair(*program: str) -> Measure:
    """A program with a `local` and a `remote` role; the one that takes the time prints the figure."""

    def measure(task: Task) -> float:
        figures = [str(task.size), str(task.count)]
        binds = [*program, f"local_{task.kind}", ENDPOINT, *figures]
        with subprocess.Popen(binds, stdout=subprocess.PIPE, cwd=ROOT) as local:
            try:
                assert local.stdout
                endpoint = local.stdout.readline().decode().strip()
                connects = [*program, f"remote_{task.kind}", endpoint, *figures]
                done = subprocess.run(connects, stdout=subprocess.PIPE, check=True, cwd=ROOT)
                return float(done.stdout if task.kind == "lat" else local.stdout.read())
            finally:
                local.kill()

    return measure


def _libzmq(folder: Path) -> dict[str, Measure]:
    """libzmq's own tools, where there is a compiler and libzmq's headers."""
    program = folder / "perf"
    with suppress(Unavailable, subprocess.CalledProcessError):
        if not program.exists():
            subprocess.run([need("gcc"), "-O2", "-o", program, SOURCE, "-lzmq"], check=True, capture_output=True)
        return {"libzmq's own tools, in C": _pair(str(program))}
    return {}


BENCHMARKS: dict[str, Callable[[int], Iterator[Comparison]]] = {"latency": latency, "throughput": throughput}
