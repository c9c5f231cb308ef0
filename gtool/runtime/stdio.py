"""stdin and stdout that never stall the loop, and that leave the flags of a shared pipe or terminal alone.

O_NONBLOCK belongs to the open file, which the shell and the next program in line share. So stdin is polled before each
read, and stdout is opened again under /proc/self/fd, which gives an open file of our own.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Callable
from typing import Any

from gtool.errors import OutputClosed, ReadError, WriteError
from gtool.runtime.hub import READ, WRITE, get_hub

CHUNK_BYTES = 1 << 16


class Input:
    """A file descriptor to read from, as far as there is something to read."""

    def __init__(self, descriptor: int, name: str) -> None:
        """Take over an open descriptor; `name` is for error messages."""
        self._descriptor = descriptor
        self._name = name
        self._poll: select.poll | None = None
        self._watcher: Any = None
        self._is_terminal = os.isatty(descriptor)
        self.is_live = not stat.S_ISREG(os.fstat(descriptor).st_mode)  #: it may go on for ever
        if self.is_live:
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
            self._watcher = get_hub().loop.io(descriptor, READ)

    def read(self) -> bytes | None:
        """Read up to 64 KiB; empty at the end, None when there is nothing yet. ReadError if it can't be read."""
        if self._poll and not self._poll.poll(0):
            return None
        try:
            return os.read(self._descriptor, CHUNK_BYTES)
        except OSError as error:
            if error.errno == errno.EIO and self._is_terminal:
                return b""  # its other side is closed: a terminal has no other end (pty(7))
            raise ReadError(f"cannot read {self._name}: {error.strerror}") from error

    def wait_and_read(self) -> bytes:
        """Wait, in a greenlet, until there is something to read; empty at the end. ReadError if it can't be read."""
        while (data := self.read()) is None:
            get_hub().wait(self._watcher)
        return data

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back once, on the loop, when read() has something to say. Asking twice is asking once."""

        def ready() -> None:
            self._watcher.stop()
            callback()

        if not self._watcher.active:
            self._watcher.start(ready)

    def close(self) -> None:
        if self._watcher:
            self._watcher.close()
        if self._descriptor > 2:
            os.close(self._descriptor)


def open_input(name: str) -> Input:
    """Open a file to read requests from; `-` is stdin. ReadError if that can't be done."""
    if name == "-":
        if sys.stdin is None:
            raise ReadError("cannot read stdin: it is closed")
        return Input(0, "stdin")
    try:
        # A FIFO without a writer would stall here; opened like this, it is one that has nothing yet.
        return Input(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), name)
    except OSError as error:
        raise ReadError(f"cannot read {name}: {error.strerror}") from error


class Stdout:
    """Standard output; a write waits for the reader without stalling the loop. For one writing greenlet."""

    def __init__(self) -> None:
        if sys.stdout is None:
            raise WriteError("cannot write to stdout: it is closed")
        mode = os.fstat(1).st_mode
        self._descriptor = 1 if stat.S_ISREG(mode) else _own_open_file(1)
        # A shared blocking descriptor: after poll() says so, a pipe takes PIPE_BUF bytes without blocking (pipe(7)).
        self._must_poll = self._descriptor == 1 and not stat.S_ISREG(mode)
        self._writable: Any = None if stat.S_ISREG(mode) else get_hub().loop.io(self._descriptor, WRITE)
        self._closed: Any = get_hub().loop.io(self._descriptor, READ, ref=False) if stat.S_ISFIFO(mode) else None
        self.is_blocked = False  #: a write waits for the reader

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call back when the last reader of a pipe goes away, even if nothing is written then.

        A pipe's write end is never readable, but epoll reports EPOLLERR on it, which libev shows as both events.
        """
        if self._closed:
            self._closed.start(callback)

    def write(self, data: bytes) -> None:
        """Write all of it. OutputClosed if nobody reads any more, WriteError for a full disk and the like."""
        rest = memoryview(data)
        while rest:
            try:
                if self._must_poll:
                    self._wait()
                    rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]
                else:
                    rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._wait()
            except (BrokenPipeError, ConnectionResetError):
                raise OutputClosed from None
            except OSError as error:
                raise WriteError(f"cannot write to stdout: {error.strerror}") from error

    def close(self) -> None:
        """Let go of it; the process's own descriptor stays open. Closing twice is closing once."""
        for watcher in (self._writable, self._closed):
            if watcher:
                watcher.close()
        self._writable = self._closed = None
        if self._descriptor != 1:
            os.close(self._descriptor)
        self._descriptor = 1

    def _wait(self) -> None:
        self.is_blocked = True
        try:
            get_hub().wait(self._writable)
        finally:
            self.is_blocked = False


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it to a file; a disk that is full takes a part first, and only then is an OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _own_open_file(descriptor: int) -> int:
    """Open again, non-blocking, what a descriptor refers to; the descriptor itself where that can't be done."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return descriptor  # a socket, no /proc, or somebody else's terminal
