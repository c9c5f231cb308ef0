"""What the pages, the API and the streams have in common: who may say what, and what others are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

import gtool.chat.chat
from gtool.chat.chat import BACKLOG, Chat, Settings
from gtool.chat.store import InMemory
from gtool.streams.log import Cursor
from gtool.web.respond import Refused


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store(InMemory):
    def __init__(self, most: int = 1000) -> None:
        super().__init__(["a", "b"], None, most)
        self.notes: list[Any] = []

    def tell(self, note: Any) -> None:
        self.notes.append(note)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gtool.chat.chat, "monotonic", clock)
    return clock


@pytest.fixture
def make(clock) -> Iterator[Callable[..., Chat]]:
    with ExitStack() as stack:
        yield lambda settings=Settings(), store=None: stack.enter_context(  # noqa: B008
            closing(Chat(store or Store(), settings, "me"))
        )


@pytest.fixture
def chat(make) -> Chat:
    return make()


@pytest.fixture
def told(chat, monkeypatch) -> list[tuple[str, Any]]:
    """What readers of rooms are told."""
    found: list[tuple[str, Any]] = []
    monkeypatch.setattr(chat.delivery, "tell", lambda room, note: found.append((room, note)))
    return found


def say(chat: Chat, text: str = "x", user: str = "bob", room: str = "a", address: str = "here") -> Any:
    return chat.say(user, room, text, None, address)[0]


def status_of(refused: Any) -> int:
    return int(refused.value.status[:3])


# --- how often


def test_a_user_may_say_so_much_at_once_and_then_so_much_a_second(make, clock):
    chat = make(Settings(rate=2.0, burst=3.0))
    for _ in range(3):
        say(chat)
    with pytest.raises(Refused) as refused:
        say(chat)
    assert (status_of(refused), dict(refused.value.headers)["Retry-After"]) == (429, "1")
    clock.now += 0.5
    say(chat)


def test_somebody_else_is_not_held_up(make):
    chat = make(Settings(rate=1.0, burst=1.0))
    say(chat, user="bob")
    say(chat, user="anna")


def test_a_name_that_looks_the_same_is_the_same_user(make):
    chat = make(Settings(rate=1.0, burst=1.0))
    say(chat, user="bob")
    with pytest.raises(Refused):
        say(chat, user="BOB")


def test_from_one_address_comes_ten_times_as_much(make):
    chat = make(Settings(rate=1.0, burst=1.0))
    for number in range(10):
        say(chat, user=f"user{number}")
    with pytest.raises(Refused, match="429"):
        say(chat, user="another")
    say(chat, user="another2", address="there")


def test_what_is_refused_as_it_is_counts_for_nothing(make):
    chat = make(Settings(rate=1.0, burst=1.0))
    for _ in range(3):
        with pytest.raises(Refused, match="400"):
            say(chat, " ")
    say(chat)


def test_a_rate_of_0_is_no_limit(make):
    chat = make(Settings(rate=0.0, burst=1.0))
    for _ in range(1000):
        say(chat)


# --- what is kept


def test_a_key_is_of_a_user_and_a_room_and_a_text(chat):
    first, is_new = chat.say("bob", "a", "x", "k", "here")
    assert (chat.say("bob", "a", "x", "k", "here"), is_new) == ((first, False), True)
    for room, text in (("b", "x"), ("a", "y")):
        with pytest.raises(Refused, match="422"):
            chat.say("bob", room, text, "k", "here")
    assert chat.say("anna", "a", "x", "k", "here")[1]


# --- rooms


def test_a_room_is_given_as_it_is_called(chat):
    assert [chat.room(name) for name in ("a", "A", "\u0430")] == ["a", "a", "a"]


def test_a_room_that_there_is_not_is_refused_and_its_name_not_shown_at_length(chat):
    with pytest.raises(Refused, match="404") as refused:
        chat.room("x" * 10_000)
    assert len(refused.value.text) < 200


def test_new_rooms_are_refused_unless_they_are_allowed(make):
    with pytest.raises(Refused, match="403"):
        make().add_room("c", "here")
    assert make(Settings(allows_new_rooms=True)).add_room("c", "here") == ("c", True)


def test_a_room_that_is_there_is_given_though_none_may_be_made(chat):
    assert chat.add_room("a", "here") == ("a", False)


def test_a_room_that_can_not_be_told_from_another_is_refused(make):
    with pytest.raises(Refused, match="409"):
        make(Settings(allows_new_rooms=True)).add_room("A", "here")


def test_rooms_have_a_bound(make):
    chat = make(Settings(allows_new_rooms=True, max_rooms=3))
    chat.add_room("c", "here")
    with pytest.raises(Refused, match="--max-rooms"):
        chat.add_room("d", "here")


def test_one_address_makes_so_many_rooms(make, clock):
    chat = make(Settings(allows_new_rooms=True))
    for number in range(5):
        chat.add_room(f"room{number}", "here")
    with pytest.raises(Refused, match="429"):
        chat.add_room("c", "here")
    assert chat.add_room("c", "there") == ("c", True)
    clock.now += 60
    assert chat.add_room("d", "here") == ("d", True)


# --- what others are told


def test_who_types_is_told_here_and_at_other_processes(chat, told):
    chat.typing("bob", "a")
    note = {"typing": {"room": "a", "user": "bob"}}
    assert (told, chat.store.notes) == ([("a", note)], [{"process": "me", "room": "a", "note": note}])


def test_who_types_fast_is_told_now_and_then(chat, told, clock):
    for _ in range(10):
        chat.typing("bob", "a")
    first = len(told)
    clock.now += 1
    chat.typing("bob", "a")
    assert (first, len(told)) == (2, 3)


def test_what_another_process_tells_is_told_here(chat, told):
    note = {"typing": {"room": "a", "user": "bob"}}
    chat.heard({"process": "other", "room": "a", "note": note})
    assert told == [("a", note)]


def test_what_we_have_told_ourselves_is_not_told_twice(chat, told):
    chat.heard({"process": "me", "room": "a", "note": {}})
    chat.heard({"process": "me", "here": {"a": ["ghost"]}})
    assert (told, chat.presence.crowd("a").count) == ([], 0)


def test_who_is_at_another_process_is_here(chat):
    chat.heard({"process": "other", "here": {"a": ["bob"]}})
    assert chat.presence.crowd("a").users == ["bob"]


@pytest.mark.parametrize("note", [{}, {"process": "other"}, {"x": 1}, {"process": "o", "note": 5}, {"here": [1]}])
def test_a_note_that_says_nothing_is_passed_over(chat, told, note):
    chat.heard(note)
    assert told == []


def test_who_comes_is_told_once_to_readers_and_other_processes(chat, told):
    chat.presence.enter(frozenset("a"), "bob")
    chat.tell_who_is_here()
    chat.tell_who_is_here()
    assert told == [("a", {"presence": {"room": "a", "users": ["bob"], "count": 1}})]
    assert chat.store.notes == [{"process": "me", "here": {"a": ["bob"]}}]


# --- places


def test_the_backlog_is_the_last_messages_of_each_room(make):
    chat = make(Settings(rate=0.0))
    for number in range(2 * BACKLOG):
        say(chat, str(number), room="a")
    epoch = chat.store.log.epoch
    assert chat.backlog(frozenset("a")) == Cursor(epoch, BACKLOG)
    first = say(chat, "x", room="b")
    assert chat.backlog(frozenset("b")) == Cursor(epoch, first.offset - 1)
    assert chat.backlog(None) == Cursor(epoch, BACKLOG)


def test_without_messages_the_backlog_is_what_comes(chat):
    say(chat, room="a")
    assert chat.backlog(frozenset("b")) == chat.cursor()
