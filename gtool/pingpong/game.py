"""The game: two greenlets in one process play ping-pong over ZeroMQ; they show who had the turn, and the time taken."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent
import zmq.green as zmq

from gtool.errors import PeerGone
from gtool.pingpong import report
from gtool.pingpong.endpoints import bind, closing, connect, remove_path
from gtool.runtime import lifecycle
from gtool.stats import NANOSECOND, LatencyHistogram
from gtool.units import spell_duration

Say = Callable[[str], None]


class Settings(NamedTuple):
    """Times are seconds."""

    rounds: int = 9
    message: bytes = b"Hello"
    reply: bytes = b"World"
    interval: float = 0.0
    endpoint: str = "tcp://127.0.0.1:*"
    timeout: float = 5.0


def run(settings: Settings, say: Say) -> None:
    """Play all rounds; `say` gets lines of text. PeerGone if an answer is not the one agreed on, or not in time."""
    lifecycle.run(lambda: _play(settings, say))


def _play(settings: Settings, say: Say) -> None:
    turns: list[str] = []  # of this round, in the order in which the greenlets had them
    endpoint = ""
    try:
        with closing(zmq.Context()) as made, made.socket(zmq.REQ) as server, made.socket(zmq.REP) as client:
            server.linger = client.linger = 0
            endpoint = bind(server, settings.endpoint)
            connect(client, endpoint)
            answering = gevent.spawn(_answer, client, settings.reply, turns)
            try:
                _ask(server, settings, turns, say)
            finally:
                answering.kill()
    finally:
        remove_path(endpoint)  # after libzmq, which leaves the directory of ipc://* if its socket is gone


def _ask(sock: Any, settings: Settings, turns: list[str], say: Say) -> None:
    """Be the one that binds: ask, wait for the answer, take the time. What is shown is shown between rounds."""
    histogram = LatencyHistogram(NANOSECOND)
    started_at = time.perf_counter()
    for number in range(1, settings.rounds + 1):
        if number > 1 and settings.interval:
            gevent.sleep(settings.interval)
        wait_for_peer(sock, settings.timeout)
        asked_at = time.perf_counter()
        sock.send(settings.message, zmq.NOBLOCK)
        turns.append(f"Switched to Server for {number}")
        answer = receive(sock, settings.timeout)
        took_s = time.perf_counter() - asked_at
        if answer != settings.reply:
            raise PeerGone(f"round {number} was answered by {answer[:40]!r}", "does another process use this endpoint?")
        histogram.record(took_s)
        say("\n".join(turns) + f"   round trip {spell_duration(took_s)}\n")
        turns.clear()
    elapsed_s = time.perf_counter() - started_at
    say("\n" + report.summary(settings.rounds, 0, elapsed_s, histogram.distribution()))


def _answer(sock: Any, reply: bytes, turns: list[str]) -> None:
    """Be the one that connects: answer whatever comes, until killed. Rounds may be far apart: stdout may be a pager."""
    for number in itertools.count(1):
        receive(sock, None)
        turns.append(f"Switched to Client for {number}")
        sock.send(reply)


def wait_for_peer(sock: Any, timeout_s: float) -> None:
    """Wait until a message can be sent. PeerGone if nobody has connected in time."""
    if not sock.poll(round(timeout_s * 1000), zmq.POLLOUT):
        raise PeerGone(f"nobody has connected within {timeout_s:g} s", "is the other side there?")


def receive(sock: Any, timeout_s: float | None) -> bytes:
    """Wait for a message. PeerGone if none comes in time; None is for who is killed when the other side gives up.

    zmq.green ignores RCVTIMEO, and its recv() can miss an edge of the descriptor: poll() has a deadline.
    """
    if not sock.poll(None if timeout_s is None else round(timeout_s * 1000)):
        raise PeerGone(f"no answer within {timeout_s:g} s", "is the other side there, and of the same pattern?")
    message: bytes = sock.recv(zmq.NOBLOCK)
    return message
