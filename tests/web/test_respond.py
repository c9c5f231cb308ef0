"""A short answer to a request."""

from __future__ import annotations

import pytest

from gtool.web.guard import HEADERS
from gtool.web.respond import CLOSE, Refused, respond


@pytest.mark.parametrize(
    ("method", "body", "expected", "goes_on"),
    [
        ("GET", "a sentence", [b"a sentence\n"], True),
        ("GET", b"bytes", [b"bytes"], True),
        ("HEAD", "a sentence", [], True),
        ("POST", b"bytes", [b"bytes"], False),
    ],
)
def test_a_response_is_whole(method, body, expected, goes_on):
    started = []
    found = respond({"REQUEST_METHOD": method}, lambda *args: started.append(args), "200 OK", body)
    ((status, headers),) = started
    size = len(body) + isinstance(body, str)
    assert (found, status, dict(headers)["Content-Length"]) == (expected, "200 OK", str(size))
    assert ("Connection" not in dict(headers)) is goes_on


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(("is_read", "goes_on"), [(True, True), (False, False)])
def test_a_connection_goes_on_where_what_the_request_has_brought_was_read(method, is_read, goes_on):
    started = []
    respond({"REQUEST_METHOD": method}, lambda *args: started.append(args), "200 OK", "ok", is_read=is_read)
    ((_, headers),) = started
    assert (CLOSE not in headers) is goes_on


def test_further_headers_are_given_beside_those_that_keep_an_answer_harmless():
    started = []
    headers = [("X-One", "1"), ("X-Two", "2")]
    respond({"REQUEST_METHOD": "GET"}, lambda *args: started.append(args), "200 OK", "ok", headers=headers)
    ((_, found),) = started
    assert {*headers, *HEADERS} <= set(found)


def test_what_is_refused_tells_how_it_is_to_be_answered():
    error = Refused("404 Not Found", "there is none", [("X-One", "1")])
    assert (error.status, error.text, error.headers) == ("404 Not Found", "there is none", [("X-One", "1")])


def test_what_is_refused_has_no_headers_of_its_own_unless_they_are_said():
    assert list(Refused("404 Not Found", "there is none").headers) == []


def test_what_is_refused_reads_well_in_a_log():
    assert "there is none" in str(Refused("404 Not Found", "there is none"))
