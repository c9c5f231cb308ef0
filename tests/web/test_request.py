"""What a request says, and what other servers read differently in it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from gevent.pywsgi import headers_factory

from gtool.web.request import LengthWanted, check_headers, offered_subprotocols, origin_form, query_of


def header_set(lines: bytes) -> Any:
    return headers_factory(BytesIO(lines + b"\r\n\r\n" if lines else b"\r\n"))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/", "/"),
        ("/a/b?c=d", "/a/b?c=d"),
        ("*", "*"),
        ("/a?url=http://x/y", "/a?url=http://x/y"),
        ("/a%3a//b", "/a%3a//b"),
        ("//a", "//a"),
        ("http://x", "/"),
        ("http://x/", "/"),
        ("http://x?a=b", "/?a=b"),
        ("http://x:1/a/b?c=d&e=http://f", "/a/b?c=d&e=http://f"),
        ("HTTPS://user@[::1]:1/a", "/a"),
        ("http://x//a", "//a"),
        ("//a/b://c", "//a/b://c"),
    ],
)
def test_a_target_is_given_without_scheme_and_host(target, expected):
    assert origin_form(target) == expected


@pytest.mark.parametrize(
    "lines", [b"Transfer-Encoding: chunked", b"transfer-encoding:", b"Transfer-Encoding: identity"]
)
def test_a_length_is_wanted_where_chunks_are_announced(lines):
    with pytest.raises(LengthWanted):
        check_headers(header_set(lines))


@pytest.mark.parametrize("kind", [b"multipart/form-data; boundary=x", b"multipart/mixed"])
def test_headers_of_a_form_are_taken(kind):
    check_headers(header_set(b"Content-Type: " + kind))


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", {}), ("a=1&a=2&b=", {"a": ["1", "2"]}), ("a=%C3%A4+b", {"a": ["ä b"]}), ("a=%ff", {"a": ["\ufffd"]})],
)
def test_a_query_is_read(query, expected):
    assert query_of({"QUERY_STRING": query}) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("a", ["a"]), ("a, b,c", ["a", "b", "c"]), ("", []), ("a b, c", ["c"]), ("d\xe4", []), (",a,", ["a"])],
)
def test_subprotocols_are_offered_in_order(header, expected):
    assert offered_subprotocols({"HTTP_SEC_WEBSOCKET_PROTOCOL": header}) == expected


def test_without_an_offer_there_is_no_subprotocol():
    assert offered_subprotocols({}) == []
