"""Who is in which room: whoever reads it just now, here or at another process of the same store. No I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

POLLED_S = 25.0  #: after its last poll, that a user is taken to be there
HEARD_S = 15.0  #: after its last word, that another process is taken to be there
MOST_TOLD = 200  #: users of a room

Here = Mapping[str, list[str]]  #: users by room


class Presence:
    """Users by room; the caller brings the clock, in seconds."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._polled: dict[tuple[str, str], float] = {}  # by room and user
        self._others: dict[str, tuple[float, Here]] = {}  # by process
        self._told: dict[str, list[str]] = {}

    def enter(self, rooms: frozenset[str], user: str) -> None:
        for room in rooms:
            self._readers[room][user] += 1

    def leave(self, rooms: frozenset[str], user: str) -> None:
        for room in rooms:
            self._readers[room][user] -= 1
            if not self._readers[room][user]:
                del self._readers[room][user]

    def polled(self, rooms: frozenset[str], user: str, now: float) -> None:
        for room in rooms:
            self._polled[room, user] = now

    def heard(self, process: str, here: Here, now: float) -> None:
        """Take note of who is at another process."""
        self._others[process] = (now, here)

    def here(self) -> Here:
        """Give who is at this process, in rooms that have somebody."""
        rooms = {*self._readers, *(room for room, _ in self._polled)}
        found = {room: self._users_here(room) for room in sorted(rooms)}
        return {room: users[:MOST_TOLD] for room, users in found.items() if users}

    def users(self, room: str) -> list[str]:
        """Give who is in a room, in order."""
        others = (user for _, here in self._others.values() for user in here.get(room, ()))
        return sorted({*self._users_here(room), *others})

    def changes(self, now: float) -> Here:
        """Give the rooms whose users are others than when this was asked last, with their users."""
        self._polled = {key: at for key, at in self._polled.items() if now - at <= POLLED_S}
        self._others = {key: found for key, found in self._others.items() if now - found[0] <= HEARD_S}
        rooms = {*self.here(), *self._told, *(room for _, here in self._others.values() for room in here)}
        changed = {}
        for room in rooms:
            users = self.users(room)
            if users != self._told.get(room, []):
                changed[room] = self._told[room] = users
                if not users:
                    del self._told[room]
        return changed

    def _users_here(self, room: str) -> list[str]:
        return sorted({*self._readers.get(room, ()), *(user for one, user in self._polled if one == room)})
