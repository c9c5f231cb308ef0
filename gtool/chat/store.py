"""Where messages, rooms and claims are kept: what a store is, and the one in memory."""

from __future__ import annotations

import heapq
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from time import time
from typing import Protocol

import gevent
import simplejson

from gtool.chat.claims import Claim
from gtool.chat.names import key_of
from gtool.streams.log import Entry, Log
from gtool.streams.memory import MemoryLog

Note = Mapping[str, object]
OnNote = Callable[[Note], None]

TRIM_S = 60.0  #: between looks at what is too old
KEYS = 10_000  #: of posts, that are remembered
MOST_WORDS = 8  #: that are looked for
SLICE = 200  #: messages that are looked at before others have their turn
WORD = re.compile(r"\w+")
MEMORY_BYTES = 256 << 20  #: that messages may take in memory


class Store(Protocol):
    """What is posted is read from `log`, in the order of its offsets. Topics are rooms."""

    log: Log

    @property
    def trouble(self) -> str:
        """Say why nothing can be posted just now; empty if all is well."""

    @property
    def is_loaded(self) -> bool:
        """Whether the log has what was there before; until then nobody is to read it."""

    def run(self, on_note: OnNote) -> None:
        """Follow what others write, and delete what is too old, for ever. `on_note` is given what others tell()."""

    def post(self, room: str, data: bytes, key: str | None) -> tuple[Entry, bool]:
        """Wait until a message is kept; give it, and whether it is new: not the one of the same key. Unavailable."""

    def history(self, room: str, before: int | None, most: int) -> list[Entry]:
        """Give the last messages of a room before an offset, in order."""

    def after(self, room: str, offset: int, most: int) -> list[Entry]:
        """Give the first messages of a room after an offset, in order."""

    def search(self, words: Sequence[str], rooms: Sequence[str], before: int | None, most: int) -> list[Entry]:
        """Give messages with all of these words, or words that begin so, the newest first."""

    def offset_at(self, time_s: float) -> int:
        """Give the offset after which messages are no older than that, in seconds since 1970."""

    def rooms(self) -> Sequence[str]: ...

    def add_room(self, name: str) -> None:
        """Wait until there is that room. Unavailable."""

    def find_claim(self, key: str) -> Claim | None: ...

    def put_claim(self, claim: Claim) -> bool:
        """Claim a name, or note that a claim is used; False if it is somebody else's. Unavailable."""

    def drop_claim(self, claim: Claim) -> None:
        """Let a name go. Unavailable."""

    def tell(self, note: Note) -> None:
        """Have the other processes of this store know something that is not kept."""

    def close(self) -> None: ...


class Directory:
    """Rooms and claims in memory; who keeps them elsewhere too adds that."""

    def __init__(self, rooms: Iterable[str]) -> None:
        self._rooms: dict[str, None] = {}
        for room in rooms:
            self._rooms.setdefault(room_named(self._rooms, room) or room)
        self._claims: dict[str, Claim] = {}

    def rooms(self) -> Sequence[str]:
        return list(self._rooms)

    def add_room(self, name: str) -> None:
        self._rooms[name] = None

    def find_claim(self, key: str) -> Claim | None:
        return self._claims.get(key)

    def put_claim(self, claim: Claim) -> bool:
        found = self._claims.get(claim.key)
        if found and found.digest != claim.digest and not found.is_over(claim.used_at):
            return False
        self._claims[claim.key] = claim
        return True

    def drop_claim(self, claim: Claim) -> None:
        self._claims.pop(claim.key, None)

    def drop_old_claims(self, now: float) -> None:
        for claim in [one for one in self._claims.values() if one.is_over(now)]:
            del self._claims[claim.key]


class InMemory(Directory):
    """Gone when the process ends. Others build on it what reaches further."""

    trouble = ""
    is_loaded = True

    def __init__(self, rooms: Iterable[str], retain_s: float | None, most: int, epoch: str | None = None) -> None:
        """With an epoch it mirrors a sequence that is kept elsewhere."""
        super().__init__(rooms)
        self.memory = MemoryLog(most, MEMORY_BYTES, epoch)
        self.log: Log = self.memory
        self._retain_s = retain_s
        self._keys: dict[str, Entry] = {}
        self._by_room: defaultdict[str, deque[Entry]] = defaultdict(deque)
        self.memory.listen(self._note)

    def run(self, on_note: OnNote) -> None:
        while True:
            self._forget_old()
            gevent.sleep(TRIM_S)

    def post(self, room: str, data: bytes, key: str | None) -> tuple[Entry, bool]:
        if key is not None and key in self._keys:
            return self._keys[key], False
        entry = self.memory.append(data, room)
        if key is not None:
            self._keys[key] = entry
            if len(self._keys) > KEYS:
                del self._keys[next(iter(self._keys))]
        return entry, True

    def history(self, room: str, before: int | None, most: int) -> list[Entry]:
        found = (entry for entry in self._backwards(room) if before is None or entry.offset < before)
        return list(islice(found, most))[::-1]

    def after(self, room: str, offset: int, most: int) -> list[Entry]:
        found = list(takewhile(lambda entry: entry.offset > offset, self._backwards(room)))
        return found[::-1][:most]

    def search(self, words: Sequence[str], rooms: Sequence[str], before: int | None, most: int) -> list[Entry]:
        wanted = [_folded(word) for word in words]
        found: list[Entry] = []
        looked = heapq.merge(*map(self._backwards, rooms), key=lambda entry: -entry.offset)
        for number, entry in enumerate(looked):
            if number % SLICE == SLICE - 1:
                gevent.sleep(0)  # others have their turn
            if (before is None or entry.offset < before) and _has(entry, wanted):
                found.append(entry)
                if len(found) == most:
                    break
        return found

    def offset_at(self, time_s: float) -> int:
        numbers = range(self.log.oldest, self.log.newest + 1)
        number = self.log.oldest + bisect_left(numbers, time_s, key=lambda one: self.log.read(one - 1, 1)[0].time)
        return self.log.read(number - 1, 1)[0].offset - 1 if number <= self.log.newest else self.log.newest_offset

    def tell(self, note: Note) -> None:
        pass  # there is nobody else

    def close(self) -> None:
        pass

    def _note(self, entry: Entry) -> None:
        self._by_room[entry.topic].append(entry)
        self._trim_room(entry.topic)

    def _trim_room(self, room: str) -> None:
        """Let go of a room's messages that are not kept any more."""
        entries = self._by_room.get(room)
        while entries and entries[0].number < self.log.oldest:
            entries.popleft()
        if not entries:
            self._by_room.pop(room, None)

    def _backwards(self, room: str) -> Iterator[Entry]:
        """Give a room's messages that are kept, the newest first."""
        self._trim_room(room)
        return iter(list(self._by_room.get(room, ()))[::-1])

    def _forget_old(self) -> None:
        now = time()
        if self._retain_s is not None:
            self.memory.drop_before(now - self._retain_s)
        for room in list(self._by_room):
            self._trim_room(room)
        self.drop_old_claims(now)


def words_of(query: str) -> list[str]:
    """Give the words of a query, each once, as many as are looked for."""
    return list(dict.fromkeys(WORD.findall(query)))[:MOST_WORDS]


def room_named(rooms: Iterable[str], name: str) -> str | None:
    """Give the room of that name, or of one that can't be told from it."""
    key = key_of(name)
    return next((room for room in rooms if room == name), None) or next(
        (room for room in rooms if key_of(room) == key), None
    )


def _has(entry: Entry, wanted: Sequence[str]) -> bool:
    text = _folded(simplejson.loads(entry.data)["text"])
    if not all(one in text for one in wanted):
        return False
    words = WORD.findall(text)
    return all(any(word.startswith(one) for word in words) for one in wanted)


def _folded(text: str) -> str:
    """Give a text without case and accents, as SQLite's index has it."""
    parts = unicodedata.normalize("NFKD", text.lower())
    return "".join(character for character in parts if not unicodedata.combining(character))
