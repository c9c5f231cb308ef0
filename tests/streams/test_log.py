"""A cursor is written and read; what is none is refused."""

from __future__ import annotations

import pytest

from gtool.streams.log import Cursor, parse_cursor


@pytest.mark.parametrize("cursor", [Cursor("a", 0), Cursor("Zx_-9", 1), Cursor("e" * 64, 10**30 - 1)])
def test_what_is_written_is_read_back(cursor):
    assert parse_cursor(str(cursor)) == cursor


BARE = ["", "a", "a:", ":1", "a:-1", "a:1:2", "a b:1", "a:1 ", "a:1\n", "a:x", "\u00e4:1", "a:\u0663"]


@pytest.mark.parametrize("text", [*BARE, "e" * 65 + ":1", "a:" + "9" * 31])
def test_what_is_no_cursor_is_refused_and_shown(text):
    with pytest.raises(ValueError, match="is no id, which is epoch:offset"):
        parse_cursor(text)
