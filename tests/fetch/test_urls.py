"""URLs as libcurl shall have them, and as they may be shown."""

from __future__ import annotations

import pytest

from gtool.fetch.urls import (
    UNSUPPORTED_PROTOCOL,
    URL_MALFORMED,
    BadRequest,
    normalized,
    redacted,
    redacted_message,
    shown,
)


def refusal(text: str) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        normalized(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("http://example.com/a?b#c", "http://example.com/a?b#c", "example.com"),
        ("https://example.com", "https://example.com", "example.com"),
        ("HTTP://Example.COM/A", "HTTP://Example.COM/A", "example.com"),
        # without a scheme
        ("example.com", "http://example.com", "example.com"),
        ("example.com/a:b@c", "http://example.com/a:b@c", "example.com"),
        ("localhost:8080", "http://localhost:8080", "localhost:8080"),
        ("example.com:8080/x", "http://example.com:8080/x", "example.com:8080"),
        ("example.com:", "http://example.com:", "example.com"),
        ("[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
        # ports: the scheme's own one is the same host
        ("http://h:80/", "http://h:80/", "h"),
        ("https://h:443/", "https://h:443/", "h"),
        ("https://h:80/", "https://h:80/", "h:80"),
        # IPv6
        ("http://[::1]/", "http://[::1]/", "[::1]"),
        ("http://[FE80::1]:81/x", "http://[FE80::1]:81/x", "[fe80::1]:81"),
        # users
        ("http://user:password@h:81/x", "http://user:password@h:81/x", "h:81"),
        ("user:password@h/x", "http://user:password@h/x", "h"),
        ("http://user@h/", "http://user@h/", "h"),
        ("http://u:p@[::1]:81/", "http://u:p@[::1]:81/", "[::1]:81"),
        # an @ after the authority is nobody's
        ("http://h/a@b", "http://h/a@b", "h"),
        ("http://h?a@b", "http://h?a@b", "h"),
        ("http://h#a@b", "http://h#a@b", "h"),
        # international
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://BÜCHER.example:81/", "http://xn--bcher-kva.example:81/", "xn--bcher-kva.example:81"),
        ("http://u:p@bücher.example/ü", "http://u:p@xn--bcher-kva.example/%C3%BC", "xn--bcher-kva.example"),
        ("http://h/ü?é=%20#ß", "http://h/%C3%BC?%C3%A9=%20#%C3%9F", "h"),
        ("http://[::1]/ü", "http://[::1]/%C3%BC", "[::1]"),
        # lower case is longer than upper case here
        ("http://İ.example:8080/", "http://xn--i-9bb.example:8080/", "xn--i-9bb.example:8080"),
    ],
)
def test_a_url_becomes_what_libcurl_shall_have_and_its_host(text, url, host):
    assert normalized(text) == (url, host)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://h/",
        "FTP://h/",
        "gopher://u:p@h/",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "FILE:/etc/passwd",
        "file:x",
        "file:8080",
        "mailto:somebody",
        "javascript:alert(1)",
        "data:text/plain,x",
    ],
)
def test_a_protocol_that_is_not_http_is_unsupported(text):
    assert refusal(text).exitcode == UNSUPPORTED_PROTOCOL


@pytest.mark.parametrize(("text", "name"), [("ftp://h/", "ftp"), ("FILE:/etc/passwd", "FILE"), ("mailto:x", "mailto")])
def test_an_unsupported_protocol_is_named(text, name):
    assert str(refusal(text)) == f"protocol {name!r} is not http or https"


def test_the_codes_are_those_of_curl():
    assert (UNSUPPORTED_PROTOCOL, URL_MALFORMED) == (1, 3)


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http:///x",
        "http://?x",
        "http://user@/",
        "//h/x",
        "/etc/passwd",
        "http://:80/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[::1]:x/",
        "http://h:port/",
        "http://h:-1/",
        "http://h:1:2/",
        "http://h/\x00",
        "http://h\tx/",
        "http://h/\x1b[2J",
        "http://h/\u202e",
        "http://a..ü/",
        "http://" + "ü" * 80 + "/",
        "http://℀.example/",  # "a/c" under NFKC
        "http://a\uff20b/",  # "a@b"
        "http://[bücher]/",
    ],
)
def test_a_url_that_is_none_is_malformed(text):
    assert refusal(text).exitcode == URL_MALFORMED


def test_http_without_its_slashes_is_malformed_not_another_protocol():
    assert refusal("http:example.com").exitcode == URL_MALFORMED


def test_what_is_shown_of_a_long_wreck_is_cut():
    assert len(shown("http://\x00" + "x" * 100_000)) == 2049


# Passwords


def test_a_redacted_url_keeps_its_user():
    assert redacted("http://joe:secret@h/x") == "http://joe:***@h/x"


def test_a_url_without_a_password_is_left_alone():
    assert redacted("http://joe@h:80/a:b@c") == "http://joe@h:80/a:b@c"


def test_a_message_shows_no_password_of_a_url_in_it():
    message = "cannot connect to http://joe:s3cr3t@h/ for joe"
    assert redacted_message(message) == "cannot connect to http://joe:***@h/ for joe"


def test_of_a_wreck_all_up_to_the_last_at_is_taken_for_a_password():
    assert shown("http://joe:x/s3cr3t@h/") == "http://joe:***@h/"
