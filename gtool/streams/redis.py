"""A Redis stream as the one sequence of many processes: followed into a log in memory, and written to.

The id of a message is made of the id that Redis gave it, so each process that follows a stream tells the same ids; a
reader goes on at another process where it stopped at the first. Needs Redis 5; from 7 on, Redis tells what of a stream
was deleted, without which a cursor from before the oldest entry loaded can't be gone on from.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit, urlunsplit

import gevent
import redis
import redis.connection
import simplejson
from gevent.event import Event
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from gtool.errors import BindError, UsageError
from gtool.log import EventLog, SeldomLog
from gtool.runtime.patch import patch
from gtool.streams.memory import MemoryLog

log = EventLog("redis")

SCHEMES = ("redis", "rediss", "unix")
TIMEOUT_S = 5.0
BLOCK_MS = 2000  #: that Redis may have us wait for news; shorter than TIMEOUT_S
COUNT = 500  #: entries in one answer
MOST_UNWRITTEN = 1000  #: messages that wait for Redis, at which the source waits
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
PUBLISHERS = 1000  #: whose last number is remembered
PER_MS = 100_000  #: entries of one millisecond that ids can tell apart

DATA, FROM, NUMBER = b"data", b"from", b"n"  # fields of an entry


class Location(NamedTuple):
    """A stream: the URL of its server and database, and its key."""

    url: str
    stream: str

    @property
    def epoch(self) -> str:
        return "r" + hashlib.sha256(self.stream.encode()).hexdigest()[:11]

    @property
    def name(self) -> str:
        """The location without a password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}?stream={self.stream}"


def parse_location(url: str) -> Location:
    """Read redis://HOST/DB?stream=NAME. UsageError for what is none."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    names = query.pop("stream", [])
    if parts.scheme not in SCHEMES or len(names) != 1 or query:
        raise UsageError(f"{url!r} is not a stream such as redis://localhost/0?stream=NAME")
    return Location(urlunsplit(parts._replace(query="")), names[0])


def check(location: Location) -> None:
    """See whether the server answers, before anything waits on the loop. BindError if not, UsageError for a bad URL."""
    client = _client(location)
    try:
        kind = client.type(location.stream)
    except RedisError as error:
        raise BindError(f"cannot use {location.name}: {_one_line(error)}") from error
    finally:
        client.close()
    if kind not in (b"stream", b"none"):
        raise UsageError(f"{location.name} is a {kind.decode()}, not a stream")


class Follower:
    """Mirrors a stream into a log, from the last `most` entries on, for as long as it runs."""

    def __init__(self, location: Location, most: int) -> None:
        patch(redis.connection)
        self._location = location
        self._most = most
        self._client = _client(location)
        self._last = b"0-0"  # the id of the last entry that we have had
        self._numbers: OrderedDict[bytes, int] = OrderedDict()  # by publisher: of its last message
        self._seldom = SeldomLog(log)
        self.trouble = ""  #: why Redis can't be read just now

    def run(self, mirror: MemoryLog, pace: Callable[[], None] = lambda: None) -> None:
        """Follow for ever, with pace() after each message; while Redis is away, try again."""
        is_loaded = False
        pauses = _pauses()
        while True:
            try:
                if not is_loaded:
                    self._load(mirror)
                    is_loaded = True
                elif self.trouble:
                    self._find_gap(mirror)
                if self.trouble:
                    log.notice("redis is back", source=self._location.name)
                    self.trouble, pauses = "", _pauses()
                self._read(mirror, pace)
            except (RedisError, OSError) as error:
                self.trouble = f"cannot read {self._location.name}: {_one_line(error)}"
                self._seldom.warning("redis is away", source=self._location.name, reason=_one_line(error))
                gevent.sleep(next(pauses))

    def close(self) -> None:
        self._client.close()

    def _load(self, mirror: MemoryLog) -> None:
        """Take the last entries; the one before them is where the log begins."""
        found = self._client.xrevrange(self._location.stream, count=self._most + 1)[::-1]
        if len(found) > self._most:
            mirror.begin_after(offset_of(found[0][0]))
            del found[0]
        else:
            mirror.begin_after(self._deleted(found))
        for entry_id, fields in found:
            self._take(entry_id, fields, mirror)

    def _deleted(self, found: list[Any]) -> int:
        """Give the offset up to which entries may have been deleted from the stream."""
        if not found:
            return 0
        info: Mapping[str, Any] = self._client.xinfo_stream(self._location.stream)
        deleted = info.get("max-deleted-entry-id")
        return offset_of(deleted) if deleted is not None else offset_of(found[0][0]) - 1

    def _find_gap(self, mirror: MemoryLog) -> None:
        """See whether entries were deleted that we have not had, while Redis was away."""
        first = self._client.xrange(self._location.stream, count=1)
        deleted = self._deleted(first)
        if deleted > offset_of(self._last):
            log.warning("messages were deleted from the stream before they were read", source=self._location.name)
            mirror.lose(deleted)

    def _read(self, mirror: MemoryLog, pace: Callable[[], None]) -> None:
        answer = self._client.xread({self._location.stream: self._last}, count=COUNT, block=BLOCK_MS)
        for _, entries in answer or ():
            for entry_id, fields in entries:
                self._take(entry_id, fields, mirror)
                pace()

    def _take(self, entry_id: bytes, fields: Mapping[bytes, bytes] | None, mirror: MemoryLog) -> None:
        self._last = entry_id
        if fields is not None and not self._is_double(fields):
            time_s = int(entry_id.partition(b"-")[0]) / 1000
            mirror.mirror(offset_of(entry_id), time_s, payload(fields))

    def _is_double(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a publisher has written this before, and has not heard that it had."""
        publisher, number = fields.get(FROM), fields.get(NUMBER, b"")
        if publisher is None or not number.isdigit():
            return False
        if int(number) <= self._numbers.get(publisher, 0):
            return True
        self._numbers[publisher] = int(number)
        self._numbers.move_to_end(publisher)
        if len(self._numbers) > PUBLISHERS:
            self._numbers.popitem(last=False)
        return False


class Publisher:
    """Writes messages into a stream, in order, each once; keeps those that Redis has not taken."""

    def __init__(self, location: Location, most: int) -> None:
        """The stream is kept to about its last `most` entries."""
        patch(redis.connection)
        self._location = location
        self._most = most
        self._client = _client(location)
        self._name = secrets.token_urlsafe(9)
        self._count = 0
        self._unwritten: deque[tuple[int, bytes]] = deque()
        self._changed = Event()
        self._seldom = SeldomLog(log)
        self.last_offset = 0  #: of the last message that Redis has taken
        self._writer = gevent.spawn(self._write)

    def put(self, data: bytes) -> None:
        """Have a message written; wait while there are too many to be."""
        self._count += 1
        self._unwritten.append((self._count, data))
        self._changed.set()
        self.wait(MOST_UNWRITTEN)

    def wait(self, most: int) -> None:
        """Wait until no more than so many wait for Redis."""
        while len(self._unwritten) > most:
            self._changed.clear()
            self._changed.wait()

    def close(self) -> None:
        self._writer.kill()
        self._client.close()
        if self._unwritten:
            log.warning("messages were not written", to=self._location.name, count=len(self._unwritten))

    def _write(self) -> None:
        pauses = _pauses()
        while True:
            if not self._unwritten:
                self._changed.clear()
                self._changed.wait()
                continue
            try:
                self._write_some()
                pauses = _pauses()
            except (RedisError, OSError) as error:
                self._seldom.warning("redis is away", to=self._location.name, reason=_one_line(error))
                gevent.sleep(next(pauses))

    def _write_some(self) -> None:
        batch = [self._unwritten[index] for index in range(min(COUNT, len(self._unwritten)))]
        with self._client.pipeline(transaction=False) as pipeline:
            for number, data in batch:
                fields: Any = {DATA: data, FROM: self._name, NUMBER: number}
                pipeline.xadd(self._location.stream, fields, maxlen=self._most, approximate=True)
            ids = pipeline.execute()
        self.last_offset = offset_of(ids[-1])
        for _ in batch:
            self._unwritten.popleft()
        self._changed.set()


def offset_of(entry_id: bytes | str) -> int:
    """Make of an id of Redis's, MS-SEQ, a number that grows as it does."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, _, number = text.partition("-")
    return int(ms) * PER_MS + int(number)


def payload(fields: Mapping[bytes, bytes]) -> bytes:
    """Give the message of an entry: its field `data`, or, of one that others have written, all fields as JSON."""
    data = fields.get(DATA)
    if data is None:
        text = {_text(name): _text(value) for name, value in fields.items()}
        return simplejson.dumps(text, ensure_ascii=False).encode()
    return data if data.isascii() else _text(data).encode()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _client(location: Location) -> Any:
    try:
        return redis.Redis.from_url(
            location.url,
            protocol=2,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # its own pauses would stall the loop
        )
    except ValueError as error:
        raise UsageError(f"{location.name} can't be read: {error}") from error


def _pauses() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
