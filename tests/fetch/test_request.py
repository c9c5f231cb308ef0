"""What one line of input becomes: a Request, a Rejected, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.request import (
    KEYS,
    Rejected,
    Request,
    check_header,
    parse_line,
    parse_url,
    with_json_headers,
)
from gtool.fetch.urls import URL_MALFORMED, BadRequest

fixed = settings(derandomize=True, deadline=None, max_examples=300)

SECRET = "s3cr3t"
SHA256 = "0123456789abcdef" * 4
#: what lines are made of
PIECES = [
    "http://", "HTTPS://", "ftp:", "//", "/", ":", "@", "?", "#", "[", "]", "[::1]", "%", "%00", "..", " ", "\t",
    "\x7f", "h", "80", "ü", "İ", "℀", "\uff20", "。", "\u200d", "\u202e", '{"url": "', '"}', '", "id": ', "{", "}",
    "[[", "5",
]  # fmt: skip


def request(line: str | bytes) -> Request:
    parsed = parse_line(line.encode() if isinstance(line, str) else line)
    assert isinstance(parsed, Request), parsed
    return parsed


def rejected(line: str | bytes) -> Rejected:
    parsed = parse_line(line.encode() if isinstance(line, str) else line)
    assert isinstance(parsed, Rejected), parsed
    return parsed


def json_request(**fields: Any) -> str:
    return json.dumps({"url": "http://h/", **fields})


# Lines


@pytest.mark.parametrize("line", [b"", b" ", b"\t\r", b"# http://h/", b"  #"])
def test_a_blank_line_or_a_comment_is_no_input(line):
    assert parse_line(line) is None


def test_space_and_a_carriage_return_around_a_line_are_not_part_of_it():
    assert request(b"  http://h/x \r").url == "http://h/x"


def test_a_line_that_is_not_utf8_is_malformed_and_says_so():
    parsed = rejected(b"http://h/\xff")
    assert (parsed.exitcode, parsed.url) == (URL_MALFORMED, "http://h/\ufffd")
    assert "UTF-8" in parsed.errormsg


@fixed
@given(st.binary(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=10).map("".join).map(str.encode))
def test_whatever_a_line_holds_it_is_judged(line):
    assert isinstance(parse_line(line), Request | Rejected | None)


@fixed
@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
def test_what_goes_to_libcurl_is_printable_ascii(text):
    parsed = parse_line(text.encode())
    assert not isinstance(parsed, Request) or (parsed.url.isascii() and parsed.url.isprintable())


def test_a_url_is_shown_as_the_input_has_it():
    assert request("bücher.example/ü").shown == "bücher.example/ü"


# Passwords


@pytest.mark.parametrize(
    "user", ["joe", "", "a+b.c-d", "é", "joe%40example.com", "joe@example.com", "joe b", "http", "1"]
)
@pytest.mark.parametrize("scheme", ["http://", "HTTPS://", ""])
def test_the_password_of_a_good_url_is_not_shown(scheme, user):
    assert SECRET not in request(f"{scheme}{user}:{SECRET}@h/").shown


@pytest.mark.parametrize("password", [f":{SECRET}", f"@{SECRET}", f"{SECRET}@x", f"a b{SECRET}", f"ü{SECRET}"])
def test_no_part_of_a_password_is_shown(password):
    assert SECRET not in request(f"http://joe:{password}@h/").shown


@pytest.mark.parametrize(
    "text",
    [
        f"ftp://joe:{SECRET}@h/",
        f"http://joe:{SECRET}@/",
        f"http://joe:{SECRET}@h:port/",
        f"http://joe:{SECRET}@[::1/",
        f"http://joe:{SECRET}@h/\x01",
        f"joe:{SECRET}@h/\x01",
        f"http://joe:{SECRET}\x01@h/",
        f"http://joe:x/{SECRET}@h/",
        f"http://joe:x?{SECRET}@h/",
        f"joe:x#{SECRET}@h/",
        f"http://joe@example.com:{SECRET}@h/\x01",
        f"joe@example.com:{SECRET}@h/\x01",
        f"http://joe:{SECRET}@a..ü/",
    ],
)
def test_the_password_of_a_bad_url_is_not_shown(text):
    parsed = rejected(text)
    assert SECRET not in parsed.url + parsed.errormsg


def test_the_password_of_a_line_that_is_not_utf8_is_not_shown():
    assert SECRET not in rejected(f"http://joe:{SECRET}@h/".encode() + b"\xff").url


@pytest.mark.parametrize("spoiled", ['{"url": "%s", "x": 1}', '{"url": "%s"', '{"url": "%s", "method": "\\n"}'])
def test_the_password_of_a_bad_json_request_is_not_shown(spoiled):
    parsed = rejected(spoiled % f"http://joe:{SECRET}@h/")
    assert SECRET not in parsed.url + parsed.errormsg


@fixed
@given(
    scheme=st.sampled_from(["http://", "https://", ""]),
    user=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="/?#:")),
    after=st.text(max_size=10),
)
def test_whatever_the_user_is_called_and_whatever_follows_no_password_is_shown(scheme, user, after):
    parsed = parse_url(f"{scheme}{user}:{SECRET}@h{after}")
    assert SECRET not in (parsed.shown if isinstance(parsed, Request) else parsed.url)


# JSON requests


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({}, "url", "http://h/"),
        ({}, "shown", "http://h/"),
        ({}, "host", "h"),
        ({"method": "PUT"}, "method", "PUT"),
        ({"headers": {"A": "b"}}, "headers", ("A: b",)),
        ({"headers": {"A": ["b", "c"]}}, "headers", ("A: b", "A: c")),
        ({"headers": ["A: b", "C: d"]}, "headers", ("A: b", "C: d")),
        ({"headers": ["A:", "B;"]}, "headers", ("A:", "B;")),
        ({"data": "ü"}, "data", "ü".encode()),
        ({"data": ""}, "data", b""),
        ({"json": {"a": [1, None]}}, "data", b'{"a": [1, null]}'),
        ({"json": None}, "data", b"null"),
        ({"json": ""}, "data", b'""'),
        ({"id": "x"}, "id", "x"),
        ({"output": "a/b"}, "output", "a/b"),
        ({"sha256": SHA256.upper()}, "sha256", SHA256),
        ({"max_time": 1.5}, "max_time_s", 1.5),
        ({"max_time": 2}, "max_time_s", 2),
        ({"max_time": 0.001}, "max_time_s", 0.001),
    ],
)
def test_each_key_of_a_json_request_is_taken(fields, name, value):
    assert getattr(request(json_request(**fields)), name) == value


@pytest.mark.parametrize("key", sorted(KEYS - {"url", "json"}))
def test_null_is_as_good_as_a_key_left_out(key):
    assert request(json_request(**{key: None})) == request("http://h/")


@pytest.mark.parametrize("value", [None, True, False, 0, -1, 1.5, 10**30, "", "ü\n", [1, [2]], {"a": {"b": None}}])
def test_the_id_comes_back_as_it_was_whatever_it_is(value):
    parsed = request(json_request(id=value))
    assert parsed.id == value
    assert type(parsed.id) is type(value)


@pytest.mark.parametrize("value", [0, "x", [1], {"a": 1}])
def test_the_id_of_a_rejected_request_comes_back_too(value):
    assert rejected(json_request(method=5, id=value)).id == value


def test_a_rejected_request_is_shown_by_its_url():
    assert rejected(json_request(method=5)).url == "http://h/"


def test_an_unknown_key_is_an_error_that_names_it():
    parsed = rejected(json_request(timeout=5))
    assert parsed.exitcode == URL_MALFORMED
    assert "'timeout'" in parsed.errormsg


@pytest.mark.parametrize(
    "fields",
    [
        {"url": 5},
        {"url": None},
        {"url": ["http://h/"]},
        {"url": ""},
        {"method": 5},
        {"method": ""},
        {"method": "A B"},
        {"method": "GET\r\nX: y"},
        {"headers": "A: b"},
        {"headers": 5},
        {"headers": [5]},
        {"headers": [["A: b"]]},
        {"headers": {"A": None}},
        {"headers": {"A": True}},
        {"headers": {"A": {"b": 1}}},
        {"headers": {"A": [["b"]]}},
        {"data": 5},
        {"data": {"a": 1}},
        {"output": 5},
        {"sha256": 5},
        {"sha256": "abc"},
        {"sha256": SHA256 + "0"},
        {"max_time": "5"},
        {"max_time": True},
        {"max_time": 0},
        {"max_time": -1},
        {"max_time": 10**400},
        {"data": "x", "json": 1},
        {"data": None, "json": None},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_a_json_request_with_a_wrong_value_is_rejected(fields):
    assert rejected(json_request(**fields)).exitcode == URL_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"url": "http://h/"',
        '{"url": "http://h/"} {}',
        '{"url": "http://h/", "id": NaN}',
        '{"url": "http://h/", "max_time": 1e999}',
        "{'url': 'http://h/'}",
        '{"url": "http://h/", "id": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_is_no_json_request_is_rejected(text):
    assert rejected(text).exitcode == URL_MALFORMED


def test_a_url_inside_json_has_no_character_that_utf8_has_not():
    assert rejected('{"url": "http://h/\\ud800"}').exitcode == URL_MALFORMED


@pytest.mark.parametrize("character", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("place", [{"A": "b%s"}, {"A%s": "b"}, {"A": ["b", "%sc"]}, ["A: b%sX: y"], ["%sA: b"]])
def test_no_header_smuggles_in_another(place, character):
    headers = json.loads(json.dumps(place).replace("%s", json.dumps(character)[1:-1]))
    parsed = rejected(json_request(headers=headers))
    assert parsed.exitcode == URL_MALFORMED
    assert "header" in parsed.errormsg


@pytest.mark.parametrize("line", ["A: b", "A:b", "A:", "A;", "X-Y_z!: a:b;"])
def test_a_header_line_as_curl_has_it_is_good(line):
    check_header(line)


@pytest.mark.parametrize("line", ["", "A", ": b", ";", "A b: c", "Ä: b", "A;: b", "A;;", "A : b"])
def test_a_header_line_without_a_proper_name_is_bad(line):
    with pytest.raises(BadRequest):
        check_header(line)


def test_json_brings_the_headers_that_curl_sends_with_it():
    assert request(json_request(json=1)).headers == ("Content-Type: application/json", "Accept: application/json")


def test_headers_of_json_do_not_stand_in_for_given_ones():
    headers = ("content-TYPE: x/y", "ACCEPT: z")
    assert with_json_headers(headers) == headers


def test_only_a_request_for_nothing_but_its_url_is_plain():
    lines = ["http://h/", *(json_request(**{key: "x"}) for key in ("id", "output", "data", "json", "method"))]
    plain = [request(line).is_plain for line in [*lines, json_request(headers={"A": "b"})]]
    assert plain == [True, True, True, False, False, False, False]
