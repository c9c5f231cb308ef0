"""Where a chat server is, as the shell says it, and the name that a login has in a chat."""

from __future__ import annotations

import getpass

import pytest

from gtool.chat.names import check_name
from gtool.chat.remote import DEFAULT, Remote, login_name, parse_remote
from gtool.errors import UsageError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (DEFAULT, DEFAULT),
        ("chat.lan", "http://chat.lan"),
        ("chat.lan:5000", "http://chat.lan:5000"),
        ("127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ("https://chat.lan", "https://chat.lan"),
        ("http://chat.lan/below/", "http://chat.lan/below"),
        ("http://chat.lan//", "http://chat.lan"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_a_url_has_a_scheme_and_no_slash_at_its_end(text, url):
    assert parse_remote(text, None).url == url


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "http://",
            "https://:80",
            "ftp://host",
            "ws://host",
            "http://host:x",
            "http://host:0",
            "http://host:99999",
        ),
        *("http://host/?a=b", "http://host/#a", "http://[::1", "/path", "http:///path"),
    ],
)
def test_what_is_no_url_of_a_server_is_refused(text):
    with pytest.raises(UsageError, match="is no chat server's URL such as http"):
        parse_remote(text, None)


@pytest.mark.parametrize("text", ["http://me@host", "http://me:secret@host", "me@host:80", "http://:secret@host"])
def test_a_user_in_the_url_is_refused_with_what_to_do(text):
    with pytest.raises(UsageError, match="--as is a name, --token-file a secret"):
        parse_remote(text, None)


@pytest.mark.parametrize("text", ["http://me:s3cret@host:x", "ftp://me:s3cret@host/", "http://me:s3cret@host/?a"])
def test_a_password_is_not_shown_when_the_url_is_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_remote(text, None)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_not_shown_when_a_url_without_a_scheme_is_refused():
    with pytest.raises(UsageError) as caught:
        parse_remote("me:s3cret@host:x", None)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("token", "headers"), [(None, {}), ("s", {"Authorization": "Bearer s"})])
def test_the_token_is_a_header(token, headers):
    assert Remote(DEFAULT, token).headers == headers


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        (("api", "rooms"), "/api/rooms"),
        (("a/b", "..", "?x#y"), "/a%2Fb/../%3Fx%23y"),
        (("ä", " "), "/%C3%A4/%20"),
    ],
)
def test_a_path_is_of_segments_that_stay_apart(segments, path):
    assert Remote(DEFAULT).path(*segments) == path


def test_a_path_is_below_that_of_the_server():
    assert Remote("http://host/below").path("api") == "/below/api"


# --- the name of the login


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("bob", "bob"),
        ("jürgen", "jürgen"),
        ("first last", "first-last"),
        ("DOMAIN\\bob", "DOMAIN-bob"),
        ("_bob.", "bob"),
        ("a/../b", "a-..-b"),
        ("", "nobody"),
        ("---", "nobody"),
        ("$", "nobody"),
    ],
)
def test_the_name_of_a_login_is_one_in_a_chat(monkeypatch, login, name):
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    assert login_name() == name
    check_name(login_name())


@pytest.mark.parametrize("login", ["a" * 33, "²", "api"])
def test_any_login_has_a_name_in_a_chat(monkeypatch, login):
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    check_name(login_name())


@pytest.mark.parametrize("error", [KeyError("uid not found: 12345"), OSError("no user name")])
def test_a_number_without_a_login_is_nobody(monkeypatch, error):
    def fail() -> str:
        raise error

    monkeypatch.setattr(getpass, "getuser", fail)
    assert login_name() == "nobody"
