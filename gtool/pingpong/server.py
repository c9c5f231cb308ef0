"""The answering side: sends back what comes, agrees with clients, and counts what they send one way."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, NamedTuple

import zmq

from gtool import __version__
from gtool.errors import BindError
from gtool.log import EventLog
from gtool.pingpong import protocol
from gtool.pingpong.connection import EVENT
from gtool.pingpong.endpoints import bind, ipc_path, remove_path
from gtool.pingpong.engine import SMALLEST_LIMIT, Engine, Link
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.session import Session
from gtool.pingpong.versions import versions

log = EventLog("pingpong")

TICK_S = 0.1
GONE_S = 1.0  #: without a connection: whoever was there does not come back
MOST_RUNS, MOST_SESSIONS = 10_000, 256
LONGEST_IDLE_S = 24 * 3600.0
ONE_WAY = [name for name, pattern in PATTERNS.items() if pattern.is_one_way]

Secure = Callable[[Any], None]


class Refused(Exception):
    """What a client asks for can't be done; the text tells it why."""


class Limits(NamedTuple):
    max_size: int  #: of a message, in bytes
    data_ports: tuple[int, int] | None  #: first and last for one-way patterns; None for any that is free


class _Open(NamedTuple):
    session: Session
    run: str
    endpoint: str


class Server:
    """Serves one ROUTER socket, which is bound. All runs in one greenlet or thread, but for sessions."""

    def __init__(self, engine: Engine, sock: Any, endpoint: str, limits: Limits, secure: Secure) -> None:
        """`secure` sets the keys of a new socket, before it is bound."""
        self._engine = engine
        self._link: Link = engine.link(sock)
        self._events: Link = engine.link(sock.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED))
        self._context = sock.context
        self._endpoint = endpoint
        self._limits = limits
        self._secure = secure
        self._numbers = itertools.count(1)
        self._runs: set[str] = set()
        self._sessions: dict[int, _Open] = {}
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
        for number in list(self._sessions):
            self._end(number)
        self._events.close()
        self._link.close()

    def _is_deserted(self) -> bool:
        """Whether nobody is connected, nor comes back."""
        while (event := self._events.receive(0)) is not None:
            number, descriptor = EVENT.unpack(event[0])
            change = self._connections.add if number == zmq.EVENT_ACCEPTED else self._connections.discard
            change(descriptor)
            self._changed_at = time.monotonic()
        return not self._connections and time.monotonic() - self._changed_at > GONE_S

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
        if self._is_stopping or len(self._runs) >= MOST_RUNS:
            raise Refused("the server is stopping" if self._is_stopping else "the server is full")
        self._runs.add(str(question.get("run")))
        log.info("client says hello", pattern=question["pattern"], sizes=sizes, gtool=question.get("gtool"))
        return {"protocol": protocol.VERSION, "engine": self._engine.name, "versions": versions()}

    def _bye(self, question: dict[str, Any]) -> dict[str, Any]:
        run = str(question.get("run"))
        self._has_said_bye |= run in self._runs
        self._runs.discard(run)
        for number in [number for number, opened in self._sessions.items() if opened.run == run]:
            self._end(number)
        log.info("client says bye")
        return {}

    def _open(self, question: dict[str, Any]) -> dict[str, Any]:
        """Bind a socket for one client's messages; the sessions that are over make room."""
        pattern = self._check_pattern(question, ONE_WAY)
        size = self._check_size(question.get("size"))
        idle_s = question.get("idle_s")
        if not isinstance(idle_s, int | float) or not 0 < idle_s <= LONGEST_IDLE_S:
            raise Refused(f"idle_s of {idle_s!r} is none")
        for number in [number for number, opened in self._sessions.items() if opened.session.is_over]:
            self._end(number)
        if len(self._sessions) >= MOST_SESSIONS:
            raise Refused("the server has too many one-way clients already")
        number = next(self._numbers)
        sock = self._context.socket(PATTERNS[pattern].server)
        try:
            endpoint = self._bind(sock, number, size)
        except BindError as error:
            sock.close()
            raise Refused(f"the server can bind no socket for it: {error}") from error
        session = Session(self._engine.link(sock), size, float(idle_s))
        self._sessions[number] = _Open(session, str(question.get("run")), endpoint)
        self._engine.spawn(session.run)
        return {"session": number, "endpoint": f":{endpoint.rpartition(':')[2]}" if "tcp://" in endpoint else endpoint}

    def _report(self, question: dict[str, Any]) -> dict[str, Any]:
        opened = self._sessions.get(question.get("session", 0))
        sent = question.get("sent")
        if opened is None or not isinstance(sent, int):
            raise Refused("the server knows of no such session: was it started anew?")
        opened.session.all_sent(sent)
        report = opened.session.report()
        if report["is_over"]:
            counts = {name: report[name] for name in ("received", "lost", "gaps", "duplicates", "rubbish")}
            log.notice("counted", sent=sent, **counts, rate=f"{report['rate']:,.0f}/s")
        return report

    def _end(self, number: int) -> None:
        opened = self._sessions.pop(number)
        opened.session.stop()
        remove_path(opened.endpoint)

    def _bind(self, sock: Any, number: int, size: int) -> str:
        """Bind a socket beside the server's own. BindError if there is no room."""
        sock.linger = 0
        sock.maxmsgsize = max(SMALLEST_LIMIT, size)
        if sock.type == zmq.SUB:
            sock.subscribe(b"")
        self._secure(sock)
        path = ipc_path(self._endpoint)
        if not self._endpoint.startswith("tcp://"):
            return bind(sock, f"ipc://{path}.{number}" if path else f"{self._endpoint}.{number}")
        host = self._endpoint.rpartition(":")[0]
        first, last = self._limits.data_ports or (0, 0)
        for port in range(first, last):
            with suppress(BindError):
                return bind(sock, f"{host}:{port}")
        return bind(sock, f"{host}:{last or '*'}")

    def _check_pattern(self, question: dict[str, Any], known: Collection[str]) -> str:
        pattern = question.get("pattern")
        if not isinstance(pattern, str) or pattern not in known:
            raise Refused(f"the server knows no pattern {str(pattern)[:40]!r}, but {', '.join(known)}")
        return pattern

    def _check_size(self, size: object) -> int:
        if not isinstance(size, int) or not 1 <= size <= self._limits.max_size:
            raise Refused(f"the server takes 1 to {self._limits.max_size:,} bytes (its --max-size), not {size!r:.40}")
        return size
