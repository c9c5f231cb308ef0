"""Who may come in: a table of hosts, origins and tokens, as browsers and attackers send them."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gtool.web.guard import ANY, HOST, Guard, guard_for, is_same, split_host

fixed = settings(derandomize=True, deadline=None, max_examples=200)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?){0,3}", fullmatch=True)
ports = st.integers(1, 65535)


def environ(host: str | None = "localhost:10000", **headers: str) -> dict[str, str]:
    made = {"QUERY_STRING": "", **headers}
    return made if host is None else {**made, "HTTP_HOST": host}


def status(refusal) -> str | None:
    return refusal and refusal.status[:3]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("localhost", ("localhost", None)),
        ("localhost:10000", ("localhost", 10000)),
        ("LocalHost:80", ("localhost", 80)),
        ("localhost.", ("localhost", None)),
        ("localhost.:80", ("localhost", 80)),
        ("localhost:", ("localhost", None)),
        (" localhost ", ("localhost", None)),
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("my_host-1.example.org", ("my_host-1.example.org", None)),
        ("[::1]", ("::1", None)),
        ("[::1]:65535", ("::1", 65535)),
        ("[FE80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("[::ffff:127.0.0.1]", ("::ffff:127.0.0.1", None)),
    ],
)
def test_a_host_is_parted_from_its_port(header, expected):
    assert split_host(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        ".",
        ":80",
        "::1",
        "[]",
        "[::1",
        "::1]",
        "[localhost]",
        "localhost:65536",
        "localhost:-1",
        "localhost:+1",
        "localhost:http",
        "localhost:8_0",
        "localhost: 80",
        "localhost:\N{FULLWIDTH DIGIT EIGHT}0",
        "user@localhost",
        "user:password@localhost",
        "@localhost",
        "localhost@",
        "localhost/",
        "localhost/path",
        "localhost?query",
        "localhost#fragment",
        "localhost\\path",
        "http://localhost",
        "localhost,evil.example",
        "localhost evil.example",
        "localhost\tevil.example",
        "local\thost",
        "localhost\r\nX-Evil: 1",
        "local\nhost",
        "localhost\0",
        "localhost;evil",
        "localhost'",
        'localhost"',
        "<localhost>",
        "*",
        "%6cocalhost",
        "löcalhost",
    ],
)
def test_what_is_no_host_is_none(header):
    assert split_host(header) is None


@pytest.mark.parametrize(
    "header",
    ["[::1]evil.example", "evil.example[::1]", "[::1] evil", "[::1]; script-src *:80", "[::1]evil:80", "[v1.x]"],
)
def test_what_stands_beside_the_brackets_makes_it_no_host(header):
    assert split_host(header) is None


@given(names, st.none() | ports)
@fixed
def test_every_name_is_parted_from_its_port(name, port):
    header = name if port is None else f"{name}:{port}"
    assert split_host(header.upper()) == (name, port)


@given(st.ip_addresses(v=6).map(str), st.none() | ports)
@fixed
def test_every_address_of_ipv6_is_parted_from_its_port(address, port):
    header = f"[{address}]" if port is None else f"[{address}]:{port}"
    assert split_host(header) == (address, port)


@given(st.text("a1A.:[]%@- ", max_size=8))
@fixed
def test_whatever_is_found_is_a_host_in_lower_case(header):
    host, _ = split_host(header) or ("none", None)
    assert HOST.fullmatch(host)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("localhost:10000", None),
        ("LOCALHOST", None),
        ("localhost.", None),
        ("127.0.0.1", None),
        ("[::1]:80", None),
        ("example.org", None),
        ("EXAMPLE.org.:443", None),
        ("evil.example", "403"),
        ("localhost.evil.example", "403"),
        ("evil-localhost", "403"),
        ("xexample.org", "403"),
        ("sub.example.org", "403"),
        ("127.0.0.2", "403"),
        ("[::2]", "403"),
        ("", "400"),
        ("localhost@evil.example", "400"),
        ("evil.example/localhost", "400"),
        (None, "400"),
    ],
)
def test_only_hosts_that_were_named_are_served(header, expected):
    guard = guard_for(["0.0.0.0"], ["Example.org"], [])
    assert status(guard.refuse_host(environ(header))) == expected


def test_a_host_that_is_listened_on_by_name_is_served():
    assert guard_for(["Feed.Example"], [], []).refuse_host(environ("feed.example:1")) is None


def test_an_address_of_ipv6_may_be_named_with_its_brackets():
    assert guard_for([], ["[2001:DB8::1]"], []).refuse_host(environ("[2001:db8::1]:1")) is None


def test_the_address_that_a_request_came_to_is_served():
    """No stranger's name is an address; who listens on all interfaces need not name each."""
    asked = {**environ("192.0.2.1:10000"), "gtool.local_host": "192.0.2.1"}
    assert guard_for([], [], []).refuse_host(asked) is None


def test_another_address_than_the_one_that_a_request_came_to_is_not():
    asked = {**environ("192.0.2.2:10000"), "gtool.local_host": "192.0.2.1"}
    assert status(guard_for([], [], []).refuse_host(asked)) == "403"


def test_a_request_over_a_unix_socket_came_to_no_address():
    asked = {**environ("None"), "gtool.local_host": None}
    assert status(guard_for([], [], []).refuse_host(asked)) == "403"


def test_any_host_can_be_allowed():
    assert guard_for([], [ANY], []).refuse_host(environ("evil.example")) is None


@pytest.mark.parametrize("header", ["", "a b", "a/b"])
def test_what_is_no_host_is_refused_even_if_any_is_allowed(header):
    assert status(guard_for([], [ANY], []).refuse_host(environ(header))) == "400"


def test_a_refusal_of_a_host_names_it_and_what_to_do():
    refusal = guard_for([], [], []).refuse_host(environ("evil.example"))
    assert "'evil.example'" in refusal.text
    assert "--allow-host" in refusal.text


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://localhost:10000", "localhost:10000", True),
        ("HTTP://LOCALHOST:10000", "localhost:10000", True),
        ("http://localhost", "LOCALHOST:80", True),
        ("http://localhost:80", "localhost", True),
        ("http://localhost.", "localhost", True),
        ("https://localhost", "localhost:443", True),
        ("https://localhost:443", "localhost", True),
        ("https://localhost", "localhost", True),
        ("http://[::1]:1", "[::1]:1", True),
        ("http://[::1]", "[::1]:80", True),
        ("http://localhost:10000", "localhost:10001", False),
        ("http://localhost", "localhost:443", False),
        ("https://localhost", "localhost:80", False),
        ("http://localhost", "localhost:10000", False),
        ("http://127.0.0.1:10000", "localhost:10000", False),
        ("http://evil.example", "localhost", False),
        ("http://localhost.evil.example", "localhost", False),
        ("http://localhost@evil.example", "localhost", False),
        ("http://evil@localhost", "localhost", False),
        ("http://localhost/", "localhost", False),
        ("http://localhost#@evil", "localhost", False),
        ("http://localhost http://evil.example", "localhost", False),
        ("http://localhost, http://evil.example", "localhost", False),
        ("file://localhost", "localhost", False),
        ("chrome-extension://localhost", "localhost", False),
        ("localhost", "localhost", False),
        ("//localhost", "localhost", False),
        ("://localhost", "localhost", False),
        ("http:localhost", "localhost", False),
        ("null", "localhost", False),
        ("null", "null", False),
        ("", "localhost", False),
        ("http://", "", False),
        ("http://localhost:99999", "localhost:99999", False),
    ],
)
def test_an_origin_is_the_hosts_if_name_and_port_are(origin, host, expected):
    assert is_same(origin, host) is expected


@given(names, names, ports, ports)
@fixed
def test_no_other_name_or_port_is_the_same(name, other, port, other_port):
    assume((name, port) != (other, other_port))
    assert not is_same(f"http://{name}:{port}", f"{other}:{other_port}")


@given(names, ports, st.sampled_from(["http", "https", "ws", "wss"]))
@fixed
def test_the_same_name_and_port_are_the_same(name, port, scheme):
    assert is_same(f"{scheme}://{name}:{port}", f"{name}:{port}")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, None),
        ("http://localhost:10000", None),
        ("https://example.org", None),
        ("HTTPS://Example.ORG", None),
        ("https://example.org:8443", "403"),
        ("http://example.org", "403"),
        ("https://sub.example.org", "403"),
        ("https://example.org.evil.example", "403"),
        ("http://evil.example", "403"),
        ("null", "403"),
        ("", "403"),
    ],
)
def test_pages_of_other_sites_are_refused_unless_they_are_allowed(origin, expected):
    guard = guard_for([], [], ["https://Example.org/"])
    headers = {} if origin is None else {"HTTP_ORIGIN": origin}
    assert status(guard.refuse_origin(environ(**headers))) == expected


def test_any_origin_can_be_allowed():
    assert guard_for([], [], [ANY]).refuse_origin(environ(HTTP_ORIGIN="null")) is None


def test_an_origin_without_a_host_is_refused():
    assert status(guard_for([], [], []).refuse_origin(environ(None, HTTP_ORIGIN="http://localhost"))) == "403"


def test_a_refusal_of_an_origin_shows_no_more_than_there_is_need_for():
    refusal = guard_for([], [], []).refuse_origin(environ(HTTP_ORIGIN="http://" + "x" * 10_000))
    assert "--allow-origin" in refusal.text
    assert len(refusal.text) < 300


@pytest.mark.parametrize("refuse", ["refuse_host", "refuse_origin"])
def test_a_refusal_is_one_line_whatever_was_sent(refuse):
    asked = environ("evil.example", HTTP_ORIGIN="http://evil\r\nX-Evil: 1\x1b[31m")
    text = getattr(guard_for([], [], []), refuse)(asked).text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"HTTP_AUTHORIZATION": "Bearer secret"}, None),
        ({"HTTP_AUTHORIZATION": "bearer secret"}, None),
        ({"HTTP_AUTHORIZATION": "Bearer  secret "}, None),
        ({"QUERY_STRING": "token=secret"}, None),
        ({"QUERY_STRING": "since=1&token=secret"}, None),
        ({"QUERY_STRING": "token=s%65cret"}, None),
        ({"HTTP_AUTHORIZATION": "Basic c2VjcmV0", "QUERY_STRING": "token=secret"}, None),
        ({}, "401"),
        ({"HTTP_AUTHORIZATION": "Bearer"}, "401"),
        ({"HTTP_AUTHORIZATION": "Bearer "}, "401"),
        ({"HTTP_AUTHORIZATION": "Bearer Secret"}, "401"),
        ({"HTTP_AUTHORIZATION": "Bearer secre"}, "401"),
        ({"HTTP_AUTHORIZATION": "Bearer secrets"}, "401"),
        ({"HTTP_AUTHORIZATION": "Basic secret"}, "401"),
        ({"HTTP_AUTHORIZATION": "secret"}, "401"),
        ({"HTTP_AUTHORIZATION": "Bearer other", "QUERY_STRING": "token=secret"}, "401"),
        ({"QUERY_STRING": "token="}, "401"),
        ({"QUERY_STRING": "token"}, "401"),
        ({"QUERY_STRING": "Token=secret"}, "401"),
        ({"QUERY_STRING": "xtoken=secret"}, "401"),
        ({"QUERY_STRING": "token=%ff"}, "401"),
        ({"QUERY_STRING": "token=\xff"}, "401"),
        ({"QUERY_STRING": "name=%c3%a9&token=secret"}, None),
        ({"HTTP_AUTHORIZATION": "Bearer \xff"}, "401"),
    ],
)
def test_a_token_is_asked_for(headers, expected):
    assert status(guard_for([], [], [], "secret").refuse_token(environ(**headers))) == expected


def test_without_a_token_none_is_asked_for():
    assert guard_for([], [], []).refuse_token({}) is None


def test_a_token_beyond_ascii_is_known_in_a_query():
    assert guard_for([], [], [], "gehéim").refuse_token(environ(QUERY_STRING="token=geh%C3%A9im")) is None


@pytest.mark.parametrize(
    "token",
    [
        "gehéim",
        "voilà",
    ],
)
def test_a_token_beyond_ascii_is_known_in_a_header(token):
    header = f"Bearer {token}".encode().decode("latin-1")
    assert guard_for([], [], [], token).refuse_token(environ(HTTP_AUTHORIZATION=header)) is None


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *both: compared.append(both) or real(*both))
    guard_for([], [], [], "secret").refuse_token(environ(QUERY_STRING="token=guess"))
    assert compared == [(b"guess", b"secret")]


@given(st.text(st.characters(max_codepoint=255), max_size=20))  # as WSGI has it
@fixed
def test_no_other_token_will_do(guess):
    assume(guess.strip() != "secret")
    headers = environ(HTTP_AUTHORIZATION=f"Bearer {guess}")
    assert status(guard_for([], [], [], "secret").refuse_token(headers)) == "401"


def test_a_name_rebound_to_loopback_is_refused_though_its_origin_fits():
    asked = environ("evil.example:10000", HTTP_ORIGIN="http://evil.example:10000")
    assert status(guard_for([], [], []).refuse_host(asked)) == "403"


def test_a_guard_by_default_serves_loopback_only():
    assert Guard() == guard_for([], [], [])


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("feed.example", "feed.example:1"),
        ("Feed.Example.", "feed.example"),
        ("feed.example:8080", "feed.example:1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "[2001:DB8::1]:80"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("fe80::1%eth0", "[fe80::1%eth0]"),
    ],
)
def test_a_host_may_be_named_as_users_write_it(text, header):
    assert guard_for([], [text], []).refuse_host(environ(header)) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ".",
            "https://feed.example",
            "feed.example/",
            "a b",
            "*.example",
            "user@feed.example",
            "[::1",
            "[::1]x",
        ),
        *("feed.example:x", "feed.example:99999", "a,b", "löcalhost"),
    ],
)
def test_a_host_that_can_never_match_is_refused(text):
    with pytest.raises(ValueError, match="is not a host such as") as caught:
        guard_for([], [text], [])
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.org", "https://example.org"),
        ("https://example.org/", "https://example.org"),
        ("HTTPS://Example.org:8443", "https://example.org:8443"),
        ("http://[::1]:808", "http://[::1]:808"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("https://example.org:443", "https://example.org"),
    ],
)
def test_an_origin_may_be_named_as_users_write_it(text, origin):
    assert guard_for([], [], [text]).is_allowed(origin)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "example.org", "//example.org", "://example.org", "https://", "https://example.org/path", "https:a"),
        *("https://a b", "https://*.example.org", "https://user@example.org", "https://example.org:99999", "null"),
    ],
)
def test_an_origin_that_can_never_match_is_refused(text):
    with pytest.raises(ValueError, match="is not an origin such as") as caught:
        guard_for([], [], [text])
    assert repr(text) in str(caught.value)
