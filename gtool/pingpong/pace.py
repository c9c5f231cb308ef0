"""When messages are due, and from when on the time of each counts. Pure. Times are seconds of one clock."""

from __future__ import annotations

NOW = float("-inf")


class Pace:
    """So many messages a second; or each as soon as there is room for it, where the rate is None.

    Where a message is due while there is no room, since answers are awaited, its time counts from when it was due: a
    peer that stalls makes all that should have been asked meanwhile late, not one message only. That is the correction
    for coordinated omission (as in wrk2). Where there is room, a timer that wakes us too late is no fault of the peer.
    """

    def __init__(self, rate: float | None, first_at: float) -> None:
        self._rate = rate
        self._first_at = first_at
        self._taken = 0
        self._full_since = self._room_since = NOW
        self.due_at = NOW if rate is None else first_at

    def take(self) -> float | None:
        """Take the message that is due; give the time from when on it counts, None for when it is sent."""
        due_at = self.due_at
        if self._rate is None:
            return None
        self._taken += 1
        self.due_at = self._first_at + self._taken / self._rate
        return due_at if self._full_since <= due_at < self._room_since else None

    def is_full(self, now: float) -> None:
        """Say that from now on there is no room. While we are behind for that, it has been so all the time."""
        if self.due_at >= self._room_since:
            self._full_since = now

    def has_room(self, now: float) -> None:
        """Say that there is room again."""
        self._room_since = now
