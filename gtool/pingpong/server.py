"""The answering side: sends back what comes, agrees with clients, and counts what they send one way."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import zmq

from gtool import __version__
from gtool.log import EventLog
from gtool.pingpong import protocol
from gtool.pingpong.connection import EVENT, monitor
from gtool.pingpong.engine import DEFAULT_HWM, Engine, Link
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.protocol import Refused
from gtool.pingpong.sessions import Secure, Sessions
from gtool.pingpong.versions import versions

log = EventLog("pingpong")

TICK_S = 0.1
GONE_S = 1.0  #: without a connection: whoever was there does not come back
MOST_RUNS = 10_000
MOST_ID = 64  #: characters of a run's name
QUEUED_BYTES = 256 << 20  #: for a client that does not read, at most
ONE_WAY = [name for name, pattern in PATTERNS.items() if pattern.is_one_way]


class Limits(NamedTuple):
    max_size: int  #: of a message, in bytes
    data_ports: tuple[int, int] | None  #: first and last for one-way patterns; None for any that is free

    @property
    def most_queued(self) -> int:
        """The high-water mark: how many messages for one client may wait."""
        return max(1, min(DEFAULT_HWM, QUEUED_BYTES // self.max_size))


class Server:
    """Serves one ROUTER socket, which is bound. All runs in one greenlet or thread, but for sessions."""

    def __init__(self, engine: Engine, sock: Any, endpoint: str, limits: Limits, secure: Secure) -> None:
        """`secure` sets the keys of a new socket, before it is bound."""
        self._engine = engine
        self._link: Link = engine.link(sock)
        self._events: Link = engine.link(monitor(sock, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED))
        self._sessions = Sessions(engine, sock.context, endpoint, limits.data_ports, secure)
        self._limits = limits
        self._runs: set[str] = set()
        self._connections: set[int] = set()  # by descriptor
        self._changed_at = time.monotonic()
        self._has_served = self._has_said_bye = self._is_stopping = False

    def run(self, is_over: Callable[[], bool]) -> None:
        """Serve until that is so, which is asked every 100 ms."""
        while not is_over():
            ask_again_at = time.monotonic() + TICK_S
            while (frames := self._link.receive(TICK_S)) is not None:
                self._answer(frames)
                if time.monotonic() > ask_again_at:
                    break
            self._follow_connections()
            self._engine.sleep(0)  # others live too, even when there is always something to answer

    def is_served(self) -> bool:
        """Whether somebody was here, and nobody is any more."""
        if self._has_said_bye and not self._runs:
            return True
        return self._has_served and self._is_deserted()

    def is_drained(self) -> bool:
        """Whether no client is in the middle of something, as far as they have said hello."""
        return not self._runs or self._is_deserted()

    def stop_accepting(self) -> None:
        """Refuse new clients. Unbinding would cut off all that are connected: libzmq's listener owns its sessions."""
        self._is_stopping = True

    def close(self) -> None:
        self._sessions.close()
        self._events.close()
        self._link.close()

    def _is_deserted(self) -> bool:
        """Whether nobody is connected, nor comes back."""
        return not self._connections and time.monotonic() - self._changed_at > GONE_S

    def _follow_connections(self) -> None:
        while (event := self._events.receive(0)) is not None:
            number, descriptor = EVENT.unpack(event[0])
            change = self._connections.add if number == zmq.EVENT_ACCEPTED else self._connections.discard
            change(descriptor)
            self._changed_at = time.monotonic()

    def _answer(self, frames: list[bytes]) -> None:
        self._has_served = True
        if protocol.is_control(frames):
            frames = [*frames[:-2], *protocol.encode(self._reply(frames))]
        self._link.send(frames, 0)  # who does not read, or has gone, gets none

    def _reply(self, frames: list[bytes]) -> dict[str, Any]:
        try:
            question = protocol.decode(frames)
        except ValueError:
            return {"error": "the question is not understood"}
        try:
            return {"id": question.get("id"), **self._do(question)}
        except Refused as error:
            return {"id": question.get("id"), "error": str(error)}

    def _do(self, question: dict[str, Any]) -> dict[str, Any]:
        actions = {"hello": self._hello, "open": self._open, "report": self._report, "bye": self._bye}
        action = actions.get(str(question.get("do")))
        if action is None:
            raise Refused(f"gtool {__version__} does not know {str(question.get('do'))[:40]!r}")
        return action(question)

    def _hello(self, question: dict[str, Any]) -> dict[str, Any]:
        if question.get("protocol") != protocol.VERSION:
            raise Refused(
                f"the server, gtool {__version__}, speaks protocol {protocol.VERSION}, "
                f"not {question.get('protocol')!r:.40}: both sides want the same gtool"
            )
        self._check_pattern(question, PATTERNS)
        sizes = question.get("sizes")
        for size in sizes if isinstance(sizes, list) else [None]:
            self._check_size(size)
        pipeline = question.get("pipeline")
        if not isinstance(pipeline, int) or pipeline > self._limits.most_queued:
            most = f"{self._limits.most_queued:,}"
            raise Refused(
                f"the server queues {most} messages for a client, as its --max-size allows: --pipeline {most}"
            )
        if self._is_stopping:
            raise Refused("the server is stopping")
        if len(self._runs) >= MOST_RUNS:
            self._runs.clear()  # of clients that were killed: the others are served all the same
        self._runs.add(_run(question))
        log.info("client says hello", pattern=question["pattern"], sizes=sizes, gtool=question.get("gtool"))
        return {"protocol": protocol.VERSION, "engine": self._engine.name, "versions": versions()}

    def _bye(self, question: dict[str, Any]) -> dict[str, Any]:
        run = _run(question)
        self._has_said_bye |= run in self._runs
        self._runs.discard(run)
        self._sessions.end(run)
        log.info("client says bye")
        return {}

    def _open(self, question: dict[str, Any]) -> dict[str, Any]:
        pattern = self._check_pattern(question, ONE_WAY)
        size = self._check_size(question.get("size"))
        idle_s = question.get("idle_s")
        if not isinstance(idle_s, int | float) or not 0 < idle_s <= protocol.LONGEST_IDLE_S:
            raise Refused(f"idle_s of {idle_s!r:.40} is none")
        number, endpoint = self._sessions.open(_run(question), pattern, size, float(idle_s))
        return {"session": number, "endpoint": endpoint}

    def _report(self, question: dict[str, Any]) -> dict[str, Any]:
        number, sent = question.get("session"), question.get("sent")
        if not isinstance(number, int) or not isinstance(sent, int):
            raise Refused("the question is not understood")
        return self._sessions.report(_run(question), number, sent)

    def _check_pattern(self, question: dict[str, Any], known: Collection[str]) -> str:
        pattern = question.get("pattern")
        if not isinstance(pattern, str) or pattern not in known:
            raise Refused(f"the server knows no pattern {str(pattern)[:40]!r}, but {', '.join(known)}")
        return pattern

    def _check_size(self, size: object) -> int:
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= self._limits.max_size:
            raise Refused(f"the server takes 1 to {self._limits.max_size:,} bytes (its --max-size), not {size!r:.40}")
        return size


def _run(question: dict[str, Any]) -> str:
    return str(question.get("run"))[:MOST_ID]
