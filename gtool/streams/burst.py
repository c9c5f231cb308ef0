"""How much may come up at once, before readers are given it: else the log would drop what nobody could read. No I/O."""

from __future__ import annotations

from gtool.streams.log import Log

GROUP = 100  #: messages at most


class Burst:
    """Counts what has come up since readers were last given what there is."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._most = min(GROUP, log.most)
        self._number = log.newest
        self._end = log.end

    def has_room(self, size: int) -> bool:
        """Whether one more message, of so many bytes, may come up."""
        count, held = self._log.newest - self._number, self._log.end - self._end
        return count < self._most and (held + size <= self._log.most_bytes or not held)

    def begin(self) -> None:
        """Begin anew: readers have what there is."""
        self._number, self._end = self._log.newest, self._log.end
