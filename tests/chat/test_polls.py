"""Long polls: with a cursor, without one, and what becomes of an answer that is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import gtool.chat.polls
from gtool.chat.store import InMemory
from tests.chat.served import Answer, Served, parsed, serving, wait_until
from tests.servers.looped import TIMEOUT_S, receive_exactly, reset

FORM = "Content-Type: application/x-www-form-urlencoded"


LONGEST_S = gtool.chat.polls.WAIT_S


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    monkeypatch.setattr(gtool.chat.polls, "WAIT_S", 0.05)


@pytest.fixture
def chat() -> Iterator[Served]:
    with serving() as made:
        yield made


@pytest.fixture
def bob(chat) -> str:
    return chat.claim("bob")


def poll(chat: Served, who: str, query: str = "", name: str = "bob") -> Answer:
    return chat.ask("POST", f"/poll/{name}{query}", who)


def say(chat: Served, *texts: str, room: str = "a") -> list[str]:
    return chat.say(*texts, room=room, user="carl")


@pytest.fixture
def patient(monkeypatch) -> None:
    monkeypatch.setattr(gtool.chat.polls, "WAIT_S", 600.0)


# --- with a cursor


def test_what_comes_after_the_cursor_is_given(chat, bob):
    ids = say(chat, "1", "2", "3")
    answer = poll(chat, bob, f"?cursor={ids[0]}")
    assert (answer.texts, answer.json["cursor"], answer.json["recovered"]) == (["2", "3"], ids[2], True)


def test_the_same_cursor_gives_the_same_again(chat, bob):
    ids = say(chat, "1", "2")
    assert [poll(chat, bob, f"?cursor={ids[0]}").texts for _ in range(2)] == [["2"], ["2"]]


@pytest.mark.usefixtures("patient")
def test_what_comes_while_it_waits_is_given_at_once(chat, bob):
    (last,) = say(chat, "1")
    waiting = gevent.spawn(poll, chat, bob, f"?cursor={last}&room=a")
    wait_until(lambda: chat.get("/api/presence?room=a").json["rooms"]["a"] == ["bob"])
    say(chat, "2")
    assert waiting.get(timeout=TIMEOUT_S).texts == ["2"]


def test_a_poll_waits_for_ten_seconds_at_most():
    assert LONGEST_S == 10


def test_when_nothing_comes_there_is_an_answer_without_messages(chat, bob):
    (last,) = say(chat, "1")
    answer = poll(chat, bob, f"?cursor={last}")
    assert (answer.status, answer.json) == (
        200,
        {"messages": [], "cursor": last, "recovered": True, "oldest": f"{last.partition(':')[0]}:0"},
    )


def test_only_rooms_that_are_asked_for_are_given(chat, bob):
    first = say(chat, "0")[0]
    say(chat, "1")
    say(chat, "2", room="b")
    assert poll(chat, bob, f"?cursor={first}&room=b").texts == ["2"]


def test_the_cursor_passes_over_messages_of_other_rooms(chat, bob):
    first = say(chat, "0")[0]
    last = say(chat, "1")[0]
    assert poll(chat, bob, f"?cursor={first}&room=b").json["cursor"] == last


def test_an_answer_has_a_bound_and_the_next_goes_on(chat, bob, monkeypatch):
    monkeypatch.setattr(gtool.chat.polls, "MOST_GIVEN", 2)
    first = say(chat, *"01234")[0]
    answers, cursor = [], first
    while found := (answer := poll(chat, bob, f"?cursor={cursor}")).texts:
        answers.append(found)
        cursor = answer.json["cursor"]
    assert answers == [["1", "2"], ["3", "4"]]


@pytest.mark.parametrize("cursor", ["other:1", "EPOCH:999"])
def test_a_cursor_that_can_not_be_gone_on_from_gets_the_backlog_and_is_told_so(chat, bob, cursor):
    ids = say(chat, "1", "2")
    answer = poll(chat, bob, f"?cursor={cursor.replace('EPOCH', ids[0].partition(':')[0])}")
    assert (answer.json["recovered"], answer.texts, answer.json["cursor"]) == (False, ["1", "2"], ids[1])


def test_a_cursor_of_messages_that_are_kept_no_more_is_not_recovered():
    with serving(store=InMemory(["a"], None, 2)) as chat:
        ids = say(chat, *"12345")
        answer = poll(chat, chat.claim("bob"), f"?cursor={ids[0]}")
        assert (answer.json["recovered"], answer.texts, answer.json["oldest"]) == (False, ["4", "5"], ids[2])


@pytest.mark.parametrize("cursor", ["x", "1", "a:b", "a%20b:1", "all", ":1"])
def test_a_cursor_of_letters_is_refused(chat, bob, cursor):
    answer = poll(chat, bob, f"?cursor={cursor}")
    assert (answer.status, answer.text.startswith("cursor: "), "is no id" in answer.text) == (400, True, True)


# --- how it is asked


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (FORM, "cursor={}&room=b"),
        ("Content-Type: application/json", '{{"cursor": "{}", "room": "b"}}'),
        ("Content-Type: application/json; charset=utf-8", '{{"cursor": "{}", "room": ["b"]}}'),
    ],
)
def test_fields_come_in_a_form_or_as_json(chat, bob, kind, body):
    first = say(chat, "0")[0]
    say(chat, "1")
    say(chat, "2", room="b")
    assert chat.ask("POST", "/poll/bob", bob, kind, body=body.format(first).encode()).texts == ["2"]


@pytest.mark.parametrize("body", [b"[]", b"rubbish", b"1", b"[" * 5000, b'{"cursor"'])
def test_json_that_is_no_object_is_refused(chat, bob, body):
    answer = chat.ask("POST", "/poll/bob", bob, "Content-Type: application/json", body=body)
    assert (answer.status, "a JSON object is wanted" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cursor": ""},
        {"room": None},
        {"cursor": None},
        {"cursor": []},
    ],
)
def test_fields_that_say_nothing_are_none(fields):
    with serving() as chat:
        assert chat.post_json("/poll/bob", fields, chat.claim("bob")).texts == []


def test_fields_that_are_too_long_are_refused(chat, bob):
    assert chat.ask("POST", "/poll/bob", bob, FORM, body=b"x" * 8193).status == 413


def test_a_room_that_there_is_not_is_not_found(chat, bob):
    assert poll(chat, bob, "?room=none").status == 404


def test_the_answer_is_not_stored(chat, bob):
    headers = poll(chat, bob).headers
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")


# --- who asks


def test_who_polls_is_in_the_rooms(chat, bob):
    poll(chat, bob, "?room=a")
    assert chat.get("/api/presence").json["rooms"] == {"a": ["bob"], "b": []}


@pytest.mark.parametrize("name", ["nobody", "a%2Fb", "%FF", "", "x" * 5000, "%3Cscript%3E"])
def test_a_user_that_there_is_not_is_not_found(chat, bob, name):
    assert poll(chat, bob, name=name).status == 404


def test_nobody_polls_under_the_name_of_somebody_else(chat, bob):
    answer = poll(chat, chat.claim("anna"))
    assert (answer.status, "bob is somebody else" in answer.text) == (403, True)


def test_without_a_session_nobody_polls(chat, bob):
    assert chat.ask("POST", "/poll/bob").status == 403


def test_a_name_may_have_any_letters(chat):
    assert poll(chat, chat.claim("jürgen"), name="j%C3%BCrgen").status == 200


# --- without a cursor, as old clients do


def join(chat: Served, who: str, room: str = "a") -> None:
    assert chat.get(f"/{room}/bob", who).status == 200


def test_who_has_joined_gets_what_comes(chat, bob):
    say(chat, "before")
    join(chat, bob)
    say(chat, "1", "2")
    assert poll(chat, bob).texts == ["1", "2"]


def test_what_was_given_is_not_given_again(chat, bob):
    join(chat, bob)
    say(chat, "1")
    assert poll(chat, bob).texts == ["1"]
    say(chat, "2")
    assert poll(chat, bob).texts == ["2"]


def test_only_rooms_that_were_joined_are_given(chat, bob):
    join(chat, bob, "b")
    say(chat, "1")
    say(chat, "2", room="b")
    assert poll(chat, bob).texts == ["2"]


def test_joining_once_more_loses_nothing(chat, bob):
    join(chat, bob)
    say(chat, "1")
    join(chat, bob)
    assert poll(chat, bob).texts == ["1"]


def test_an_answer_that_is_lost_is_given_again(chat, bob):
    join(chat, bob)
    poll(chat, bob)
    lost = chat.send("POST", "/poll/bob?room=a", bob)
    wait_until(lambda: "bob" in chat.get("/api/presence?room=a").json["rooms"]["a"])
    reset(lost)
    say(chat, "1")
    gevent.sleep(0)
    assert poll(chat, bob).texts == ["1"]


def test_over_a_connection_that_is_kept_what_was_given_is_not_given_again(chat, bob):
    join(chat, bob)
    say(chat, "1")
    with chat.server.connect() as sock:
        found = []
        for text in ("2", "3"):
            sock.sendall(f"POST /poll/bob HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{bob}\r\n\r\n".encode())
            found.append(read(sock).texts)
            say(chat, text)
        assert found == [["1"], ["2"]]


def read(sock: Any) -> Answer:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive_exactly(sock, 1)
    size = int(parsed(head).headers["content-length"])
    return parsed(head + receive_exactly(sock, size))


def test_users_that_are_remembered_have_a_bound(chat, bob, monkeypatch):
    monkeypatch.setattr(gtool.chat.polls, "USERS", 1)
    anna = chat.claim("anna")
    join(chat, bob)
    assert chat.get("/a/anna", anna).status == 200
    say(chat, "1")
    assert (poll(chat, anna, name="anna").texts, poll(chat, bob).texts) == (["1"], [])


# --- a store that has not come to a cursor yet


class Mirror(InMemory):
    def __init__(self) -> None:
        super().__init__(["a"], None, 10)
        self.memory.is_mirror = True


def test_a_cursor_that_another_process_has_given_and_that_does_not_come_is_begun_anew_from():
    with serving(store=Mirror()) as chat:
        (id_,) = say(chat, "1")
        answer = poll(chat, chat.claim("bob"), f"?cursor={id_.partition(':')[0]}:2")
        assert (answer.json["recovered"], answer.texts, answer.json["cursor"]) == (False, ["1"], id_)
