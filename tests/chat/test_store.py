"""What each store promises: messages in one order, rooms, and names that are one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtool.chat import store as module
from gtool.chat.claims import KEPT_S, Claim
from gtool.chat.in_sqlite import InSqlite
from gtool.chat.messages import pack
from gtool.chat.store import InMemory, Store, room_named, words_of
from gtool.streams import memory as memory_module
from gtool.streams.log import Cursor, Entry
from gtool.streams.sqlite import log as log_module
from gtool.streams.subscription import Subscription
from tests.servers.looped import failures_raise

TIMEOUT_S = 10
ROOMS = ("a", "b")
fixed = settings(
    derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

Make = Callable[..., Store]


@pytest.fixture(params=["memory", "sqlite"])
def make(request, tmp_path) -> Iterator[Make]:
    """Make a store of each kind; each is a new one, and is closed at the end."""
    made: list[Store] = []

    def run(retain_s: float | None = None, most: int = 1000) -> Store:
        if request.param == "memory":
            made.append(InMemory(ROOMS, retain_s, most))
        else:
            made.append(InSqlite(str(tmp_path / f"{len(made)}.db"), ROOMS, retain_s, most))
        return made[-1]

    with failures_raise():
        yield run
        for store in made:
            store.close()


@pytest.fixture
def store(make) -> Store:
    return make()


@pytest.fixture
def clock(monkeypatch) -> Any:
    """The time that all goes by: `clock.now`."""

    class Clock:
        now = 1000.0

        def time(self) -> float:
            return self.now

    found = Clock()
    for where in (memory_module, log_module):
        monkeypatch.setattr(where, "time", found)
    monkeypatch.setattr(module, "time", found.time)
    monkeypatch.setattr("gtool.chat.in_sqlite.time", found.time)
    return found


def say(store: Store, *texts: object, room: str = "a", key: str | None = None) -> list[Entry]:
    return [store.post(room, pack(room, "user", str(text)), key)[0] for text in texts]


def offsets(entries: Any) -> list[int]:
    return [entry.offset for entry in entries]


# Messages


def test_a_message_is_read_as_it_was_posted(store, clock):
    data = pack("a", "user", "hello")
    entry, is_new = store.post("a", data, None)
    (read,) = store.log.read(0, 10)
    assert (read[:4], read.topic, is_new) == (entry[:4], "a", True)
    assert (read.offset, read.time, read.data) == (1, 1000.0, data)


def test_messages_of_all_rooms_are_one_sequence(store):
    for room in "abab":
        say(store, "x", room=room)
    assert [(entry.offset, entry.topic) for entry in store.log.read(0, 10)] == [(1, "a"), (2, "b"), (3, "a"), (4, "b")]


def test_a_message_is_told_before_who_has_posted_it_goes_on(store):
    told: list[Entry] = []
    store.log.listen(told.append)
    say(store, "x")
    assert offsets(told) == [1]


def test_a_post_with_the_same_key_is_the_message_that_is_there(store):
    first, is_new = store.post("a", pack("a", "user", "x"), "key")
    again, is_new_again = store.post("b", pack("b", "user", "y"), "key")
    assert (is_new, is_new_again, store.log.newest) == (True, False, 1)
    assert (again.offset, again.data, again.topic) == (first.offset, first.data, "a")


def test_a_post_with_another_key_is_another_message(store):
    assert offsets([*say(store, "x", key="one"), *say(store, "x", key="two"), *say(store, "x"), *say(store, "x")]) == [
        *(1, 2, 3, 4)
    ]


def test_a_key_of_a_message_that_is_not_kept_any_more_is_no_error(make):
    store = make(most=2)
    say(store, 1, key="key")
    say(store, 2, 3, 4)
    assert store.post("a", pack("a", "user", "1"), "key")[0].data == pack("a", "user", "1")


def test_those_who_post_together_each_get_their_own(store):
    greenlets = [gevent.spawn(say, store, number) for number in range(30)]
    gevent.joinall(greenlets, timeout=TIMEOUT_S)
    assert sorted(one.value[0].offset for one in greenlets) == list(range(1, 31))


def test_a_room_has_its_history(store):
    for room in "ababab":
        say(store, "x", room=room)
    assert offsets(store.history("a", None, 2)) == [3, 5]


@pytest.mark.parametrize(("before", "expected"), [(0, []), (1, []), (3, [1]), (4, [1, 3]), (6, [3, 5]), (1000, [3, 5])])
def test_a_history_ends_before_an_offset(store, before, expected):
    for room in "ababab":
        say(store, "x", room=room)
    assert offsets(store.history("a", before, 2)) == expected


def test_a_history_ends_before_any_offset_that_an_id_can_have(store):
    """Up to 30 digits: see gtool.streams.log.CURSOR."""
    say(store, "x")
    assert offsets(store.history("a", 10**30 - 1, 9)) == [1]


@pytest.mark.parametrize(("after", "expected"), [(0, [1, 3]), (1, [3, 5]), (2, [3, 5]), (4, [5]), (5, []), (1000, [])])
def test_what_comes_after_an_offset_is_given(store, after, expected):
    for room in "ababab":
        say(store, "x", room=room)
    assert offsets(store.after("a", after, 2)) == expected


def test_a_room_without_messages_has_nothing(store):
    say(store, "x")
    assert (store.history("b", None, 9), store.after("b", 0, 9), store.search(["x"], ["b"], None, 9)) == ([], [], [])


def test_the_place_of_a_time_is_found(store, clock):
    for clock.now in (10.0, 20.0, 30.0):
        say(store, "x")
    assert [store.offset_at(time_s) for time_s in (0, 10, 15, 30, 31)] == [0, 0, 1, 2, 3]


def test_in_an_empty_store_the_place_of_any_time_is_its_end(store):
    assert store.offset_at(5) == 0


# Searching


def search(store: Store, query: str, rooms: tuple[str, ...] = ROOMS, before: int | None = None, most: int = 99) -> Any:
    return offsets(store.search(words_of(query), rooms, before, most))


@pytest.mark.parametrize(
    "query", ["deploy", "DEPLOY", "dep", "fail deploy", "42", "über", "ÜBER", '"deploy"', "dep* -"]
)
def test_words_are_found_by_their_beginnings_in_any_case_and_order(store, query):
    say(store, "Deploy über 42: failed!")
    assert search(store, query) == [1]


@pytest.mark.parametrize("query", ["eploy", "deploys", "deploy won", "user", "42x", "text"])
def test_what_was_not_said_is_not_found(store, query):
    say(store, "Deploy über 42: failed!")
    assert search(store, query) == []


def test_the_newest_are_found_first_and_no_more_than_asked_for(store):
    say(store, "word", "word", "other", "word")
    assert (search(store, "word"), search(store, "word", most=2), search(store, "word", before=4)) == (
        *([4, 2, 1], [4, 2], [2, 1]),
    )


def test_only_in_rooms_asked_for_is_something_found(store):
    say(store, "word", room="a")
    say(store, "word", room="b")
    assert (search(store, "word", ("a",)), search(store, "word", ())) == ([1], [])


@pytest.mark.parametrize(
    ("text", "query", "is_found"),
    [
        ("naïve", "naive", True),
        ("Straße", "strasse", False),
        ("don't", "don't", True),
        ("a_b", "a_b", True),
        ("日本語", "日本", True),
    ],
)
def test_both_stores_find_the_same(store, text, query, is_found):
    say(store, text)
    assert search(store, query) == [1] * is_found


def test_a_word_of_nothing_but_a_line_below_is_no_error(store):
    say(store, "some_word")
    assert search(store, "_") == []


@fixed
@given(st.lists(st.text("ab _.'\"*é1-", max_size=8), max_size=5), st.text("ab _.'\"*é1-", max_size=5))
def test_whatever_is_said_its_own_words_find_it(make, texts, query):
    store = make()
    entries = say(store, *texts)
    for entry, text in zip(entries, texts, strict=True):
        if words := [word for word in words_of(text) if word.strip("_")]:
            assert entry.offset in offsets(store.search(words, ROOMS, None, 99))
    if words_of(query):
        search(store, query)


@pytest.mark.parametrize(
    ("query", "words"), [("", []), (" ", []), ("a b", ["a", "b"]), ('"a" OR b*', ["a", "OR", "b"])]
)
def test_a_query_is_words(query, words):
    assert words_of(query) == words


# What is not kept any more


def test_no_more_messages_are_kept_than_may_be(make, clock):
    store = make(most=3)
    say(store, *range(5))
    store._forget_old()
    assert (store.log.floor, offsets(store.history("a", None, 99))) == (2, [3, 4, 5])


def test_messages_are_kept_for_so_long(make, clock):
    store = make(retain_s=50.0)
    for clock.now in (1000.0, 1020.0, 1060.0):
        say(store, "x")
    store._forget_old()
    assert (store.log.floor, offsets(store.after("a", 0, 99))) == (1, [2, 3])


def test_when_all_are_too_old_none_is_left_and_it_goes_on(make, clock):
    store = make(retain_s=50.0)
    say(store, "x", "x")
    clock.now += 51
    store._forget_old()
    assert (store.log.floor, offsets(store.history("a", None, 9)), search(store, "x")) == (2, [], [])
    assert offsets(say(store, "y")) == [3]


def test_who_has_missed_what_is_not_kept_is_told_so(make, clock):
    store = make(most=3)
    say(store, *range(5))
    store._forget_old()
    found = [Subscription(store.log, Cursor(store.log.epoch, offset)).is_recovered for offset in (1, 2)]
    assert found == [False, True]


def test_what_is_too_old_goes_by_itself(make, clock, monkeypatch):
    monkeypatch.setattr(module, "TRIM_S", 0.001)
    monkeypatch.setattr("gtool.chat.in_sqlite.TRIM_S", 0.001)
    store = make(retain_s=50.0)
    say(store, "x")
    running = gevent.spawn(store.run, lambda note: None)
    clock.now += 51
    with gevent.Timeout(TIMEOUT_S):
        while store.history("a", None, 1):
            gevent.sleep(0.001)
    running.kill()


def test_what_is_kept_no_more_is_let_go_of_though_nobody_reads_it():
    store = InMemory(ROOMS, None, 3)
    say(store, *range(9))
    assert [len(entries) for entries in store._by_room.values()] == [3]


def test_rooms_where_nothing_is_kept_any_more_take_no_room():
    store = InMemory(ROOMS, None, 3)
    say(store, "x")
    say(store, *range(3), room="b")
    store._forget_old()
    assert list(store._by_room) == ["b"]


# Rooms


def test_rooms_are_in_the_order_in_which_they_came(store):
    store.add_room("c")
    assert list(store.rooms()) == ["a", "b", "c"]


def test_a_room_is_there_once(store):
    store.add_room("a")
    store.add_room("c")
    store.add_room("c")
    assert list(store.rooms()) == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["a", "A", "\u0430", "\uff41"])
def test_a_room_is_found_by_what_looks_like_its_name(name):
    assert room_named(["b", "a"], name) == "a"


def test_a_room_of_just_that_name_comes_before_one_that_looks_like_it():
    assert [room_named(["\u0430", "a", "A"], name) for name in ("A", "a", "\u0430")] == ["A", "a", "\u0430"]


@pytest.mark.parametrize("name", ["", "c", "ab", "a/b"])
def test_there_is_no_room_of_another_name(name):
    assert room_named(["a", "b"], name) is None


# Claims


def claim(digest: str = "mine", used_at: float = 1000.0, key: str = "bob") -> Claim:
    return Claim(key, "Bob", digest, used_at)


def test_a_name_that_nobody_has_can_be_claimed(store):
    assert (store.find_claim("bob"), store.put_claim(claim()), store.find_claim("bob")) == (None, True, claim())


def test_a_name_that_somebody_has_can_not(store):
    store.put_claim(claim())
    assert (store.put_claim(claim("other")), store.find_claim("bob")) == (False, claim())


def test_who_has_a_name_can_say_that_it_is_used(store):
    store.put_claim(claim())
    later = claim(used_at=2000.0)
    assert (store.put_claim(later), store.find_claim("bob")) == (True, later)


def test_a_name_that_was_not_used_for_long_can_be_claimed(store):
    store.put_claim(claim())
    other = claim("other", 1000.0 + KEPT_S + 1)
    assert (store.put_claim(other), store.find_claim("bob")) == (True, other)


def test_a_name_that_was_let_go_can_be_claimed(store):
    store.put_claim(claim())
    store.drop_claim(claim())
    assert store.find_claim("bob") is None
    assert store.put_claim(claim("other"))


def test_letting_go_what_nobody_has_is_no_error(store):
    store.drop_claim(claim())


def test_of_those_who_claim_a_name_together_one_has_it(store):
    greenlets = [gevent.spawn(store.put_claim, claim(str(number))) for number in range(10)]
    gevent.joinall(greenlets, timeout=TIMEOUT_S)
    assert sum(one.value for one in greenlets) == 1
    (first,) = [number for number, one in enumerate(greenlets) if one.value]
    assert store.find_claim("bob") == claim(str(first))


def test_names_that_were_not_used_for_long_are_forgotten(store, clock):
    store.put_claim(claim())
    store.put_claim(claim(key="anna", used_at=2000.0))
    clock.now = 1000.0 + KEPT_S + 1
    store._forget_old()
    assert (store.find_claim("bob"), store.find_claim("anna") is not None) == (None, True)


# A new one


def test_nothing_is_wrong_with_a_new_one(store):
    assert (store.trouble, store.is_loaded, store.log.newest) == ("", True, 0)


def test_what_is_told_to_others_where_there_are_none_is_no_error(store):
    store.tell({"here": {}})
