"""File names for bodies: what a URL or an id says never leads anywhere but below the directory."""

from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.naming import PLACEHOLDERS, NameTemplate, explicit_path, relative_path, safe_name, values_of
from gtool.fetch.request import Request, parse_url

fixed = settings(derandomize=True, deadline=None, max_examples=300)

ALL = "".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
PIECES = [*(f"{{{name}}}" for name in PLACEHOLDERS), "/", "//", "..", ".", "../", "\0", "\n", "x", "\\", "ü" * 200]
NASTY = ["..", ".", "/", "//", "\\", "%2e%2e", "%2F", "%00", "%0a", "\0", "\n", "a", "ü", "%ff", "x" * 300, "\ud800"]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=30) | st.lists(st.sampled_from(NASTY)).map("".join)


def assert_safe(name: str) -> None:
    """Assert that a name stays below its directory, on any file system, in any terminal."""
    assert not name.startswith("/")
    for component in name.split("/"):
        assert component not in ("", ".", "..")
        assert len(os.fsencode(component)) <= 255
        assert not any(unicodedata.category(character) == "Cc" for character in component)


# Whatever a URL and an id say


@fixed
@given(template=st.lists(st.sampled_from(PIECES), max_size=6), values=st.lists(TEXTS, min_size=7, max_size=7))
def test_a_template_filled_with_the_values_of_no_matter_what_is_safe(template, values):
    url, request_id = f"http://{values[0]}/{values[1]}?{values[2]}", values[3]
    try:
        filled = {**values_of(url, 7, request_id), "sha256": "0" * 64}
    except ValueError:  # no URL at all; those do not get so far
        filled = dict(zip(sorted(PLACEHOLDERS), values, strict=True))
    assert_safe(NameTemplate("{seq}" + "".join(template) + "x").name(filled))


@fixed
@given(path=TEXTS, request_id=TEXTS | st.integers() | st.lists(TEXTS, max_size=3) | st.dictionaries(TEXTS, TEXTS))
def test_all_placeholders_together_are_safe(path, request_id):
    name = NameTemplate(f"{ALL}/{{path}}").name({**values_of(f"http://h/{path}", 0, request_id), "sha256": "0" * 64})
    assert_safe(name)


@fixed
@given(TEXTS)
def test_each_url_that_may_be_fetched_has_a_name_or_is_refused_one(text):
    parsed = parse_url(text)
    if isinstance(parsed, Request):
        try:
            name = NameTemplate("{host}/{path}").name(values_of(parsed.url, 0, None))
        except ValueError:
            return
        assert_safe(name)


@fixed
@given(TEXTS)
def test_a_path_that_a_request_asks_for_is_safe_or_refused(path):
    try:
        name = explicit_path(path)
    except ValueError:
        return
    assert_safe(name)


# What placeholders stand for


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("http://h/", {"host": "h", "path": "index.html", "name": "index.html", "ext": "html"}),
        ("http://h", {"path": "index.html"}),
        ("http://h/a/", {"path": "a/index.html", "name": "index.html"}),
        ("http://h/a/b.tar.gz", {"path": "a/b.tar.gz", "name": "b.tar.gz", "ext": "gz"}),
        ("http://h/a", {"name": "a", "ext": "bin"}),
        ("http://h/.profile", {"name": ".profile", "ext": "bin"}),
        ("http://h/a?b=c.d#e.f", {"path": "a", "name": "a", "ext": "bin"}),
        ("http://H:8080/", {"host": "h_8080"}),
        ("http://[::1]:80/", {"host": "__1_80"}),
        ("http://user:password@h/", {"host": "h"}),
        ("http://h/%C3%BC.html", {"name": "ü.html"}),
        ("http://h/%2e%2e/%2e%2e/etc/passwd", {"path": "__/__/etc/passwd"}),
        ("http://h//etc//passwd", {"path": "etc/passwd"}),
        ("http://h/a%00b%0Ac", {"name": "a_b_c"}),
        ("http://h/a%5C..%5Cb", {"name": "a_.._b"}),
    ],
)
def test_a_url_gives_the_placeholders_their_values(url, values):
    found = values_of(url, 0, None)
    assert {name: found[name] for name in values} == values


def test_seq_is_the_number_of_the_input():
    assert values_of("http://h/", 42, None)["seq"] == "42"


@pytest.mark.parametrize(("request_id", "name"), [("a", "a"), (7, "7"), ("../x", ".._x"), ("", "_"), ("..", "__")])
def test_an_id_is_one_component(request_id, name):
    assert NameTemplate("{id}").name(values_of("http://h/", 0, request_id)) == name


def test_a_name_that_needs_an_id_is_refused_to_an_input_that_has_none():
    with pytest.raises(ValueError, match=r"\{id\}"):
        NameTemplate("{id}.html").name(values_of("http://h/", 0, None))


def test_a_value_is_not_searched_for_placeholders():
    assert NameTemplate("{id}").name(values_of("http://h/", 5, "{seq}")) == "{seq}"


# Templates


@pytest.mark.parametrize("template", ["{nmae}", "a/{}", "{host}/{path}{x}", "{Host}"])
def test_an_unknown_placeholder_is_an_error(template):
    with pytest.raises(ValueError, match="unknown placeholder"):
        NameTemplate(template)


def test_the_error_names_the_placeholder_and_those_that_there_are():
    with pytest.raises(ValueError, match=r"\{nmae\}.*\{host\} \{id\} \{name\}"):
        NameTemplate("{nmae}")


@pytest.mark.parametrize("template", ["", "out/", "{host}/"])
def test_a_template_for_directories_is_an_error(template):
    with pytest.raises(ValueError, match="directory"):
        NameTemplate(template)


@pytest.mark.parametrize(
    ("template", "directory", "name"),
    [
        ("{name}", ".", "a"),
        ("out/{name}", "out", "a"),
        ("out/x-{name}", "out", "x-a"),
        ("/tmp/out/{host}/{name}", "/tmp/out", "h/a"),
        ("/{name}", "/", "a"),
        ("../{name}", "..", "a"),
        ("page.html", ".", "page.html"),
        ("out/page.html", "out", "page.html"),
        ("{host}/../{name}", ".", "h/__/a"),
    ],
)
def test_the_directory_is_what_comes_before_the_first_placeholder(template, directory, name):
    parsed = NameTemplate(template)
    assert (parsed.directory, parsed.name(values_of("http://h/a", 0, None))) == (directory, name)


def test_a_template_tells_whether_it_needs_the_body():
    assert NameTemplate("{sha256}").needs_sha256
    assert not NameTemplate("{name}").needs_sha256


# Names


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a/..", "..", "a/", ""])
def test_a_request_may_not_ask_for_a_path_that_leads_out(path):
    with pytest.raises(ValueError, match="not a file below"):
        explicit_path(path)


@pytest.mark.parametrize(("path", "name"), [("a/b.html", "a/b.html"), ("a//./b", "a/b"), ("a..b", "a..b")])
def test_a_request_may_ask_for_a_path_below(path, name):
    assert explicit_path(path) == name


@pytest.mark.parametrize("name", ["a", "ü.html", ".profile", "a b", "a..b", "日本" * 33])
def test_a_harmless_name_is_left_alone(name):
    assert safe_name(name) == name


def test_two_long_names_that_begin_alike_stay_two_names():
    assert safe_name("x" * 300 + "a") != safe_name("x" * 300 + "b")


def test_a_path_of_nothing_is_the_page_of_a_directory():
    assert relative_path("/./") == "index.html"


def test_text_cannot_be_turned_around_in_a_name():
    assert safe_name("gpj.\u202eexe") == "gpj._exe"
