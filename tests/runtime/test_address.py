"""Addresses as users write them: what is said of one can be read again, and what is none is refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.runtime.address import SCHEMES, UNIX_PATH_BYTES, Address, parse_address, peer_name, plain_host, url

fixed = settings(derandomize=True, deadline=None, max_examples=300)

NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
HOSTS = st.ip_addresses().map(str) | NAMES
PORTS = st.integers(0, 65535)
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=26)
PIECES = [
    "unix:",
    "fd:",
    "tcp://",
    "tls://",
    "udp://",
    "http://",
    ":",
    "[",
    "]",
    "::1",
    "/",
    "8000",
    "a",
    "\0",
    "\n",
    "٣",
]
TEXTS = st.text(max_size=30) | st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


# Round trips


@fixed
@given(scheme=st.sampled_from(SCHEMES), host=HOSTS, port=PORTS)
def test_what_the_ready_line_says_can_be_listened_on(scheme, host, port):
    assert parse_address(url(scheme, host, port)) == Address(scheme, host, port)


@fixed
@given(host=st.ip_addresses(), port=PORTS)
def test_a_peer_is_told_as_users_write_addresses(host, port):
    shown = peer_name((str(host), port))
    assert parse_address(shown) == Address(None, plain_host(str(host)), port)


@fixed
@given(scheme=st.sampled_from([None, "tcp", "tls"]), path=PATHS)
def test_any_path_is_a_unix_socket(scheme, path):
    assert parse_address(f"{scheme}://unix:{path}" if scheme else f"unix:{path}") == Address(scheme, path=path)


@fixed
@given(TEXTS)
def test_whatever_is_written_is_one_kind_of_address_or_a_value_error(text):
    try:
        found = parse_address(text)
    except ValueError:
        return
    assert [found.port, found.path, found.descriptor].count(None) == 2


# What is an address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address(None, "127.0.0.1", 8000)),
        ("localhost:0", Address(None, "localhost", 0)),
        (":8000", Address(None, "", 8000)),
        ("[::1]:8000", Address(None, "::1", 8000)),
        ("[fe80::1%eth0]:8000", Address(None, "fe80::1%eth0", 8000)),
        ("[fe80::1%br-lan]:8000", Address(None, "fe80::1%br-lan", 8000)),
        ("TCP://127.0.0.1:80", Address("tcp", "127.0.0.1", 80)),
        ("tcp://:65535", Address("tcp", "", 65535)),
        ("udp://[::]:7", Address("udp", "::", 7)),
        ("tls://a:1", Address("tls", "a", 1)),
        ("unix:/run/x.sock", Address(None, path="/run/x.sock")),
        ("unix:relative", Address(None, path="relative")),
        ("unix:/a:b://c", Address(None, path="/a:b://c")),
        ("tls://unix:/x", Address("tls", path="/x")),
        ("fd:3", Address(None, descriptor=3)),
        ("udp://fd:4", Address("udp", descriptor=4)),
    ],
)
def test_an_address_is_read(text, address):
    assert parse_address(text) == address


def test_a_path_may_be_as_long_as_the_kernel_takes():
    path = "x" * UNIX_PATH_BYTES
    assert parse_address(f"unix:{path}").path == path


def test_a_path_need_not_be_unicode():
    assert parse_address("unix:/\udcff").path == "/\udcff"


# What is none


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "host and a port"),
        ("8000", "host and a port"),
        ("localhost", "host and a port"),
        ("localhost:", "host and a port"),
        ("localhost:http", "host and a port"),
        ("localhost:-1", "host and a port"),
        ("localhost:٣", "host and a port"),
        ("a b:1", "host and a port"),
        ("a/b:1", "host and a port"),
        ("[::1]", "host and a port"),
        ("[::1]8000", "host and a port"),
        ("tcp://localhost", "host and a port"),
        ("a:1\n", "host and a port"),
        ("::1:8000", r"brackets, as \[::1\]:8000"),
        ("udp://::1", r"brackets"),
        ("a:65536", "port 65536 is over 65535"),
        ("http://a:80", "http:// is not one of tcp://, tls://, udp://"),
        ("unix:///run/x", "unix:// is not one of"),
        ("unix:", "no path"),
        ("unix:" + "x" * (UNIX_PATH_BYTES + 1), "107 bytes at most"),
        ("unix:" + "ü" * 54, "107 bytes at most"),
        ("unix:a\0b", "NUL"),
        ("udp://unix:/x", "datagrams over Unix sockets"),
        ("fd:", "number, as fd:3"),
        ("fd:-1", "number, as fd:3"),
        ("fd:x", "number, as fd:3"),
        ("fd:٣", "number, as fd:3"),
        ("fd:99999999", "number, as fd:3"),
    ],
)
def test_what_is_none_is_a_value_error_with_the_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


# What is said of addresses


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (("127.0.0.1", 5000), "127.0.0.1:5000"),
        (("::1", 5000, 0, 0), "[::1]:5000"),
        (("::ffff:1.2.3.4", 5000, 0, 0), "1.2.3.4:5000"),
        ("", "unix"),
        ("/run/client.sock", "unix"),
        (b"\0abstract", "unix"),
    ],
)
def test_a_peer_has_a_name(address, name):
    assert peer_name(address) == name


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.4"),
        ("::1", "::1"),
        ("::ffff", "::ffff"),
        ("64:ff9b::1.2.3.4", "64:ff9b::1.2.3.4"),
    ],
)
def test_only_an_ipv4_address_in_ipv6_clothes_is_undressed(host, plain):
    assert plain_host(host) == plain
