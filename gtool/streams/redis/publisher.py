"""Writes messages into a stream."""

from __future__ import annotations

import secrets
from collections import deque
from typing import Any

import gevent
from gevent.event import Event
from redis.exceptions import RedisError

from gtool.log import EventLog, SeldomLog
from gtool.runtime.pauses import doubling
from gtool.streams.redis.entries import DATA, FROM, NUMBER
from gtool.streams.redis.location import FIRST_PAUSE_S, LONGEST_PAUSE_S, Location, event, green_client, one_line

log = EventLog("redis")

COUNT = 500  #: messages in one transaction
MOST_UNWRITTEN = 1000  #: messages that wait for Redis, at which the source waits
LEAST_KEPT = 10_000  #: entries that a stream is kept to at least: other followers may have fallen behind


class Publisher:
    """Writes messages into a stream, in order, each once; keeps those that Redis has not taken."""

    def __init__(self, location: Location, most: int) -> None:
        """The stream is kept to about its last `most` entries, or LEAST_KEPT."""
        self._location = location
        self._most = max(most, LEAST_KEPT)
        self._client = green_client(location)
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
        pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            if not self._unwritten:
                self._has_some.clear()
                self._has_some.wait()
            try:
                self._write_some()
            except (RedisError, OSError) as error:
                self.trouble = f"cannot write to {self._location.name}: {one_line(error)}"
                self._seldom.warning(event(error), to=self._location.name, reason=one_line(error))
                gevent.sleep(next(pauses))
            else:
                self.trouble = ""
                pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)

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
