"""What may be a name, and which names can't be told from one another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.chat.names import LONGEST, RESERVED, check_name, key_of

fixed = settings(derandomize=True, deadline=None, max_examples=300)


def xfail(*values: object, reason: str) -> object:
    return pytest.param(*values, marks=pytest.mark.xfail(strict=True, reason=reason))


# What may be a name


@pytest.mark.parametrize(
    "name",
    [
        "bob",
        "Bob",
        "b",
        "7",
        "topic1",
        "jürgen",
        "Борис",
        "小明",
        "日本語",
        "महेश",
        "ไทย",
        "עברית",
        "عربي",
        "a_b",
        "a-b",
        "a.b",
        "a--b",
        "a" * LONGEST,
        "ä" * LONGEST,
        "\U0001d51fob",
    ],
)
def test_letters_and_digits_of_any_script_are_a_name(name):
    assert check_name(name) == name


def test_blanks_around_a_name_are_none_of_it():
    assert check_name(" \t bob\u3000\n") == "bob"


def test_a_name_has_one_spelling():
    assert check_name("e\u0301va") == "éva"


def test_a_name_of_one_spelling_is_as_long_as_that():
    assert check_name("e\u0301" * LONGEST) == "é" * LONGEST


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u3000"])
def test_an_empty_name_is_wanted(text):
    with pytest.raises(ValueError, match="a name is wanted"):
        check_name(text)


@pytest.mark.parametrize("text", ["a" * (LONGEST + 1), "\U00020000" * (LONGEST + 1), "a" * 1_000_000])
def test_a_name_is_no_longer_than_it_may_be(text):
    with pytest.raises(ValueError, match="up to 32 characters"):
        check_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a/b", "/", "a\\b", "..", ".", "a..", ".a", "_a", "a_", "-a", "a-", "-"),
        *("a b", "a\u00a0b", "a\nb", "a\0b", "\x1b[31m", "a\x7f", "a\x85b"),
        *(
            "<b>",
            "a&b",
            'a"b',
            "a'b",
            "a?b",
            "a#b",
            "a%b",
            "a%2fb",
            "a:b",
            "a;b",
            "a@b",
            "a=b",
            "a,b",
            "a+b",
            "a$b",
            "~a",
        ),
        *("\U0001f600", "a\U0001f600", "a❤", "☃", "²", "½", "Ⅷ", "©", "€"),
        *("a\u200fb", "\u202ebob", "bob\u200e", "a\u200db", "a\u200bb", "a\ufeffb", "\u2066a\u2069", "a\u00adb"),
        *("\ud800", "a\udfff", "\ue000", "a\uffffb", "a\u0378b", "a\u2028b"),
    ],
)
def test_what_is_neither_letter_nor_digit_is_no_name(text):
    with pytest.raises(ValueError, match="a name is of letters and digits"):
        check_name(text)


@pytest.mark.parametrize(
    "text",
    ["\u3164", "\u115f", "\uffa0", "\u034f", "\ufe0f", "\u180b", "\u0301", "\u0301\u0302"],
    ids=ascii,
)
def test_a_name_shows_something(text):
    with pytest.raises(ValueError, match="name"):
        check_name(text)


def test_a_mark_does_not_begin_a_name():
    with pytest.raises(ValueError, match="name"):
        check_name("\u0301bob")


@pytest.mark.parametrize("name", sorted(RESERVED - {"well-known"}))
@pytest.mark.parametrize("change", [str, str.upper, str.capitalize], ids=["as it is", "upper", "capital"])
def test_what_is_the_sites_own_is_no_name(name, change):
    with pytest.raises(ValueError, match="a name of the server's own"):
        check_name(change(name))


@pytest.mark.parametrize(
    "name",
    [
        "\u0430pi",
        "\uff41\uff50\uff49",
        "ap\u0456",
        "p\u043ell",
        "\u0440\u043e11",
        "stat\u0456c",
        "m\u0435trics",
        "1eave",
        "he\u0430lthz",
        "heaIthz",
        "p0ll",
    ],
)
def test_what_looks_like_the_sites_own_is_no_name(name):
    with pytest.raises(ValueError, match="a name of the server's own"):
        check_name(name)


@fixed
@given(st.text(max_size=40))
def test_whatever_is_a_name_stays_so(text):
    try:
        name = check_name(text)
    except ValueError:
        return
    assert (check_name(name), 1 <= len(name) <= LONGEST, name == unicodedata.normalize("NFC", name)) == (
        name,
        True,
        True,
    )
    assert not set(name) & set("/\\?#%<>&\"' \0\n\r\t")
    assert name.isprintable()


# Which can't be told from one another

ALIKE = {
    "case": ("bob", "BOB"),
    "capital": ("bob", "Bob"),
    "sharp s": ("straße", "STRASSE"),
    "final sigma": ("σς", "ΣΣ"),
    "dotless": ("\u0131", "i"),
    "width": ("bob", "\uff42\uff4f\uff42"),
    "bold": ("bob", "\U0001d41b\U0001d428\U0001d41b"),
    "script": ("bob", "\U0001d4eb\U0001d4f8\U0001d4eb"),
    "composed": ("\u00e9va", "e\u0301va"),
    "ligature": ("ﬁn", "fin"),
    "kelvin": ("K", "\u212a"),
    "Cyrillic a": ("anna", "\u0430nna"),
    "Cyrillic capital": ("ANNA", "\u0410NNA"),
    "Cyrillic throughout": ("paco", "\u0440\u0430\u0441\u043e"),
    "Greek o": ("bob", "b\u03bfb"),
    "Armenian o": ("o", "\u0585"),
    "Roman numeral": ("l", "\u217c"),
    "l and 1": ("al", "a1"),
    "Script g": ("g", "\u0261"),
    "I and l": ("Ian", "lan"),
    "I and 1": ("AI", "A1"),
    "0 and O": ("bOb", "b0b"),
    "Greek capitals": ("BOB", "\u0392\u039f\u0392"),
    "Cyrillic capitals": ("BOB", "\u0412\u041e\u0412"),
    "palochka": ("l", "\u04cf"),
    "lunate sigma": ("c", "\u03f2"),
    "variation selector": ("bob", "bob\ufe0f"),
    "joiner": ("bob", "b\u034fob"),
    "filler": ("bob", "bob\u3164"),
}


@pytest.mark.parametrize(
    "pair",
    [*ALIKE.values(), xfail(("mary", "rnary"), reason="what looks like two letters is left out")],
    ids=[*ALIKE, "rn and m"],
)
def test_names_that_look_the_same_have_the_same_key(pair):
    assert key_of(pair[0]) == key_of(pair[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bob", "rob"),
        ("anna", "ana"),
        ("a", "ä"),
        ("e", "é"),
        ("a-b", "a_b"),
        ("a.b", "ab"),
        ("topic1", "topic2"),
        ("o", "u"),
        ("日本", "日木"),
        ("и", "н"),
        ("шип", "шин"),
        ("x1", "x2"),
        ("x5", "x6"),
        ("m", "n"),
    ],
)
def test_names_that_look_different_have_different_keys(one, other):
    assert key_of(one) != key_of(other)


@fixed
@given(st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=10))
def test_the_key_of_a_name_is_that_of_its_other_forms(name):
    assert {key_of(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")} == {key_of(name)}


@fixed
@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", max_size=10))
def test_the_key_of_a_plain_name_is_that_of_its_small_letters(name):
    assert key_of(name) == key_of(name.lower()) == key_of(name.upper())
