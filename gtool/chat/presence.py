"""Who is in which room: whoever reads it just now, here or at another process of the same store. No I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

POLLED_S = 25.0  #: after its last poll, that a user is taken to be there
HEARD_S = 15.0  #: after its last word, that another process is taken to be there
MOST_TOLD = 200  #: users of a room: a crowd is told to each that is in it

Here = Mapping[str, list[str]]  #: users by room


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who is in a room, as far as it is told."""

    users: list[str]  #: in order; MOST_TOLD of them
    count: int  #: of all; of those at another process as many as it has told


NOBODY = Crowd([], 0)


class Presence:
    """Users by room; the caller brings the clock, in seconds."""

    def __init__(self) -> None:
        self._readers: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._polled: dict[str, dict[str, float]] = {}  # by room: when a user has polled last
        self._others: dict[str, tuple[float, Here]] = {}  # by process
        self._told: dict[str, Crowd] = {}

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
            self._polled.setdefault(room, {})[user] = now

    def heard(self, process: str, here: Here, now: float) -> None:
        """Take note of who is at another process."""
        self._others[process] = (now, here)

    def here(self) -> Here:
        """Give who is at this process, in rooms that have somebody, as far as other processes are told."""
        found = {room: sorted(self._here(room))[:MOST_TOLD] for room in sorted(self._rooms())}
        return {room: users for room, users in found.items() if users}

    def all_here(self) -> set[str]:
        """Give all who are at this process."""
        return {user for room in self._rooms() for user in self._here(room)}

    def crowd(self, room: str) -> Crowd:
        """Give who is in a room."""
        others = (user for _, here in self._others.values() for user in here.get(room, ()))
        users = sorted(self._here(room).union(others))
        return Crowd(users[:MOST_TOLD], len(users))

    def changes(self, now: float) -> dict[str, Crowd]:
        """Give the rooms whose users are others than when this was asked last, with their users."""
        for polled in self._polled.values():
            for user in [user for user, at in polled.items() if now - at > POLLED_S]:
                del polled[user]
        self._others = {key: found for key, found in self._others.items() if now - found[0] <= HEARD_S}
        rooms = {*self._rooms(), *self._told, *(room for _, here in self._others.values() for room in here)}
        changed = {}
        for room in rooms:
            crowd = self.crowd(room)
            if crowd != self._told.get(room, NOBODY):
                changed[room] = self._told[room] = crowd
                if not crowd.count:
                    del self._told[room]
        return changed

    def _rooms(self) -> set[str]:
        return {*self._readers, *self._polled}

    def _here(self, room: str) -> set[str]:
        return {*self._readers.get(room, ()), *self._polled.get(room, ())}
