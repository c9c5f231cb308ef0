"""The sessions of a server: a socket bound for each client that sends one way, and what has come of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import zmq

from gtool.errors import BindError
from gtool.log import EventLog
from gtool.pingpong.endpoints import bind, remove_path
from gtool.pingpong.engine import SMALLEST_LIMIT, Engine
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.protocol import Refused
from gtool.pingpong.session import TICK_S, Session

log = EventLog("pingpong")

MOST = 256
Secure = Callable[[Any], None]


class _Open(NamedTuple):
    session: Session
    run: str
    endpoint: str


class Sessions:
    """Each has a greenlet or a thread of its own; the rest is for who runs the server."""

    def __init__(
        self, engine: Engine, context: zmq.Context[Any], server: str, ports: tuple[int, int] | None, secure: Secure
    ) -> None:
        """Bind beside the server's endpoint, on the ports from first to last, or on any; `secure` sets the keys."""
        self._engine = engine
        self._context = context
        self._server = server
        self._ports = ports
        self._secure = secure
        self._numbers = itertools.count(1)
        self._open: dict[int, _Open] = {}
        self._ending: list[Session] = []

    def open(self, run: str, pattern: str, size: int, idle_s: float) -> tuple[int, str]:
        """Begin one; give its number, and the end of its endpoint. Refused if there is no room."""
        if len(self._open) >= MOST:  # what those who never said bye have left makes room
            self._end([number for number, opened in self._open.items() if opened.session.is_over])
        if len(self._open) >= MOST:
            raise Refused("the server has too many one-way clients already")
        number = next(self._numbers)
        try:
            sock = self._context.socket(PATTERNS[pattern].server)
        except zmq.ZMQError as error:
            raise Refused(f"the server can have no further socket: {error.strerror}") from error
        try:
            endpoint = self._bind(sock, number, size)
        except BindError as error:
            sock.close()
            if self._wait_for_ends():  # a port may be free now
                return self.open(run, pattern, size, idle_s)
            raise Refused(f"the server can bind no socket for it: {error}") from error
        session = Session(self._engine.link(sock), size, idle_s)
        self._open[number] = _Open(session, run, endpoint)
        self._engine.spawn(session.run)
        return number, f":{endpoint.rpartition(':')[2]}" if endpoint.startswith("tcp://") else f".{number}"

    def report(self, run: str, number: int, sent: int) -> dict[str, Any]:
        """Tell what has come of what was sent. Refused if the run has no such session."""
        opened = self._open.get(number)
        if opened is None or opened.run != run:
            raise Refused("the server knows of no such session: was it started anew?")
        opened.session.all_sent(sent)
        report = opened.session.report()
        if report["is_over"]:
            counts = {name: report[name] for name in ("received", "lost", "gaps", "duplicates", "rubbish")}
            log.notice("counted", sent=sent, **counts)
        return report

    def end(self, run: str) -> None:
        """End those of a run."""
        self._end([number for number, opened in self._open.items() if opened.run == run])

    def close(self) -> None:
        """End all, and wait until they have closed their sockets: nobody else may."""
        self._end(list(self._open))
        self._wait_for_ends()

    def _end(self, numbers: list[int]) -> None:
        for number in numbers:
            opened = self._open.pop(number)
            opened.session.stop()
            self._ending.append(opened.session)
            remove_path(opened.endpoint)

    def _wait_for_ends(self) -> bool:
        """Wait until those that were told to end have closed their sockets; tell whether there were any."""
        were_any = False
        deadline = time.monotonic() + 10 * TICK_S
        while self._ending and time.monotonic() < deadline:
            were_any = were_any or not self._ending[0].is_over
            self._ending = [session for session in self._ending if not session.is_over]
            self._engine.sleep(TICK_S / 10)
        return were_any

    def _bind(self, sock: Any, number: int, size: int) -> str:
        """Bind a socket beside the server's own. BindError if there is no room."""
        sock.linger = 0
        sock.maxmsgsize = max(SMALLEST_LIMIT, size)
        if sock.type == zmq.SUB:
            sock.subscribe(b"")
        self._secure(sock)
        if not self._server.startswith("tcp://"):
            return bind(sock, f"{self._server}.{number}")
        host = self._server.rpartition(":")[0]
        first, last = self._ports or (0, 0)
        for port in range(first, last):
            with suppress(BindError):
                return bind(sock, f"{host}:{port}")
        return bind(sock, f"{host}:{last or '*'}")
