"""The rooms of one process: who says what in them, who is there, and what is told to all who read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import ceil
from time import monotonic, time
from typing import NamedTuple

from gtool.chat.claims import Claim
from gtool.chat.limits import Buckets
from gtool.chat.messages import TooLong, check_text, pack
from gtool.chat.names import key_of
from gtool.chat.presence import Crowd, Here, Presence
from gtool.chat.store import Store, room_named
from gtool.chat.visitor import Visitor, valid_name
from gtool.live.delivery import Delivery
from gtool.live.reader import Bounds
from gtool.streams.log import Cursor, Entry
from gtool.web.respond import Refused

BACKLOG = 25  #: messages of a room that one who joins it is shown
MOST_BACKLOG = 100  #: of several rooms
PER_ADDRESS = 10  #: users that may speak from one address as often as they may
ROOMS_PER_S, ROOMS_BURST = 1 / 60, 5  #: new ones, from one address
TYPING_PER_S = 2.0
READERS = Bounds("close", 1 << 20)


class Settings(NamedTuple):
    """What a chat is told. Sizes are bytes, rates per second; a rate of 0 sets no limit."""

    max_message: int = 4096
    rate: float = 5.0
    burst: float = 20.0
    allows_new_rooms: bool = False
    max_rooms: int = 100


class Chat:
    """What the pages, the API and the streams have in common."""

    def __init__(self, store: Store, settings: Settings, process: str) -> None:
        """`process` is a name that no other process of this store has."""
        self.store = store
        self.settings = settings
        self.delivery = Delivery(store.log, READERS, lambda count: None, self.backlog)
        self.presence = Presence()
        self._process = process
        self._told: Here = {}  # who is here, to other processes
        self._users = Buckets(settings.rate, settings.burst)
        self._addresses = Buckets(PER_ADDRESS * settings.rate, PER_ADDRESS * settings.burst)
        self._new_rooms = Buckets(ROOMS_PER_S, ROOMS_BURST)
        self._typing = Buckets(TYPING_PER_S, TYPING_PER_S)
        self._claims = Buckets(settings.rate / PER_ADDRESS, PER_ADDRESS * settings.burst)
        self._asking = Buckets(PER_ADDRESS * settings.rate, PER_ADDRESS * settings.burst)

    def room(self, name: str) -> str:
        """Give a room as it is called. Refused if there is none of that name."""
        room = room_named(self.store.rooms(), name)
        if room is None:
            raise Refused("404 Not Found", f"there is no room {name[:80]}")
        return room

    def say(self, user: str, room: str, text: str, key: str | None, address: str) -> tuple[Entry, bool]:
        """Wait until a message is kept; give it, and whether it is new: not the one of the same key.

        Refused; Unavailable.
        """
        try:
            data = pack(room, user, check_text(text, self.settings.max_message))
        except TooLong as error:
            raise Refused("413 Content Too Large", str(error)) from error
        except ValueError as error:
            raise Refused("400 Bad Request", str(error)) from error
        self._limit(user, address)
        entry, is_new = self.store.post(room, data, _post_key(user, key) if key else None)
        if not is_new and (entry.topic, entry.data) != (room, data):
            raise Refused("422 Unprocessable Content", "another message has had this Idempotency-Key")
        return entry, is_new

    def claim(self, visitor: Visitor, user: str, address: str) -> tuple[Claim, str]:
        """Claim a name for a visitor; give the claim and its token. Refused if it is none, or taken; Unavailable."""
        _check_wait(self._claims.take(address, monotonic()), "too many names from this address")
        return visitor.claim(user)

    def keep_claims(self) -> None:
        """Note that those who read are there, and so use their names; to be called now and then."""
        for user in self.presence.all_here():
            claim = self.store.find_claim(key_of(user))
            if claim:
                self.store.put_claim(claim._replace(used_at=time()))

    def check_address(self, address: str) -> None:
        """Refused to one that asks too often for what takes long, or guesses."""
        _check_wait(self._asking.take(address, monotonic()), "too many requests from this address")

    def add_room(self, name: object, address: str) -> tuple[str, bool]:
        """Give a room of that name, and whether it is new. Refused; Unavailable."""
        wanted = valid_name(name)
        found = room_named(self.store.rooms(), wanted)
        if found is not None:
            if found != wanted:
                raise Refused("409 Conflict", f"{wanted} could be taken for the room {found}")
            return found, False
        if not self.settings.allows_new_rooms:
            raise Refused("403 Forbidden", "this server takes no new rooms (--allow-new-rooms)")
        if len(self.store.rooms()) >= self.settings.max_rooms:
            raise Refused("403 Forbidden", "there are too many rooms already (--max-rooms)")
        _check_wait(self._new_rooms.take(address, monotonic()), "too many new rooms")
        self.store.add_room(wanted)
        return wanted, True

    def typing(self, user: str, room: str) -> None:
        """Let those in a room know that somebody writes something."""
        if not self._typing.take((user, room), monotonic()):
            note = {"typing": {"room": room, "user": user}}
            self.delivery.tell(room, note)
            self.store.tell({"process": self._process, "room": room, "note": note})

    def heard(self, note: Mapping[str, object]) -> None:
        """Take what another process tells."""
        if note.get("process") == self._process:
            return
        if isinstance(here := note.get("here"), dict):
            users = {room: list(map(str, found)) for room, found in here.items() if isinstance(found, list)}
            self.presence.heard(str(note.get("process")), users, monotonic())
        elif isinstance(told := note.get("note"), dict) and told:
            self.delivery.tell(str(note.get("room")), told)

    def tell_who_is_here(self) -> None:
        """Have readers know who has come and gone, and other processes; to be called now and then."""
        here = self.presence.here()
        if here != self._told:
            self._tell_others(here)
        for room, crowd in self.presence.changes(monotonic()).items():
            self.delivery.tell(room, presence_note(room, crowd))

    def tell_others(self) -> None:
        """Have the other processes know who is here; to be called every few seconds."""
        self._tell_others(self.presence.here())

    def _tell_others(self, here: Here) -> None:
        self._told = here
        self.store.tell({"process": self._process, "here": self._told})

    def backlog(self, rooms: frozenset[str] | None) -> Cursor:
        """Give the cursor after which the last messages of some rooms, or of all, come."""
        log = self.store.log
        found = [self.store.history(room, None, BACKLOG) for room in rooms or self.store.rooms()]
        last = sorted(entry.offset for entries in found for entry in entries)[-MOST_BACKLOG:]
        return Cursor(log.epoch, max(last[0] - 1 if last else log.newest_offset, log.floor))

    def cursor(self) -> Cursor:
        """Give the cursor after which what is new comes."""
        return Cursor(self.store.log.epoch, self.store.log.newest_offset)

    def close(self) -> None:
        self.delivery.close()

    def _limit(self, user: str, address: str) -> None:
        now = monotonic()
        _check_wait(self._users.take(key_of(user), now), "too many messages")
        _check_wait(self._addresses.take(address, now), "too many messages from this address")


def presence_note(room: str, crowd: Crowd) -> Mapping[str, object]:
    return {"presence": {"room": room, "users": crowd.users, "count": crowd.count}}


def _check_wait(wait_s: float, what: str) -> None:
    if wait_s:
        raise Refused("429 Too Many Requests", f"{what}: wait {wait_s:.1f} s", [("Retry-After", str(ceil(wait_s)))])


def _post_key(user: str, key: str) -> str:
    return hashlib.sha256(f"{key_of(user)}\0{key}".encode("utf-8", "surrogateescape")).hexdigest()
