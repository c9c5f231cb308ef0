"""Records to stdout: a line per input, whole or not at all, in completion order or in input order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import gevent
from gevent.event import Event

from gtool.fetch.record import Record
from gtool.fetch.report import Report, Written
from gtool.fetch.stores import NOWHERE, InlineStore, Store
from gtool.runtime.stdio import Stdout

BACKLOG_BYTES = 1 << 20  #: of lines that stdout has not taken, at which no further transfer starts
HELD_BYTES = 32 << 20  #: of lines that wait for an earlier one (--ordered), at which no further input is read


class RecordLines(Report):
    """Writes a line per record; a greenlet takes all that have come up since its last turn."""

    def __init__(
        self,
        stdout: Stdout,
        line: Callable[[Record], str],
        max_body: int | None,
        lookahead: int | None,
        on_room: Callable[[], None],
    ) -> None:
        """`max_body` is None to leave bodies out, `lookahead` None for completion order.

        `on_room` is called when there is room again after `has_room` or `is_behind` has said no.
        """
        self._stdout = stdout
        self._line = line
        self._max_body = max_body
        self._lookahead = lookahead
        self._on_room = on_room
        self._lines: list[str] = []
        self._written: list[Written] = []
        self._backlog = 0
        self._held: dict[int, tuple[str, Written | None]] = {}
        self._held_bytes = 0
        self._order: deque[int] = deque()  #: the inputs whose lines are not out, in input order
        self._changed = Event()
        self._is_closing = False
        self._writer = gevent.spawn(self._write)

    @property
    def has_room(self) -> bool:
        if self._lookahead is None:
            return True
        return len(self._order) < self._lookahead and self._held_bytes < HELD_BYTES

    @property
    def is_behind(self) -> bool:
        return self._backlog >= BACKLOG_BYTES

    def expect(self, seq: int) -> None:
        if self._lookahead is not None:
            self._order.append(seq)

    def store(self, seq: int) -> Store:
        return NOWHERE if self._max_body is None else InlineStore(self._max_body)

    def report(self, seq: int, record: Record, on_written: Written | None) -> None:
        """Write the input's line when it is its turn."""
        line = self._line(record)
        if self._lookahead is None:
            self._put(line, on_written)
            return
        had_room = self.has_room
        self._held[seq] = line, on_written
        self._held_bytes += len(line)
        while self._order and self._order[0] in self._held:
            self._put_held(self._order.popleft())
        if not had_room and self.has_room:
            self._on_room()

    def close(self) -> None:
        """Write all lines that are there, those that wait for an earlier one too; wait until they are out."""
        for seq in sorted(self._held):
            self._put_held(seq)
        self._is_closing = True
        self._changed.set()
        self._writer.get()
        self._stdout.close()

    def _put_held(self, seq: int) -> None:
        line, on_written = self._held.pop(seq)
        self._held_bytes -= len(line)
        self._put(line, on_written)

    def _put(self, line: str, on_written: Written | None) -> None:
        self._lines.append(line)
        self._backlog += len(line)
        if on_written:
            self._written.append(on_written)
        if len(self._lines) == 1:
            self._changed.set()

    def _write(self) -> None:
        while True:
            self._changed.clear()
            if self._lines:
                self._write_lines()
            elif self._is_closing:
                return
            else:
                self._changed.wait()

    def _write_lines(self) -> None:
        lines, self._lines = self._lines, []
        written, self._written = self._written, []
        text = "".join(lines)
        self._stdout.write(text.encode(errors="surrogateescape"))
        was_behind = self.is_behind
        self._backlog -= len(text)
        for note in written:
            note()
        if was_behind and not self.is_behind:
            self._on_room()
