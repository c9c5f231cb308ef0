"""What characters show, and which are taken for which. What that means for names is tests/chat/test_names.py."""

from __future__ import annotations

import pytest

from gtool.chat.letters import is_seen, skeleton


@pytest.mark.parametrize("character", ["a", "1", "é", "日", "\U0001f600", "!"])
def test_what_shows_something_is_seen(character):
    assert is_seen(character)


@pytest.mark.parametrize(
    "character", [" ", "\t", "\0", "\u200b", "\u202e", "\u3164", "\u2800", "\ufe0f", "\uffff"], ids=ascii
)
def test_what_shows_nothing_is_not_seen(character):
    assert not is_seen(character)


@pytest.mark.parametrize(
    ("one", "other"), [("bob", "BOB"), ("paco", "\u0440\u0430\u0441\u043e"), ("Ian", "lan"), ("bob", "b0b")]
)
def test_what_looks_the_same_has_the_same_skeleton(one, other):
    assert skeleton(one) == skeleton(other)


def test_what_looks_different_has_not():
    assert skeleton("bob") != skeleton("rob")
