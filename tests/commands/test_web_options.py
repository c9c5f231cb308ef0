"""What web-facing commands read from their options: a secret, whom to serve, and where."""

from __future__ import annotations

import pytest

from gtool.commands.web_options import base_path, check_web, guard, secret
from gtool.errors import UsageError
from gtool.runtime.address import parse_address
from gtool.web.guard import LOOPBACK_NAMES


def test_no_secret_is_none():
    assert secret(None) is None


@pytest.mark.parametrize("text", ["s3cret", " s3cret ", "a@b", "ä"])
def test_a_secret_is_taken_as_it_is(text):
    assert secret(text) == text


def test_a_secret_may_stand_in_a_file(tmp_path):
    (tmp_path / "token").write_text(" s3cret \n")
    assert secret(f"@{tmp_path}/token") == "s3cret"


def test_an_empty_secret_is_refused():
    with pytest.raises(UsageError, match="the token is empty"):
        secret("")


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_empty_file_is_refused(tmp_path, data):
    (tmp_path / "token").write_bytes(data)
    with pytest.raises(UsageError, match="the token is empty"):
        secret(f"@{tmp_path}/token")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=f"cannot read the token from {tmp_path}/token: No such file"):
        secret(f"@{tmp_path}/token")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "token").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=f"cannot read the token from {tmp_path}/token: it is not UTF-8"):
        secret(f"@{tmp_path}/token")


def test_a_name_without_an_end_is_no_file():
    with pytest.raises(UsageError):
        secret("@")


# Whom to serve


def site(
    *hosts: str, origins: tuple[str, ...] = (), listen: tuple[str, ...] = ("127.0.0.1:0",), token: str | None = None
):
    options = {"allow_host": hosts, "allow_origin": origins}
    return guard(options, [parse_address(text) for text in listen], token)


def test_loopback_is_served_without_a_word():
    assert site().hosts == set(LOOPBACK_NAMES)


@pytest.mark.parametrize(
    ("listen", "host"),
    [("192.0.2.7:80", "192.0.2.7"), ("[2001:db8::1]:80", "2001:db8::1"), ("Example.com:80", "example.com")],
)
def test_what_is_listened_on_is_served(listen, host):
    assert site(listen=(listen,)).hosts == {*LOOPBACK_NAMES, host}


def test_a_unix_socket_is_no_host(tmp_path):
    assert site(listen=(f"unix:{tmp_path}/socket",)).hosts == set(LOOPBACK_NAMES)


def test_hosts_and_origins_that_are_allowed_are_served():
    found = site("Feed.example.com", origins=("https://Example.com",), token="s3cret")
    assert (found.hosts - set(LOOPBACK_NAMES), found.origins, found.token) == (
        {"feed.example.com"}, {"https://example.com"}, "s3cret"
    )  # fmt: skip


@pytest.mark.parametrize("host", ["", "a b", "http://example.com", "example.com/x", "[::1"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(UsageError, match="is not a host"):
        site(host)


@pytest.mark.parametrize("origin", ["", "example.com", "https://", "https://a b", "://x"])
def test_an_origin_that_is_none_is_refused(origin):
    with pytest.raises(UsageError, match="is not an origin"):
        site(origins=(origin,))


# Where


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, ""),
        ("", ""),
        ("/", ""),
        ("//", ""),
        ("chat", "/chat"),
        ("/chat", "/chat"),
        ("chat/", "/chat"),
        ("/a/b/", "/a/b"),
    ],
)
def test_a_base_path_begins_with_a_slash_and_ends_without(text, expected):
    assert base_path({"base_path": text}) == expected


def test_over_udp_there_is_no_http():
    with pytest.raises(UsageError, match="udp:// can't be listened on"):
        check_web({"listen": [parse_address("127.0.0.1:80"), parse_address("udp://127.0.0.1:80")]})


@pytest.mark.parametrize("address", ["127.0.0.1:80", "tcp://127.0.0.1:80", "tls://127.0.0.1:80", "unix:/tmp/x"])
def test_over_all_else_there_is(address):
    check_web({"listen": [parse_address(address)]})
