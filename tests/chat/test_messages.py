"""What may be said, how it is kept, and that it is read as it was said."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.chat.messages import UNSHOWN, Message, TooLong, check_text, pack, render, render_all, unpack
from gtool.streams.log import Entry

fixed = settings(derandomize=True, deadline=None, max_examples=300)
MOST = 4096

#: a code point below the emoji that this Python's Unicode does not know yet
TO_COME = next(chr(code) for code in range(0x1FA70, 0x1FFFE) if unicodedata.category(chr(code)) == "Cn")


def entry_of(data: bytes, offset: int = 5, time_s: float = 1.5) -> Entry:
    return Entry(1, offset, time_s, data, len(data), "room")


# What may be said


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "a b",
        "a\nb",
        "a\tb",
        "äöü",
        "😀",
        "👨\u200d👩\u200d👧",
        "<script>alert(1)</script>",
        "  a".strip(),
        "0",
        ".",
        "\u202eabc",
        "日本",
        "עברית",
        "á",
        "a\u200db",
        "{}",
        '"',
        "\\",
        "&amp;",
        "a\u2028b",
        "\ue000",
    ],
)
def test_a_text_is_kept_as_it_is(text):
    assert check_text(text, MOST) == text


def test_blanks_around_a_text_are_none_of_it():
    assert check_text(" \n\t hello \r\n ", MOST) == "hello"


@pytest.mark.parametrize("text", ["a\r\nb", "a\rb", "a\nb"])
def test_a_line_ends_in_one_way(text):
    assert check_text(text, MOST) == "a\nb"


@pytest.mark.parametrize(
    "character", ["\0", "\x07", "\x08", "\x1b", "\x7f", "\x85", "\x9b", "\x0b", "\x0c", "\x1f"], ids=ascii
)
def test_a_control_character_is_kept_as_a_mark_that_there_was_one(character):
    assert check_text(f"a{character}b", MOST) == f"a{UNSHOWN}b"


@pytest.mark.parametrize("character", [chr(code) for code in (0xD800, 0xDBFF, 0xDC00, 0xDFFF)], ids=ascii)
def test_half_a_character_is_kept_as_a_mark_that_there_was_one(character):
    assert check_text(f"a{character}b", MOST) == f"a{UNSHOWN}b"


BLANK = [
    *("", " ", "   ", "\n", "\r\n", "\t", "\0", "\x07\x1b", "\u00a0", "\u2003", "\u3000", "\u2028", "\u2029", "\x85"),
    *("\u200b", "\u200c\u200d", "\ufeff", "\u2060", "\u00ad", "\u180e"),  # of no width
    *("\u200e", "\u200f", "\u202e", "\u202a\u202c", "\u2066\u2069", "\u061c"),  # which way to write
    *(" \u200f \n\u200b ", "\ud800", "\U000e0001", "\uffff"),
]


@pytest.mark.parametrize("text", BLANK, ids=ascii)
def test_a_message_that_shows_nothing_is_none(text):
    with pytest.raises(ValueError, match="blank"):
        check_text(text, MOST)


@pytest.mark.parametrize(
    "text", ["\u3164", "\u115f\u1160", "\uffa0", "\u2800", "\u034f", "\ufe0f", "\u180b", "\U000e0100"], ids=ascii
)
def test_a_message_of_what_only_says_to_be_a_letter_is_none(text):
    with pytest.raises(ValueError, match="blank"):
        check_text(text, MOST)


def test_an_emoji_that_is_newer_than_python_is_a_message():
    assert check_text(TO_COME, MOST) == TO_COME


# How much


@pytest.mark.parametrize(
    "text", ["x" * MOST, "ä" * (MOST // 2), "€" * (MOST // 3), "\U0001f600" * (MOST // 4)], ids=["1", "2", "3", "4"]
)
def test_a_text_may_have_so_many_bytes(text):
    assert check_text(text, MOST) == text


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MOST + 1),
        "ä" * (MOST // 2 + 1),
        "€" * (MOST // 3 + 1),
        "😀" * (MOST // 4 + 1),
        "x" * 5120,
        " " * 10000,
        " " * MOST + "x",
    ],
    ids=["1", "2", "3", "4", "5 KiB", "blanks", "blanks before it"],
)
def test_a_text_has_no_more_bytes_than_it_may(text):
    with pytest.raises(TooLong, match="a message has up to 4096 bytes"):
        check_text(text, MOST)


@pytest.mark.parametrize("character", ["\x01", "\x9b", "\ud800"], ids=ascii)
def test_what_is_kept_has_no_more_bytes_than_it_may(character):
    try:
        kept = check_text("a" + character * (MOST // 2 - 1), MOST)
    except TooLong:
        return
    assert len(kept.encode()) <= MOST


@fixed
@given(st.text(st.characters(), max_size=30))
def test_whatever_is_said_is_kept_so_that_it_can_be_kept_again_or_refused(text):
    try:
        kept = check_text(text, MOST)
    except ValueError:
        return
    assert check_text(kept, MOST) == kept
    assert kept.encode().decode() == kept
    assert all(character in "\n\t" or unicodedata.category(character) != "Cc" for character in kept)


# How it is kept, and told


@pytest.fixture
def told() -> dict[str, object]:
    return json.loads(render("epoch", entry_of(pack("room", "user", "text"), 5, 1.25)))


def test_a_message_is_told_with_all_that_it_has(told):
    assert told == {"id": "epoch:5", "time": 1.25, "room": "room", "user": "user", "text": "text"}


def test_a_message_is_told_with_its_id_first(told):
    assert list(told) == ["id", "time", "room", "user", "text"]


def test_a_time_is_told_to_the_microsecond():
    assert (
        json.loads(render("e", entry_of(pack("r", "u", "t"), time_s=1790000000.1234567)))["time"] == 1790000000.123457
    )


def test_a_message_takes_no_more_bytes_than_utf_8_needs():
    assert "ä\U0001f600".encode() in pack("r", "u", "ä\U0001f600")


def test_a_message_is_one_line():
    assert "\n" not in render("e", entry_of(pack("r", "u", "a\nb\r\u2028c")))


def test_many_are_told_as_a_list():
    entries = [entry_of(pack("r", "u", str(number)), number) for number in (1, 2)]
    assert [one["id"] for one in json.loads(render_all("e", entries))] == ["e:1", "e:2"]


def test_none_are_told_as_an_empty_list():
    assert json.loads(render_all("e", [])) == []


def test_a_text_can_not_add_fields():
    text = '", "id": "e:999", "x": "'
    assert json.loads(render("e", entry_of(pack("r", "u", text)))) == {
        "id": "e:5", "time": 1.5, "room": "r", "user": "u", "text": text
    }  # fmt: skip


@fixed
@given(st.text(), st.text(), st.text(), st.integers(1, sys.maxsize), st.floats(0, 1e11))
def test_whatever_is_said_is_read_as_it_was_said(room, user, text, offset, time_s):
    entry = entry_of(pack(room, user, text), offset, time_s)
    expected = Message(f"epoch:{offset}", time_s, room, user, text)
    assert unpack("epoch", entry) == expected
    told = json.loads(render("epoch", entry), object_pairs_hook=list)
    assert told[0] == ("id", expected.id)
    assert dict(told) == {**expected._asdict(), "time": pytest.approx(time_s, abs=1e-6, rel=1e-12)}
