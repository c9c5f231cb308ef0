"""A connection's socket as pywsgi wants it, with a deadline and a limit for each request's head.

It reads itself what pywsgi would read through a file: so what stands behind a head, when that turns the connection into
a WebSocket, is at hand and not in somebody's buffer.
"""

from __future__ import annotations

import re
from time import monotonic

from gtool.runtime.greenlets import Stream

MAX_HEAD = 1 << 16


#: Else servers differ on what they see: a folded line, a name with a blank behind it, a line without a colon, a bare
#: carriage return (RFC 9112 sections 2.2, 5.1, 5.2): one could be made to see a request where another sees a body.
HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n|\r?\n")


class HeadTooLarge(ValueError):
    """A request's line and headers are longer than anybody needs."""


class Wire:
    """pywsgi's `socket` and `rfile` in one."""

    def __init__(self, stream: Stream, timeout_s: float | None) -> None:
        self._stream = stream
        self._timeout_s = timeout_s
        self._buffer = b""
        self._deadline: float | None = None
        self._head_left: int | None = None
        self._has_begun = False  # the head: its first line was read
        self.closed = False
        self.is_idle = False  #: between requests
        self.error: OSError | None = None  #: by which reading has ended

    def begin_head(self) -> None:
        """Have the next request's head, and its body, come in time."""
        self.is_idle = not self._buffer
        self._head_left = MAX_HEAD
        self._has_begun = False
        self._deadline = monotonic() + self._timeout_s if self._timeout_s else None

    def end_head(self) -> None:
        self.is_idle = False
        self._head_left = None

    def let_go(self) -> bytes:
        """Leave the socket to somebody else; give what was read behind the head."""
        self.closed = True
        rest, self._buffer = self._buffer, b""
        return rest

    def makefile(self, _mode: str, _buffering: int) -> Wire:
        return self

    def readline(self, most: int = MAX_HEAD) -> bytes:
        """Read up to a line feed; without one if it is too long, or at the end.

        TimeoutError, HeadTooLarge; ValueError for what is no header, behind the first line of a head.
        """
        while (end := self._buffer.find(b"\n", 0, most) + 1) == 0 and len(self._buffer) < most:
            if not self._fill():
                break
        line = self._take(end or most)
        if self._head_left is not None and line:
            if self._has_begun and not HEADER.fullmatch(line):
                raise ValueError("what is no header")
            self._has_begun = self._has_begun or bool(line.strip())
        return line

    def read(self, size: int) -> bytes:
        """Read so many bytes; fewer at the end of the stream only."""
        while len(self._buffer) < size and self._fill():
            pass
        return self._take(size)

    def sendall(self, data: bytes) -> None:
        if self.closed:
            raise BrokenPipeError
        self._stream.socket.settimeout(self._timeout_s)
        try:
            self._stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def close(self) -> None:
        self.closed = True  # the socket is its driver's to close

    def _take(self, size: int) -> bytes:
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        if self._head_left is not None:
            self._head_left -= len(taken)
            if self._head_left < 0:
                raise HeadTooLarge
        return taken

    def _fill(self) -> bool:
        if self._deadline is not None:
            self._stream.socket.settimeout(max(0.001, self._deadline - monotonic()))
        try:
            data = self._stream.read()
        except TimeoutError:
            raise
        except OSError as error:
            self.error = error
            raise
        self.is_idle = False
        self._buffer += data
        return bool(data)
