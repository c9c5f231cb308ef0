"""Delivery to streams whose room is in the test's hand: all, once, in order, or an honest word about the rest."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
import simplejson
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.feed.view import View
from gtool.live.delivery import Delivery
from gtool.live.reader import AWAITED, Bounds, Reader
from gtool.streams.burst import GROUP
from gtool.streams.log import Cursor, Unavailable, parse_cursor
from gtool.streams.memory import MemoryLog
from gtool.web.frames import NORMAL, TRY_AGAIN_LATER
from tests.servers.looped import TIMEOUT_S, failures_raise

BARE, ENVELOPE, EVENTS = View(True), View(True, has_envelope=True), View(False, has_envelope=True)
SLOW = ["latest", "drop", "close"]
MUCH = 1 << 30

fixed = settings(derandomize=True, deadline=None, max_examples=200)


class Stream:
    """A stream that takes all, or, when it is full, has it wait."""

    def __init__(self) -> None:
        self.channel: Any = SimpleNamespace(
            waiting=0, connection=SimpleNamespace(messages=0, warn=lambda *_, **__: None)
        )
        self.is_open = True
        self.is_full = False
        self.writes: list[bytes] = []
        self.closed_with: tuple[int, str] | None = None

    def write(self, data: bytes) -> None:
        assert self.is_open, "written after it was closed"
        self.writes.append(data)
        if self.is_full:
            self.channel.waiting += len(data)

    def close(self, code: int, reason: str) -> None:
        assert self.is_open, "closed twice"
        self.is_open = False
        self.closed_with = code, reason

    def drain(self, reader: Reader) -> None:
        """Have the peer read all that waits."""
        if self.channel.waiting:
            self.channel.waiting = 0
            if self.is_open:
                reader.drained()

    @property
    def seen(self) -> list[str | dict[str, Any]]:
        """What the peer was given, messages without their envelope, and notes."""
        documents = [simplejson.loads(text) for text in _texts(b"".join(self.writes))]
        return [one["data"] if "id" in one else one for one in documents]

    @property
    def messages(self) -> list[str]:
        return [one for one in self.seen if isinstance(one, str)]

    @property
    def dropped(self) -> int:
        return sum(one.get("dropped", 0) for one in self.seen if isinstance(one, dict))


def _texts(data: bytes) -> list[str]:
    if not data.startswith(b"\x81"):
        return [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    texts = []
    while data:
        size, at = data[1], 2
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        texts.append(data[at : at + size].decode())
        data = data[at + size :]
    return texts


class Feed:
    """A log, its delivery, and the streams of readers."""

    def __init__(
        self,
        most: int = 1000,
        bounds: Bounds = Bounds(),  # noqa: B008
        most_bytes: int = MUCH,
        is_mirror: bool = False,
    ) -> None:
        self.log = MemoryLog(most, most_bytes, "epoch")
        self.log.is_mirror = is_mirror
        self.dropped = 0
        self.delivery = Delivery(self.log, bounds, self._count_dropped)
        self.readers: dict[Stream, Reader] = {}

    def _count_dropped(self, count: int) -> None:
        assert count >= 0
        self.dropped += count

    def put(self, *messages: Any) -> None:
        """Append messages, and have them delivered."""
        for message in messages:
            self.log.append(str(message).encode())
        gevent.idle()

    def produce(self, *messages: Any) -> None:
        """Append messages as a supply does, as fast as the pace lets it."""
        for message in messages:
            data = str(message).encode()
            self.delivery.pace(len(data))
            self.log.append(data)
        gevent.idle()

    def open(self, since: Any = "now", view: View = ENVELOPE, is_full: bool = False, **options: Any) -> Stream:
        stream = Stream()
        stream.is_full = is_full
        self.readers[stream] = self.delivery.open(stream, view, since, **options)
        self.readers[stream].begin()
        gevent.idle()
        return stream

    def after(self, offset: int, **options: Any) -> Stream:
        return self.open(Cursor("epoch", offset), **options)

    def drain(self, stream: Stream) -> None:
        stream.drain(self.readers[stream])
        gevent.idle()

    def close(self, stream: Stream) -> None:
        stream.is_open = False
        self.readers.pop(stream).closed()

    def end(self) -> None:
        self.delivery.end()
        gevent.idle()


@pytest.fixture
def make() -> Iterator[Any]:
    """Make a Feed; what fails on the loop fails the test."""
    made: list[Feed] = []

    def run(*args: Any, **options: Any) -> Feed:
        made.append(Feed(*args, **options))
        return made[-1]

    with failures_raise():
        yield run
        for feed in made:
            feed.delivery.close()


@pytest.fixture
def feed(make) -> Feed:
    return make()


def words(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


# What a reader is given


@pytest.mark.parametrize("view", [ENVELOPE, EVENTS])
def test_a_reader_gets_what_comes_after_it_has(feed, view):
    feed.put(1, 2)
    stream = feed.open(view=view)
    feed.put(3, 4)
    assert stream.seen == ["3", "4"]


def test_a_reader_who_comes_back_gets_first_what_it_has_missed(feed):
    feed.put(1, 2, 3)
    stream = feed.after(1)
    feed.put(4)
    assert stream.seen == ["2", "3", "4"]


def test_a_reader_who_comes_back_is_given_that_before_the_loop_turns(feed):
    feed.put(1)
    stream = Stream()
    feed.delivery.open(stream, ENVELOPE, "all").begin()
    assert stream.seen == ["1"]


def test_a_reader_of_all_gets_what_is_kept(make):
    feed = make(most=2)
    feed.put(1, 2, 3)
    assert feed.open("all").seen == ["2", "3"]


@pytest.mark.parametrize(
    ("cursor", "kept"), [(Cursor("other", 2), 3), (Cursor("epoch", 9), 3), (Cursor("epoch", 1), 3)]
)
def test_who_can_not_be_given_what_it_came_back_for_is_told_so_first(make, cursor, kept):
    feed = make(most=kept)
    feed.put(1, 2, 3, 4, 5)
    assert feed.open(cursor).seen == [{"recovered": False, "oldest": "epoch:2"}, "3", "4", "5"]


def test_who_can_be_given_it_is_told_nothing_but_that(make):
    feed = make(most=3)
    feed.put(1, 2, 3, 4, 5)
    assert feed.after(2).seen == ["3", "4", "5"]


def test_who_sees_bare_messages_gets_nothing_else(make):
    feed = make(most=2)
    feed.put(1, 2, 3)
    stream = feed.open(Cursor("other", 2), BARE)
    assert stream.writes[-1] == b"\x81\x012\x81\x013"
    assert b"".join(stream.writes) == stream.writes[-1]


def test_more_than_the_bound_is_given_to_one_who_came_back(make):
    feed = make(bounds=Bounds("drop", 100))
    feed.put(*words(1, 500))
    stream = feed.open("all", is_full=True)
    while stream.channel.waiting:
        feed.drain(stream)
    assert (stream.messages, stream.dropped) == (words(1, 500), 0)


def test_one_who_came_back_for_much_gets_it_in_turns_with_others(make):
    feed = make(most=100_000)
    feed.put(*words(1, 20_000))
    stream = Stream()
    feed.delivery.open(stream, ENVELOPE, "all").begin()
    at_once = len(stream.messages)
    gevent.idle()
    assert 0 < at_once < 20_000
    assert stream.messages == words(1, 20_000)


def test_readers_are_each_at_their_own_place(feed):
    feed.put(*words(1, 9))
    streams = [feed.after(offset) for offset in (0, 4, 9)]
    slow = feed.after(2, is_full=True)
    feed.put(10)
    feed.drain(slow)
    assert [stream.seen for stream in streams] == [words(1, 10), words(5, 10), ["10"]]
    assert slow.seen == words(3, 10)


def test_readers_of_all_views_get_the_same_at_once(feed):
    streams = [feed.open(view=view) for view in (ENVELOPE, EVENTS)]
    bare = feed.open(view=BARE)
    feed.put("x")
    assert ([stream.seen for stream in streams], bare.writes) == ([["x"], ["x"]], [b"\x81\x01x"])


@pytest.mark.parametrize("view", [BARE, ENVELOPE, EVENTS])
def test_a_message_is_encoded_once_for_all_its_readers(make, monkeypatch, view):
    encoded = []
    real = View.encode
    monkeypatch.setattr(
        View, "encode", lambda self, epoch, entry: encoded.append(entry.number) or real(self, epoch, entry)
    )
    feed = make()
    for _ in range(50):
        feed.open(view=view)
    feed.put(1, 2, 3)
    feed.open("all", view)
    assert encoded == [1, 2, 3]


def test_what_encodes_lives_as_long_as_those_who_read_it(feed):
    streams = [feed.open(view=BARE), feed.open(view=BARE), feed.open(view=ENVELOPE)]
    feed.put(1)
    assert set(feed.delivery._encoders) == {BARE, ENVELOPE}
    feed.close(streams[0])
    assert set(feed.delivery._encoders) == {BARE, ENVELOPE}
    feed.close(streams[1])
    gc.collect()
    assert set(feed.delivery._encoders) == {ENVELOPE}


def test_what_came_up_together_is_written_together(feed):
    stream = feed.open()
    feed.put(1, 2, 3)
    assert len(stream.writes) == 1


def test_the_messages_of_a_connection_are_counted(feed):
    feed.put(1, 2, 3)
    stream = feed.after(1)
    feed.put(4)
    assert stream.channel.connection.messages == 3


def test_who_has_gone_is_given_nothing_and_is_none_of_them_any_more(feed):
    stream, other = feed.open(), feed.open()
    feed.close(stream)
    feed.put(1)
    assert (stream.seen, other.seen, len(feed.delivery._readers)) == ([], ["1"], 1)


def test_what_a_reader_says_is_of_no_consequence(feed):
    stream = feed.open()
    feed.readers[stream].message("hello")
    assert stream.writes == []


def test_after_its_end_nothing_is_delivered(feed):
    stream = feed.open()
    feed.delivery.close()
    feed.put(1)
    assert stream.seen == []


# Those who have had more elsewhere than is here yet


@pytest.fixture
def mirror(make) -> Feed:
    """Of a sequence that other processes have too; five messages have come here."""
    feed = make(is_mirror=True)
    feed.put(1, 2, 3, 4, 5)
    return feed


def pass_checks(feed: Feed, count: int) -> None:
    for _ in range(count):
        feed.delivery.check()
    gevent.idle()


@pytest.mark.parametrize("view", [ENVELOPE, EVENTS])
def test_who_has_had_more_elsewhere_gets_what_comes_after_that_when_it_has_come_here(mirror, view):
    """And nothing twice, nor is it told that anything is missing."""
    stream = mirror.after(8, view=view)
    mirror.put(6)
    mirror.put(7, 8)
    assert stream.seen == []
    mirror.put(9)
    mirror.put(10)
    assert (stream.seen, mirror.dropped) == (["9", "10"], 0)


def test_what_comes_together_with_what_was_awaited_is_given(mirror):
    stream = mirror.after(7)
    mirror.put(6, 7, 8, 9)
    assert stream.seen == ["8", "9"]


def test_what_is_awaited_is_so_only_so_long_and_then_one_begins_anew_and_is_told_so(mirror):
    stream = mirror.after(9)
    pass_checks(mirror, AWAITED)
    assert stream.seen == []
    pass_checks(mirror, 1)
    assert stream.seen == [{"recovered": False, "oldest": "epoch:0"}, *words(1, 5)]
    mirror.put(6)
    pass_checks(mirror, AWAITED + 1)
    assert stream.seen[1:] == words(1, 6)


def test_who_is_awaited_in_vain_begins_anew_where_it_is_to(mirror):
    mirror.delivery.anew = lambda topics: Cursor("epoch", 3)
    stream = mirror.after(9)
    pass_checks(mirror, AWAITED + 1)
    assert stream.seen == [{"recovered": False, "oldest": "epoch:0"}, "4", "5"]


def test_who_sees_bare_messages_begins_anew_without_a_word(mirror):
    stream = mirror.after(9, view=BARE)
    pass_checks(mirror, AWAITED + 1)
    assert b"".join(stream.writes) == b"".join(b"\x81\x01%d" % number for number in range(1, 6))


def test_when_what_was_awaited_has_come_no_time_is_up(mirror):
    stream = mirror.after(6)
    pass_checks(mirror, AWAITED)
    mirror.put(6)
    pass_checks(mirror, AWAITED + 1)
    mirror.put(7)
    assert stream.seen == ["7"]


def test_who_awaits_something_and_goes_is_awaited_for_no_more(mirror):
    stream = mirror.after(9)
    mirror.close(stream)
    pass_checks(mirror, AWAITED + 1)
    assert (stream.seen, len(mirror.delivery._readers)) == ([], 0)


def test_others_get_what_comes_while_one_awaits_more(mirror):
    mirror.after(9)
    other = mirror.after(5)
    mirror.put(6)
    assert other.seen == ["6"]


def test_of_a_sequence_of_our_own_nobody_can_have_had_more(feed):
    """It is told at once that it begins anew."""
    feed.put(1)
    assert feed.after(9).seen == [{"recovered": False, "oldest": "epoch:0"}, "1"]


# A log that can't be read just now


def be_away(*_: object) -> Any:
    raise Unavailable("it is away")


AWAY = (TRY_AGAIN_LATER, "it is away")


def test_who_is_given_something_is_to_come_back(feed, monkeypatch):
    feed.put(1)
    stream = feed.after(0, is_full=True)
    feed.put(2)
    monkeypatch.setattr(feed.log, "read", be_away)
    feed.drain(stream)
    assert (stream.seen, stream.closed_with) == (["1"], AWAY)


def test_who_begins_is_to_come_back(feed, monkeypatch):
    feed.put(1)
    monkeypatch.setattr(feed.log, "read", be_away)
    assert feed.after(0).closed_with == AWAY


def test_who_can_not_be_told_where_to_begin_anew_is_to_come_back(feed):
    feed.delivery.anew = be_away
    assert feed.after(9).closed_with == AWAY


def test_who_is_awaited_in_vain_and_can_not_be_told_is_to_come_back(mirror):
    mirror.delivery.anew = be_away
    stream = mirror.after(9)
    pass_checks(mirror, AWAITED + 1)
    assert stream.closed_with == AWAY


def test_who_is_seen_to_is_to_come_back(make, monkeypatch):
    feed, stream = slow_reader(make, "drop")
    monkeypatch.setattr(feed.log, "read", be_away)
    feed.delivery.check()
    assert stream.closed_with == AWAY


def test_who_goes_between_the_note_and_the_first_message_loses_none(make):
    feed = make(most=3)
    feed.put(1, 2, 3, 4, 5)
    (note, *_) = feed.open(Cursor("other", 1)).seen
    assert feed.open(parse_cursor(note["oldest"])).seen == ["3", "4", "5"]


# Those who are slow


def test_who_does_not_read_is_written_no_more_than_a_batch(feed):
    stream = feed.open(is_full=True)
    for number in range(100):
        feed.put(number)
    assert stream.seen == ["0"]


def test_a_reader_who_reads_late_but_is_not_too_far_behind_gets_all(feed):
    stream = feed.open(is_full=True)
    for number in range(1, 100):
        feed.put(number)
    feed.drain(stream)
    feed.drain(stream)
    assert (stream.seen, feed.dropped) == (words(1, 99), 0)


def test_others_do_not_wait_for_one_who_does_not_read(feed):
    feed.open(is_full=True)
    other = feed.open()
    feed.put(1)
    feed.put(2)
    assert other.seen == ["1", "2"]


def slow_reader(make: Any, slow: Any, **options: Any) -> tuple[Feed, Stream]:
    """One that has the first of ten messages, does not read, and may have three waiting."""
    feed = make(bounds=Bounds(slow, 3), **options)
    stream = feed.open(is_full=True)
    for number in range(10):
        feed.put(number)
    return feed, stream


def test_who_is_to_drop_misses_the_oldest_and_is_told_how_many(make):
    feed, stream = slow_reader(make, "drop")
    feed.drain(stream)
    assert stream.seen == ["0", {"dropped": 6}, "7", "8", "9"]


def test_who_wants_the_latest_gets_that_and_is_told_how_many_it_misses(make):
    feed, stream = slow_reader(make, "latest")
    feed.drain(stream)
    assert stream.seen == ["0", {"dropped": 8}, "9"]


def test_who_is_to_be_closed_is_told_to_come_again(make):
    feed, stream = slow_reader(make, "close")
    feed.drain(stream)
    assert stream.closed_with == (TRY_AGAIN_LATER, "too slow: resume with ?since=")
    assert stream.seen == ["0"]


def test_one_who_was_closed_can_go_on_where_it_was(make):
    feed, stream = slow_reader(make, "close")
    feed.drain(stream)
    assert feed.after(1).seen == words(1, 9)


def test_who_was_closed_is_not_closed_again(make):
    feed, stream = slow_reader(make, "close")
    feed.delivery.check()
    stream.channel.waiting = 0
    feed.readers[stream].drained()
    feed.delivery.check()
    assert not stream.is_open


@pytest.mark.parametrize(("slow", "count"), [("drop", 6), ("latest", 8), ("close", 0)])
def test_what_is_dropped_is_counted(make, slow, count):
    feed, stream = slow_reader(make, slow)
    feed.drain(stream)
    assert feed.dropped == count


def test_who_does_not_read_at_all_is_seen_to_now_and_then(make):
    feed, _ = slow_reader(make, "drop")
    feed.delivery.check()
    assert feed.dropped == 6


def test_who_does_not_read_at_all_is_closed_if_he_is_to_be(make):
    feed, stream = slow_reader(make, "close")
    feed.delivery.check()
    assert stream.closed_with is not None


def test_who_reads_is_not_seen_to(make):
    feed = make(bounds=Bounds("close", 0))
    stream = feed.open()
    feed.log.append(b"x" * 100)
    feed.delivery.check()
    gevent.idle()
    assert len(stream.messages) == 1


def test_of_what_is_dropped_again_only_that_is_told(make):
    feed, stream = slow_reader(make, "latest")
    feed.drain(stream)
    for number in range(10, 20):
        feed.put(number)
    feed.drain(stream)
    assert stream.seen == ["0", {"dropped": 8}, "9", {"dropped": 9}, "19"]


def test_who_sees_bare_messages_is_dropped_for_without_a_word(make):
    feed = make(bounds=Bounds("drop", 3))
    stream = feed.open(view=BARE, is_full=True)
    for number in range(10):
        feed.put(number)
    feed.drain(stream)
    assert b"".join(stream.writes[1:]) == b"\x81\x017\x81\x018\x81\x019"


def test_what_the_log_has_dropped_is_told_and_counted(make):
    feed = make(most=3)
    stream = feed.open(is_full=True)
    for number in range(10):
        feed.put(number)
    feed.drain(stream)
    assert (stream.seen, feed.dropped) == (["0", {"dropped": 6}, "7", "8", "9"], 6)


def test_one_who_is_to_be_closed_is_so_when_the_log_has_dropped_something(make):
    feed = make(most=3, bounds=Bounds("close", MUCH))
    stream = feed.open(is_full=True)
    for number in range(10):
        feed.put(number)
    feed.drain(stream)
    assert (stream.seen, stream.closed_with and stream.closed_with[0]) == (["0"], TRY_AGAIN_LATER)


def test_what_was_lost_before_it_came_here_is_told(feed):
    stream = feed.open()
    feed.put(1)
    feed.log.lose(7)
    feed.put(8)
    assert stream.seen == ["1", {"dropped": 1}, "8"]


def test_of_what_was_lost_before_it_came_here_the_count_is_told(feed):
    stream = feed.open()
    feed.put(1)
    feed.log.lose(7, 5)
    feed.put(8)
    assert (stream.seen, feed.dropped) == (["1", {"dropped": 5}, "8"], 5)


@pytest.mark.parametrize("view", [ENVELOPE, EVENTS])
def test_what_was_lost_is_told_though_no_message_has_followed_yet(feed, view):
    stream = feed.open(view=view)
    feed.log.lose(7, 3)
    feed.readers[stream].pull()
    assert stream.seen == [{"dropped": 3}]


def test_who_takes_all_misses_no_more_than_was_lost_before_it_came_here(make):
    feed = make(bounds=Bounds("drop", 3))
    stream = feed.open()
    feed.put(1)
    feed.log.lose(7)
    feed.produce(*words(8, 17))
    assert stream.seen == ["1", {"dropped": 1}, *words(8, 17)]


# The end


def test_the_end_closes_all_who_have_all(feed):
    feed.put(1)
    streams = [feed.open(), feed.after(0), feed.open(view=EVENTS)]
    feed.end()
    assert [stream.closed_with for stream in streams] == [(NORMAL, "the feed has ended")] * 3


def test_the_end_closes_one_who_reads_late_when_it_has_all(feed):
    stream = feed.open(is_full=True)
    feed.put(1)
    feed.put(2)
    feed.end()
    assert stream.is_open
    feed.drain(stream)
    feed.drain(stream)
    assert (stream.seen, stream.is_open) == (["1", "2"], False)


def test_what_was_put_just_before_the_end_is_delivered(feed):
    stream = feed.open()
    feed.log.append(b"last")
    feed.end()
    assert (stream.seen, stream.is_open) == (["last"], False)


def test_one_who_comes_after_the_end_gets_what_is_kept_and_is_closed(feed):
    feed.put(1)
    feed.end()
    stream = feed.open("all")
    assert (stream.seen, stream.is_open) == (["1"], False)


def test_one_who_has_lost_something_is_told_before_the_end(feed):
    stream = feed.open()
    feed.put(1)
    feed.log.lose(7)
    feed.end()
    assert stream.seen == ["1", {"dropped": 1}]


# The pace


def test_a_source_may_go_on_where_nobody_reads(make):
    feed = make(most=10)
    feed.open(is_full=True)
    with gevent.Timeout(TIMEOUT_S):
        feed.produce(*range(1000))


@pytest.mark.parametrize("most", [1, 2, 3, 10, 1000])
def test_who_takes_all_gets_all_however_fast_it_comes_and_however_little_is_kept(make, most):
    feed = make(most=most)
    stream = feed.open()
    feed.produce(*words(1, 1000))
    assert (stream.messages, stream.dropped) == (words(1, 1000), 0)


def test_who_takes_all_gets_all_however_large_it_is(make):
    feed = make(most_bytes=1000)
    stream = feed.open()
    messages = [str(number) * 100 for number in range(1, 101)]
    feed.produce(*messages)
    assert (stream.messages, stream.dropped) == (messages, 0)


def test_a_message_larger_than_all_that_is_kept_takes_nothing_from_those_before_it(make):
    feed = make(most_bytes=10)
    stream = feed.open()
    messages = ["a", "b" * 50, "c", "d" * 10, "e" * 11]
    feed.produce(*messages)
    assert (stream.messages, stream.dropped) == (messages, 0)


@pytest.mark.parametrize("most", [3, 1000])
def test_what_fits_comes_up_together(make, most):
    feed = make(most=most)
    stream = feed.open()
    feed.produce(*words(1, 200))
    assert len(stream.writes) == -(-200 // min(most, GROUP))


# Anything


STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 6)),
    st.tuples(st.just("put together"), st.integers(1, 8)),
    st.tuples(st.just("fill"), st.integers(0, 2)),
    st.tuples(st.just("empty"), st.integers(0, 2)),
    st.tuples(st.just("drain"), st.integers(0, 2)),
    st.tuples(st.just("check"), st.just(0)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("come back"), st.integers(0, 2)),
)


class Client:
    """What a client sees over all of its connections, each of which begins where the last has stopped."""

    def __init__(self, feed: Feed, view: View) -> None:
        self._feed = feed
        self._view = view
        self.has = 0  #: the number of the last message that it has, by what it was told
        self.stream = feed.open("now", view)

    def read(self) -> None:
        """Take note of what the connection has given: nothing twice, in order, and no gap that is not told."""
        for one in self.stream.seen:
            if isinstance(one, str):
                assert int(one.partition(" ")[0]) == self.has + 1
                self.has += 1
            elif "dropped" in one:
                self.has += one["dropped"]
            else:
                oldest = int(one["oldest"].partition(":")[2])
                assert oldest > self.has, "it could have been given what it came back for"
                self.has = oldest
        self.stream.writes.clear()

    def come_back(self) -> None:
        self.read()
        self._feed.close(self.stream)
        self.stream = self._feed.after(self.has, view=self._view)


@fixed
@given(
    st.lists(STEPS, max_size=80),
    st.sampled_from(SLOW),
    st.integers(0, 30),
    st.integers(1, 12),
    st.integers(5, 60),
)
def test_whatever_happens_each_gets_each_message_once_in_order_or_is_told_how_many_not(
    steps, slow, bound, most, most_bytes
):
    with failures_raise():
        feed = Feed(most, Bounds(slow, bound), most_bytes)
        clients = [Client(feed, view) for view in (ENVELOPE, EVENTS, ENVELOPE)]
        count = 0
        for step, value in steps:
            if step.startswith("put"):
                for _ in range(value if step == "put together" else 1):
                    count += 1
                    feed.log.append(b"%d " % count + b"x" * value)
            elif step == "check":
                feed.delivery.check()
            elif step == "turn":
                gevent.idle()
            elif step == "drain":
                clients[value].stream.drain(feed.readers[clients[value].stream])
            elif step == "come back":
                clients[value].come_back()
            else:
                clients[value].stream.is_full = step == "fill"
        for client in clients:
            finish(feed, client)
        feed.delivery.close()
    assert [client.has for client in clients] == [count] * 3


def finish(feed: Feed, client: Client) -> None:
    """Have a client read to the end, coming back if it was closed."""
    gevent.idle()
    client.stream.is_full = False
    while client.stream.channel.waiting:
        feed.drain(client.stream)
    if not client.stream.is_open:
        client.come_back()
    client.read()
    assert client.stream.is_open


# Readers of some topics


def about(topics: str, is_websocket: bool = True) -> View:
    return View(is_websocket, has_envelope=True, topics=frozenset(topics))


def post(feed: Feed, topics: str) -> None:
    """Append a message about each of these topics, and have them delivered; each says its offset."""
    for topic in topics:
        feed.log.append(b"%d" % (feed.log.newest + 1), topic)
    gevent.idle()


@pytest.mark.parametrize("is_websocket", [True, False])
def test_a_reader_of_some_topics_gets_those_only_and_in_order(feed, is_websocket):
    streams = [feed.open(view=about(topics, is_websocket)) for topics in ("a", "b", "ac", "d")]
    everything = feed.open(view=View(is_websocket, has_envelope=True))
    post(feed, "abcab")
    assert [stream.seen for stream in streams] == [["1", "4"], ["2", "5"], ["1", "3", "4"], []]
    assert everything.seen == words(1, 5)


def test_a_reader_of_no_topic_gets_nothing(feed):
    stream = feed.open(view=about(""))
    post(feed, "ab")
    assert stream.seen == []


def test_a_reader_of_some_topics_who_comes_back_gets_what_it_has_missed_of_those(feed):
    post(feed, "abab")
    stream = feed.after(1, view=about("a"))
    post(feed, "ba")
    assert stream.seen == ["3", "6"]


def test_a_reader_of_some_topics_who_comes_back_after_a_message_of_another_gets_what_comes_after_that(feed):
    post(feed, "abab")
    assert feed.after(2, view=about("a")).seen == ["3"]


def test_messages_of_other_topics_wake_nobody(feed, monkeypatch):
    pulled = []
    stream = feed.open(view=about("a"))
    kind = type(feed.readers[stream])
    real = kind.pull
    monkeypatch.setattr(kind, "pull", lambda self: pulled.append(self) or real(self))
    post(feed, "bbb")
    assert pulled == []
    post(feed, "a")
    assert pulled == [feed.readers[stream]]


def test_what_is_of_other_topics_is_passed_over_now_and_then(feed):
    stream = feed.open(view=about("a"))
    post(feed, "bbb")
    feed.delivery.check()
    assert feed.readers[stream]._subscription.position == 3


def test_what_the_log_has_dropped_of_other_topics_is_not_lost_if_it_is_passed_over_in_time(make):
    feed = make(most=10)
    stream = feed.open(view=about("a"))
    for _ in range(20):
        post(feed, "bbbbb")
        feed.delivery.check()
    post(feed, "a")
    assert (stream.messages, stream.dropped, feed.dropped) == (["101"], 0, 0)


@pytest.mark.parametrize("slow", SLOW)
def test_what_the_log_has_dropped_of_other_topics_is_never_lost(make, slow):
    """However much it is at once."""
    feed = make(most=10, bounds=Bounds(slow, MUCH))
    stream = feed.open(view=about("a"))
    post(feed, "b" * 100)
    feed.delivery.check()
    post(feed, "a")
    assert (stream.messages, stream.dropped, feed.dropped, stream.is_open) == (["101"], 0, 0, True)


def test_what_the_log_has_dropped_of_other_topics_is_not_lost_when_something_of_ones_own_comes(make):
    feed = make(most=10)
    stream = feed.open(view=about("a"))
    post(feed, "b" * 100 + "a")
    assert (stream.messages, stream.dropped, feed.dropped) == (["101"], 0, 0)


def test_what_the_log_has_dropped_of_ones_own_is_told(make):
    feed = make(most=10)
    stream = feed.open(view=about("a"), is_full=True)
    for _ in range(20):
        post(feed, "a")
    feed.drain(stream)
    assert (stream.messages[-1], stream.dropped, feed.dropped) == ("20", 9, 9)


@pytest.mark.parametrize("topics", ["a", "b", "ab"])
def test_a_reader_of_some_topics_is_closed_at_the_end(feed, topics):
    stream = feed.open(view=about(topics))
    post(feed, "a")
    feed.end()
    assert stream.closed_with == (NORMAL, "the feed has ended")


def test_much_of_other_topics_keeps_one_from_nothing_of_its_own(make):
    feed = make(most=100_000)
    post(feed, "b" * 20_000 + "a")
    stream = feed.open("all", about("a"))
    with gevent.Timeout(TIMEOUT_S):
        while not stream.messages:
            gevent.idle()
    assert stream.messages == ["20001"]


def test_what_wakes_the_readers_of_some_topics_goes_with_the_last_of_them(feed):
    streams = [feed.open(view=about(topics)) for topics in ("a", "a", "ab")]
    assert len(feed.delivery._fanouts) == 3
    feed.close(streams[0])
    assert len(feed.delivery._fanouts) == 3
    feed.close(streams[1])
    feed.close(streams[2])
    assert set(feed.delivery._fanouts) == {None}


def test_who_goes_while_it_is_given_something_leaves_nothing(feed):
    stream = feed.open(view=about("a"))

    def write(data: bytes) -> None:
        feed.close(stream)

    stream.write = write
    post(feed, "aa")
    assert (set(feed.delivery._fanouts), len(feed.delivery._readers)) == ({None}, 0)


def test_who_goes_while_it_still_has_much_to_be_given_leaves_nothing(make):
    feed = make(most=100_000)
    post(feed, "a" * 20_000)
    stream = Stream()
    reader = feed.delivery.open(stream, about("a"), "all")
    reader.begin()
    stream.is_open = False
    reader.closed()
    gevent.idle()
    assert (set(feed.delivery._fanouts), 0 < len(stream.messages) < 20_000) == ({None}, True)


TOPIC_STEPS = st.one_of(
    st.tuples(st.just("post"), st.text("abc", min_size=1, max_size=4)),
    st.tuples(st.sampled_from(["fill", "empty", "drain", "come back"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["check", "turn"]), st.just(0)),
)


@fixed
@given(st.lists(TOPIC_STEPS, max_size=60))
def test_whatever_happens_each_gets_each_message_of_its_topics_once_and_in_order(steps):
    with failures_raise():
        feed = Feed(10_000, Bounds("drop", MUCH))
        wanted = ["a", "ab", "b", "abc"]
        streams = [feed.open(view=about(topics)) for topics in wanted]
        had: list[list[str]] = [[] for _ in wanted]
        for step, value in steps:
            if step == "post":
                for topic in value:
                    feed.log.append(b"%d" % (feed.log.newest + 1), topic)
            elif step == "check":
                feed.delivery.check()
            elif step == "turn":
                gevent.idle()
            elif step == "drain":
                streams[value].drain(feed.readers[streams[value]])
            elif step == "come back":
                had[value] += streams[value].messages
                feed.close(streams[value])
                last = int(had[value][-1]) if had[value] else 0
                streams[value] = feed.after(last, view=about(wanted[value]))
            else:
                streams[value].is_full = step == "fill"
        for stream in streams:
            stream.is_full = False
            feed.drain(stream)
        gevent.idle()
        every = {
            topics: [str(one.number) for one in feed.log.read(0, 10_000) if one.topic in topics] for topics in wanted
        }
        feed.delivery.close()
    for topics, before, stream in zip(wanted, had, streams, strict=True):
        assert before + stream.messages == every[topics]
        assert stream.dropped == 0


# What is told beside the messages


def test_a_note_goes_to_all_who_read_its_topic(feed):
    streams = [feed.open(view=about(topics)) for topics in ("a", "ab", "b")]
    everything = feed.open()
    feed.delivery.tell("a", {"typing": "bob"})
    assert [stream.seen for stream in (*streams, everything)] == [
        [{"typing": "bob"}],
        [{"typing": "bob"}],
        [],
        [{"typing": "bob"}],
    ]


def test_a_note_does_not_wait_for_one_who_does_not_keep_up(feed):
    stream = feed.open(is_full=True)
    post(feed, "a")
    feed.delivery.tell("a", {"typing": "bob"})
    feed.drain(stream)
    assert stream.seen == ["1"]


def test_a_note_is_not_for_one_that_is_closed(feed):
    stream = feed.open()
    stream.is_open = False
    feed.delivery.tell("a", {"typing": "bob"})
    assert stream.writes == []


def test_one_who_goes_when_it_is_told_something_keeps_it_from_nobody(feed):
    stream, other = feed.open(), feed.open()
    stream.write = lambda data: feed.close(stream)
    feed.delivery.tell("a", {"typing": "bob"})
    assert (other.seen, len(feed.delivery._readers)) == ([{"typing": "bob"}], 1)


# Those who wait in greenlets


@pytest.mark.parametrize(("topics", "is_woken"), [("a", True), ("ab", True), ("b", False), ("", False), (None, True)])
def test_who_waits_is_woken_by_what_is_of_its_topics(feed, topics, is_woken):
    with feed.delivery.waiting(topics if topics is None else frozenset(topics)) as event:
        post(feed, "a")
        assert event.is_set() is is_woken


def test_who_waits_is_woken_again_and_again(feed):
    with feed.delivery.waiting(frozenset("a")) as event:
        for _ in range(3):
            event.clear()
            post(feed, "a")
            assert event.is_set()


def test_who_waits_in_a_greenlet_goes_on_when_something_comes(feed):
    def wait() -> int:
        with feed.delivery.waiting(frozenset("a")) as event:
            assert event.wait(TIMEOUT_S)
            return feed.log.newest

    waiting = gevent.spawn(wait)
    gevent.idle()
    post(feed, "ba")
    assert waiting.get(timeout=TIMEOUT_S) == 2


@pytest.mark.parametrize("topics", [frozenset("a"), None])
def test_who_waits_is_let_go(feed, topics):
    with feed.delivery.waiting(topics) as event:
        assert not feed.delivery.has_let_go
        feed.delivery.let_go()
        assert (event.is_set(), feed.delivery.has_let_go) == (True, True)


@pytest.mark.parametrize("topics", [frozenset("a"), None])
def test_who_waits_is_woken_at_the_end(feed, topics):
    with feed.delivery.waiting(topics) as event:
        feed.end()
        assert event.is_set()


def test_who_has_waited_is_woken_no_more_and_leaves_nothing(feed):
    with feed.delivery.waiting(frozenset("a")) as event:
        pass
    post(feed, "a")
    feed.delivery.let_go()
    assert (event.is_set(), set(feed.delivery._fanouts), len(feed.delivery._readers)) == (False, {None}, 0)


def test_who_is_killed_while_it_waits_leaves_nothing(feed):
    def wait() -> None:
        with feed.delivery.waiting(frozenset("a")) as event:
            event.wait()

    waiting = gevent.spawn(wait)
    gevent.idle()
    waiting.kill()
    assert (set(feed.delivery._fanouts), feed.delivery._waiters) == ({None}, set())


def test_readers_and_those_who_wait_share_what_wakes_them(feed):
    stream = feed.open(view=about("a"))
    with feed.delivery.waiting(frozenset("a")) as event:
        assert len(feed.delivery._fanouts) == 2
        feed.close(stream)
        post(feed, "a")
        assert event.is_set()
    assert set(feed.delivery._fanouts) == {None}
