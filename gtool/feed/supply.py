"""What a worker's log is filled by: a source of its own, or a Redis stream that many processes have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import gevent

from gtool.feed.sources import Source
from gtool.streams.memory import MemoryLog

if TYPE_CHECKING:
    from gtool.streams.redis.location import Location

Pace = Callable[[int], None]

CATCH_UP_S = 0.02  #: between looks at whether what we have published has come back


class Supply(Protocol):
    @property
    def trouble(self) -> str:
        """Say why nothing comes just now; empty if all is well."""

    @property
    def is_loaded(self) -> bool:
        """Whether the log has what was there before; until then nobody is to read it."""

    def open_log(self, most: int, most_bytes: int) -> MemoryLog: ...

    def run(self, log: MemoryLog, pace: Pace) -> None:
        """Fill the log, in a greenlet, until there is no more; pace(size) before each message waits for readers."""

    def close(self) -> None:
        """Let go of what it holds; run() has ended, or its greenlet was killed."""


class Own:
    """A source that this process alone serves."""

    trouble = ""
    is_loaded = True

    def __init__(self, source: Source) -> None:
        self._source = source

    def open_log(self, most: int, most_bytes: int) -> MemoryLog:
        return MemoryLog(most, most_bytes)

    def run(self, log: MemoryLog, pace: Pace) -> None:
        def put(data: bytes) -> None:
            pace(len(data))
            log.append(data)

        self._source.run(put)

    def close(self) -> None:
        self._source.close()


class InRedis:
    """A stream in Redis; with a source, that is written into it first."""

    def __init__(self, location: Location, source: Source | None, backlog: int, max_message: int) -> None:
        from gtool.streams.redis.follower import Follower
        from gtool.streams.redis.publisher import Publisher

        self._location = location
        self._source = source
        self._follower = Follower(location, backlog, max_message)
        self._publisher = Publisher(location, backlog) if source else None
        self._following: gevent.Greenlet[..., None] | None = None

    @property
    def trouble(self) -> str:
        return (self._publisher.trouble if self._publisher else "") or self._follower.trouble

    @property
    def is_loaded(self) -> bool:
        return self._follower.is_loaded

    def open_log(self, most: int, most_bytes: int) -> MemoryLog:
        return MemoryLog(most, most_bytes, self._location.epoch)

    def run(self, log: MemoryLog, pace: Pace) -> None:
        self._follower.load(log)
        if self._source is None or self._publisher is None:
            self._follower.run(log, pace)
            return
        self._following = gevent.spawn(self._follower.run, log, pace)  # until close(): others may write too
        self._source.run(self._publisher.put)
        self._publisher.wait(0)
        while not self._follower.has_had(self._publisher.name, self._publisher.count):
            gevent.sleep(CATCH_UP_S)

    def close(self) -> None:
        if self._following:
            self._following.kill()
        if self._source:
            self._source.close()
        if self._publisher:
            self._publisher.close()
        self._follower.close()
