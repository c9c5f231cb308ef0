"""The rules of delivery, free of sockets: one reader's way through a log, from where it was to what is new.

A subscription has a position and no queue. What was missed and what is new are read in the same way, from the log, so
there is no seam between them: no gap, and nothing twice. A reader who is too slow falls behind in the log; what the log
has dropped by then, or he is told to skip, is counted, and never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gtool.streams.log import Cursor, Entry, Log

Since = Cursor | Literal["all", "now"]
Slow = Literal["latest", "drop", "close"]


class TooSlow(Exception):
    """A reader is further behind than it may be, and is to be closed; its cursor lets it go on later."""


def can_resume(log: Log, since: Cursor) -> bool:
    """Whether all that comes after a cursor is kept, or will come to a mirror that is behind."""
    if since.epoch != log.epoch:
        return False
    return log.floor <= since.offset <= log.newest_offset or (log.is_mirror and since.offset > log.newest_offset)


class Subscription:
    """One reader's. `position` is the number of the last entry that it has been given."""

    __slots__ = ("_caught_up_at", "_log", "_until", "is_recovered", "lost", "position")

    def __init__(self, log: Log, since: Since) -> None:
        """Begin after a cursor; with all that is kept; or with what comes next.

        A cursor that can't be gone on from makes `is_recovered` false, and begins with all that is kept, unless
        begin_anew() says otherwise. One that a mirror has not come to yet is waited for: see is_awaited().
        """
        self._log = log
        self.position = 0
        self._until: int | None = None  # the offset that is awaited
        self.lost = 0  #: entries that this reader should have had, and could not be given
        self.is_recovered = not isinstance(since, Cursor) or can_resume(log, since)
        self._begin(since if self.is_recovered else "all")

    def is_awaited(self) -> bool:
        """Whether this reader has had more, of another mirror, than this one has yet: it is given nothing twice."""
        if self._until is not None and self._log.newest_offset >= self._until:
            self.position = max(self.position, self._log.find(self._until))
            self._until = None
        return self._until is not None

    def begin_anew(self, since: Since) -> None:
        """Begin after another place, that there is: the reader can't go on, or waits for what does not come."""
        self.is_recovered = False
        self._begin(since)

    @property
    def has_more(self) -> bool:
        return self.position < self._log.newest

    def take(self, most: int) -> Sequence[Entry]:
        """Give the next entries, in order, up to so many."""
        self.skip_what_is_gone()
        entries = self._log.read(self.position, most)
        self.position += len(entries)
        return entries

    def keep_up(self, most_bytes: int, slow: Slow) -> None:
        """See to it that no more than that waits for this reader, but for the newest entry: drop the rest, or TooSlow.

        `drop` skips the oldest, `latest` all but the newest. What the log has dropped itself is lost with either; a
        reader to be closed is so before it misses anything. One that is still at what it came back for is not slow.
        """
        if slow == "close" and self.position < self._log.oldest - 1:
            raise TooSlow
        self.skip_what_is_gone()
        if not self.has_more or self.position < self._caught_up_at:
            return
        newest = self._log.read(self._log.newest - 1, 1)[0]
        last = self._log.find_end(newest.end - most_bytes)  # to be skipped, if that many may wait
        if self.position >= last:
            return
        if newest.end - self._begin_of_next() <= most_bytes:
            return
        if slow == "close":
            raise TooSlow
        self._skip_to(newest.number - 1 if slow == "latest" else min(last, newest.number - 1))

    def skip_what_is_gone(self) -> None:
        """Count what the log does not keep any more as lost."""
        if self.position < self._log.oldest - 1:
            self._skip_to(self._log.oldest - 1)

    def _begin(self, since: Since) -> None:
        log = self._log
        self._until = None
        self._caught_up_at = log.newest  # up to here it is replay, which is no slowness of the reader's
        if since == "now":
            self.position = log.newest
        elif since == "all":
            self.position = log.oldest - 1
        elif since.offset > log.newest_offset:
            self.position, self._until = log.newest, since.offset
        else:
            self.position = log.find(since.offset)

    def _begin_of_next(self) -> int:
        entry = self._log.read(self.position, 1)[0]
        return entry.end - len(entry.data)

    def _skip_to(self, position: int) -> None:
        self.lost += position - self.position
        self.position = position
