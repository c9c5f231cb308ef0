"""What a request says: read, or refused in a sentence."""

from __future__ import annotations

import pytest

from gtool.chat.fields import cursor_of, json_object, text_of
from gtool.streams.log import Cursor
from gtool.web.respond import Refused


def test_an_object_is_read():
    assert json_object(b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"5", b"null", b"{", b"\xff", b"[" * 100_000], ids=lambda data: repr(data[:5])
)
def test_what_is_no_object_is_refused(data):
    with pytest.raises(Refused, match="a JSON object is wanted") as caught:
        json_object(data)
    assert caught.value.status == "400 Bad Request"


def test_a_text_is_given_or_what_stands_for_it():
    assert (text_of({"a": "x"}, "a", ""), text_of({}, "a", None)) == ("x", None)


@pytest.mark.parametrize("value", [5, None, [], {}, True])
def test_what_is_no_text_is_refused_by_its_name(value):
    with pytest.raises(Refused, match="a: a text is wanted"):
        text_of({"a": value}, "a", "")


def test_an_id_is_read():
    assert cursor_of("e:5", "since") == Cursor("e", 5)


def test_what_is_no_id_is_refused_by_its_name():
    with pytest.raises(Refused, match="since: 'x' is no id"):
        cursor_of("x", "since")
