"""A log in memory, which keeps the last messages up to a number and a size."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from gtool.streams.log import Entry, Listener


class MemoryLog:
    """For one greenlet to append to, or several: nothing here waits."""

    def __init__(self, most: int, most_bytes: int) -> None:
        """Keep up to `most` messages, of up to `most_bytes` together; the newest is kept in any case."""
        self.epoch = secrets.token_urlsafe(9)
        self.oldest = 1
        self.newest = 0
        self._most = most
        self._most_bytes = most_bytes
        self._entries: dict[int, Entry] = {}  # by offset
        self._end = 0
        self._begin = 0  # the end of the last entry that was dropped
        self._listeners: dict[Listener, None] = {}  # in order

    def append(self, data: bytes) -> Entry:
        self.newest += 1
        self._end += len(data)
        entry = Entry(self.newest, time.time(), data, self._end)
        self._entries[self.newest] = entry
        self._trim()
        for listener in list(self._listeners):
            listener(entry)
        return entry

    def read(self, after: int, most: int) -> Sequence[Entry]:
        first = max(after + 1, self.oldest)
        return [self._entries[offset] for offset in range(first, min(self.newest, first + most - 1) + 1)]

    def listen(self, listener: Listener) -> None:
        self._listeners[listener] = None

    def forget(self, listener: Listener) -> None:
        self._listeners.pop(listener, None)

    def _trim(self) -> None:
        while self.oldest < self.newest and (
            len(self._entries) > self._most or self._end - self._begin > self._most_bytes
        ):
            self._begin = self._entries.pop(self.oldest).end
            self.oldest += 1
