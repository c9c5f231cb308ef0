"""One connection's socket on the poller: what comes goes to its owner, what the kernel does not take waits in order.

Nothing here waits, and no greenlet is spent on a connection: ten thousand idle ones are ten thousand small objects.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
import termios
from ssl import SSLWantReadError, SSLWantWriteError
from time import monotonic
from typing import Any, Protocol

from gevent.hub import get_hub

from gtool.runtime.connection import CHUNK_BYTES, LINGER_S, Connection, why
from gtool.runtime.poller import READABLE, WRITABLE, Poller

SEND_S = 30.0  #: that a peer has to read what waits for it at the end

NOT_NOW = (BlockingIOError, SSLWantReadError, SSLWantWriteError)


class Owner(Protocol):
    """Who talks over a channel. `ended` is its last call."""

    def received(self, data: bytes) -> None: ...

    def received_all(self) -> None:
        """Take note that the peer has shut down its side."""

    def drained(self) -> None:
        """Take note that all is written of what had to wait."""

    def asked_to_close(self, reason: str) -> None:
        """Say good-bye, for the server's own reason; the socket is closed after that."""

    def ended(self) -> None: ...


class Channel:
    """Drives one connection. Once finish() was called it only writes what is left, and discards what it reads."""

    __slots__ = (
        "_ending",
        "_events",
        "_pending",
        "_poller",
        "_socket",
        "_timer",
        "connection",
        "heard_at",
        "is_open",
        "owner",
    )

    def __init__(self, poller: Poller, connection: Connection, sock: Any, owner: Owner) -> None:
        """Take over a socket, which must not block; under TLS it is one of gevent's."""
        self._poller = poller
        self._socket = sock
        self._pending: bytes | bytearray = b""  # what is still to be sent
        self._ending = ""  # the reason, once this connection is to end
        self._timer: Any = None  # of lingering
        self._events = READABLE
        self.connection = connection
        self.owner = owner
        self.heard_at = monotonic()  #: when the peer has last said or taken something
        self.is_open = True  #: neither finished nor closed
        connection.driver = self
        poller.add(sock.fileno(), READABLE, self)

    @property
    def is_closed(self) -> bool:
        return self._socket is None

    @property
    def waiting(self) -> int:
        """Bytes that wait for the peer to read."""
        return len(self._pending)

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has taken, and the peer's has not."""
        return unsent_bytes(self._socket) if self._socket else 0

    def ready(self, now: float) -> None:
        self.connection.active_at = self.heard_at = now
        try:
            if self._pending:
                self._flush()
            elif not self._events & READABLE:
                self._close("reset")  # paused, and epoll tells what it always tells: that the connection broke
            if self._socket and self._events & READABLE:
                self._read()
        except OSError as error:
            self._close(why(error))

    def write(self, data: bytes) -> None:
        """Send it, behind what waits already. What fails is found out by reading."""
        if self._socket is None:
            return
        if self._pending:
            self._pending += data  # a bytearray by now
            return
        try:
            count = self._socket.send(data)
        except NOT_NOW:
            count = 0
        except OSError:
            return  # the poller reports it
        connection = self.connection
        connection.sent += count
        connection.active_at = monotonic()
        if count < len(data):
            self._pending = bytearray(memoryview(data)[count:])
            self._watch(self._events | WRITABLE)

    def pause(self) -> None:
        """Read nothing until resume(): TCP's flow control stops the peer."""
        self._watch(self._events & ~READABLE)

    def resume(self) -> None:
        self._watch(self._events | READABLE)

    def finish(self, reason: str) -> None:
        """Shut down writing when all is sent, give the peer time to do the same, and end for that reason."""
        if not self.is_open:
            return
        self.is_open = False
        self._ending = reason
        self._watch(self._events | READABLE)
        if self._pending:
            self._limit(SEND_S)
        else:
            self._shut_down()

    def close(self, reason: str) -> None:
        """Close the socket now; the owner may say a last word."""
        if self.is_open:
            self.owner.asked_to_close(reason)
        self._close(reason)

    def _read(self) -> None:
        try:
            data = self._socket.recv(CHUNK_BYTES)
            while data:
                self.connection.received += len(data)
                if self.is_open:
                    self.owner.received(data)
                if not self.connection.is_tls or not self._socket or not self._socket.pending():
                    return
                data = self._socket.recv(CHUNK_BYTES)  # what TLS has read ahead wakes no poller
        except NOT_NOW:
            return
        if self.is_open:
            self.owner.received_all()
            self.finish("closed")
        self._watch(WRITABLE)
        if not self._pending:
            self._close(self._ending)

    def _flush(self) -> None:
        try:
            count = self._socket.send(self._pending)
        except NOT_NOW:
            return
        self.connection.sent += count
        if count < len(self._pending):
            assert isinstance(self._pending, bytearray)
            del self._pending[:count]
            return
        self._pending = b""
        if self.is_open:
            self._watch(self._events & ~WRITABLE)
            self.owner.drained()
        elif self._events & READABLE:
            self._watch(READABLE)
            self._shut_down()
        else:
            self._shut_down()
            self._close(self._ending)  # the peer has said all before us

    def _watch(self, events: int) -> None:
        if events != self._events and self._socket:
            self._events = events
            self._poller.change(self._socket.fileno(), events)

    def _limit(self, seconds: float) -> None:
        """Close in so long at the latest."""
        if self._timer:
            self._timer.close()
        self._timer = get_hub().loop.timer(seconds)
        self._timer.start(self._close, self._ending)

    def _shut_down(self) -> None:
        self._limit(LINGER_S)
        with contextlib.suppress(OSError):
            if self.connection.is_tls:
                with contextlib.suppress(OSError):
                    self._socket.unwrap()  # sends close_notify (RFC 8446 section 6.1)
            self._socket.shutdown(socket.SHUT_WR)

    def _close(self, reason: str) -> None:
        if not self._socket:
            return
        self.is_open = False
        if self._timer:
            self._timer.close()
        self._poller.remove(self._socket.fileno())
        self._socket.close()
        self._socket = None
        self.owner.ended()
        self.connection.end(reason)


def unsent_bytes(sock: Any) -> int:
    """Give how much the kernel has taken, and the peer's has not (tcp(7), SIOCOUTQ)."""
    held = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(held, sys.byteorder)
