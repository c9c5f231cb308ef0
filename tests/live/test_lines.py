"""An object as a line of JSON: one line, and no command of a terminal's."""

from __future__ import annotations

import json

import pytest

from gtool.live.lines import json_line

ODD = "\x1b\x7f\x9b\u202e\u2028ä\n"


@pytest.mark.parametrize("is_for_terminal", [True, False])
def test_it_is_one_line_that_reads_as_the_object(is_for_terminal):
    line = json_line({"a": ODD}, is_for_terminal)
    assert (line.count(b"\n"), json.loads(line)) == (1, {"a": ODD})


def test_on_a_terminal_it_is_printable():
    assert json_line({"a": ODD}, is_for_terminal=True)[:-1].decode().isprintable()


def test_in_a_pipe_it_is_utf_8():
    assert json_line({"a": "ä"}) == '{"a": "ä"}\n'.encode()


@pytest.mark.parametrize("is_for_terminal", [True, False])
def test_half_a_character_is_no_bug(is_for_terminal):
    assert json.loads(json_line({"a": "\ud800"}, is_for_terminal))
