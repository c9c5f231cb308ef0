"""What fills a log: a source of one's own, or a stream in Redis, by way of which a source goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

import gtool.streams.redis.follower
import gtool.streams.redis.publisher
from gtool.feed import supply
from gtool.feed.supply import InRedis, Own
from gtool.streams.log import Cursor
from gtool.streams.memory import MemoryLog
from gtool.streams.redis.location import Location
from gtool.streams.subscription import Subscription
from tests.servers.looped import TIMEOUT_S

LOCATION = Location("redis://localhost/0", "news")
MUCH = 1 << 20
MOST = 1000  # of a message


class Source:
    """Puts messages, and ends."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = messages
        self.is_closed = False

    def run(self, put: Any) -> None:
        for message in self._messages:
            put(message)

    def close(self) -> None:
        self.is_closed = True


class Stream:
    """Stands for Redis: what is written comes back when the test says so, with others' messages between."""

    def __init__(self) -> None:
        self.entries: Queue[tuple[int, bytes]] = Queue()
        self.written: list[tuple[int, bytes]] = []
        self.is_taken = Event()  # what is written is taken by Redis
        self.is_taken.set()
        self.answers = Event()  # Redis gives what is there before
        self.answers.set()
        self.closed: list[str] = []
        self.kept: list[int] = []
        self.loaded: list[tuple[int, float, bytes]] = []  # what is there before anybody follows


@pytest.fixture
def stream(monkeypatch) -> Stream:
    made = Stream()

    class Follower:
        trouble = "away"

        def __init__(self, location: Location, most: int, max_message: int) -> None:
            assert (location, max_message) == (LOCATION, MOST)
            made.kept.append(most)
            self._newest = 0
            self.is_loaded = False

        def load(self, log: MemoryLog) -> None:
            made.answers.wait()
            while made.loaded:
                log.mirror(*made.loaded.pop(0))
            self.is_loaded = True

        def has_had(self, publisher: str, number: int) -> bool:
            return self._newest >= 10 * number

        def run(self, log: MemoryLog, pace: Any) -> None:
            assert self.is_loaded
            while True:
                offset, data = made.entries.get()
                pace(len(data))
                log.mirror(offset, 0.0, data)
                self._newest = offset

        def close(self) -> None:
            made.closed.append("follower")

    class Publisher:
        name = "ours"
        trouble = ""
        count = 0

        def __init__(self, location: Location, most: int) -> None:
            assert location == LOCATION
            made.kept.append(most)

        def put(self, data: bytes) -> None:
            made.written.append((10 * len(made.written) + 10, data))

        def wait(self, most: int) -> None:
            assert most == 0
            made.is_taken.wait()
            self.count = len(made.written)

        def close(self) -> None:
            made.closed.append("publisher")

    monkeypatch.setattr(gtool.streams.redis.follower, "Follower", Follower)
    monkeypatch.setattr(gtool.streams.redis.publisher, "Publisher", Publisher)
    return made


@pytest.fixture
def run() -> Iterator[Any]:
    """Run a supply in a greenlet; give its log, the greenlet, and what readers were paced before: newest, and size."""
    started: list[tuple[Any, Any]] = []

    def start(one: Any) -> tuple[MemoryLog, Any, list[tuple[int, int]]]:
        log, paced = one.open_log(100, MUCH), []
        started.append((one, gevent.spawn(one.run, log, lambda size: paced.append((log.newest, size)))))
        gevent.idle()
        return log, started[-1][1], paced

    yield start
    for one, running in started:
        running.kill()
        one.close()


def data(log: MemoryLog) -> list[bytes]:
    return [entry.data for entry in log.read(0, 100)]


# A source of one's own


def test_what_a_source_puts_is_in_the_log_and_readers_are_paced_before_each(run):
    log, running, paced = run(Own(Source(b"a", b"bb")))
    running.get(timeout=TIMEOUT_S)
    assert (data(log), paced) == ([b"a", b"bb"], [(0, 1), (1, 2)])


def test_its_log_is_a_sequence_of_its_own():
    assert Own(Source()).open_log(1, 1).epoch != Own(Source()).open_log(1, 1).epoch


def test_its_log_keeps_what_it_is_told():
    log = Own(Source()).open_log(2, 5)
    for message in (b"a", b"b", b"c", b"12345"):
        log.append(message)
    assert (log.most, data(log)) == (2, [b"12345"])


def test_a_source_of_ones_own_is_never_in_trouble():
    assert Own(Source()).trouble == ""


def test_a_source_of_ones_own_has_nothing_to_load():
    assert Own(Source()).is_loaded


def test_closing_it_closes_the_source():
    source = Source()
    Own(source).close()
    assert source.is_closed


# A stream in Redis


def test_a_stream_is_followed_for_ever(run, stream):
    log, running, paced = run(InRedis(LOCATION, None, 50, MOST))
    stream.entries.put((7, b"a"))
    gevent.idle()
    assert (data(log), paced, running.dead) == ([b"a"], [(0, 1)], False)


def test_a_log_has_what_is_in_the_stream_before_it_is_delivered_from(run, stream):
    """Else who comes back at once would begin anew."""
    stream.loaded = [(5, 0.0, b"a"), (7, 0.0, b"b")]
    made = InRedis(LOCATION, None, 50, MOST)
    log, _, paced = run(made)
    assert (made.is_loaded, data(log), paced) == (True, [b"a", b"b"], [])
    assert Subscription(log, Cursor(log.epoch, 5)).take(10) == log.read(1, 1)


def test_a_log_is_there_at_once_and_empty_until_redis_answers(run, stream):
    """Nobody is to read it until then."""
    stream.answers.clear()
    stream.loaded = [(5, 0.0, b"a")]
    made = InRedis(LOCATION, None, 50, MOST)
    log, running, _ = run(made)
    assert (made.is_loaded, data(log), running.dead) == (False, [], False)
    stream.answers.set()
    gevent.idle()
    assert (made.is_loaded, data(log)) == (True, [b"a"])


def test_a_source_is_written_into_the_stream_only_when_what_was_there_is_in_the_log(run, stream):
    """Else its own messages would be taken for what was there before."""
    stream.answers.clear()
    run(InRedis(LOCATION, Source(b"a"), 50, MOST))
    assert stream.written == []
    stream.answers.set()
    gevent.idle()
    assert stream.written == [(10, b"a")]


def test_closing_while_redis_does_not_answer_closes_all(run, stream):
    stream.answers.clear()
    source = Source()
    made = InRedis(LOCATION, source, 50, MOST)
    _, running, _ = run(made)
    running.kill()
    made.close()
    assert (stream.closed, source.is_closed) == (["publisher", "follower"], True)


def test_all_processes_that_follow_a_stream_have_the_same_ids(stream):
    logs = [InRedis(LOCATION, None, 50, MOST).open_log(1, 1) for _ in range(2)]
    assert logs[0].epoch == logs[1].epoch == LOCATION.epoch


def test_a_stream_is_followed_and_kept_as_far_back_as_the_backlog_goes(stream):
    InRedis(LOCATION, Source(), 50, MOST)
    assert stream.kept == [50, 50]


def test_a_source_is_written_into_the_stream_and_comes_from_there(run, stream):
    log, running, _ = run(InRedis(LOCATION, Source(b"a", b"b"), 50, MOST))
    assert (stream.written, data(log)) == ([(10, b"a"), (20, b"b")], [])
    stream.entries.put((5, b"another's"))
    for entry in stream.written:
        stream.entries.put(entry)
    running.get(timeout=TIMEOUT_S)
    assert data(log) == [b"another's", b"a", b"b"]


def test_the_end_of_a_source_waits_for_what_redis_has_not_taken(run, stream):
    stream.is_taken.clear()
    _, running, _ = run(InRedis(LOCATION, Source(b"a"), 50, MOST))
    stream.entries.put((10, b"a"))
    gevent.idle()
    assert not running.dead
    stream.is_taken.set()
    running.get(timeout=TIMEOUT_S)


def test_the_end_of_a_source_waits_for_what_has_not_come_back(run, stream, monkeypatch):
    monkeypatch.setattr(supply, "CATCH_UP_S", 0.001)
    log, running, _ = run(InRedis(LOCATION, Source(b"a", b"b"), 50, MOST))
    stream.entries.put((10, b"a"))
    gevent.sleep(0.02)
    assert (data(log), running.dead) == ([b"a"], False)
    stream.entries.put((20, b"b"))
    running.get(timeout=TIMEOUT_S)


def test_after_the_end_of_a_source_what_others_write_still_comes(run, stream):
    log, running, _ = run(InRedis(LOCATION, Source(), 50, MOST))
    running.get(timeout=TIMEOUT_S)
    stream.entries.put((7, b"another's"))
    gevent.idle()
    assert data(log) == [b"another's"]


def test_its_trouble_is_that_of_following(stream):
    assert InRedis(LOCATION, None, 50, MOST).trouble == "away"


def test_with_a_source_its_trouble_is_first_that_of_writing(stream):
    made = InRedis(LOCATION, Source(), 50, MOST)
    assert made.trouble == "away"
    made._publisher.trouble = "full"
    assert made.trouble == "full"


@pytest.mark.parametrize(("source", "closed"), [(None, ["follower"]), (Source(), ["publisher", "follower"])])
def test_closing_closes_all_that_there_is(run, stream, source, closed):
    made = InRedis(LOCATION, source, 50, MOST)
    run(made)
    made.close()
    assert stream.closed == closed
    assert source is None or source.is_closed
    assert made._following is None or made._following.dead
