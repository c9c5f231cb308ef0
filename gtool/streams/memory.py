"""A log in memory, which keeps the last messages up to a number and a size."""

from __future__ import annotations

import secrets
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from gtool.streams.log import Entry, Listener


class MemoryLog:
    """For one greenlet to append to, or several: nothing here waits."""

    def __init__(self, most: int, most_bytes: int, epoch: str | None = None) -> None:
        """Keep up to `most` messages, of up to `most_bytes` together; the newest is kept in any case.

        Without an epoch the sequence is one of our own, and has a new one.
        """
        self.epoch = epoch or secrets.token_urlsafe(9)
        self.is_mirror = epoch is not None
        self.oldest = 1
        self.newest = 0
        self.floor = 0
        self.most = most
        self.most_bytes = most_bytes
        self._entries: dict[int, Entry] = {}  # by number
        self.newest_offset = 0
        self.end = 0
        self.dropped_end = 0  #: the end of the last entry that was dropped
        self._listeners: dict[Listener, None] = {}  # in order

    def append(self, data: bytes, topic: str = "") -> Entry:
        """Add a message; the listeners have been told of it when this returns."""
        return self.mirror(self.newest_offset + 1, time.time(), data, topic)

    def mirror(self, offset: int, time_s: float, data: bytes, topic: str = "") -> Entry:
        """Add a message of a sequence that is kept elsewhere; offsets have to grow."""
        self.newest += 1
        self.newest_offset = offset
        self.end += len(data)
        entry = Entry(self.newest, offset, time_s, data, self.end, topic)
        self._entries[self.newest] = entry
        self._trim()
        for listener in list(self._listeners):
            listener(entry)
        return entry

    def begin_after(self, offset: int, number: int = 0) -> None:
        """Say that of a sequence kept elsewhere nothing up to `offset` will be here. For a log with no entries yet.

        Numbers go on after `number`.
        """
        self.floor = self.newest_offset = offset
        self.newest, self.oldest = number, number + 1

    def drop_before(self, time_s: float) -> None:
        """Keep no longer what is older than that, in seconds since 1970."""
        while self.oldest <= self.newest and self._entries[self.oldest].time < time_s:
            self._drop()

    def drop_up_to(self, offset: int) -> None:
        """Keep no longer what comes up to an offset."""
        while self.oldest <= self.newest and self._entries[self.oldest].offset <= offset:
            self._drop()

    def lose(self, offset: int, count: int = 1) -> None:
        """Say that messages up to `offset` were lost before they came here, at least so many."""
        self.newest += count
        self.oldest = self.newest + 1
        self._entries.clear()
        self.dropped_end = self.end
        self.floor = self.newest_offset = offset

    def read(self, after: int, most: int) -> Sequence[Entry]:
        first = max(after + 1, self.oldest)
        return [self._entries[number] for number in range(first, min(self.newest, first + most - 1) + 1)]

    def find(self, offset: int) -> int:
        numbers = range(self.oldest, self.newest + 1)
        return self.oldest - 1 + bisect_right(numbers, offset, key=lambda number: self._entries[number].offset)

    def find_end(self, end: int) -> int:
        """Give the number of the first entry, of those kept, up to whose end so many bytes have come."""
        numbers = range(self.oldest, self.newest + 1)
        return self.oldest + bisect_left(numbers, end, key=lambda number: self._entries[number].end)

    def listen(self, listener: Listener) -> None:
        self._listeners[listener] = None

    def forget(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)

    def _trim(self) -> None:
        while self.oldest < self.newest and self._has_too_much():
            self._drop()

    def _has_too_much(self) -> bool:
        return len(self._entries) > self.most or self.end - self.dropped_end > self.most_bytes

    def _drop(self) -> None:
        dropped = self._entries.pop(self.oldest)
        self.dropped_end, self.floor = dropped.end, dropped.offset
        self.oldest += 1
