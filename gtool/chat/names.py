"""What a user and a room may be called, and which names are too like each other to be two. No I/O."""

from __future__ import annotations

import unicodedata
from functools import cache

from gtool.chat.letters import is_seen, skeleton

LONGEST = 32  #: characters
MARKS = "_-."  #: what may stand in a name beside letters and digits, though not at its ends
LETTERS = ("Ll", "Lu", "Lt", "Lo", "Lm", "Nd")  #: and digits: categories of Unicode
#: First segments of paths that are the site's own.
RESERVED = frozenset(
    ("api", "favicon.ico", "healthz", "leave", "metrics", "poll", "put", "robots.txt", "static", "well-known")
)


def check_name(text: str) -> str:
    """Give a name in its one spelling (NFC). ValueError, with what is wrong, for what is none."""
    name = unicodedata.normalize("NFC", text.strip())
    if not name:
        raise ValueError("a name is wanted")
    if len(name) > LONGEST:
        raise ValueError(f"a name has up to {LONGEST} characters")
    if not all(map(_may_stand, name)) or not _is_letter(name[0]) or name[-1] in MARKS:
        raise ValueError("a name is of letters and digits, with _ - . between them")
    if key_of(name) in _reserved():
        raise ValueError(f"{name!r} is a name of the server's own")
    return name


def key_of(name: str) -> str:
    """Give what is the same for names that can be taken for each other."""
    return skeleton(name[: LONGEST + 1])  # what is longer is no name


def _may_stand(character: str) -> bool:
    return character in MARKS or (unicodedata.category(character) in (*LETTERS, "Mn", "Mc") and is_seen(character))


def _is_letter(character: str) -> bool:
    return unicodedata.category(character) in LETTERS


@cache
def _reserved() -> frozenset[str]:
    return frozenset(map(key_of, RESERVED))
