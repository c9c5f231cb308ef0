"""What a user and a room may be called, and which names are too like each other to be two. No I/O."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache

LONGEST = 32  #: characters
MARKS = "_-."  #: what may stand in a name beside letters and digits, though not at its ends
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
    if not all(map(_may_stand, name)) or name[0] in MARKS or name[-1] in MARKS:
        raise ValueError("a name is of letters and digits, with _ - . between them")
    if key_of(name) in _reserved():
        raise ValueError(f"{name!r} is a name of the server's own")
    return name


@lru_cache(maxsize=4096)
def key_of(name: str) -> str:
    """Give what is the same for names that only look different: by case, by width, by letters that look alike.

    After the skeleton of Unicode Technical Standard 39, section 4, with the data of the package confusable-homoglyphs.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(_prototypes().get(character, character) for character in folded)


def _may_stand(character: str) -> bool:
    return character in MARKS or unicodedata.category(character) in ("Ll", "Lu", "Lt", "Lo", "Lm", "Nd", "Mn", "Mc")


@cache
def _prototypes() -> dict[str, str]:
    """Give, by character, the least of those that it may be taken for."""
    from confusable_homoglyphs.confusables import confusables_data

    return {
        character: min([character, *(found["c"].casefold() for found in alike if len(found["c"]) == 1)])
        for character, alike in confusables_data.items()
    }


@cache
def _reserved() -> frozenset[str]:
    return frozenset(map(key_of, RESERVED))
