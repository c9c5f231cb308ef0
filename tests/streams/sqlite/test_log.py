"""A log in a file: what is in it is found whichever way it is read, in order, without a gap, and after a restart."""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.streams.log import Cursor, Entry, Unavailable
from gtool.streams.sqlite import log as module
from gtool.streams.sqlite.database import Database
from gtool.streams.sqlite.log import SqliteLog
from gtool.streams.sqlite.writer import Writer
from gtool.streams.subscription import Subscription
from tests.conftest import ROOT, environment
from tests.servers.looped import failures_raise

TIMEOUT_S = 20
fixed = settings(derandomize=True, deadline=None, max_examples=60)


def said(text: object) -> bytes:
    return json.dumps({"text": str(text)}, ensure_ascii=False).encode()


def texts(entries: Any) -> list[str]:
    return [json.loads(entry.data)["text"] for entry in entries]


def offsets(entries: Any) -> list[int]:
    return [entry.offset for entry in entries]


class Stored:
    """A log with its file and its writer."""

    def __init__(self, path: Path, window: int = 1000) -> None:
        self.path = path
        self.window = window
        self.open()

    def open(self) -> None:
        self.database = Database(str(self.path))
        self.writer = Writer(self.database.writer)
        self.log = SqliteLog(self.database, self.writer, self.window)

    def close(self) -> None:
        self.writer.close()
        self.log.close()
        self.database.close()

    def reopen(self, window: int | None = None) -> SqliteLog:
        self.close()
        self.window = window or self.window
        self.open()
        return self.log

    def put(self, *texts: object, topic: str = "a", key: str | None = None) -> list[Entry]:
        return [self.log.append(said(text), topic, key)[0] for text in texts]

    def trim(self, before_s: float | None, most: int | None) -> int:
        """Delete all that may go; give how many."""
        return sum(iter(lambda: self.log.trim(before_s, most), 0))

    @contextmanager
    def committed(self, work: Any) -> Iterator[None]:
        """Run the block when what `work` writes is in the file, and the loop has not heard of it yet."""
        is_committed = threading.Event()
        commit = self.writer._commit

        def note(jobs: Any) -> None:
            commit(jobs)
            is_committed.set()

        self.writer._commit = note  # type: ignore[method-assign]
        greenlet = gevent.spawn(work)
        while not greenlet.started or not self.writer._waiting:
            gevent.idle()
        assert is_committed.wait(TIMEOUT_S)  # the loop does not turn meanwhile
        try:
            yield
        finally:
            self.writer._commit = commit  # type: ignore[method-assign]
            greenlet.get(timeout=TIMEOUT_S)


@pytest.fixture
def make(tmp_path) -> Iterator[Any]:
    """Make a Stored; what fails on the loop fails the test."""
    made: list[Stored] = []

    def run(window: int = 1000) -> Stored:
        made.append(Stored(tmp_path / f"{len(made)}.db", window))
        return made[-1]

    with failures_raise():
        yield run
        for one in made:
            one.close()


@pytest.fixture
def stored(make) -> Stored:
    return make()


@pytest.fixture
def clock(monkeypatch) -> Any:
    """The time that entries are given: `clock.now`."""

    class Clock:
        now = 1000.0

        def time(self) -> float:
            return self.now

    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


# Appending


def test_an_entry_is_given_as_it_is_kept(stored, clock):
    entry, is_new = stored.log.append(said("hello"), "room")
    assert (entry.number, entry.offset, entry.time, entry.data, entry.topic) == (1, 1, 1000.0, said("hello"), "room")
    assert is_new


def test_offsets_begin_at_1_and_none_is_left_out(stored):
    stored.put(1, 2, 3)
    assert [(entry.number, entry.offset) for entry in stored.log.read(0, 10)] == [(1, 1), (2, 2), (3, 3)]


def test_what_could_not_be_written_leaves_no_offset_out(stored):
    stored.put(1)
    for _ in range(3):
        with pytest.raises(Unavailable):
            stored.log.append(b"no JSON", "a")
    stored.put(2)
    assert offsets(stored.log.read(0, 10)) == [1, 2]


def test_what_could_not_be_written_is_not_told(stored):
    told: list[Entry] = []
    stored.log.listen(told.append)
    with pytest.raises(Unavailable):
        stored.log.append(b"no JSON", "a")
    assert (told, stored.log.newest) == ([], 0)


def test_an_empty_log_has_nothing_before_its_first(stored):
    log = stored.log
    assert (log.oldest, log.newest, log.floor, log.newest_offset, list(log.read(0, 10))) == (1, 0, 0, 0, [])


@pytest.mark.parametrize(
    "text", ["", "ä\U0001f600", "\0", 'say "hi"', "\u2028", "x" * 100_000, "' OR 1=1 --", "\\u0000"]
)
def test_whatever_is_said_is_kept_as_it_is(stored, text):
    stored.put(text)
    assert texts(stored.reopen().read(0, 1)) == [text]


@pytest.mark.parametrize("topic", ["", "ä", "a'b", 'a"b', "a/b", "%", "\U0001f600"])
def test_whatever_a_topic_is_called_its_entries_are_found(stored, topic):
    stored.put(1, topic=topic)
    stored.put(2, topic="other")
    assert texts(stored.log.history(topic, None, 10)) == ["1"]


def test_those_who_append_together_each_get_their_own(stored):
    greenlets = [gevent.spawn(stored.put, number) for number in range(50)]
    gevent.joinall(greenlets, timeout=TIMEOUT_S)
    found = [one.value[0] for one in greenlets]
    assert (texts(found), sorted(offsets(found))) == ([str(n) for n in range(50)], list(range(1, 51)))


# Keys


def test_what_has_the_same_key_is_the_entry_that_is_there(stored):
    first, is_new = stored.log.append(said("x"), "a", "key")
    again, is_new_again = stored.log.append(said("y"), "b", "key")
    assert (is_new, is_new_again, stored.log.newest) == (True, False, 1)
    assert again[:4] == first[:4]


def test_what_has_another_key_or_none_is_another_entry(stored):
    for key in ("one", "two", None, None):
        stored.log.append(said("x"), "a", key)
    assert stored.log.newest == 4


def test_what_has_the_same_key_and_comes_together_is_one_entry(stored):
    greenlets = [gevent.spawn(stored.log.append, said("x"), "a", "key") for _ in range(20)]
    gevent.joinall(greenlets, timeout=TIMEOUT_S)
    assert {one.value[0].offset for one in greenlets} == {1}
    assert sum(one.value[1] for one in greenlets) == 1


def test_a_key_is_told_once(stored):
    told: list[Entry] = []
    stored.log.listen(told.append)
    stored.put("x", key="key")
    stored.put("x", key="key")
    assert len(told) == 1


def test_a_key_is_known_after_a_restart(stored):
    stored.put("x", key="key")
    stored.reopen()
    assert stored.log.append(said("x"), "a", "key") == (
        Entry(1, 1, stored.log.read(0, 1)[0].time, said("x"), 0, "a"),
        False,
    )


def test_a_key_is_remembered_for_so_long(stored, clock):
    stored.put("x", key="key")
    clock.now += module.KEYS_S - 1
    assert offsets(stored.put("x", key="key")) == [1]
    clock.now += 2
    assert offsets(stored.put("x", key="key")) == [2]


def test_a_key_of_what_was_deleted_is_free(stored):
    stored.put("x", key="key")
    stored.trim(None, 0)
    assert offsets(stored.put("x", key="key")) == [2]
    assert offsets(stored.put("x", key="key")) == [2]


def test_a_key_of_what_could_not_be_written_is_free(stored):
    with pytest.raises(Unavailable):
        stored.log.append(b"no JSON", "a", "key")
    assert stored.log.append(said("x"), "a", "key")[1]


# Reading


@pytest.mark.parametrize("window", [1, 2, 5, 9, 10, 1000])
def test_all_are_read_whether_they_are_in_memory_or_not(make, window):
    stored = make(window)
    entries = stored.put(*range(1, 11))
    for after, most in itertools.product(range(12), (1, 3, 100)):
        found = [entry[:4] for entry in stored.log.read(after, most)]
        assert found == [entry[:4] for entry in entries[after : after + most]]


@pytest.mark.parametrize("window", [1, 3, 100])
def test_after_a_restart_all_are_read_as_before(make, window):
    stored = make()
    stored.put(*range(1, 11))
    before = [(*entry[:4], entry.topic) for entry in stored.log.read(0, 100)]
    log = stored.reopen(window)
    assert [(*entry[:4], entry.topic) for entry in log.read(0, 100)] == before
    assert (log.oldest, log.newest, log.newest_offset, log.floor) == (1, 10, 10, 0)


def test_after_a_restart_it_is_the_same_sequence(stored):
    epoch = stored.log.epoch
    stored.put(1)
    log = stored.reopen()
    assert (log.epoch, offsets(stored.put(2))) == (epoch, [2])


def test_what_comes_after_a_restart_comes_after_all(make):
    stored = make(2)
    stored.put(1, 2, 3)
    stored.reopen()
    stored.put(4, 5)
    assert texts(stored.log.read(0, 10)) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("most_bytes", [1, 40, 100])
def test_the_window_has_its_size_too(make, monkeypatch, most_bytes):
    monkeypatch.setattr(module, "WINDOW_BYTES", most_bytes)
    stored = make()
    stored.put(*range(1, 11))
    assert texts(stored.log.read(0, 100)) == [str(n) for n in range(1, 11)]
    assert texts(stored.reopen().read(0, 100)) == [str(n) for n in range(1, 11)]


@pytest.mark.parametrize(("offset", "number"), [(0, 3), (3, 3), (4, 4), (7, 7), (8, 7), (10**30, 7)])
def test_the_place_of_an_offset_is_found_among_those_that_are_kept(make, offset, number):
    stored = make(2)
    stored.put(*range(7))
    stored.trim(None, 4)
    assert stored.log.find(offset) == number


def test_listeners_are_told_of_each_in_order_until_they_are_forgotten(stored):
    told: list[Entry] = []
    stored.log.listen(told.append)
    stored.put(1, 2)
    stored.log.forget(told.append)
    stored.put(3)
    assert texts(told) == ["1", "2"]


def test_who_is_told_of_an_entry_can_read_it(stored):
    read: list[str] = []
    stored.log.listen(lambda entry: read.extend(texts(stored.log.read(entry.number - 1, 1))))
    stored.put(1, 2)
    assert read == ["1", "2"]


def test_what_nobody_was_told_of_yet_is_not_read(make):
    """Else a reader's position is behind the newest, and the id it has is one that it can't come back with."""
    stored = make(1)
    stored.put(1, 2, 3)
    with stored.committed(lambda: stored.put(4)):
        assert (stored.log.newest, texts(stored.log.read(0, 100))) == (3, ["1", "2", "3"])


def test_what_nobody_was_told_of_yet_does_not_come_after_anything(stored):
    """Else a page ends with what comes after the cursor that is given with it, and comes twice."""
    stored.put(1)
    with stored.committed(lambda: stored.put(2)):
        assert (stored.log.newest_offset, texts(stored.log.after("a", 0, 100))) == (1, ["1"])


def test_what_nobody_was_told_of_yet_is_in_no_history_and_is_not_found(stored):
    stored.put("x")
    with stored.committed(lambda: stored.put("x")):
        assert offsets(stored.log.history("a", None, 9)) == [1]
        assert offsets(stored.log.search(["x"], ["a"], None, 9)) == [1]
        assert stored.log.offset_at(0) == 0


# Topics


def test_the_last_of_a_topic_are_given_in_order(stored):
    for number in range(10):
        stored.put(number, topic="ab"[number % 2])
    assert texts(stored.log.history("a", None, 3)) == ["4", "6", "8"]


@pytest.mark.parametrize(("before", "expected"), [(0, []), (1, []), (2, ["1"]), (5, ["3", "4"]), (99, ["8", "9"])])
def test_those_before_an_offset_are_given(stored, before, expected):
    stored.put(*range(1, 10))
    assert texts(stored.log.history("a", before, 2)) == expected


@pytest.mark.parametrize("offset", [1 << 63, 10**30 - 1])
def test_an_offset_may_be_as_large_as_an_id_can_say(stored, offset):
    stored.put("x")
    assert offsets(stored.log.history("a", offset, 9)) == [1]
    assert offsets(stored.log.search(["x"], ["a"], offset, 9)) == [1]
    assert offsets(stored.log.after("a", offset, 9)) == []
    assert offsets(stored.log.read(offset, 9)) == []


def test_those_after_an_offset_are_given(stored):
    for number in range(1, 11):
        stored.put(number, topic="ab"[number % 2])
    assert texts(stored.log.after("a", 3, 3)) == ["4", "6", "8"]


def test_a_topic_that_nobody_has_said_anything_about_has_nothing(stored):
    stored.put(1)
    assert (stored.log.history("b", None, 9), stored.log.after("b", 0, 9)) == ([], [])


def test_the_place_of_a_time_is_found(stored, clock):
    for clock.now in (10.0, 20.0, 30.0):
        stored.put(1)
    assert [stored.log.offset_at(time_s) for time_s in (5, 10, 10.5, 20, 30, 31)] == [0, 0, 1, 1, 2, 3]


def test_in_an_empty_log_the_place_of_any_time_is_its_end(stored):
    assert stored.log.offset_at(5) == 0


# Deleting


def test_of_too_many_the_oldest_are_deleted(stored):
    stored.put(*range(1, 11))
    assert stored.trim(None, 4) == 6
    assert (stored.log.oldest, stored.log.floor, texts(stored.log.history("a", None, 99))) == (
        7,
        6,
        [*list("789"), "10"],
    )


def test_what_is_too_old_is_deleted(stored, clock):
    for clock.now in (10.0, 20.0, 30.0):
        stored.put(clock.now)
    assert stored.trim(20.0, None) == 1
    assert texts(stored.log.history("a", None, 99)) == ["20.0", "30.0"]


@pytest.mark.parametrize(("before_s", "most", "count"), [(20.0, 9, 1), (20.0, 1, 2), (None, None, 0), (0.0, 9, 0)])
def test_what_is_too_old_or_too_much_is_deleted(stored, clock, before_s, most, count):
    for clock.now in (10.0, 20.0, 30.0):
        stored.put(clock.now)
    assert stored.trim(before_s, most) == count


def test_a_clock_that_was_put_back_has_nothing_deleted_that_is_not_older_than_all_that_stays(stored, clock):
    for clock.now in (10.0, 50.0, 20.0, 60.0):
        stored.put(clock.now)
    assert stored.trim(30.0, None) == 1
    assert texts(stored.log.history("a", None, 99)) == ["50.0", "20.0", "60.0"]


def test_much_is_deleted_in_steps(stored, monkeypatch):
    monkeypatch.setattr(module, "TRIMMED", 3)
    stored.put(*range(10))
    steps = list(iter(lambda: stored.log.trim(None, 2), 0))
    assert steps == [3, 3, 2]


def test_after_each_step_the_floor_is_where_it_is(stored, monkeypatch):
    monkeypatch.setattr(module, "TRIMMED", 3)
    stored.put(*range(10))
    floors = []
    while stored.log.trim(None, 2):
        floors.append(stored.log.floor)
    assert floors == [3, 6, 8]


def test_all_may_be_deleted_and_it_goes_on_behind_that(stored):
    stored.put(1, 2, 3)
    stored.trim(None, 0)
    assert (stored.log.oldest, stored.log.newest, stored.log.floor) == (4, 3, 3)
    assert offsets(stored.put(4)) == [4]


def test_what_is_deleted_is_so_after_a_restart(stored):
    stored.put(*range(1, 6))
    stored.trim(None, 2)
    log = stored.reopen()
    assert (log.oldest, log.newest, texts(log.read(0, 10))) == (4, 5, ["4", "5"])


def test_no_offset_comes_again_though_all_were_deleted_before_a_restart(stored):
    stored.put(1, 2, 3)
    stored.trim(None, 0)
    log = stored.reopen()
    assert (log.oldest, log.newest, log.floor, log.newest_offset) == (4, 3, 3, 3)
    assert offsets(stored.put(4)) == [4]
    assert offsets(log.read(0, 10)) == [4]


def test_what_is_deleted_is_not_read_any_more(stored):
    stored.put(1, 2, 3)
    stored.trim(None, 1)
    assert texts(stored.log.read(0, 10)) == ["3"]


def test_a_reader_of_all_gets_what_was_not_deleted(stored):
    stored.put(1, 2, 3)
    stored.trim(None, 1)
    assert texts(Subscription(stored.log, "all").take(10)) == ["3"]


@pytest.mark.parametrize(("offset", "is_recovered"), [(1, False), (2, True), (3, True), (4, False)])
def test_a_cursor_can_be_gone_on_from_if_nothing_after_it_was_deleted(stored, offset, is_recovered):
    stored.put(1, 2, 3)
    stored.trim(None, 1)
    assert Subscription(stored.log, Cursor(stored.log.epoch, offset)).is_recovered == is_recovered


@pytest.mark.parametrize("window", [1, 100])
def test_who_reads_while_things_are_deleted_is_told_what_it_has_lost(make, window):
    stored = make(window)
    stored.put(*range(1, 11))
    subscription = Subscription(stored.log, "all")
    subscription.take(2)
    stored.trim(None, 4)
    assert (texts(subscription.take(100)), subscription.lost) == (["7", "8", "9", "10"], 4)


def test_what_is_deleted_just_now_is_told_to_be_lost(make):
    """The file has less already, and the loop has not heard of it."""
    stored = make(1)
    stored.put(*range(1, 11))
    subscription = Subscription(stored.log, "all")
    with stored.committed(lambda: stored.log.trim(None, 4)):
        seen = texts(subscription.take(2))
    seen += texts(subscription.take(100))
    assert (seen, subscription.lost) == (["7", "8", "9", "10"], 6)


def test_deleting_goes_on_after_what_could_not_be_deleted(stored):
    stored.put(1, 2, 3)
    other = sqlite3.connect(stored.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    stored.writer._connection.execute("PRAGMA busy_timeout = 1")
    with pytest.raises(Unavailable, match="locked"):
        stored.log.trim(None, 1)
    other.close()
    assert stored.trim(None, 1) == 2
    assert texts(stored.reopen().read(0, 9)) == ["3"]


# Searching


def found(stored: Stored, *words: str, topics: tuple[str, ...] = ("a", "b"), **options: Any) -> list[str]:
    return texts(stored.log.search(words, topics, options.get("before"), options.get("most", 99)))


@pytest.mark.parametrize(
    "words",
    [
        ["deploy"],
        ["DEPLOY"],
        ["dep"],
        ["d"],
        ["failed"],
        ["failed", "deploy"],
        ["dep", "fail"],
        ["42"],
        ["uber"],
        ["Über"],
    ],
)
def test_words_are_found_by_their_beginnings_in_any_case_and_order(stored, words):
    stored.put("Deploy über 42 failed")
    assert found(stored, *words) == ["Deploy über 42 failed"]


@pytest.mark.parametrize("words", [["eploy"], ["deploys"], ["deploy", "won"], ["text"], ["deploy failed now"], ["42x"]])
def test_what_is_not_there_is_not_found(stored, words):
    stored.put("Deploy über 42 failed")
    assert found(stored, *words) == []


def test_the_newest_are_found_first_and_no_more_than_asked_for(stored):
    stored.put("word 1", "word 2", "other", "word 3")
    assert found(stored, "word", most=2) == ["word 3", "word 2"]


def test_those_before_an_offset_are_found(stored):
    stored.put("word 1", "word 2", "word 3")
    assert found(stored, "word", before=3) == ["word 2", "word 1"]


def test_what_is_of_other_topics_is_not_found(stored):
    stored.put("word 1", topic="a")
    stored.put("word 2", topic="b")
    assert found(stored, "word", topics=("b",)) == ["word 2"]


def test_of_no_topic_nothing_is_found(stored):
    stored.put("word")
    assert found(stored, "word", topics=()) == []


def test_a_topic_is_no_word(stored):
    stored.put("x", topic="b")
    assert found(stored, "b") == []


def test_what_was_deleted_is_not_found(stored):
    stored.put("word 1", "word 2")
    stored.trim(None, 1)
    assert found(stored, "word") == ["word 2"]


def test_what_was_said_before_a_restart_is_found(stored):
    stored.put("word")
    stored.reopen()
    assert found(stored, "word") == ["word"]


@pytest.mark.parametrize(
    "word",
    [
        '"',
        'a"b',
        "'",
        "*",
        "a*",
        "(",
        ")",
        "a AND b",
        "OR",
        "NOT",
        "NEAR",
        "a:b",
        "text:x",
        "^a",
        "-a",
        "+",
        "{",
        "\\",
        "_",
        "",
        " ",
        "\0",
        "ä",
        "日本",
        "😀",
        "á",
        ";",
        "--",
        "%",
        "?",
    ],
)
def test_whatever_is_looked_for_is_a_word_and_no_command(stored, word):
    stored.put("something else")
    assert found(stored, word) == []


@pytest.mark.parametrize("word", ["AND", "OR", "NOT", "NEAR", "日本", "naïve", "x_y", "٣"])
def test_words_that_mean_something_elsewhere_are_found(stored, word):
    stored.put(f"this {word} that")
    assert found(stored, word) == [f"this {word} that"]


@fixed
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6), min_size=1))
def test_no_words_whatever_break_a_search(words):
    with temporary() as stored:
        stored.put("something")
        found(stored, *words)


# Anything


@contextmanager
def temporary(window: int = 3) -> Iterator[Stored]:
    with failures_raise(), tempfile.TemporaryDirectory() as name:
        stored = Stored(Path(name) / "x.db", window)
        try:
            yield stored
        finally:
            stored.close()


class Client:
    """What a reader knows over all of its connections, by the offsets that it was told."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._subscription = Subscription(stored.log, "now")
        self.has = stored.log.newest  # the last that it has, or knows to have missed
        self.seen: list[int] = []
        self._told = 0

    def take(self, most: int) -> None:
        for entry in self._subscription.take(most):
            assert entry.offset > self.has, "twice, or not in order"
            lost = self._subscription.lost - self._told
            assert entry.offset - self.has - 1 == lost, "a gap that is not told"
            self._told += lost
            self.has = entry.offset
            assert json.loads(entry.data)["text"] == str(entry.offset)
            self.seen.append(entry.offset)

    def resume(self) -> None:
        log = self._stored.log
        self._subscription, self._told = Subscription(log, Cursor(log.epoch, self.has)), 0
        assert self._subscription.is_recovered == (log.floor <= self.has)
        if not self._subscription.is_recovered:
            self.has = log.floor


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 6)),
    st.tuples(st.just("trim"), st.integers(0, 6)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("subscribe"), st.just(0)),
    st.tuples(st.just("resume"), st.just(0)),
    st.tuples(st.just("reopen"), st.integers(1, 8)),
)


@fixed
@given(st.lists(STEPS, max_size=30), st.integers(1, 8))
def test_whatever_happens_each_comes_once_in_order_or_is_told_to_be_lost(steps, window):
    with temporary(window) as stored:
        clients = [Client(stored)]
        for step, value in steps:
            if step == "append":
                for _ in range(value):
                    stored.put(stored.log.newest + 1)
            elif step == "trim":
                stored.trim(None, value)
            elif step == "subscribe":
                clients.append(Client(stored))
            elif step == "reopen":
                stored.reopen(value)
                for client in clients:
                    client.resume()
            else:
                for client in clients:
                    client.take(value) if step == "take" else client.resume()
        for client in clients:
            client.take(1000)
            assert not client._subscription.has_more
            kept = list(range(stored.log.oldest, stored.log.newest + 1))
            assert client.seen[-1:] == kept[-1:] or not kept or client.has == stored.log.newest


@fixed
@given(st.lists(st.sampled_from("ab"), max_size=12), st.integers(0, 12), st.integers(1, 5), st.integers(0, 14))
def test_the_ways_to_read_agree(topics, kept, window, place):
    with temporary(window) as stored:
        for number, topic in enumerate(topics, 1):
            stored.put(number, topic=topic)
        stored.trim(None, kept)
        every = [number for number in range(1, len(topics) + 1) if number > len(topics) - kept]
        of_a = [number for number in every if topics[number - 1] == "a"]
        log = stored.log
        assert offsets(Subscription(log, "all").take(99)) == every
        assert offsets(log.history("a", None, 99)) == of_a
        assert offsets(log.history("a", place, 99)) == [one for one in of_a if one < place]
        assert offsets(log.after("a", place, 99)) == [one for one in of_a if one > place]


# kill -9

CHILD = """
import sys, gevent
from gtool.streams.sqlite.database import Database
from gtool.streams.sqlite.log import SqliteLog
from gtool.streams.sqlite.writer import Writer
database = Database(sys.argv[1])
writer = Writer(database.writer)
log = SqliteLog(database, writer)
def post(poster):
    for count in range(10_000):
        entry, _ = log.append(b'{"text": "%d-%d"}' % (poster, count), "a", f"{poster}-{count}")
        print(entry.offset, f"{poster}-{count}", flush=True)
gevent.joinall([gevent.spawn(post, poster) for poster in range(20)])
"""


@pytest.mark.parametrize("count", [1, 57, 300])
def test_what_was_acknowledged_is_there_when_the_process_was_killed(tmp_path, count):
    path = tmp_path / "x.db"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment()) as process:
        lines = [process.stdout.readline() for _ in range(count)]
        process.kill()
        lines += process.stdout.readlines()
    acknowledged = [line.decode().split() for line in lines if line.endswith(b"\n")]
    stored = Stored(path)
    kept = {str(entry.offset): json.loads(entry.data)["text"] for entry in stored.log.read(0, 1_000_000)}
    newest = stored.log.newest
    again = stored.log.append(said("again"), "a", acknowledged[0][1])
    stored.close()
    assert [(offset, kept.get(offset)) for offset, _ in acknowledged] == [
        (offset, text) for offset, text in acknowledged
    ]
    assert (sorted(map(int, kept)), str(again[0].offset), again[1]) == (
        list(range(1, newest + 1)),
        acknowledged[0][0],
        False,
    )
