"""What chat-tail reads, and what it writes: lines for people, JSON, and a command's environment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtool.chat.messages import SUBPROTOCOL, Message
from gtool.chat.received import ChatLanguage, environment_of, text_line
from gtool.errors import PeerGone
from gtool.live.lines import json_line
from gtool.web.frames import Message as Said

TOLD = Message("e:1", 1.5, "room", "bob", "hello")
FIELDS = {"id": "e:1", "time": 1.5, "room": "room", "user": "bob", "text": "hello"}
TEXT = st.text(st.characters(codec="utf-8"))


@pytest.fixture(autouse=True)
def _utc(monkeypatch) -> Any:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- what is read


def test_a_message_is_read():
    assert ChatLanguage().open(json.dumps(FIELDS).encode()) == (TOLD, {})


def test_what_else_a_message_has_is_passed_over():
    assert ChatLanguage().open(json.dumps(FIELDS | {"more": [1]}).encode()) == (TOLD, {})


@pytest.mark.parametrize("note", [{"presence": {"room": "a", "users": []}}, {"recovered": False}, {}])
def test_what_has_no_id_is_a_note(note):
    assert ChatLanguage().open(json.dumps(note).encode()) == (None, note)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"rubbish", b"[1]", b"1", b"null", b'"text"', b"\xff", b'{"id": "e:1"}', b"[" * 100_000),
        *(
            json.dumps(FIELDS | change).encode()
            for change in (
                {"id": 1},
                {"id": None},
                {"id": "e"},
                {"id": "e:-1"},
                {"id": ["e:1"]},
                {"time": None},
                {"time": "soon"},
                {"time": float("nan")},
                {"time": float("inf")},
                {"time": 10**400},
                {"text": 1},
                {"text": None},
                {"user": ["bob"]},
                {"room": {}},
            )
        ),
    ],
    ids=lambda data: ascii(data[:60]),
)
def test_what_is_neither_is_an_error(data):
    with pytest.raises(ValueError, match="no message of a chat's"):
        ChatLanguage().open(data)


def test_a_server_that_speaks_something_else_is_an_error():
    with pytest.raises(PeerGone, match="is no chat server of gtool"):
        ChatLanguage().bare(Said(b"x", True))


def test_the_subprotocol_is_the_servers():
    from gtool.chat import streams

    assert ChatLanguage().subprotocol == SUBPROTOCOL == streams.SUBPROTOCOL


# --- lines


def test_a_line_has_the_time_the_room_who_and_what():
    assert text_line(TOLD) == b"[1970-01-01 00:00:01] room bob: hello\n"


def test_a_line_has_the_local_time(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "XXX-02:00")
    time.tzset()
    assert text_line(TOLD).startswith(b"[1970-01-01 02:00:01] ")


def test_what_would_be_another_line_is_escaped():
    assert text_line(TOLD._replace(text="a\nb\r\tc")).endswith(b" bob: a\\nb\\r\\tc\n")


@pytest.mark.parametrize("field", ["room", "user", "text"])
def test_what_a_terminal_would_take_for_a_command_is_escaped(field):
    assert b"\\x1b[31m\\x9b\\x07" in text_line(TOLD._replace(**{field: "\x1b[31m\x9b\x07"}))


def test_letters_of_all_scripts_are_shown():
    assert "日本 ä 😀".encode() in text_line(TOLD._replace(text="日本 ä 😀"))


@given(TEXT, TEXT, TEXT)
def test_any_message_is_one_printable_line(room, user, text):
    line = text_line(Message("e:1", 1.5, room, user, text)).decode()
    assert line[-1] == "\n"
    assert line[:-1].isprintable()


@pytest.mark.parametrize("time_s", [-1e300, 1e300, 1e12, -1e12])
def test_a_time_that_no_calendar_has_is_no_bug(time_s):
    data = json.dumps(FIELDS | {"time": time_s}).encode()
    try:
        told, _ = ChatLanguage().open(data)
    except ValueError:
        return
    assert told
    text_line(told)


def test_half_a_character_is_escaped():
    assert text_line(TOLD._replace(text="\ud800")).endswith(b" \\ud800\n")


# --- JSON


def test_json_has_the_fields_in_their_order():
    assert json_line(TOLD._asdict()) == (json.dumps(FIELDS) + "\n").encode()


def test_half_a_character_in_json_is_no_bug():
    told, _ = ChatLanguage().open(json.dumps(FIELDS | {"text": "\ud800"}).encode())
    assert told
    assert json.loads(json_line(told._asdict()))["text"]


# --- a command's environment


def test_each_field_is_a_variable():
    assert environment_of(TOLD) == {
        "GTOOL_CHAT_ID": "e:1",
        "GTOOL_CHAT_TIME": "1.5",
        "GTOOL_CHAT_ROOM": "room",
        "GTOOL_CHAT_USER": "bob",
        "GTOOL_CHAT_TEXT": "hello",
    }


def test_a_variable_has_no_nul():
    assert environment_of(TOLD._replace(text="a\0b", user="\0"))["GTOOL_CHAT_TEXT"] == "ab"


@pytest.mark.parametrize("text", ["a\nb", "$(id)", "`id`", "\"'", "ä", "a=b"])
def test_a_variable_has_the_text_as_it_is(text):
    assert environment_of(TOLD._replace(text=text))["GTOOL_CHAT_TEXT"] == text
