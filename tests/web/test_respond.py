"""A short answer to a request."""

from __future__ import annotations

import pytest

from gtool.web.respond import respond


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
