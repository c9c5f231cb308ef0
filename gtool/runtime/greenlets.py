"""What serves a connection by a greenlet: the stream of its bytes, and the drivers that run one."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

import gevent
from gevent.socket import socket as GreenSocket

from gtool.runtime.connection import CHUNK_BYTES, GOOD_BYE_S, LINGER_S, Connection, why

TURN_S = 0.005  #: that a greenlet may keep the loop for
LINGER_RESET = b"\1\0\0\0\0\0\0\0"  #: struct linger {on, 0 s}: close(2) sends RST


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
        """Shut down writing, and take what the peer still sends for `linger_s` seconds at most; None: until it closes.

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


class FunctionDriver(GreenletDriver):
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


def green(sock: socket.socket) -> Any:
    """Make of a socket one that waits on the loop; the given one is used up."""
    return GreenSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
