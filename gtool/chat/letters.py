"""What characters show, and which are taken for which. No I/O."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache

#: Letters, marks and symbols to Unicode that show nothing (Default_Ignorable_Code_Point, and a blank of Braille).
UNSEEN = frozenset(
    (
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *(*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)),
    )
)
#: ASCII's own; all case is folded before, so that I is i here, and taken for l all the same.
ALIKE = str.maketrans({"i": "1", "l": "1", "|": "1", "o": "0"})


def is_seen(character: str) -> bool:
    """Whether a character shows anything: not a blank, a control, or a mark that turns the direction of others."""
    if ord(character) in UNSEEN or ord(character) & 0xFFFE == 0xFFFE:  # and what is no character (section 23.7)
        return False
    return unicodedata.category(character) not in ("Zs", "Zl", "Zp", "Cc", "Cf", "Cs")


@lru_cache(maxsize=4096)
def skeleton(text: str) -> str:
    """Give what is the same for texts that only look different: by case, by width, by letters that look alike.

    After Unicode Technical Standard 39, section 4, with the data of the package confusable-homoglyphs; but case counts
    for nothing, and so neither does what looks like the letter of the other case.
    """
    parts = (character for character in unicodedata.normalize("NFD", text) if ord(character) not in UNSEEN)
    capital = "".join(map(_ascii_of, parts))  # before case is folded: what is like I is not always like i
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", capital).casefold())
    return "".join(_prototypes().get(character, character) for character in folded).casefold().translate(ALIKE)


def _ascii_of(character: str) -> str:
    found = _prototypes().get(character, character)
    return found if found.isascii() else character


@cache
def _prototypes() -> dict[str, str]:
    """Give, by character that is not ASCII, the letter of ASCII that it is taken for; else the least of those alike."""
    from confusable_homoglyphs.confusables import confusables_data

    found = {}
    for character, alike in confusables_data.items():
        others = sorted(one["c"] for one in alike if len(one["c"]) == 1)
        plain = [one for one in others if one.isascii() and one.isalnum()]
        if len(character) == 1 and not character.isascii() and others:
            found[character] = plain[0] if plain else min(character, others[0])
    return found
