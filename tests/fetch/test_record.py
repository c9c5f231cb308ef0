"""The record of one input: its fields, bodies inside it, and the headers it is made from."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.record import (
    CHECKSUM_MISMATCH,
    COULD_NOT_CONNECT,
    FIELDS,
    HTTP_ERROR,
    NOTHING,
    PARTIAL,
    TIMED_OUT,
    TOO_LARGE,
    WRITE_ERROR,
    Headers,
    Measured,
    Record,
    build,
    inline_body,
    timestamp,
)

fixed = settings(derandomize=True, deadline=None, max_examples=300)

OPTIONAL = ("headers", "sha256", "body", "body_base64", "body_path", "truncated")


def a_record(measured: Measured = NOTHING, **changes: Any) -> Record:
    known: dict[str, Any] = {
        "seq": 0, "request_id": None, "url": "http://h/", "url_effective": None, "body": {}, "num_retries": 0,
        "started_at": 0.0, "exitcode": 0, "errormsg": None,
    }  # fmt: skip
    return build(measured=measured, **{**known, **changes})


# Records


def test_the_fields_of_a_record_are_those_that_are_told_of_in_that_order():
    record = a_record(body={name: None for name in FIELDS if name in OPTIONAL})
    assert tuple(record) == FIELDS


def test_a_record_has_what_every_record_has_where_nothing_is_known_of_a_body():
    assert tuple(a_record()) == tuple(name for name in FIELDS if name not in OPTIONAL)


def test_a_record_is_ok_where_the_exit_code_is_none():
    assert [a_record(exitcode=code)["ok"] for code in (0, 7)] == [True, False]


def test_a_record_has_what_was_measured():
    measured = Measured("PUT", 404, 3, "text/html", 12, 1, 2, "192.0.2.1", 443, 0.1, 0.2, 0.3, 0.4, 0.5, "http://x/")
    known = {**measured._asdict(), "http_version": "2"}
    del known["redirected_to"]  # it is in url_effective
    assert a_record(measured).items() >= known.items()


def test_an_input_that_was_never_sent_has_zeros():
    counts = {name: value for name, value in a_record(NOTHING).items() if name.startswith(("num_", "size_", "time_"))}
    assert set(counts.values()) == {0}
    assert [a_record(NOTHING)[name] for name in ("response_code", "http_version", "remote_port")] == [0, "0", 0]


def test_the_codes_are_those_of_curl():
    codes = COULD_NOT_CONNECT, CHECKSUM_MISMATCH, PARTIAL, HTTP_ERROR, WRITE_ERROR, TIMED_OUT, TOO_LARGE
    assert codes == (7, 8, 18, 22, 23, 28, 63)


def test_what_is_not_known_is_null():
    record = a_record()
    assert [record[name] for name in ("id", "method", "url_effective", "content_type", "remote_ip", "errormsg")] == (
        [None] * 6
    )


@pytest.mark.parametrize(("number", "name"), [(0, "0"), (1, "1.0"), (2, "1.1"), (3, "2"), (30, "3"), (31, "0")])
def test_http_versions_are_spelled_as_curl_does(number, name):
    assert a_record(NOTHING._replace(http_version=number))["http_version"] == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.500000Z"),
        (0.000001, "1970-01-01T00:00:00.000001Z"),
    ],
)
def test_a_time_is_rfc_3339_in_utc(seconds, text):
    assert timestamp(seconds) == text


@fixed
@given(st.floats(0, 1e11))
def test_a_time_is_right_to_a_microsecond(seconds):
    told_us = (datetime.fromisoformat(timestamp(seconds)) - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
    assert abs(told_us - Fraction(seconds) * 10**6) <= 1


# Bodies


def test_a_body_that_is_utf8_is_text():
    assert inline_body("grün\0\n".encode(), False) == {"body": "grün\0\n", "truncated": False}


@pytest.mark.parametrize("data", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc3\x28"])
def test_a_body_that_is_not_is_base64(data):
    assert inline_body(data, False) == {"body_base64": base64.b64encode(data).decode(), "truncated": False}


def test_an_empty_body_is_empty_text():
    assert inline_body(b"", False) == {"body": "", "truncated": False}


@pytest.mark.parametrize("character", ["a", "ü", "\u0800", "€", "𝄞"])
def test_a_cut_inside_a_character_leaves_it_out(character):
    data = ("x" + character).encode()
    shown = [inline_body(data[:cut], True)["body"] for cut in range(1, len(data))]
    assert shown == ["x"] * (len(data) - 1)


@pytest.mark.parametrize("character", ["a", "ü", "\u0800", "€", "𝄞"])
def test_a_cut_after_a_character_keeps_it(character):
    assert inline_body(character.encode(), True) == {"body": character, "truncated": True}


@fixed
@given(st.text(), st.integers(0, 100))
def test_text_cut_anywhere_stays_text(text, cut):
    data = text.encode()
    body = inline_body(data[:cut], True)["body"]
    assert text.startswith(body)
    assert len(data[:cut]) - len(body.encode()) <= 3


@fixed
@given(st.binary(max_size=20), st.booleans())
def test_any_body_can_be_shown(data, truncated):
    shown = inline_body(data, truncated)
    back = base64.b64decode(shown["body_base64"]) if "body_base64" in shown else shown["body"].encode()
    assert data.startswith(back)


# Headers

REDIRECTED = [
    b"HTTP/1.1 302 Found\r\n", b"Location: /x\r\n", b"Set-Cookie: a=1\r\n", b"\r\n",
    b"HTTP/1.1 103 Early Hints\r\n", b"Link: </x>\r\n", b"\r\n",
    b"HTTP/2 200 \r\n", b"Content-Type: text/html\r\n", b"set-cookie: b=2\r\n", b"Set-Cookie:c=3 \r\n", b"\r\n",
]  # fmt: skip


def test_the_status_is_that_of_the_last_answer():
    assert Headers(REDIRECTED).status() == 200


def test_headers_are_those_of_the_last_answer_by_lower_case_names():
    assert Headers(REDIRECTED).as_dict() == {"content-type": ["text/html"], "set-cookie": ["b=2", "c=3"]}


def test_the_last_value_of_a_repeated_header_counts():
    assert Headers(REDIRECTED).last("set-cookie") == "c=3"


def test_a_header_of_an_earlier_answer_is_none():
    assert Headers(REDIRECTED).last("location") is None


@pytest.mark.parametrize("count", range(4))
def test_the_last_answer_may_have_any_number_of_headers(count):
    assert Headers([*REDIRECTED, *[b"X: y\r\n"] * count]).status() == 200


def test_a_trailer_is_a_header_too():
    assert Headers([*REDIRECTED, b"Digest: x\r\n", b"\r\n"]).last("digest") == "x"


@pytest.mark.parametrize("lines", [[], [b"\r\n"], [b"HTTP/1.1\r\n"], [b"HTTP/1.1 abc\r\n"], [b"HTTP/1.1 \xb2\r\n"]])
def test_without_a_status_line_the_status_is_none(lines):
    assert Headers(lines).status() == 0


def test_the_headers_may_still_be_coming():
    headers = Headers([*REDIRECTED, b"HTTP/1.1 401 No\r\n"])
    assert (headers.status(), headers.as_dict()) == (401, {})


def test_a_value_may_hold_colons_and_any_byte():
    assert Headers([b"HTTP/1.1 200 OK\r\n", b"X: a:b \xff\r\n"]).last("x") == "a:b \xff"


def test_a_line_that_is_no_header_is_left_out():
    assert Headers([b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n", b"\r\n"]).as_dict() == {}


@fixed
@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 ", b"a: b"]), max_size=5))
def test_no_lines_of_a_peer_raise(lines):
    headers = Headers(lines)
    assert headers.status() >= 0
    assert headers.last("a") in (None, *headers.as_dict().get("a", []))
