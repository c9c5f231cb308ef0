"""chat: its delay to a thousand readers of all kinds, durable posts, memory of idle readers, and a process that dies.

There is no peer that could be measured here by the same load: the targets are absolute.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.frame import Comparison, Figure, free_port, gtool, need, wait_for
from tests.bench.servers import Peer, compile_c, need_descriptors, resident_kib, running

READERS, ROOMS, POSTS_PER_S, POSTED_S = 1000, 10, 50, 10.0
POSTERS = 50
IDLE = 5000
LOOSE = ("--post-rate", "1000000/s", "--post-burst", "1000000")
ROOM_OPTIONS = [word for number in range(ROOMS) for word in ("--room", f"room{number}")]


def delivery(rounds: int) -> Iterator[Comparison]:
    """From a post to its arrival at the readers of its room; a third each on long poll, events and WebSockets."""
    need_descriptors(READERS)
    found = []
    for _ in range(rounds):
        with _chat(*ROOM_OPTIONS) as (_, port):
            found.append(_load(f"http://127.0.0.1:{port}"))
    yield from _judged(f"{READERS:,} readers, {ROOMS} rooms, {POSTS_PER_S} posts/s", found)


def posts(rounds: int) -> Iterator[Comparison]:
    """Posts that are on the disk, with 50 who post as fast as they are answered."""
    found = []
    for _ in range(rounds):
        with _chat() as (_, port):
            found.append(float(_run("posters", str(port), str(POSTERS), "5")))
    yield _figure(f"durable posts, {POSTERS} posters", "posts/s", "at least 1,000", found)


def idle(rounds: int) -> Iterator[Comparison]:
    """Memory of a WebSocket reader that is connected and silent."""
    need_descriptors(IDLE)
    found = []
    for _ in range(min(rounds, 3)):
        with tempfile.TemporaryDirectory() as folder, _chat() as (process, port):
            source = Path(__file__).parent / "ws_peers/sink.c"
            argv = [compile_c(source, Path(folder)), str(port), str(IDLE), "600", "hold", "/api/ws"]
            before = resident_kib(process.pid)
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as sink:
                assert sink.stdout
                if not sink.stdout.readline():
                    raise RuntimeError("the clients could not connect")
                found.append((resident_kib(process.pid) - before) / IDLE)
                sink.kill()
    yield _figure(f"{IDLE:,} idle WebSocket readers", "KiB each", "at most 16 KB", found)


def redis(rounds: int) -> Iterator[Comparison]:
    """Two processes on one Redis, readers on both; one is killed in the middle, and another one started."""
    need_descriptors(READERS)
    found = []
    for _ in range(rounds):
        with _redis() as store:
            port = free_port()
            command = _command(f"127.0.0.1:{port}", store)
            with _chat(*ROOM_OPTIONS, store=store) as (_, other):
                dying = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                wait_for(port)
                urls = f"http://127.0.0.1:{port},http://127.0.0.1:{other}"
                found.append(_load(urls, str(dying.pid), *command))
                dying.wait()
                subprocess.run(["pkill", "-f", f"chat -l 127.0.0.1:{port} "], check=False)
    yield from _judged("two processes on one Redis, one killed and started again", found)


def _judged(name: str, found: list[dict[str, float]]) -> Iterator[Comparison]:
    yield _figure(f"{name}: delay, p95", "ms", "under 100 ms", [one["p95_ms"] for one in found])
    wrong = [one["lost"] + one["doubled"] + one["out_of_order"] for one in found]
    yield _figure(f"{name}: lost, doubled, out of order", "in all rounds", "none", [sum(wrong)])


def _figure(name: str, unit: str, target: str, values: list[float]) -> Comparison:
    return Comparison(name, unit, target, (Figure("gtool chat", statistics.median(values), None),))


@contextmanager
def _chat(*options: str, store: str | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with tempfile.TemporaryDirectory() as folder:
        argv = gtool("chat", "-l", "127.0.0.1:0", "--store", store or f"sqlite:{folder}/chat.db", *LOOSE, *options)
        with running(Peer("gtool chat", argv)) as found:
            yield found


def _command(address: str, store: str) -> list[str]:
    return gtool("chat", "-l", address, "--store", store, *LOOSE, *ROOM_OPTIONS)


@contextmanager
def _redis() -> Iterator[str]:
    """Run a Redis that writes down each message before it answers; give the URL of a store in it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        argv = [need("redis-server"), "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "yes"]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
            try:
                wait_for(port)
                yield f"redis://127.0.0.1:{port}/0?stream=chat"
            finally:
                os.kill(process.pid, signal.SIGTERM)


def _load(urls: str, *kill: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(
        _run("readers", urls, str(READERS), str(ROOMS), str(POSTS_PER_S), str(POSTED_S), *kill)
    )
    return found


def _run(name: str, *args: str) -> str:
    argv = [sys.executable, "-m", f"tests.bench.chat_peers.{name}", *args]
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr}")
    return done.stdout


BENCHMARKS: dict[str, Callable[[int], Iterator[Comparison]]] = {
    "delivery": delivery,
    "posts": posts,
    "idle": idle,
    "redis": redis,
}
