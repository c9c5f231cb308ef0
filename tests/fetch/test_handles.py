"""Settings and requests as a server sees them, and what a handle leaves behind: nothing."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Callable, Iterator

import certifi
import pycurl
import pytest

from gtool import __version__
from gtool.errors import UsageError
from gtool.fetch.handles import Handle, cookie_share
from gtool.fetch.request import Request, parse_object, parse_url
from gtool.fetch.settings import Network
from gtool.fetch.stores import ResumePoint
from tests.conftest import Peer, answer

TIMEOUT_S = 10


class Client:
    """A handle that is performed by itself: no loop."""

    def __init__(self, network: Network, share: pycurl.CurlShare | None = None, want_headers: bool = False) -> None:
        self.handle = Handle(network, lambda descriptor, purpose: 0, share, want_headers)
        self.body = b""

    def send(self, request: Request | str, timeout_s: float | None = None, resume: ResumePoint | None = None) -> int:
        """Send a request, or a plain one for a URL: curl's code."""
        pieces: list[bytes] = []
        plain = parse_url(request) if isinstance(request, str) else request
        assert isinstance(plain, Request)
        self.handle.prepare(plain, pieces.append, timeout_s, resume)
        try:
            self.handle.curl.perform()
        except pycurl.error as error:
            return error.args[0]
        finally:
            self.body = b"".join(pieces)
        return 0


Connect = Callable[..., Client]


@pytest.fixture
def client() -> Iterator[Connect]:
    """Make a Client, of a Network or of the fields of one."""
    made: list[Client] = []

    def make(network: Network | None = None, *, share=None, want_headers=False, **fields) -> Client:
        made.append(Client(network or Network(**fields), share, want_headers))
        return made[-1]

    yield make
    for one in made:
        one.handle.close()


class Echo:
    """A peer that keeps the last request: its head's lines and its body."""

    def __init__(self, peer: Callable[..., Peer]) -> None:
        self.peer = peer(self._answer)
        self.url = self.peer.url
        self.host = self.peer.host
        self.data = b""

    def _answer(self, connection, head):
        length = re.search(rb"(?i)content-length: (\d+)", head)
        wanted = int(length[1]) if length else 0
        self.data = b""
        while len(self.data) < wanted:
            self.data += connection.recv(wanted - len(self.data))
        connection.sendall(answer(b"" if head.startswith(b"HEAD ") else b"body"))

    @property
    def first_line(self) -> str:
        return self.lines[0]

    @property
    def lines(self) -> list[str]:
        return self.peer.requests[-1].decode("latin-1").rstrip("\r\n").split("\r\n")

    def header(self, name: str) -> list[str]:
        """All values of a header of the last request."""
        fields = [line.split(": ", 1) for line in self.lines[1:]]
        return [field[-1] for field in fields if field[0].lower() == name]


@pytest.fixture
def echo(peer) -> Echo:
    return Echo(peer)


def asked(url: str, **fields: object) -> Request:
    """The Request of a JSON object."""
    request = parse_object(json.dumps({"url": url, **fields}))
    assert isinstance(request, Request)
    return request


# Methods and bodies


def test_a_plain_request_is_a_get(client, echo):
    assert client().send(f"{echo.url}/path?query") == 0
    assert echo.first_line == "GET /path?query HTTP/1.1"


def test_the_body_goes_to_the_write_function(client, echo):
    one = client()
    one.send(echo.url)
    assert one.body == b"body"


def test_data_is_posted(client, echo):
    client(data=b"a\0b").send(echo.url)
    assert (echo.first_line, echo.data) == ("POST / HTTP/1.1", b"a\0b")


def test_empty_data_is_posted_too(client, echo):
    client(data=b"").send(echo.url)
    assert (echo.first_line, echo.header("content-length")) == ("POST / HTTP/1.1", ["0"])


def test_a_method_is_sent_as_it_is(client, echo):
    client(request="PURGE").send(echo.url)
    assert echo.first_line == "PURGE / HTTP/1.1"


def test_a_method_may_have_data(client, echo):
    client(request="PUT", data=b"data").send(echo.url)
    assert (echo.first_line, echo.data) == ("PUT / HTTP/1.1", b"data")


def test_head_waits_for_no_body(client, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"never sent")[: -len(b"never sent")]))
    assert client(request="HEAD").send(server.url, timeout_s=TIMEOUT_S) == 0
    assert server.requests[0].startswith(b"HEAD ")


@pytest.mark.parametrize("of_run", [None, "PUT", "HEAD"])
@pytest.mark.parametrize("of_request", ["GET", "DELETE", "HEAD"])
def test_the_method_of_a_request_comes_before_that_of_the_run(client, echo, of_run, of_request):
    client(request=of_run).send(asked(echo.url, method=of_request))
    assert echo.first_line == f"{of_request} / HTTP/1.1"


def test_a_get_among_heads_has_its_body(client, echo):
    one = client(request="HEAD")
    one.send(asked(echo.url, method="GET"))
    assert one.body == b"body"


def test_a_head_among_posts_has_no_data(client, echo):
    client(data=b"run").send(asked(echo.url, method="HEAD"))
    assert (echo.first_line, echo.data) == ("HEAD / HTTP/1.1", b"")


def test_data_among_heads_is_no_head_with_data(client, echo):
    """The method of the run stands, and HEAD has no body."""
    client(request="HEAD").send(asked(echo.url, data="data"))
    assert (echo.first_line, echo.data) == ("HEAD / HTTP/1.1", b"")


def test_the_data_of_a_request_comes_before_that_of_the_run(client, echo):
    client(data=b"run").send(asked(echo.url, data="request"))
    assert echo.data == b"request"


# Headers


def test_it_says_who_it_is(client, echo):
    client().send(echo.url)
    assert echo.header("user-agent") == [f"gtool/{__version__}"]


def test_it_says_who_it_is_told_to_be(client, echo):
    client(user_agent="me").send(echo.url)
    assert echo.header("user-agent") == ["me"]


def test_headers_are_sent(client, echo):
    client(header=("X-One: 1", "X-Empty;")).send(echo.url)
    assert (echo.header("x-one"), "X-Empty:" in echo.lines) == (["1"], True)


def test_the_headers_of_a_request_take_the_place_of_those_of_the_run(client, echo):
    one = client(header=("X-One: run", "X-Two: run"))
    one.send(asked(echo.url, headers=["x-one: request", "x-one: again"]))
    assert (echo.header("x-one"), echo.header("x-two")) == (["request", "again"], ["run"])


def test_headers_beyond_ascii_are_sent_as_utf_8(client, echo):
    client(header=("X-Name: é",)).send(echo.url)
    assert echo.header("x-name") == ["é".encode().decode("latin-1")]


def test_headers_of_a_request_beyond_ascii_are_sent_as_utf_8(client, echo):
    client().send(asked(echo.url, headers={"X-Name": "é"}))
    assert echo.header("x-name") == ["é".encode().decode("latin-1")]


def test_credentials_are_sent(client, echo):
    client(user="me:secret").send(echo.url)
    assert echo.header("authorization") == ["Basic bWU6c2VjcmV0"]


def test_credentials_beyond_ascii_are_sent_as_utf_8(client, echo):
    client(user="mé:sécret").send(echo.url)
    assert echo.header("authorization") == ["Basic bcOpOnPDqWNyZXQ="]


def test_credentials_come_from_netrc_where_that_is_wanted(client, echo, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    client(netrc=True).send(echo.url)
    assert echo.header("authorization") == ["Basic bWU6c2VjcmV0"]


def test_nobody_reads_netrc_unasked(client, echo, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    client().send(echo.url)
    assert echo.header("authorization") == []


@pytest.mark.parametrize("wanted", [True, False])
def test_compressed_answers_are_asked_for_where_they_are_wanted(client, echo, wanted):
    client(compressed=wanted).send(echo.url)
    assert bool(echo.header("accept-encoding")) == wanted


def test_the_rest_of_a_body_is_asked_for_if_it_is_still_that_body(client, echo):
    client(header=("X-One: 1",)).send(echo.url, resume=ResumePoint(100, '"tag"'))
    assert echo.header("range") == ["bytes=100-"]
    assert echo.header("if-range") == ['"tag"']
    assert echo.header("x-one") == ["1"]


def test_the_rest_of_a_body_is_asked_for_as_it_is_and_not_compressed(client, echo):
    client().send(echo.url, resume=ResumePoint(100, '"tag"'))
    assert echo.header("accept-encoding") == []


def test_the_rest_of_a_body_is_asked_for_with_the_headers_of_its_request(client, echo):
    client().send(asked(echo.url, headers={"X-One": "1"}), resume=ResumePoint(100, '"tag"'))
    assert (echo.header("x-one"), echo.header("if-range")) == (["1"], ['"tag"'])


# Used again


SPECIAL = [
    pytest.param({"method": "DELETE"}, {}, id="method"),
    pytest.param({"method": "HEAD"}, {}, id="head"),
    pytest.param({"headers": {"X-One": "1", "User-Agent": "me"}}, {}, id="headers"),
    pytest.param({"data": "data"}, {}, id="data"),
    pytest.param({"json": {}}, {}, id="json"),
    pytest.param({}, {"timeout_s": 100.0}, id="time"),
    pytest.param({}, {"resume": ResumePoint(100, '"tag"')}, id="resume"),
]


@pytest.mark.parametrize(("fields", "options"), SPECIAL)
@pytest.mark.parametrize(
    "network",
    [
        pytest.param(Network(), id="plain"),
        pytest.param(Network(header=("X-One: run",), user="me:secret", compressed=False), id="headers"),
        pytest.param(Network(request="PUT", data=b"run", user_agent="run"), id="put"),
    ],
)
def test_after_a_special_request_a_handle_sends_what_a_new_one_would(client, echo, network, fields, options):
    client(network).send(echo.url)
    fresh = echo.lines, echo.data
    used = client(network)
    used.send(asked(f"{echo.url}/special", **fields), **options)
    used.send(echo.url)
    assert (echo.lines, echo.data) == fresh


def test_a_limit_in_time_does_not_outlive_its_request(client, peer):
    server = peer(lambda connection, head: b"/slow" not in head and connection.sendall(answer(b"")))
    one = client()
    one.send(f"{server.url}/slow", timeout_s=0.02)
    one.handle.prepare(parse_url(server.url), len, None, None)
    one.handle.curl.perform()
    assert one.handle.measured().response_code == 200


def test_a_special_request_does_not_cost_the_connection(client, echo):
    one = client()
    one.send(asked(echo.url, method="PUT", data="data"))
    one.send(echo.url)
    assert one.handle.measured().num_connects == 0


def test_a_short_limit_in_time_ends_it(client, peer):
    silent = peer(lambda connection, head: None)
    assert client().send(silent.url, timeout_s=0.01) == 28


def test_a_limit_that_is_over_is_no_limit_that_never_ends(client, peer):
    silent = peer(lambda connection, head: None)
    assert client().send(silent.url, timeout_s=-1.0) == 28


# Redirects


@pytest.fixture
def redirect(peer, echo):
    """A peer that answers each request with a redirect to where its path says, or to `echo`."""

    def send_on(connection, head):
        target = head.split()[1].decode().removeprefix("/")
        connection.sendall(answer(b"moved", "302 Found", f"Location: {target or echo.url}"))

    return peer(send_on)


def test_redirects_are_followed(client, redirect, echo):
    one = client()
    one.send(redirect.url)
    assert (one.body, one.handle.measured().num_redirects) == (b"body", 1)


def test_redirects_are_left_alone_where_that_is_wanted(client, redirect):
    one = client(location=False)
    one.send(redirect.url)
    assert (one.body, one.handle.measured().response_code) == (b"moved", 302)


def test_redirects_have_a_limit(client, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"", "302 Found", "Location: /again")))
    assert client(max_redirs=3).send(server.url) == 47
    assert len(server.requests) == 4


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/"])
def test_no_redirect_leads_away_from_http(client, redirect, target):
    one = client()
    assert (one.send(f"{redirect.url}/{target}"), one.body) == (1, b"")


# Where it connects to


def test_a_host_may_be_given_an_address(client, echo):
    port = echo.host.rpartition(":")[2]
    assert client(resolve=(f"some.test:{port}:127.0.0.1",)).send(f"http://some.test:{port}/") == 0
    assert echo.header("host") == [f"some.test:{port}"]


def test_a_host_may_be_connected_to_elsewhere(client, echo):
    assert client(connect_to=(f"some.test:80:{echo.host}",)).send("http://some.test/") == 0
    assert echo.header("host") == ["some.test"]


def test_a_proxy_is_asked_for_the_whole_url(client, echo):
    assert client(proxy=echo.url).send("http://some.test/path") == 0
    assert echo.first_line == "GET http://some.test/path HTTP/1.1"


def test_a_private_address_is_refused_where_that_is_wanted(client, echo):
    one = client(deny_private=True)
    assert one.send(echo.url) == 7
    assert (one.handle.refused, echo.peer.requests) == (["127.0.0.1"], [])


def test_a_private_address_behind_a_name_is_refused_too(client, echo):
    port = echo.host.rpartition(":")[2]
    one = client(deny_private=True, resolve=(f"some.test:{port}:127.0.0.1",))
    one.send(f"http://some.test:{port}/")
    assert (one.handle.refused, echo.peer.requests) == (["127.0.0.1"], [])


def test_a_refused_address_is_told_of_once(client, echo):
    one = client(deny_private=True)
    one.send(echo.url)
    one.handle.prepare(parse_url(echo.url), len, None, None)
    assert one.handle.refused == []


def test_nobody_is_refused_unasked(client, echo):
    one = client()
    assert (one.send(echo.url), one.handle.refused) == (0, [])


def test_a_proxy_of_the_environment_does_not_get_around_the_refusal(client, echo, monkeypatch):
    monkeypatch.setenv("http_proxy", echo.url)
    one = client(deny_private=True, resolve=("some.test:80:10.0.0.1",))
    one.send("http://some.test/")
    assert one.handle.refused == ["10.0.0.1"]


# TLS


def test_a_trusted_certificate_is_taken(client, httpbin_tls, ca_file):
    assert client(cacert=str(ca_file)).send(httpbin_tls) == 0


def test_a_certificate_that_nobody_trusts_is_refused(client, httpbin_tls):
    assert client(cacert=certifi.where()).send(httpbin_tls) == 60


def test_any_certificate_is_taken_where_that_is_wanted(client, httpbin_tls):
    assert client(insecure=True).send(httpbin_tls) == 0


def test_a_file_of_certificates_may_have_any_name(client, httpbin_tls, ca_file, tmp_path):
    named = tmp_path / "é.pem"
    named.write_bytes(ca_file.read_bytes())
    assert client(cacert=str(named)).send(httpbin_tls) == 0


# Cookies


@pytest.fixture
def jar(peer):
    """A peer that sets a cookie."""
    return peer(lambda connection, head: connection.sendall(answer(b"", "200 OK", "Set-Cookie: from=server")))


def cookies(server: Peer) -> list[bytes]:
    return re.findall(rb"(?i)cookie: (.*)\r\n", server.requests[-1])


def test_cookies_are_sent(client, jar):
    network = Network(cookie="a=b; c=d")
    client(network, share=cookie_share(network)).send(jar.url)
    assert cookies(jar) == [b"a=b; c=d"]


def test_handles_see_the_cookies_of_one_another(client, jar, tmp_path):
    network = Network(cookie_jar=str(tmp_path / "jar"))
    share = cookie_share(network)
    for one in (client(network, share=share), client(network, share=share)):
        one.send(jar.url)
    assert cookies(jar) == [b"from=server"]


def test_cookies_outlive_a_special_request(client, jar, tmp_path):
    network = Network(cookie_jar=str(tmp_path / "jar"))
    one = client(network, share=cookie_share(network))
    one.send(asked(jar.url, method="DELETE"))
    one.send(jar.url)
    assert cookies(jar) == [b"from=server"]


def test_cookies_are_written_to_the_jar(client, jar, tmp_path):
    network = Network(cookie_jar=str(tmp_path / "jar"))
    one = client(network, share=cookie_share(network))
    one.send(jar.url)
    one.handle.flush_cookies()
    assert "from\tserver" in (tmp_path / "jar").read_text()


def test_cookies_are_read_from_a_file(client, jar, tmp_path):
    (tmp_path / "cookies").write_text("127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tb\n")
    network = Network(cookie=str(tmp_path / "cookies"))
    client(network, share=cookie_share(network)).send(jar.url)
    assert cookies(jar) == [b"a=b"]


def test_no_cookie_is_kept_unasked(client, jar):
    one = client()
    one.send(jar.url)
    one.send(jar.url)
    assert (cookie_share(Network()), cookies(jar)) == (None, [])


# What a handle has measured


def test_a_transfer_is_measured(client, echo):
    one = client()
    one.send(f"{echo.url}/path")
    measured = one.handle.measured()
    assert (measured.method, measured.response_code, measured.size_download) == ("GET", 200, 4)
    assert f"{measured.remote_ip}:{measured.remote_port}" == echo.host
    assert 0 < measured.time_connect <= measured.time_starttransfer <= measured.time_total


def test_a_url_that_libcurl_cannot_parse_can_be_measured(client):
    one = client()
    assert one.send(Request("http://a b/", "", "")) == 3
    assert (one.handle.measured().response_code, one.handle.measured().remote_ip) == (0, "")


def test_the_last_url_is_measured_after_redirects(client, redirect, echo):
    one = client()
    one.send(f"{redirect.url}/{echo.url}/there")
    assert one.handle.measured().redirected_to == f"{echo.url}/there"


def test_there_is_no_other_url_without_redirects(client, redirect, echo):
    one = client()
    one.send(redirect.url)
    one.send(echo.url)
    assert one.handle.measured().redirected_to is None


def test_header_lines_are_kept_where_they_are_wanted(client, echo):
    one = client(want_headers=True)
    one.send(echo.url)
    assert one.handle.header_lines == [b"HTTP/1.1 200 OK\r\n", b"Content-Length: 4\r\n", b"\r\n"]


def test_header_lines_are_those_of_the_last_attempt(client, echo):
    one = client(want_headers=True)
    for _ in range(2):
        one.send(echo.url)
    assert len(one.handle.header_lines) == 3


def test_header_lines_are_kept_after_a_special_request_too(client, echo):
    one = client(want_headers=True)
    one.send(asked(echo.url, method="DELETE"))
    one.send(echo.url)
    assert len(one.handle.header_lines) == 3


def test_bytes_moved_count_both_ways(client, echo):
    one = client()
    one.send(asked(echo.url, data="data"))
    assert one.handle.bytes_moved() == len(b"data") + len(b"body") + len(answer(b"body")) - len(b"body")


def in_flight(handle: Handle, until: Callable[[], object]) -> bool:
    """Have a prepared handle go on until it has come to that; whether it says that it is connected."""
    multi = pycurl.CurlMulti()
    multi.add_handle(handle.curl)
    give_up_at = time.monotonic() + TIMEOUT_S
    while not until():
        assert time.monotonic() < give_up_at
        multi.perform()
        multi.select(0.01)
    is_connected = handle.is_connected
    multi.remove_handle(handle.curl)
    multi.close()
    return is_connected


def test_it_is_connected_when_the_request_is_out(client, peer):
    silent = peer(lambda connection, head: None)
    handle = client().handle
    handle.prepare(parse_url(silent.url), len, None, None)
    assert in_flight(handle, lambda: silent.requests)


def test_it_is_connected_over_a_connection_used_again(client, peer):
    server = peer(lambda connection, head: b"/silent" in head or connection.sendall(answer(b"")))
    one = client()
    one.send(server.url)
    one.handle.prepare(parse_url(f"{server.url}/silent"), len, None, None)
    assert in_flight(one.handle, lambda: len(server.requests) == 2)


def test_it_is_not_connected_before_the_tls_handshake_is_done(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(TIMEOUT_S)
        one = client()
        one.handle.prepare(parse_url(f"https://127.0.0.1:{listener.getsockname()[1]}/"), len, None, None)
        accepted: list[socket.socket] = []

        def has_greeted() -> bool:
            if not accepted and select.select([listener], [], [], 0)[0]:
                accepted.append(listener.accept()[0])
            return bool(accepted) and bool(select.select(accepted, [], [], 0)[0])

        is_connected = in_flight(one.handle, has_greeted)
        accepted[0].close()
    assert not is_connected


def test_the_connection_of_an_earlier_attempt_is_not_that_of_this_one(client, echo):
    one = client()
    one.send(echo.url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one.handle.prepare(parse_url(f"https://127.0.0.1:{listener.getsockname()[1]}/"), len, None, None)
        assert not in_flight(one.handle, lambda: select.select([listener], [], [], 0)[0])


def test_what_libcurl_does_not_take_is_a_usage_error(client):
    with pytest.raises(UsageError, match="libcurl does not take these options"):
        client(interface="if!")
