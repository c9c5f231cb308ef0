"""One accepted connection: who it is, what it has done; and what drives one by a greenlet."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent.socket import socket as GreenSocket

from gtool.log import SeldomLog

if TYPE_CHECKING:
    from gtool.runtime.gate import IpAddress

CHUNK_BYTES = 1 << 16
LINGER_S = 2.0  #: how long a peer may take to close when we have said all
GOOD_BYE_S = 0.2  #: the same, when the server closes for a reason of its own
TURN_S = 0.005  #: that a greenlet may keep the loop for
LINGER_RESET = b"\1\0\0\0\0\0\0\0"  #: struct linger {on, 0 s}: close(2) sends RST


class Owner(Protocol):
    """The server, as far as a connection knows it."""

    seldom: SeldomLog

    def ended(self, connection: Connection, reason: str) -> None: ...


class Driver(Protocol):
    def close(self, reason: str) -> None:
        """Close the socket now, and end the connection with that reason."""


class Connection:
    """Counts of one connection. Its driver keeps them, and ends it once the socket is closed."""

    __slots__ = (
        "_owner",
        "active_at",
        "driver",
        "ended_for",
        "ip",
        "is_tls",
        "messages",
        "number",
        "opened_at",
        "peer",
        "received",
        "sent",
    )

    def __init__(self, owner: Owner, peer: str, ip: IpAddress | None, is_tls: bool = False) -> None:
        self._owner = owner
        self.peer = peer
        self.is_tls = is_tls
        self.ip = ip  #: only where a limit asks for it
        self.number = 0  #: in the order of acceptance, from 1, no other has it; 0 until it is accepted
        self.received = self.sent = self.messages = 0
        self.opened_at = self.active_at = monotonic()
        self.ended_for = ""  #: the reason, once its socket is closed
        self.driver: Driver

    def end(self, reason: str) -> None:
        """Say that the socket is closed, once."""
        self.ended_for = reason
        self._owner.ended(self, reason)

    def warn(self, event: str, **fields: object) -> None:
        """Log what a bad peer has done; seldom, for there may be many."""
        self._owner.seldom.warning(event, peer=self.peer, **fields)


class Stream:
    """The bytes of a connection that a greenlet serves: over TCP, a Unix socket, or TLS."""

    def __init__(self, connection: Connection, sock: Any) -> None:
        self.connection = connection
        self.socket = sock
        self._paused_at = monotonic()

    def read(self) -> bytes:
        """Wait for bytes; empty when the peer has shut down its side. OSError if the connection broke."""
        data: bytes = self.socket.recv(CHUNK_BYTES)
        self.connection.received += len(data)
        self._was_active()
        return data

    def pause(self, seconds: float) -> None:
        """Let time pass, and take what the peer sends meanwhile. OSError if the connection broke."""
        started_at = monotonic()
        with gevent.Timeout(seconds, False):  # type: ignore[arg-type]
            while self.read():
                pass
        gevent.sleep(max(0.0, started_at + seconds - monotonic()))

    def write(self, data: bytes) -> None:
        """Wait until all is sent. OSError if the connection broke."""
        rest = memoryview(data)
        while rest:
            count = self.socket.send(rest)
            rest = rest[count:]
            self.connection.sent += count
            self._was_active()

    def finish(self, linger_s: float | None = LINGER_S) -> None:
        """Shut down writing, and take what the peer still sends, so long at most; None is until it closes.

        Closing with unread input makes the kernel send RST, by which the peer loses lines that it has not read yet.
        """
        with gevent.Timeout(linger_s, False), contextlib.suppress(OSError):  # type: ignore[arg-type]
            if self.connection.is_tls:
                with contextlib.suppress(OSError):
                    self.socket.unwrap()  # sends close_notify (RFC 8446 section 6.1); fails where the peer goes on
            self.socket.shutdown(socket.SHUT_WR)  # an SSLSocket reads bytes as they are from here on
            while self.read():
                pass

    def _was_active(self) -> None:
        """Note the time, and let others run now and then: a socket that is always ready never waits."""
        now = self.connection.active_at = monotonic()
        if now - self._paused_at > TURN_S:
            gevent.sleep(0)
            self._paused_at = monotonic()

    def reset(self) -> None:
        """Have the coming close send RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)


class GreenletDriver:
    """Drives a connection by run(), in a greenlet of its own."""

    def __init__(self, connection: Connection) -> None:
        connection.driver = self
        self.connection = connection
        self.closed_for = ""  #: the reason, once close() was called
        self._has_begun = False
        self._greenlet = gevent.spawn(self._begin)

    def close(self, reason: str) -> None:
        """Have run() end: GreenletExit is raised in it, or, if it has not begun, `closed_for` says so."""
        self.closed_for = reason
        if self._has_begun:  # one that is killed before would never run, and not close its socket
            self._greenlet.kill(block=False)

    def run(self) -> None:
        """See to the connection, close its socket, and end it."""
        raise NotImplementedError

    def _begin(self) -> None:
        self._has_begun = True
        self.run()


class Task(GreenletDriver):
    """Drives a connection by a function, which gives the reason for the end. It takes over what the service got."""

    def __init__(self, connection: Connection, sock: Any, serve: Callable[[Stream], str]) -> None:
        super().__init__(connection)
        self._stream = Stream(connection, sock if connection.is_tls else green(sock))
        self._serve = serve

    def run(self) -> None:
        reason = "failed"
        try:
            reason = self.closed_for or self._serve(self._stream)
        except OSError as error:
            reason = why(error)
        except gevent.GreenletExit:
            reason = self.closed_for
            self._stream.finish(GOOD_BYE_S)
        finally:
            self._stream.socket.close()
            self.connection.end(reason)


def why(error: OSError) -> str:
    """Name what broke a connection, in a word or two for the log."""
    if type(error).__name__ == "SSLEOFError":  # of a module that is not loaded for everybody
        return "reset"
    if reason := getattr(error, "reason", None):  # of an ssl.SSLError
        return "TLS: " + str(reason).replace("_", " ").lower()
    return {errno.ECONNRESET: "reset", errno.EPIPE: "reset", errno.ETIMEDOUT: "timed out"}.get(
        error.errno or 0, error.strerror or type(error).__name__
    )


def green(sock: socket.socket) -> Any:
    """Make of a socket one that waits on the loop; the given one is used up."""
    return GreenSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
