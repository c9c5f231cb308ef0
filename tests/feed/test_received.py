"""A message as a line: bare, as JSON, and harmless on a terminal."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtool.feed.received import Received, bare_line, enveloped, open_envelope

TEXT = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize("is_for_terminal", [False, True])
def test_text_is_a_line_as_it_is(is_for_terminal):
    assert bare_line(Received("plain ä".encode(), True), is_for_terminal) == "plain ä\n".encode()


@pytest.mark.parametrize("is_for_terminal", [False, True])
def test_binary_is_a_line_of_base64(is_for_terminal):
    assert bare_line(Received(b"\0\xff\x80", False), is_for_terminal) == b"AP+A\n"


def test_controls_are_kept_for_a_pipe():
    assert bare_line(Received(b"\x1b[31m\x07", True), False) == b"\x1b[31m\x07\n"


def test_controls_are_escaped_for_a_terminal():
    assert bare_line(Received("\x1b[31m\x9b\n".encode(), True), True) == b"\\x1b[31m\\x9b\\n\n"


@given(TEXT)
def test_any_text_is_one_printable_line_on_a_terminal(text):
    line = bare_line(Received(text.encode(), True), True).decode()
    assert line[-1] == "\n"
    assert line[:-1].isprintable()


def test_an_envelope_has_id_time_and_data():
    fields = enveloped(Received("ä".encode(), True, "a:1", 1.5), 9.0)
    assert list(fields.items()) == [("id", "a:1"), ("time", 1.5), ("data", "ä")]


def test_that_of_a_server_without_ids_has_the_time_of_now():
    assert enveloped(Received(b"x", True), 9.0) == {"id": None, "time": 9.0, "data": "x"}


def test_that_of_binary_has_base64_and_no_data():
    assert enveloped(Received(b"\0\xff", False), 9.0) == {"id": None, "time": 9.0, "base64": "AP8="}


def test_a_time_of_zero_is_a_time():
    assert enveloped(Received(b"x", True, "a:1", 0.0), 9.0)["time"] == 0.0


def test_a_path_that_is_no_utf_8_is_shown():
    assert enveloped(Received(b"\xff", True), 9.0)["data"] == "\ufffd"


# --- envelopes


def test_a_message_is_taken_out_of_its_envelope():
    opened = open_envelope('{"id": "a:1", "time": 1.5, "data": "ä"}'.encode())
    assert opened == (Received("ä".encode(), True, "a:1", 1.5), {})


@pytest.mark.parametrize("note", [{}, {"dropped": 3}, {"recovered": False, "oldest": "a:1"}, {"weather": "fine"}])
def test_what_has_no_id_is_a_note(note):
    assert open_envelope(json.dumps(note).encode()) == (None, note)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        b"\xff",
        b"[1]",
        b"[]",
        b"[[1, 2]]",
        b"1",
        b"null",
        b'"x"',
        b'"id"',
        b'["id"]',
        b'{"id": 1, "time": 1, "data": "x"}',
        b'{"id": "x", "time": 1, "data": "x"}',
        b'{"id": "a:1", "data": "x"}',
        b'{"id": "a:1", "time": "x", "data": "x"}',
        b'{"id": "a:1", "time": "nan", "data": "x"}',
        b'{"id": "a:1", "time": NaN, "data": "x"}',
        b'{"id": "a:1", "time": 1e999, "data": "x"}',
        b'{"id": "a:1", "time": 1}',
        b'{"id": "a:1", "time": 1, "data": 1}',
        b'{"id": "a:1", "time": 1, "data": "\\ud800"}',
        pytest.param(b'{"id": "a:1", "time": 1' + b"0" * 400 + b', "data": "x"}', id="1E400"),
        pytest.param(b'{"id": "a:1", "time": 1' + b"0" * 5000 + b', "data": "x"}', id="1E5000"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_what_is_no_envelope_is_refused(data):
    with pytest.raises(ValueError, match="no envelope of ws-feed's"):
        open_envelope(data)


@given(st.binary())
def test_any_bytes_are_an_envelope_or_a_value_error(data):
    with suppress(ValueError):
        open_envelope(data)
