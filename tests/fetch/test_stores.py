"""Bodies that are kept in the record, and what tells whether the rest of one still fits to it."""

from __future__ import annotations

import pytest

from gtool.fetch.record import Headers
from gtool.fetch.stores import InlineStore, validator_of


def test_an_inline_body_is_shown():
    store = InlineStore(100)
    store.append(b"data")
    assert store.finish(None) == {"body": "data", "truncated": False}


def test_an_inline_body_is_cut_at_its_limit():
    store = InlineStore(6)
    for piece in (b"1234", b"5678", b"9"):
        store.append(piece)
    assert store.finish(None) == {"body": "123456", "truncated": True}


def test_an_inline_body_of_just_the_limit_is_not_cut():
    store = InlineStore(4)
    store.append(b"1234")
    assert store.finish(None)["truncated"] is False


def test_an_inline_body_of_a_failed_input_is_shown_too():
    store = InlineStore(100)
    store.append(b"half")
    assert store.discard() == {"body": "half", "truncated": False}


def test_an_inline_body_starts_anew_with_each_attempt():
    store = InlineStore(2)
    store.append(b"lost")
    store.take_back()
    store.append(b"ok")
    assert store.finish(None) == {"body": "ok", "truncated": False}


# What If-Range may carry


@pytest.mark.parametrize(
    ("lines", "validator"),
    [
        ([b'ETag: "a"\r\n', b"Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n"], '"a"'),
        ([b'ETag: W/"a"\r\n', b"Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n"], "Sat, 01 Jan 2000 00:00:00 GMT"),
        ([b"Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n"], "Sat, 01 Jan 2000 00:00:00 GMT"),
        ([b'ETag: W/"a"\r\n'], None),
        ([b'ETag: "a"\r\n', b"Content-Encoding: gzip\r\n"], None),
        ([], None),
    ],
)
def test_the_validator_is_a_strong_tag_or_else_a_date(lines, validator):
    assert validator_of(Headers([b"HTTP/1.1 200 OK\r\n", *lines])) == validator
