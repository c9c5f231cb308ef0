"""A cursor is written and read; what is none is refused."""

from __future__ import annotations

import pytest

from gtool.streams.log import Cursor, oldest_cursor, parse_cursor
from gtool.streams.memory import MemoryLog


@pytest.mark.parametrize("cursor", [Cursor("a", 0), Cursor("Zx_-9", 1), Cursor("e" * 64, 10**30 - 1)])
def test_what_is_written_is_read_back(cursor):
    assert parse_cursor(str(cursor)) == cursor


BARE = ["", "a", "a:", ":1", "a:-1", "a:1:2", "a b:1", "a:1 ", "a:1\n", "a:x", "\u00e4:1", "a:\u0663"]


@pytest.mark.parametrize("text", [*BARE, "e" * 65 + ":1", "a:" + "9" * 31])
def test_what_is_no_cursor_is_refused_and_shown(text):
    with pytest.raises(ValueError, match="is no id, which is epoch:offset"):
        parse_cursor(text)


def test_the_oldest_cursor_is_the_place_after_which_all_is_kept():
    log = MemoryLog(2, 1000, "e")
    for data in (b"a", b"b", b"c"):
        log.append(data)
    assert oldest_cursor(log) == Cursor("e", 1)


def test_where_nothing_is_kept_it_is_the_place_after_which_the_next_one_comes():
    log = MemoryLog(2, 1000, "e")
    log.begin_after(7)
    assert oldest_cursor(log) == Cursor("e", 7)
