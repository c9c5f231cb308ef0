"""The plain driver: a session over a TCP or Unix socket, as callbacks on the loop, with no greenlet per connection.

What is not sent yet waits in one piece, of CHUNK_BYTES and what the session holds at most, and nothing is read
meanwhile: a client that sends and does not read is stopped by TCP's own flow control.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from gevent.hub import get_hub

from gtool.echo.services import LineTooLong, Session
from gtool.runtime.connection import CHUNK_BYTES, LINGER_S, Connection, why
from gtool.runtime.poller import READABLE, WRITABLE, Poller

UNLIMITED = 1 << 63
CLOSED = "closed"  #: the reason when the peer has shut down its side: nothing of its is unread


class Plain:
    """Drives one connection. States: serving; sending, which reads nothing; lingering, which discards what it reads."""

    __slots__ = ("_connection", "_ending", "_max_bytes", "_poller", "_rest", "_session", "_socket", "_timer")

    def __init__(
        self, poller: Poller, connection: Connection, sock: socket.socket, session: Session, max_bytes: int | None
    ) -> None:
        self._poller = poller
        self._connection = connection
        self._socket = sock
        self._session = session
        self._max_bytes = UNLIMITED if max_bytes is None else max_bytes
        self._rest = b""  # what is still to be sent
        self._ending = ""  # the reason, once this connection is to end
        self._timer: Any = None  # of lingering
        connection.driver = self
        poller.add(sock.fileno(), READABLE, self)
        try:
            self._say(session.greet(), "served" if session.closes_after_greeting else "")
        except OSError as error:
            self.close(why(error))

    def ready(self, now: float) -> None:
        connection = self._connection
        connection.active_at = now
        try:
            if self._rest:
                rest, self._rest = self._rest, b""
                self._say(rest)
                return
            data = self._socket.recv(CHUNK_BYTES)
            if self._ending or not data:
                self._end_of_input(data)
                return
            connection.received += len(data)
            connection.messages += 1
            try:
                if connection.received > self._max_bytes:
                    self._exceed(data)
                    return
                answer = self._session.receive(data)
            except LineTooLong as error:
                connection.warn(str(error))
                self._say(error.answer, str(error))
                return
            if answer:
                self._send(answer)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(why(error))

    def close(self, reason: str) -> None:
        if self._timer:
            self._timer.close()
        self._poller.remove(self._socket.fileno())
        self._socket.close()
        self._connection.end(reason)

    def _send(self, data: bytes) -> None:
        """Send what the kernel takes; the rest waits."""
        try:
            count = self._socket.send(data)
        except BlockingIOError:
            count = 0
        self._connection.sent += count
        if count < len(data):
            self._rest = data[count:]
            self._poller.change(self._socket.fileno(), WRITABLE)

    def _say(self, data: bytes, ending: str = "") -> None:
        """Send it; when all is sent, end if there is a reason to, else go on with what the session has, or listen."""
        self._ending = self._ending or ending
        if data:
            self._send(data)
        if self._rest:
            return
        if self._ending == CLOSED:
            self.close(CLOSED)
        elif self._ending:
            self._linger()
        elif more := self._session.more():
            self._discard_input()
            self._rest = more
            self._poller.change(self._socket.fileno(), WRITABLE)
        else:
            self._poller.change(self._socket.fileno(), READABLE)

    def _end_of_input(self, data: bytes) -> None:
        if not self._ending:
            self._say(self._session.end(), CLOSED)
        elif not data:
            self.close(self._ending)

    def _exceed(self, data: bytes) -> None:
        """Answer what may still come in, and end."""
        allowed = data[: len(data) - (self._connection.received - self._max_bytes)]
        answer = self._session.receive(allowed) + self._session.end()
        self._say(answer, "max bytes")

    def _discard_input(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._connection.received += len(self._socket.recv(CHUNK_BYTES))

    def _linger(self) -> None:
        """Shut down writing, and wait for the peer to do so, lest a RST take from it what it has not read yet."""
        self._socket.shutdown(socket.SHUT_WR)
        self._poller.change(self._socket.fileno(), READABLE)
        self._timer = get_hub().loop.timer(LINGER_S)
        self._timer.start(self.close, self._ending)
