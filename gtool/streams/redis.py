"""A Redis stream as the one sequence of many processes: followed into a log in memory, and written to.

The id of a message is made of the id that Redis gave it, so each process that follows a stream tells the same ids; a
reader goes on at another process where it stopped at the first. Needs Redis 5; from 7 on Redis counts what was ever
added to a stream, by which it is known how much was deleted unread.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import gevent
import redis
import redis.connection
import simplejson
from gevent.event import Event
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from gtool.errors import BindError, GtoolError, UsageError
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
MOST_DIGITS = 18  #: of a message's number
PAGE = 100  #: entries of a backlog that are asked for at once
MOST_SHOWN = 200  #: characters of an error
PUBLISHERS = 1000  #: whose last number is remembered
PER_MS = 10**9  #: entries of one millisecond that ids can tell apart; a clock that was put back makes many
LEAST_KEPT = 10_000  #: entries that a stream is kept to at least: other followers may have fallen behind

DATA, FROM, NUMBER = b"data", b"gtool-from", b"gtool-n"  # fields of an entry


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
    """Read redis://HOST/DB?stream=NAME. UsageError for what is none; it is not shown, as it may have a password."""
    error = UsageError("the URL of a stream is such as redis://localhost/0?stream=NAME")
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        raise error from None
    names = [value for name, value in query if name == "stream"]
    rest = urlencode([pair for pair in query if pair[0] != "stream"])
    is_database = parts.scheme == "unix" or re.fullmatch(r"/?\d*", parts.path, re.ASCII)
    if parts.scheme not in SCHEMES or len(names) != 1 or not names[0] or not is_database:
        raise error
    return Location(url.partition("?")[0] + (f"?{rest}" if rest else ""), names[0])


def check(location: Location) -> None:
    """See whether the server answers, before anything waits on the loop. BindError if not, UsageError for a bad URL."""
    client = _client(location)
    try:
        kind = client.type(location.stream)
    except (TypeError, ValueError) as error:  # of an option that redis-py does not know, of a host that is none
        raise UsageError(f"{location.name} can't be used: {_one_line(error)}") from error
    except (RedisError, OSError) as error:
        raise BindError(f"cannot use {location.name}: {_one_line(error)}") from error
    finally:
        client.close()
    if kind not in (b"stream", b"none"):
        raise UsageError(f"{location.name} is a {kind.decode()}, not a stream")


class Follower:
    """Mirrors a stream into a log, from the last `most` entries on, for as long as it runs."""

    def __init__(self, location: Location, most: int, max_message: int = 1 << 20) -> None:
        """Longer messages are left out."""
        patch(redis.connection)
        self._location = location
        self._most = most
        self._max_message = max_message
        self._client = _client(location)
        self._last = b"0-0"  # the id of the last entry that we have had
        self._had: int | None = None  # entries, of all that were ever added; None where Redis does not count them
        self._numbers: OrderedDict[bytes, int] = OrderedDict()  # by publisher: of its last message
        self._seldom = SeldomLog(log)
        self.is_loaded = False
        self.trouble = ""  #: why Redis can't be read just now

    def load(self, mirror: MemoryLog) -> None:
        """Take the last entries, before anybody reads the log; while Redis is away, try again."""
        self._insist(lambda: self._load(mirror))
        self.is_loaded = True

    def run(self, mirror: MemoryLog, pace: Callable[[int], None] = lambda size: None) -> None:
        """Follow for ever, after load(), with pace(size) before each message; while Redis is away, try again."""
        while True:
            self._insist(lambda: self._read(mirror, pace))

    def has_had(self, publisher: str, number: int) -> bool:
        """Whether that message of a publisher has come, or a later one."""
        return self._numbers.get(publisher.encode(), 0) >= number

    def close(self) -> None:
        self._client.close()

    def _insist(self, ask: Callable[[], None]) -> None:
        """Ask Redis until it answers."""
        for pause_s in _pauses():
            try:
                ask()
            except (RedisError, OSError) as error:
                self.trouble = f"cannot read {self._location.name}: {_one_line(error)}"
                self._seldom.warning(_event(error), source=self._location.name, reason=_one_line(error))
                gevent.sleep(pause_s)
                continue
            if self.trouble:
                log.notice("redis answers again", source=self._location.name)
                self.trouble = ""
            return

    def _load(self, mirror: MemoryLog) -> None:
        """Take the last entries, as far as they find room; the one before them is where the log begins."""
        found, info = self._newest()
        self._had = info.get("entries-added", None if info else 0)
        held = sum(map(_size, found))
        while found and len(found) <= self._most and held <= mirror.most_bytes:
            page = self._client.xrevrange(self._location.stream, max=b"(" + found[-1][0], count=PAGE)
            if not page:
                break
            found += page
            held += sum(map(_size, page))
        kept = found[: self._most][::-1]
        if len(found) > len(kept):
            mirror.begin_after(offset_of(found[len(kept)][0]))
        elif kept and self._had != len(kept):
            mirror.begin_after(offset_of(kept[0][0]) - 1)  # there were others before it
        elif not kept:
            self._last = info.get("last-generated-id", self._last)
            mirror.begin_after(offset_of(self._last))
        for entry_id, fields in kept:
            self._take(entry_id, fields, mirror)

    def _newest(self) -> tuple[list[Any], Mapping[str, Any]]:
        """Give what Redis knows of the stream, and its newest entries at that time, the last one first."""
        try:
            info: Mapping[str, Any] = self._client.xinfo_stream(self._location.stream)
        except ResponseError as error:
            if "no such key" in str(error):
                return [], {}
            raise
        newest, count = info["last-generated-id"], min(PAGE, self._most + 1)
        return self._client.xrevrange(self._location.stream, max=newest, count=count), info

    def _read(self, mirror: MemoryLog, pace: Callable[[int], None]) -> None:
        stream, before = self._location.stream, self._last
        answer = self._client.xread({stream: before}, count=COUNT, block=BLOCK_MS)
        entries = answer[0][1] if answer else []
        if not entries:
            self._see_whether_it_is_another()
            return
        first = self._client.xrange(stream, count=1)
        if not first or offset_of(first[0][0]) > offset_of(before):
            self._find_gap([entry_id for entry_id, _ in entries], mirror)
        if self._had is not None:
            self._had += len(entries)
        for entry_id, fields in entries:
            self._take(entry_id, fields, mirror, pace)

    def _find_gap(self, ids: list[bytes], mirror: MemoryLog) -> None:
        """Say how many entries were deleted before we had them: the one that we had last is gone, so some may be.

        Redis counts all that were ever added. Of these we have had some, have just read those with these ids, and can
        still read what stands behind them; what was trimmed meanwhile may be of either.
        """
        info = self._client.xinfo_stream(self._location.stream)
        added, first = info.get("entries-added"), info["first-entry"]
        if added is None or self._had is None:
            lost = 1
        else:
            still = sum(offset_of(entry_id) >= offset_of(first[0]) for entry_id in ids) if first else 0
            lost = added - self._had - len(ids) - (info["length"] - still)
            self._had += lost
        if lost > 0:
            log.warning("messages were deleted from the stream unread", source=self._location.name, count=lost)
            mirror.lose(offset_of(ids[0]) - 1, lost)

    def _see_whether_it_is_another(self) -> None:
        """End where a stream was deleted and begun anew with smaller ids: nothing of it would ever be read."""
        found, info = self._newest()
        if found and offset_of(info["last-generated-id"]) < offset_of(self._last):
            raise GtoolError(f"{self._location.name} was begun anew, with smaller ids than before", "start again")

    def _take(
        self,
        entry_id: bytes,
        fields: Mapping[bytes, bytes] | None,
        mirror: MemoryLog,
        pace: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._last = entry_id
        if fields is not None and not self._is_double(fields):
            data, time_s = payload(fields), int(entry_id.partition(b"-")[0]) / 1000
            if len(data) > self._max_message:
                self._seldom.warning("a message is too long: left out", source=self._location.name, size=len(data))
                return
            pace(len(data))
            mirror.mirror(offset_of(entry_id), time_s, data)
            self._remember(fields)

    def _is_double(self, fields: Mapping[bytes, bytes]) -> bool:
        """Whether a publisher has written this before, and has not heard that it had."""
        return 0 < _number(fields) <= self._numbers.get(fields.get(FROM, b""), 0)

    def _remember(self, fields: Mapping[bytes, bytes]) -> None:
        """Note what its publisher has written last, once it is in the log."""
        publisher, number = fields.get(FROM), _number(fields)
        if publisher is None or not number:
            return
        self._numbers[publisher] = number
        self._numbers.move_to_end(publisher)
        if len(self._numbers) > PUBLISHERS:
            self._numbers.popitem(last=False)


class Publisher:
    """Writes messages into a stream, in order, each once; keeps those that Redis has not taken."""

    def __init__(self, location: Location, most: int) -> None:
        """The stream is kept to about its last `most` entries, or LEAST_KEPT."""
        patch(redis.connection)
        self._location = location
        self._most = max(most, LEAST_KEPT)
        self._client = _client(location)
        self.name = secrets.token_urlsafe(9)
        self.count = 0  #: of messages put; the number of the last one
        self._unwritten: deque[tuple[int, bytes]] = deque()
        self._has_some = Event()  # two: whoever clears one that is shared takes a wake-up from somebody else
        self._has_written = Event()
        self._seldom = SeldomLog(log)
        self.trouble = ""  #: why Redis does not take messages just now
        self._writer = gevent.spawn(self._write)

    def put(self, data: bytes) -> None:
        """Have a message written; wait while there are too many to be."""
        self.count += 1
        self._unwritten.append((self.count, data))
        self._has_some.set()
        self.wait(MOST_UNWRITTEN)

    def wait(self, most: int) -> None:
        """Wait until no more than so many wait for Redis."""
        while len(self._unwritten) > most:
            self._has_written.clear()
            self._has_written.wait()

    def close(self) -> None:
        self._writer.kill()
        self._client.close()
        if self._unwritten:
            log.warning("messages are lost: they were not written", to=self._location.name, count=len(self._unwritten))

    def _write(self) -> None:
        pauses = _pauses()
        while True:
            if not self._unwritten:
                self._has_some.clear()
                self._has_some.wait()
            try:
                self._write_some()
            except (RedisError, OSError) as error:
                self.trouble = f"cannot write to {self._location.name}: {_one_line(error)}"
                self._seldom.warning(_event(error), to=self._location.name, reason=_one_line(error))
                gevent.sleep(next(pauses))
            else:
                self.trouble = ""
                pauses = _pauses()

    def _write_some(self) -> None:
        batch = [self._unwritten[index] for index in range(min(COUNT, len(self._unwritten)))]
        # All or none: if one were refused and a later one taken, that one would seem to have come before.
        with self._client.pipeline(transaction=True) as pipeline:
            for number, data in batch:
                fields: Any = {DATA: data, FROM: self.name, NUMBER: number}
                pipeline.xadd(self._location.stream, fields, maxlen=self._most, approximate=True)
            pipeline.execute()
        for _ in batch:
            self._unwritten.popleft()
        self._has_written.set()


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
    except (TypeError, ValueError) as error:
        raise UsageError(f"{location.name} can't be read: {error}") from error


def _pauses() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _number(fields: Mapping[bytes, bytes]) -> int:
    """Give the number that a publisher of ours has written with a message; 0 where there is none."""
    text = fields.get(NUMBER, b"")
    return int(text) if text.isdigit() and len(text) <= MOST_DIGITS else 0


def _size(entry: tuple[bytes, Mapping[bytes, bytes]]) -> int:
    return sum(map(len, entry[1].values()))


def _event(error: Exception) -> str:
    return "redis refuses" if isinstance(error, ResponseError) else "redis is away"


def _one_line(error: Exception) -> str:
    """Say what is wrong; not the command with its data, that a pipeline's error quotes first."""
    text = " ".join(str(error).rpartition("caused error: ")[2].split())
    return text[:MOST_SHOWN] or type(error).__name__
