"""A session of the server: what one client sends, one way, taken and counted."""

from __future__ import annotations

import time
from typing import Any

from gtool.pingpong.engine import BATCH, Link
from gtool.pingpong.sequence import Counter

QUIET_S = 1.0  #: that nothing more comes for, after all was sent: what is missing then is lost
TICK_S = 0.1
BATCH_BYTES = 1 << 20  #: taken at once

clock = time.monotonic


class Session:
    """Runs in a greenlet or a thread of its own; others may read a report, and say how many were sent."""

    def __init__(self, link: Link, size: int, idle_s: float) -> None:
        """Take messages of `size` bytes until all that were sent have come, or none comes for `idle_s` seconds."""
        self._link = link
        self._idle_s = idle_s
        self._counter = Counter(size)
        self._batch = max(1, min(BATCH, BATCH_BYTES // size))
        self._first_at = self._last_at = self._heard_at = clock()
        self._first_batch = 0
        self._sent: int | None = None
        self._stops = False
        self.is_over = False

    def run(self) -> None:
        try:
            while not self._has_ended():
                messages = self._link.receive_some(TICK_S, self._batch)
                if messages:
                    self._take(messages)
        finally:
            self._link.close()
            self.is_over = True

    def all_sent(self, sent: int) -> None:
        """Say that the client has sent its last message."""
        if self._sent is None:
            self._heard_at = clock()
        self._sent = sent

    def stop(self) -> None:
        self._stops = True

    def report(self) -> dict[str, Any]:
        """Tell what has come. `timed` are those that came after the first batch, from `first_at` to `last_at`."""
        counter, is_over = self._counter, self.is_over  # which comes first: what it has counted until then is all
        return {
            "received": counter.received,
            "timed": counter.received - self._first_batch,
            "lost": max(0, (self._sent or 0) - counter.received),
            "gaps": counter.gaps,
            "duplicates": counter.duplicates,
            "rubbish": counter.rubbish,
            "first_at": self._first_at,
            "last_at": self._last_at,
            "is_over": is_over,
        }

    def _take(self, messages: list[bytes]) -> None:
        """Count them. Silence begins when that is done: it may take its time, and is none of the client's."""
        came_at = clock()
        is_first = not self._counter.received
        new = self._counter.take(messages)
        if new:
            self._last_at = came_at
            if is_first:
                self._first_at, self._first_batch = came_at, new
        self._heard_at = clock()

    def _has_ended(self) -> bool:
        silent_s = clock() - self._heard_at
        if self._sent is None:
            return self._stops or silent_s > self._idle_s
        return self._stops or self._counter.received >= self._sent or silent_s > QUIET_S
