"""Redis streams under test: followed into a log, and written to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import gevent
import pytest

from gtool.streams.memory import MemoryLog
from gtool.streams.redis.follower import Follower
from gtool.streams.redis.location import parse_location
from gtool.streams.redis.publisher import Publisher
from tests.conftest import TIMEOUT_S

needs_redis = pytest.mark.needs("redis-server")
MOST_BYTES = 1 << 30


class Followed:
    """A follower at work, and the log that it fills."""

    def __init__(self, url: str, most: int = 1000) -> None:
        location = parse_location(url)
        self.follower = Follower(location, most)
        self.log = MemoryLog(most, MOST_BYTES, location.epoch)
        self.seen: list[str] = []
        self.log.listen(lambda entry: self.seen.append(entry.data.decode()))
        with gevent.Timeout(TIMEOUT_S, AssertionError("the stream is not loaded")):
            self.follower.load(self.log)
        self._greenlet = gevent.spawn(self.follower.run, self.log)

    def wait_for(self, count: int) -> list[str]:
        wait_until(lambda: len(self.seen) >= count, f"{count} messages, there are {len(self.seen)}")
        return self.seen

    def close(self) -> None:
        self._greenlet.kill()
        self.follower.close()


def wait_until(is_so: Callable[[], object], what: str) -> None:
    """Wait on the loop."""
    with gevent.Timeout(TIMEOUT_S, AssertionError(what)):
        while not is_so():
            gevent.sleep(0.01)


@contextmanager
def following(url: str, most: int = 1000) -> Iterator[Followed]:
    with closing(Followed(url, most)) as followed:
        yield followed


@contextmanager
def publishing(url: str, most: int = 1000) -> Iterator[Publisher]:
    with closing(Publisher(parse_location(url), most)) as publisher:
        yield publisher


def put(publisher: Publisher, *messages: str) -> None:
    for message in messages:
        publisher.put(message.encode())
    with gevent.Timeout(TIMEOUT_S, AssertionError("Redis has not taken them")):
        publisher.wait(0)


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def adding(first: int, last: int) -> list[tuple[str, ...]]:
    return [("XADD", "feed", "*", "data", number) for number in numbers(first, last)]


TRIMMING = ("XTRIM", "feed", "MAXLEN", "2")
