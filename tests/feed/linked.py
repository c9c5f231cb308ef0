"""A feeder and its workers, in one process."""

from __future__ import annotations

from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import Queue

from gtool.errors import GtoolError
from gtool.feed.fed import Fed
from gtool.feed.feeder import Feeder
from gtool.feed.link import Link
from gtool.feed.supply import Pace
from gtool.streams.memory import MemoryLog
from tests.servers.looped import TIMEOUT_S

MUCH = 1 << 30


class Supply:
    """Gives what a test puts; None is its end."""

    trouble = ""
    is_loaded = True

    def __init__(self) -> None:
        self.put: Queue[bytes | None] = Queue()
        self.is_closed = False

    def open_log(self, most: int, most_bytes: int) -> MemoryLog:
        return MemoryLog(most, most_bytes)

    def run(self, log: MemoryLog, pace: Pace) -> None:
        while (data := self.put.get()) is not None:
            pace(len(data))
            log.append(data)

    def close(self) -> None:
        self.is_closed = True


class Worker:
    """One that follows."""

    def __init__(self, path: str, most: int = 10_000, most_bytes: int = MUCH) -> None:
        self.fed = Fed(path)
        self.paced: list[tuple[int, int]] = []  # the newest there was, and the size of what was to come
        self.log = self.fed.open_log(most, most_bytes)
        self.is_free = Event()  # to take what comes
        self.is_free.set()
        self.error: GtoolError | None = None
        self.running: Any = None

    def start(self) -> Worker:
        self.running = gevent.spawn(self._run)
        return self

    def _pace(self, size: int) -> None:
        self.paced.append((self.log.newest, size))
        self.is_free.wait()

    def load(self) -> Worker:
        """Wait until it has what was there before."""
        with gevent.Timeout(TIMEOUT_S):
            while not self.fed.is_loaded:
                gevent.sleep(0.001)
        return self

    def _run(self) -> None:
        try:
            self.fed.run(self.log, self._pace)
        except GtoolError as error:
            self.error = error

    @property
    def kept(self) -> list[tuple[int, float, bytes]]:
        return [(entry.offset, entry.time, entry.data) for entry in self.log.read(0, 1 << 30)]

    @property
    def data(self) -> list[bytes]:
        return [data for _, _, data in self.kept]

    def wait_for(self, offset: int, timeout_s: float = TIMEOUT_S) -> Worker:
        """Wait until it has a message."""
        with gevent.Timeout(timeout_s):
            while self.log.newest_offset < offset:
                gevent.sleep(0.001)
        return self

    def end(self) -> None:
        """Wait for the end of what it follows."""
        self.running.get(timeout=TIMEOUT_S)

    def close(self) -> None:
        if self.running:
            self.running.kill()
        self.fed.close()


class Linked:
    """A feeder and its workers."""

    def __init__(self, most: int = 10_000, closes_at_end: bool = False, log: MemoryLog | None = None) -> None:
        self.link = Link()
        self.supply = Supply()
        self.log = log or MemoryLog(most, MUCH)
        self.feeder = Feeder(self.link, self.supply, self.log, closes_at_end)
        self.running = gevent.spawn(self.feeder.run)
        self.workers: list[Worker] = []

    def put(self, *messages: Any) -> None:
        for message in messages:
            self.supply.put.put(message if isinstance(message, bytes) else str(message).encode())
        gevent.idle()

    def follow(self, **options: int) -> Worker:
        self.workers.append(Worker(self.link.path, **options).start())
        return self.workers[-1]

    def loaded(self, **options: int) -> Worker:
        """A worker that has what was there when it came."""
        return self.follow(**options).load()

    def stuck(self) -> Worker:
        """A worker that is connected, and takes nothing until it is freed."""
        worker = self.loaded()
        worker.is_free.clear()
        return worker

    def is_over(self) -> bool:
        gevent.idle()
        return bool(self.running.dead)

    def wait(self) -> None:
        self.running.get(timeout=TIMEOUT_S)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self.feeder.stop()
        self.wait()
        self.link.close()
