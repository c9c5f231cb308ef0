"""Bodies to stdout: byte for byte, in input order, never interleaved, as they arrive.

The body at the head of the line flows; later ones wait in memory up to a bound, then in temporary files. When the
reader of stdout is slow, the valve closes, and every transfer pauses at its next bytes until it opens.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import IO, Any

import gevent
from gevent.event import Event

from gtool.fetch.record import Headers, Record
from gtool.fetch.report import Report, Written
from gtool.fetch.stores import CannotRestart, ResumePoint, Store, validator_of
from gtool.fetch.valve import Valve
from gtool.runtime.stdio import Stdout, write_all

IN_MEMORY_BYTES = 32 << 20  #: of all bodies that wait; more goes to temporary files
HIGH_BYTES = 1 << 20  #: of the head's body not yet written, at which transfers pause while stdout is blocked
LOW_BYTES = 1 << 18  #: at which they go on
BLOCK_BYTES = 1 << 18


class Budget:
    """Bytes of memory that all waiting bodies share."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self.is_spent = False  #: it was not enough, the last time

    def take(self, size: int) -> bool:
        self.is_spent = size > self._free
        if not self.is_spent:
            self._free -= size
        return not self.is_spent

    def give_back(self, size: int) -> None:
        self._free += size
        self.is_spent = self.is_spent and not size


class StreamStore(Store):
    """One body in line for stdout: first what has gone to a file, then chunks in memory."""

    skips_failures = True

    def __init__(self, stream: BodyStream) -> None:
        self._stream = stream
        self._chunks: deque[bytes] = deque()
        self._charged = 0  #: bytes of the budget that the chunks take
        self._file: IO[bytes] | None = None
        self._read_at = 0  #: in the file
        self._received = 0
        self._taken = 0  #: given out to be written
        self._written = 0
        self._validator: str | None = None
        self.is_over = False  #: no more bytes will come
        self.on_written: Written | None = None  #: called when all of it is on stdout

    @property
    def unread(self) -> int:
        """Bytes that stdout has not taken yet."""
        return self._received - self._written

    def start(self) -> ResumePoint | None:
        return ResumePoint(self._received, self._validator) if self._validator and self._taken else None

    def take_back(self) -> None:
        if not self._taken:
            self._clear()
        elif self._validator is None:
            raise CannotRestart("part of the body is on stdout, and nothing tells whether a second one is the same")

    def rewind(self) -> None:
        raise CannotRestart("part of the body is on stdout, and its server does not give the rest alone")

    def begin(self, headers: Headers) -> None:
        if not self._taken:  # an answer with the rest need not tell the validator again
            self._validator = validator_of(headers)

    def append(self, data: bytes) -> None:
        if self._file is None and not self._stream.is_head(self) and not self._charge(len(data)):
            self._spill()
        if self._file is None:
            self._chunks.append(data)
        else:
            write_all(self._file.fileno(), data)
        self._received += len(data)
        self._stream.note_change()

    def finish(self, sha256: str | None) -> dict[str, Any]:
        self.is_over = True
        self._stream.note_change()
        return {}

    def discard(self) -> dict[str, Any]:
        """Drop what waits; but of a body that is partly out, what has come still goes out, as with curl."""
        if not self._taken:
            self._clear()
        self.is_over = True
        self._stream.note_change()
        return {}

    def read(self) -> bytes:
        """Take the next block for stdout; empty when there is none yet, or no more."""
        block = self._next_block()
        self._taken += len(block)
        return block

    def note_written(self) -> None:
        """All that was taken is on stdout."""
        self._written = self._taken

    def _next_block(self) -> bytes:
        if self._file is not None:
            if block := os.pread(self._file.fileno(), BLOCK_BYTES, self._read_at):
                self._read_at += len(block)
                return block
            self._file.close()
            self._file = None
        blocks, size = [], 0
        while self._chunks and size < BLOCK_BYTES:
            blocks.append(self._chunks.popleft())
            size += len(blocks[-1])
        return b"".join(blocks)

    def release_budget(self) -> None:
        self._stream.budget.give_back(self._charged)
        self._charged = 0

    def _charge(self, size: int) -> bool:
        if not self._stream.budget.take(size):
            return False
        self._charged += size
        return True

    def _spill(self) -> None:
        import tempfile  # rarely needed

        self._file = tempfile.TemporaryFile(prefix="gtool-", buffering=0)  # noqa: SIM115
        for chunk in self._chunks:
            write_all(self._file.fileno(), chunk)
        self._chunks.clear()
        self.release_budget()

    def _clear(self) -> None:
        self._chunks.clear()
        self.release_budget()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._read_at = self._received = 0


class BodyStream(Report):
    """The line of bodies for stdout, and the greenlet that writes them."""

    def __init__(self, stdout: Stdout, lookahead: int, on_room: Callable[[], None]) -> None:
        """`on_room` is called when there is room again after `has_room` or `is_behind` has said no."""
        self.valve: Valve = Valve()
        self.budget = Budget(IN_MEMORY_BYTES)
        self._stdout = stdout
        self._lookahead = lookahead
        self._on_room = on_room
        self._line: deque[StreamStore] = deque()
        self._stores: dict[int, StreamStore] = {}
        self._changed = Event()
        self._is_closing = False
        self._writer = gevent.spawn(self._write)

    @property
    def has_room(self) -> bool:
        return len(self._line) < self._lookahead

    @property
    def is_behind(self) -> bool:
        return self.valve.is_closed

    def expect(self, seq: int) -> None:
        """An input was read: its body is next in line."""
        store = self._stores[seq] = StreamStore(self)
        self._line.append(store)

    def store(self, seq: int) -> Store:
        return self._stores[seq]

    def report(self, seq: int, record: Record, on_written: Written | None) -> None:
        store = self._stores.pop(seq)
        store.on_written = on_written
        if not store.is_over:
            store.discard()  # its body went elsewhere, or it never had one

    def close(self) -> None:
        """Write what is there, of finished bodies and of the head; wait until it is out."""
        self._is_closing = True
        self._changed.set()
        self._writer.get()
        self._stdout.close()

    def is_head(self, store: StreamStore) -> bool:
        return self._line[0] is store

    def note_change(self) -> None:
        """A body has bytes, or has ended: maybe the head's, maybe it is time to pause."""
        if self._stdout.is_blocked:
            if self._line and (self._line[0].unread > HIGH_BYTES or self.budget.is_spent):
                self.valve.is_closed = True
        else:
            self._changed.set()

    def _write(self) -> None:
        while True:
            self._changed.clear()
            if self._line and self._write_some(self._line[0]):
                continue
            if self._is_closing:
                return
            self._changed.wait()

    def _write_some(self, head: StreamStore) -> bool:
        """Write a block of the head or let the next one be the head; False if neither can be done now."""
        block = head.read()
        if block:
            self._stdout.write(block)
            head.note_written()
        elif head.is_over:
            self._line.popleft()
            if head.on_written:
                head.on_written()
            if self._line:
                self._line[0].release_budget()
        else:
            return False
        self._make_room()
        return True

    def _make_room(self) -> None:
        if self.valve.is_closed and (not self._line or self._line[0].unread <= LOW_BYTES):
            self.valve.open()
            self._on_room()
        elif len(self._line) == self._lookahead - 1:
            self._on_room()
