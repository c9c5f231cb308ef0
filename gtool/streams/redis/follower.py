"""Reads a stream into a log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import gevent
from redis.exceptions import RedisError, ResponseError

from gtool.errors import GtoolError
from gtool.log import EventLog, SeldomLog
from gtool.runtime.pauses import doubling
from gtool.streams.memory import MemoryLog
from gtool.streams.redis.entries import FROM, Fields, number_of, offset_of, payload, size_of, topic_of
from gtool.streams.redis.location import FIRST_PAUSE_S, LONGEST_PAUSE_S, Location, event, green_client, one_line

log = EventLog("redis")

BLOCK_MS = 2000  #: that Redis may have us wait for news; shorter than location.TIMEOUT_S
COUNT = 500  #: entries in one answer
PAGE = 100  #: entries of a backlog that are asked for at once
PUBLISHERS = 1000  #: whose last number is remembered

Accepts = Callable[[bytes, str], bool]


class Follower:
    """Mirrors a stream into a log, from the last `most` entries on, for as long as it runs."""

    def __init__(
        self, location: Location, most: int, max_message: int = 1 << 20, accepts: Accepts | None = None
    ) -> None:
        """Longer messages are left out, and those that `accepts`, given the data and the topic, does not want."""
        self._accepts = accepts
        self._location = location
        self._most = most
        self._max_message = max_message
        self._client = green_client(location)
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
        for pause_s in doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S):
            try:
                ask()
            except (RedisError, OSError) as error:
                self.trouble = f"cannot read {self._location.name}: {one_line(error)}"
                self._seldom.warning(event(error), source=self._location.name, reason=one_line(error))
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
        held = sum(map(size_of, found))
        while found and len(found) <= self._most and held <= mirror.most_bytes:
            page = self._client.xrevrange(self._location.stream, max=b"(" + found[-1][0], count=PAGE)
            if not page:
                break
            found += page
            held += sum(map(size_of, page))
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
        """Give the newest entries, the last one first, and what Redis knew of the stream when they were that."""
        info = self._info()
        if not info:
            return [], info
        newest, count = info["last-generated-id"], min(PAGE, self._most + 1)
        return self._client.xrevrange(self._location.stream, max=newest, count=count), info

    def _info(self) -> Mapping[str, Any]:
        """Give what Redis knows of the stream; nothing where there is none."""
        try:
            info: Mapping[str, Any] = self._client.xinfo_stream(self._location.stream)
        except ResponseError as error:
            if "no such key" in str(error):
                return {}
            raise
        return info

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
            is_overtaken = not still and bool(first) and offset_of(first[0]) > offset_of(ids[-1])
            # What was trimmed may be before those that were read, behind them, or both: one is left to be told then.
            self._had += lost - (lost > 0 and is_overtaken)
        if lost > 0:
            log.warning("messages were deleted from the stream unread", source=self._location.name, count=lost)
            mirror.lose(offset_of(ids[0]) - 1, lost)

    def _see_whether_it_is_another(self) -> None:
        """End where a stream was deleted and begun anew with smaller ids: nothing of it would ever be read."""
        info = self._info()
        if info.get("length") and offset_of(info["last-generated-id"]) < offset_of(self._last):
            raise GtoolError(f"{self._location.name} was begun anew, with smaller ids than before", "start again")

    def _take(
        self,
        entry_id: bytes,
        fields: Fields | None,
        mirror: MemoryLog,
        pace: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._last = entry_id
        if fields is not None and not self._is_double(fields):
            data, time_s = payload(fields), int(entry_id.partition(b"-")[0]) / 1000
            if len(data) > self._max_message:
                self._seldom.warning("a message is too long: left out", source=self._location.name, size=len(data))
                return
            topic = topic_of(fields)
            if self._accepts and not self._accepts(data, topic):
                self._seldom.warning("an entry is none of ours: left out", source=self._location.name)
                return
            pace(len(data))
            mirror.mirror(offset_of(entry_id), time_s, data, topic)
            self._remember(fields)

    def _is_double(self, fields: Fields) -> bool:
        """Whether a publisher has written this before, and has not heard that it had."""
        return 0 < number_of(fields) <= self._numbers.get(fields.get(FROM, b""), 0)

    def _remember(self, fields: Fields) -> None:
        """Note what its publisher has written last, once it is in the log."""
        publisher, number = fields.get(FROM), number_of(fields)
        if publisher is None or not number:
            return
        self._numbers[publisher] = number
        self._numbers.move_to_end(publisher)
        if len(self._numbers) > PUBLISHERS:
            self._numbers.popitem(last=False)
