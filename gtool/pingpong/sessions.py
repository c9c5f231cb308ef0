"""The sessions of a server: a socket bound for each client that sends one way, and what has come of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import zmq

from gtool.errors import BindError, GtoolError
from gtool.log import EventLog
from gtool.pingpong.endpoints import bind, new_socket, remove_path
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
            sock = new_socket(self._context, PATTERNS[pattern].server)
        except GtoolError as error:
            raise Refused(f"the server {error}") from error
        try:
            self._configure(sock, size)
            endpoint = self._bind_in_the_end(sock, number)
        except BindError as error:
            sock.close()
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
            remove_path(opened.endpoint)
            self._ending = [session for session in self._ending if not session.is_over]
            self._ending.append(opened.session)

    def _wait_for_ends(self) -> None:
        """Wait until those that were told to end have closed their sockets."""
        deadline = time.monotonic() + 10 * TICK_S
        while not all(session.is_over for session in self._ending) and time.monotonic() < deadline:
            self._engine.sleep(TICK_S / 10)
        self._ending = [session for session in self._ending if not session.is_over]

    def _configure(self, sock: Any, size: int) -> None:
        sock.linger = 0
        sock.maxmsgsize = max(SMALLEST_LIMIT, size)
        if sock.type == zmq.SUB:
            sock.subscribe(b"")
        self._secure(sock)

    def _bind_in_the_end(self, sock: Any, number: int) -> str:
        """Bind a socket; where there is no room, again until those have ended that are about to.

        libzmq closes a listener in a thread of its own, some time after its socket is closed (zmq_close(3)).
        """
        has_hope = bool(self._ending)
        deadline = time.monotonic() + 10 * TICK_S
        while True:
            try:
                return self._bind(sock, number)
            except BindError:
                self._wait_for_ends()
                if not has_hope or time.monotonic() > deadline:
                    raise
                self._engine.sleep(TICK_S / 10)

    def _bind(self, sock: Any, number: int) -> str:
        """Bind a socket beside the server's own. BindError if there is no room."""
        if not self._server.startswith("tcp://"):
            return bind(sock, f"{self._server}.{number}")
        host = self._server.rpartition(":")[0]
        first, last = self._ports or (0, 0)
        for port in range(first, last):
            with suppress(BindError):
                return bind(sock, f"{host}:{port}")
        return bind(sock, f"{host}:{last or '*'}")
