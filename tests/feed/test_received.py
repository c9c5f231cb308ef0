"""A message as a line: bare, as JSON, and harmless on a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtool.feed.received import Received, bare_line, json_line

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


def test_json_has_id_time_and_data():
    line = json_line(Received("ä".encode(), True, "a:1", 1.5), 9.0)
    assert line == '{"id": "a:1", "time": 1.5, "data": "ä"}\n'.encode()


def test_json_of_a_server_without_ids_has_the_time_of_now():
    assert json.loads(json_line(Received(b"x", True), 9.0)) == {"id": None, "time": 9.0, "data": "x"}


def test_json_of_binary_has_base64_and_no_data():
    assert json.loads(json_line(Received(b"\0\xff", False), 9.0)) == {"id": None, "time": 9.0, "base64": "AP8="}


def test_a_time_of_zero_is_a_time():
    assert json.loads(json_line(Received(b"x", True, "a:1", 0.0), 9.0))["time"] == 0.0


@given(TEXT)
def test_any_text_survives_json_in_one_line(text):
    line = json_line(Received(text.encode(), True), 9.0)
    assert line.count(b"\n") == 1
    assert json.loads(line)["data"] == text
