"""What the options of `gtool fetch` do to requests, to files, to records and to lines: against real servers."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TIMEOUT_S, Peer, answer, environment, read_head, skip_unless_all

SECRET = "s3cr3t-pass"


def record_of(result: Any) -> dict[str, Any]:
    [record] = result.records
    return record


def echo_of(result: Any) -> dict[str, Any]:
    """What httpbin's /anything says of the request that it got."""
    return json.loads(record_of(result)["body"])


def header(head: bytes, name: str) -> str | None:
    found = re.search(rf"\r\n{name}: (.*?)\r\n", head.decode(), re.IGNORECASE)
    return found[1] if found else None


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another process brings about; fail if it does not."""
    give_up_at = time.monotonic() + TIMEOUT_S / 3
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.005)


@pytest.fixture
def good(peer) -> Peer:
    """A server that answers with the path."""
    return peer(lambda connection, head: connection.sendall(answer(head.split()[1])))


@pytest.fixture
def port(good) -> str:
    return good.host.partition(":")[2]


@pytest.fixture
def redirecting(peer) -> Callable[..., Peer]:
    """Make a server that sends whoever asks to a URL."""
    return lambda url: peer(lambda connection, head: connection.sendall(answer(b"", "302 Found", f"Location: {url}")))


# The request


def test_a_url_alone_is_a_get_by_gtool(gtool, good):
    gtool("fetch", good.url)
    [head] = good.requests
    assert head.startswith(b"GET / HTTP/1.1\r\n")
    assert re.fullmatch(r"gtool/\d+\.\d+\.\d+", header(head, "User-Agent") or "")


def test_a_url_without_scheme_is_http(gtool, good):
    record = record_of(gtool("fetch", "--json", good.host))
    assert record["url"] == good.host
    assert record["url_effective"].startswith(good.url)


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_request_sets_the_method(gtool, httpbin, method):
    assert echo_of(gtool("fetch", "--json", "-X", method, f"{httpbin}/anything"))["method"] == method


def test_request_head_waits_for_no_body(gtool, httpbin):
    record = record_of(gtool("fetch", "--json", "-X", "HEAD", f"{httpbin}/bytes/100"))
    assert (record["method"], record["response_code"], record["body"]) == ("HEAD", 200, "")


def test_header_is_sent_each_time_it_is_given(gtool, good):
    gtool("fetch", "-H", "X-One: 1", "-H", "X-Two: 2", good.url)
    assert [header(good.requests[0], name) for name in ("X-One", "X-Two")] == ["1", "2"]


def test_header_takes_the_place_of_a_default_one(gtool, good):
    gtool("fetch", "-H", "Accept: text/plain", "-H", "User-Agent:", good.url)
    assert header(good.requests[0], "Accept") == "text/plain"
    assert header(good.requests[0], "User-Agent") is None


def test_data_is_a_post_of_a_form(gtool, httpbin):
    echo = echo_of(gtool("fetch", "--json", "-d", "a=1", "-d", "b=2", f"{httpbin}/anything"))
    assert (echo["method"], echo["form"]) == ("POST", {"a": "1", "b": "2"})


def test_data_at_a_file_is_what_is_in_it_without_line_ends(gtool, httpbin, tmp_path):
    (tmp_path / "form").write_bytes(b"a=1\r\n2\n")
    assert echo_of(gtool("fetch", "--json", "-d", "@form", f"{httpbin}/anything"))["form"] == {"a": "12"}


def test_json_data_is_a_post_of_json(gtool, httpbin):
    echo = echo_of(gtool("fetch", "--json", "--json-data", '{"a": [1]}', f"{httpbin}/anything"))
    assert (echo["method"], echo["json"]) == ("POST", {"a": [1]})
    assert (echo["headers"]["Content-Type"], echo["headers"]["Accept"]) == ("application/json",) * 2


def test_json_data_at_a_file_is_byte_for_byte_what_is_in_it(gtool, httpbin, tmp_path):
    (tmp_path / "document").write_bytes(b'{"a":\n1}\n')
    assert echo_of(gtool("fetch", "--json", "--json-data", "@document", f"{httpbin}/anything"))["data"] == '{"a":\n1}\n'


def test_user_agent_is_sent(gtool, good):
    gtool("fetch", "-A", "tester/1", good.url)
    assert header(good.requests[0], "User-Agent") == "tester/1"


def test_what_is_no_ascii_in_a_url_is_percent_encoded(gtool, good):
    record = record_of(gtool("fetch", "--json", f"{good.url}/grün?q=ä"))
    assert record["body"] == "/gr%C3%BCn?q=%C3%A4"
    assert record["url"] == f"{good.url}/grün?q=ä"


def test_options_come_from_the_environment_too(gtool, good):
    gtool("fetch", good.url, GTOOL_FETCH_USER_AGENT="by-environment")
    assert header(good.requests[0], "User-Agent") == "by-environment"


# Credentials


BASIC = f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"


def test_user_authenticates(gtool, httpbin):
    assert gtool("fetch", "-u", f"me:{SECRET}", f"{httpbin}/basic-auth/me/{SECRET}").code == 0


def test_credentials_of_a_url_authenticate(gtool, good):
    gtool("fetch", good.url.replace("//", f"//me:{SECRET}@"))
    assert header(good.requests[0], "Authorization") == BASIC


def test_netrc_of_home_authenticates(gtool, good, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    netrc.chmod(0o600)
    gtool("fetch", "--netrc", good.url, HOME=str(tmp_path))
    assert header(good.requests[0], "Authorization") == BASIC


def test_netrc_is_left_alone_without_the_option(gtool, good, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    gtool("fetch", good.url, HOME=str(tmp_path))
    assert header(good.requests[0], "Authorization") is None


CREDENTIALS = {
    "user": ["-u", f"me:{SECRET}"],
    "Authorization": ["-H", f"Authorization: Bearer {SECRET}"],
    "Cookie": ["-H", f"Cookie: session={SECRET}"],
    "cookie": ["--cookie", f"session={SECRET}"],
}


@pytest.mark.parametrize("options", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_credentials_are_sent_to_the_host_that_they_are_for(gtool, good, options):
    gtool("fetch", *options, good.url)
    sent = header(good.requests[0], "Authorization") or header(good.requests[0], "Cookie")
    assert sent in (BASIC, f"Bearer {SECRET}", f"session={SECRET}")


@pytest.mark.parametrize("options", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_credentials_are_not_sent_to_another_host_on_a_redirect(gtool, good, redirecting, port, options):
    start = redirecting(f"http://other.test:{port}/")
    result = gtool("fetch", "--resolve", f"other.test:{port}:127.0.0.1", *options, start.url)
    assert result.out == b"/"
    [head] = good.requests
    assert (header(head, "Authorization"), header(head, "Cookie")) == (None, None)


def test_credentials_of_a_request_object_are_not_sent_to_another_host_on_a_redirect(gtool, good, redirecting, port):
    start = redirecting(f"http://other.test:{port}/")
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}"}
    line = json.dumps({"url": start.url, "headers": headers})
    gtool("fetch", "--resolve", f"other.test:{port}:127.0.0.1", "-i", "-", stdin=line.encode())
    assert SECRET.encode() not in good.requests[0]


# Secrets are not told

URL_WITH_SECRET = "http://me:{secret}@{host}/"


@pytest.fixture
def tells_of(gtool) -> Callable[..., str]:
    """Run gtool at its most talkative, with records and without; give all that it has written."""

    def run(*args: str, stdin: bytes = b"") -> str:
        with_records = gtool("-vv", "fetch", "--summary", "--json", "--include-headers", *args, stdin=stdin)
        without = gtool("-vv", "--log-format", "json", "fetch", "--summary", "-o", "{seq}", *args, stdin=stdin)
        return "".join(result.out.decode() + result.err for result in (with_records, without))

    return run


def test_the_password_of_a_url_is_told_nowhere_when_all_goes_well(tells_of, good):
    told = tells_of(URL_WITH_SECRET.format(secret=SECRET, host=good.host))
    assert SECRET not in told
    assert "me:***@" in told


FAILING = {
    "refused": "http://me:{secret}@127.0.0.1:{refused}/",
    "unresolvable": "http://me:{secret}@nowhere.invalid/",
    "no scheme": "me:{secret}@127.0.0.1:{refused}",
    "malformed": "http://me:{secret}@[::1/",
    "malformed port": "http://me:{secret}@127.0.0.1:port/",
    "space": "http://me:{secret}@127.0.0.1/a b",
    "control character": "http://me:{secret}@127.0.0.1/\x01",
    "another scheme": "ftp://me:{secret}@127.0.0.1/",
    "slash in it": "http://me:{secret}/{secret}@127.0.0.1/",
    "at in it": "http://me:{secret}@{secret}@127.0.0.1:{refused}/",
    "hash in it": "http://me:{secret}#{secret}@127.0.0.1/",
    "three slashes": "http:///me:{secret}@127.0.0.1/",
    "one slash": "http:/me:{secret}@127.0.0.1/",
    "upper case": "HTTP://me:{secret}@127.0.0.1:{refused}/",
    "broken object": '{{"url": "http://me:{secret}@127.0.0.1/",',
    "object of a bad key": '{{"url": "http://me:{secret}@127.0.0.1/", "verb": "GET"}}',
    "not UTF-8": "http://me:{secret}@127.0.0.1/\udcff",
}


@pytest.mark.parametrize("url", FAILING.values(), ids=FAILING.keys())
def test_the_password_of_a_url_is_told_nowhere_when_it_fails(tells_of, refused_port, url):
    line = url.format(secret=SECRET, refused=refused_port).encode(errors="surrogateescape")
    assert SECRET not in tells_of("--retry", "1", "--retry-max-time", "1ms", "-i", "-", stdin=line)


@pytest.mark.parametrize("options", [[], ["--no-location"]], ids=["followed", "not followed"])
def test_the_password_of_a_redirect_is_told_nowhere(gtool, good, redirecting, options):
    start = redirecting(URL_WITH_SECRET.format(secret=SECRET, host=good.host))
    result = gtool("-vv", "fetch", "--json", *options, start.url)
    assert SECRET not in result.out.decode() + result.err


@pytest.mark.parametrize(
    "options", [["-u", f"me:{SECRET}"], ["-x", f"http://me:{SECRET}@127.0.0.1:1"]], ids=["-u", "-x"]
)
def test_the_password_of_an_option_is_told_nowhere(tells_of, good, options):
    assert SECRET not in tells_of(*options, good.url)


def test_the_password_of_a_url_is_in_no_journal(gtool, good, tmp_path):
    gtool("fetch", "--journal", "journal", URL_WITH_SECRET.format(secret=SECRET, host=good.host))
    assert SECRET not in (tmp_path / "journal").read_text()


# Cookies


def test_cookie_is_sent(gtool, httpbin):
    result = gtool("fetch", "--json", "--cookie", "a=1; b=2", f"{httpbin}/cookies")
    assert echo_of(result)["cookies"] == {"a": "1", "b": "2"}


def test_cookie_of_a_file_is_sent(gtool, httpbin, tmp_path):
    (tmp_path / "jar").write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkept\tyes\n")
    assert echo_of(gtool("fetch", "--json", "--cookie", "jar", f"{httpbin}/cookies"))["cookies"] == {"kept": "yes"}


def test_with_cookie_jar_what_one_request_was_set_a_later_one_sends(gtool, httpbin):
    urls = [f"{httpbin}/cookies/set?taste=sweet", f"{httpbin}/cookies"]
    result = gtool("fetch", "--json", "-c", "1", "--cookie-jar", "jar", *urls)
    assert json.loads(result.records[1]["body"])["cookies"] == {"taste": "sweet"}


def test_cookie_jar_is_written(gtool, httpbin, tmp_path):
    gtool("fetch", "--cookie-jar", "jar", f"{httpbin}/cookies/set?taste=sweet")
    assert re.search(r"^127\.0\.0\.1\t.*\ttaste\tsweet$", (tmp_path / "jar").read_text(), re.MULTILINE)


def test_a_cookie_jar_is_a_cookie_file_of_the_next_run(gtool, httpbin):
    gtool("fetch", "--cookie-jar", "jar", f"{httpbin}/cookies/set?taste=sweet")
    assert echo_of(gtool("fetch", "--json", "-b", "jar", f"{httpbin}/cookies"))["cookies"] == {"taste": "sweet"}


def test_without_cookie_jar_a_cookie_is_forgotten(gtool, httpbin):
    urls = [f"{httpbin}/cookies/set?taste=sweet", f"{httpbin}/cookies"]
    result = gtool("fetch", "--json", "-c", "1", *urls)
    assert json.loads(result.records[1]["body"])["cookies"] == {}


# Redirects


def test_redirects_are_followed_by_default(gtool, good, redirecting):
    record = record_of(gtool("fetch", "--json", redirecting(f"{good.url}/there").url))
    assert (record["body"], record["num_redirects"]) == ("/there", 1)
    assert record["url_effective"] == f"{good.url}/there"


def test_no_location_gives_the_redirect_itself(gtool, good, redirecting):
    record = record_of(gtool("fetch", "--json", "--no-location", redirecting(good.url).url))
    assert (record["response_code"], record["exitcode"], record["num_redirects"]) == (302, 0, 0)
    assert good.requests == []


def test_ten_redirects_are_followed_by_default(gtool, httpbin):
    codes = [gtool("fetch", f"{httpbin}/redirect/{count}").code for count in (10, 11)]
    assert codes == [0, 47]


def test_max_redirs_is_how_many_are_followed(gtool, httpbin):
    codes = [gtool("fetch", "--max-redirs", "2", f"{httpbin}/redirect/{count}").code for count in (2, 3)]
    assert codes == [0, 47]


# Compression


@pytest.mark.parametrize("coding", ["gzip", "deflate", "brotli"])
def test_compressed_answers_are_asked_for_and_decoded(gtool, httpbin, coding):
    assert gtool("fetch", f"{httpbin}/{coding}").out.lstrip().startswith(b"{")


def test_no_compressed_does_not_ask_for_compressed_answers(gtool, good):
    gtool("fetch", "--no-compressed", good.url)
    assert header(good.requests[0], "Accept-Encoding") is None


def test_no_compressed_leaves_a_body_as_it_comes(gtool, peer):
    packed = gzip.compress(b"hello")
    server = peer(lambda connection, head: connection.sendall(answer(packed, "200 OK", "Content-Encoding: gzip")))
    assert gtool("fetch", "--no-compressed", server.url).out == packed


# The network


def test_a_proxy_is_asked_for_the_whole_url(gtool, peer):
    proxy = peer(lambda connection, head: connection.sendall(answer(b"by proxy")))
    assert gtool("fetch", "-x", proxy.url, "http://nowhere.invalid/path").out == b"by proxy"
    assert proxy.requests[0].startswith(b"GET http://nowhere.invalid/path HTTP/1.1\r\n")


def test_a_proxy_is_asked_to_connect_to_a_tls_host(gtool, peer):
    proxy = peer(lambda connection, head: connection.sendall(answer(b"", "403 Forbidden")))
    assert gtool("fetch", "-x", proxy.url, "https://nowhere.invalid/").code in (7, 56)  # 56 before libcurl 8.20
    assert proxy.requests[0].startswith(b"CONNECT nowhere.invalid:443 HTTP/1.1\r\n")


def test_resolve_gives_the_address_of_a_name(gtool, good, port):
    result = gtool("fetch", "--json", "--resolve", f"name.test:{port}:127.0.0.1", f"http://name.test:{port}/")
    assert record_of(result)["remote_ip"] == "127.0.0.1"
    assert header(good.requests[0], "Host") == f"name.test:{port}"


def test_connect_to_goes_elsewhere_and_keeps_the_name(gtool, good):
    result = gtool("fetch", "--connect-to", f"nowhere.invalid:80:{good.host}", "http://nowhere.invalid/x")
    assert result.out == b"/x"
    assert header(good.requests[0], "Host") == "nowhere.invalid"


@pytest.fixture
def unix_socket(tmp_path) -> Iterator[Path]:
    """A server on a Unix socket that says so, to one connection."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    read_head(connection)
                    connection.sendall(answer(b"by Unix socket"))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_unix_socket_connects_there(gtool, unix_socket):
    assert gtool("fetch", "--unix-socket", unix_socket, "http://nowhere.invalid/").out == b"by Unix socket"


@pytest.fixture
def dual_stack(peer, monkeypatch) -> Peer:
    """A server on ::1 as well as 127.0.0.1, which says where it was reached."""
    create = socket.create_server
    everywhere = {"family": socket.AF_INET6, "dualstack_ipv6": True}
    monkeypatch.setattr(socket, "create_server", lambda _address: create(("::", 0), **everywhere))
    return peer(lambda connection, head: connection.sendall(answer(connection.getsockname()[0].encode())))


@pytest.mark.parametrize(("option", "address"), [("-4", b"::ffff:127.0.0.1"), ("-6", b"::1")])
def test_ipv4_and_ipv6_choose_the_family(gtool, dual_stack, option, address):
    port = dual_stack.host.rpartition(":")[2]
    # libcurl would try ::1 first by itself.
    both = f"both.test:{port}:" + ("[::1],127.0.0.1" if option == "-4" else "127.0.0.1,[::1]")
    assert gtool("fetch", option, "--resolve", both, f"http://both.test:{port}/").out == address


def test_interface_is_where_it_sends_from(gtool, httpbin):
    assert echo_of(gtool("fetch", "--json", "--interface", "127.0.0.5", f"{httpbin}/anything"))["origin"] == "127.0.0.5"


class TlsPeer(Peer):
    """Answers over TLS with what `body` makes of the connection."""

    def __init__(self, context: ssl.SSLContext, body: Callable[[ssl.SSLSocket], bytes]) -> None:
        self._body = body
        super().__init__(lambda connection, head: None, context)
        self.url = f"https://localhost:{self.host.partition(':')[2]}/"

    def _treat(self, connection: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
            while read_head(secure):
                secure.sendall(answer(self._body(secure)))


@pytest.fixture
def server_context(authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def prefers_http2(server_context) -> Iterator[TlsPeer]:
    """A server that would rather have HTTP/2, and says what was agreed on."""
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    server = TlsPeer(server_context, lambda secure: (secure.selected_alpn_protocol() or "none").encode())
    yield server
    server.close()


def test_http1_1_asks_for_nothing_newer(gtool, prefers_http2, ca_file):
    record = record_of(gtool("fetch", "--json", "--http1.1", "--cacert", ca_file, prefers_http2.url))
    assert (record["body"], record["http_version"]) == ("http/1.1", "1.1")


@pytest.fixture
def asks_for_certificate(server_context, authority) -> Iterator[TlsPeer]:
    """A server that lets in who has a certificate of the authority, and says whose it is."""
    server_context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_context)

    def name(secure: ssl.SSLSocket) -> bytes:
        certificate = secure.getpeercert()
        return str(certificate["subjectAltName"][0][1]).encode() if certificate else b""

    server = TlsPeer(server_context, name)
    yield server
    server.close()


def test_cert_and_key_are_shown_to_a_server_that_asks(gtool, asks_for_certificate, authority, ca_file, tmp_path):
    certificate = authority.issue_cert("me@example.test")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    options = ["--cacert", ca_file, "--cert", "cert.pem", "--key", "key.pem"]
    assert gtool("fetch", *options, asks_for_certificate.url).out == b"me@example.test"


def test_a_server_that_asks_for_a_certificate_lets_nobody_in_without(gtool, asks_for_certificate, ca_file):
    assert gtool("fetch", "--cacert", ca_file, asks_for_certificate.url).code in (35, 52, 55, 56)


def test_httpbin_over_tls(gtool, httpbin_tls, ca_file):
    record = record_of(gtool("fetch", "--json", "--cacert", ca_file, f"{httpbin_tls}/get"))
    assert record["exitcode"] == 0
    assert record["time_appconnect"] >= record["time_connect"] > 0


# --deny-private


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])
def test_deny_private_refuses_loopback(gtool, good, port, host):
    record = record_of(gtool("fetch", "--json", "--deny-private", f"http://{host}:{port}/"))
    assert record["exitcode"] == 7
    assert "--deny-private" in record["errormsg"]
    assert good.requests == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "[fd00::1]", "[fe80::1]"]
)
def test_deny_private_refuses_a_name_that_resolves_to_a_private_address(gtool, address):
    result = gtool("fetch", "--json", "--deny-private", "--resolve", f"public.test:80:{address}", "http://public.test/")
    record = record_of(result)
    assert record["exitcode"] == 7
    assert address.strip("[]") in record["errormsg"]


def test_deny_private_does_not_let_a_proxy_of_the_environment_have_its_way(gtool, good, port):
    options = ["--deny-private", "--resolve", f"public.test:{port}:127.0.0.1"]
    assert gtool("fetch", *options, f"http://public.test:{port}/", http_proxy=good.url).code == 7
    assert good.requests == []


ON_A_PUBLIC_ADDRESS = """
import json, socket, sys
from tests.conftest import Peer, answer, run_gtool
from unittest.mock import patch

# Its own network: nothing is sent to who has this address in the world.
create = socket.create_server
with patch.object(socket, "create_server", lambda address: create(("9.9.9.9", address[1]))):
    public = Peer(lambda connection, head: connection.sendall(
        answer(b"public") if b"/direct" in head else answer(b"", "302 Found", f"Location: {private.url}")))
private = Peer(lambda connection, head: connection.sendall(answer(b"private")))
url = public.url.replace("127.0.0.1", "9.9.9.9")
result = run_gtool("fetch", "--json", "--ordered", "--deny-private", f"{url}/direct", f"{url}/redirect")
public.close(), private.close()
print(json.dumps({"records": result.records, "reached": len(private.requests)}))
"""


@pytest.fixture(scope="module")
def in_a_network_of_its_own() -> dict[str, Any]:
    """Fetch from a public address there that has something itself, and sends elsewhere to loopback."""
    setup = 'ip link set lo up && ip address add 9.9.9.9/32 dev lo && exec "$@"'
    line = ["unshare", "--net", "--map-root-user", "sh", "-c", setup, "sh", sys.executable, "-c", ON_A_PUBLIC_ADDRESS]
    done = subprocess.run(line, capture_output=True, timeout=TIMEOUT_S, cwd=ROOT, env=environment())
    if b"unshare failed" in done.stderr:
        skip_unless_all("there are no network namespaces here")
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.needs("unshare")
@pytest.mark.needs("ip")
def test_deny_private_lets_a_public_address_through(in_a_network_of_its_own):
    direct, _ = in_a_network_of_its_own["records"]
    assert (direct["exitcode"], direct["body"]) == (0, "public")


@pytest.mark.needs("unshare")
@pytest.mark.needs("ip")
def test_deny_private_refuses_a_redirect_to_a_private_address(in_a_network_of_its_own):
    _, redirected = in_a_network_of_its_own["records"]
    assert redirected["exitcode"] == 7
    assert in_a_network_of_its_own["reached"] == 0


# Files


def test_output_puts_each_body_where_its_template_says(gtool, good, port, tmp_path):
    gtool("fetch", "-o", "out/{host}/{path}", f"{good.url}/a/b.txt", f"{good.url}/a/", good.url)
    written = {str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*") if path.is_file()}
    host = f"127.0.0.1_{port}"
    assert written == {f"{host}/a/b.txt", f"{host}/a/index.html", f"{host}/index.html"}


def test_output_fills_in_all_placeholders(gtool, good, tmp_path):
    line = json.dumps({"url": f"{good.url}/a/b.tar.gz?x=1", "id": "me"})
    gtool("fetch", "-o", "{seq}-{id}-{name}-{ext}", "-i", "-", stdin=line.encode())
    assert [path.name for path in tmp_path.iterdir()] == ["0-me-b.tar.gz-gz"]


def test_output_writes_nothing_to_stdout(gtool, good):
    assert gtool("fetch", "-o", "{seq}", good.url).out == b""


def test_output_writes_an_empty_body_too(gtool, peer, tmp_path):
    gtool("fetch", "-o", "empty", peer(lambda connection, head: connection.sendall(answer(b""))).url)
    assert (tmp_path / "empty").read_bytes() == b""


def test_output_writes_no_error_page(gtool, httpbin, tmp_path):
    gtool("fetch", "-o", "{seq}", f"{httpbin}/status/404")
    assert list(tmp_path.iterdir()) == []


def test_output_takes_the_place_of_an_older_file(gtool, good, tmp_path):
    (tmp_path / "file").write_text("older, and longer")
    gtool("fetch", "-o", "file", f"{good.url}/new")
    assert (tmp_path / "file").read_text() == "/new"


def test_output_leaves_an_older_file_as_it_is_when_it_fails(gtool, httpbin, tmp_path):
    (tmp_path / "file").write_text("older")
    gtool("fetch", "-o", "file", f"{httpbin}/status/500")
    assert (tmp_path / "file").read_text() == "older"


def test_a_file_shows_up_complete(start_gtool, peer, tmp_path):
    done = threading.Event()

    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(answer(b"halfrest")[:-4])
        done.wait(TIMEOUT_S)
        connection.sendall(b"rest")

    process = start_gtool("fetch", "-o", "file", peer(handle).url)
    wait_until(lambda: any(path.stat().st_size == 4 for path in tmp_path.iterdir()))
    is_there_early = (tmp_path / "file").exists()
    done.set()
    process.wait(TIMEOUT_S)
    assert not is_there_early
    assert (tmp_path / "file").read_text() == "halfrest"


@pytest.mark.parametrize(("template", "path"), [("out/{name}", "out/x"), ("{name}", "x")])
def test_output_has_the_path_in_its_record_as_the_template_spells_it(gtool, good, template, path):
    record = record_of(gtool("fetch", "--json", "-o", template, f"{good.url}/x"))
    assert record["body_path"] == path


def test_output_leaves_the_body_out_of_its_record(gtool, good):
    assert "body" not in record_of(gtool("fetch", "--json", "-o", "{seq}", good.url))


def test_output_to_a_dash_is_stdout(gtool, good):
    assert gtool("fetch", "-o", "-", f"{good.url}/x").out == b"/x"


def test_output_of_a_request_object_names_its_file(gtool, good, tmp_path):
    line = json.dumps({"url": f"{good.url}/x", "output": "sub/mine"})
    gtool("fetch", "-o", "out/{seq}", "-i", "-", stdin=f"{line}\n{good.url}/y\n".encode())
    assert (tmp_path / "out/sub/mine").read_text() == "/x"
    assert (tmp_path / "out/1").read_text() == "/y"


def test_no_clobber_leaves_files_alone_and_fetches_nothing_for_them(gtool, good, tmp_path):
    (tmp_path / "old").write_text("older")
    result = gtool("fetch", "--json", "--no-clobber", "-o", "{name}", f"{good.url}/old", f"{good.url}/new")
    assert sorted((record["seq"], record["exitcode"]) for record in result.records) == [(0, 0), (1, 0)]
    assert (tmp_path / "old").read_text() == "older"
    assert [head.split()[1] for head in good.requests] == [b"/new"]


def test_no_clobber_tells_in_the_record_that_nothing_was_fetched(gtool, good, tmp_path):
    (tmp_path / "old").write_text("older")
    record = record_of(gtool("fetch", "--json", "--no-clobber", "-o", "{name}", f"{good.url}/old"))
    assert (Path(record["body_path"]), record["response_code"]) == (Path("old"), 0)
    assert "exists" in record["errormsg"]


# --resume

WHOLE = b"".join(b"%06d," % number for number in range(20_000))


class Resumable:
    """A server with ranges and an ETag. Under `is_slow` it stops half-way; under `etag` it may have a new version."""

    def __init__(self) -> None:
        self.is_slow = True
        self.etag = '"one"'
        self.body = WHOLE
        self.heads: list[bytes] = []

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        self.heads.append(head)
        asked = header(head, "Range")
        validators = f"ETag: {self.etag}", "Accept-Ranges: bytes"
        if asked and header(head, "If-Range") == self.etag:
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
            place = f"Content-Range: bytes {first}-{len(self.body) - 1}/{len(self.body)}"
            connection.sendall(answer(self.body[first:], "206 Partial Content", place, *validators))
        elif self.is_slow:
            connection.sendall(answer(self.body, "200 OK", *validators)[: -len(self.body) // 2])
            connection.recv(1)  # until the other side has gone
        else:
            connection.sendall(answer(self.body, "200 OK", *validators))


class Broken:
    """A run with --resume that was killed with a part on the disk, and its server, which is well again."""

    def __init__(self, start_gtool: Callable[..., Any], peer: Callable[..., Peer], directory: Path) -> None:
        self.server = Resumable()
        self.args = ["fetch", "--json", "--resume", "-o", "file", f"{peer(self.server).url}/"]
        self.file = directory / "file"
        part = directory / "file.part"
        process = start_gtool(*self.args)
        wait_until(lambda: part.exists() and part.stat().st_size >= len(WHOLE) // 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.server.is_slow = False


@pytest.fixture
def broken(start_gtool, peer, tmp_path) -> Broken:
    return Broken(start_gtool, peer, tmp_path)


def test_resume_asks_for_the_rest_if_it_is_still_the_same(gtool, broken):
    gtool(*broken.args)
    head = broken.server.heads[-1]
    first = int((header(head, "Range") or "").removeprefix("bytes=").removesuffix("-"))
    assert abs(first - len(WHOLE) // 2) <= 1
    assert header(head, "If-Range") == '"one"'


def test_resume_makes_the_file_whole(gtool, broken):
    assert gtool(*broken.args).code == 0
    assert broken.file.read_bytes() == WHOLE


def test_resume_starts_anew_when_the_file_has_changed_at_the_server(gtool, broken):
    broken.server.etag, broken.server.body = '"two"', WHOLE[::-1]
    assert gtool(*broken.args).code == 0
    assert broken.file.read_bytes() == WHOLE[::-1]


def test_resume_computes_the_digest_over_all_of_the_file(gtool, broken):
    record = record_of(gtool(*broken.args, "--sha256"))
    assert record["sha256"] == hashlib.sha256(WHOLE).hexdigest()


def test_resume_leaves_nothing_beside_the_file(gtool, broken, tmp_path):
    gtool(*broken.args)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_resume_does_not_go_on_with_the_part_of_another_url(gtool, broken, good):
    gtool("fetch", "--resume", "-o", "file", f"{good.url}/other")
    assert broken.file.read_bytes() == b"/other"
    assert header(good.requests[0], "Range") is None


def test_resume_does_not_go_on_with_a_part_of_unknown_origin(gtool, broken, tmp_path):
    (tmp_path / "file.part.json").unlink()
    gtool(*broken.args)
    assert broken.file.read_bytes() == WHOLE


def test_resume_goes_on_after_a_transfer_that_failed(gtool, peer, tmp_path):
    server = Resumable()
    args = ["fetch", "--resume", "-o", "file", peer(server).url]
    assert gtool(*args, "--max-time", "500ms").code == 28
    assert gtool(*args).code == 0
    assert (tmp_path / "file").read_bytes() == WHOLE
    assert header(server.heads[-1], "Range")


# Digests

HELLO_SHA256 = hashlib.sha256(b"/hello").hexdigest()


def test_sha256_puts_the_digest_into_records(gtool, good):
    assert record_of(gtool("fetch", "--json", "--sha256", f"{good.url}/hello"))["sha256"] == HELLO_SHA256


def test_a_digest_that_a_request_gives_is_held_against_the_body(gtool, good):
    lines = "".join(
        json.dumps({"url": f"{good.url}/{path}", "sha256": HELLO_SHA256.upper()}) + "\n" for path in ("hello", "bye")
    )
    result = gtool("fetch", "--json", "--ordered", "-i", "-", stdin=lines.encode())
    assert [record["exitcode"] for record in result.records] == [0, 8]
    assert HELLO_SHA256 in result.records[1]["errormsg"]


def test_a_file_of_a_wrong_digest_is_not_left(gtool, good, tmp_path):
    line = json.dumps({"url": f"{good.url}/bye", "sha256": HELLO_SHA256})
    assert gtool("fetch", "-o", "file", "-i", "-", stdin=line.encode()).code == 8
    assert list(tmp_path.iterdir()) == []


def test_output_named_by_digest_keeps_one_file_per_content(gtool, good, tmp_path):
    urls = [f"{good.url}/hello", f"{good.url}/hello", f"{good.url}/bye"]
    result = gtool("fetch", "--json", "--ordered", "-o", "out/{sha256}.{ext}", *urls)
    assert [record["body_path"] for record in result.records][:2] == [f"out/{HELLO_SHA256}.bin"] * 2
    assert len(list((tmp_path / "out").iterdir())) == 2


# Records


def test_a_record_has_the_body_as_text(gtool, good):
    record = record_of(gtool("fetch", "--json", f"{good.url}/text"))
    assert (record["body"], record["truncated"]) == ("/text", False)


def test_a_body_that_is_not_utf_8_is_base64(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"\xff\x00")))
    record = record_of(gtool("fetch", "--json", server.url))
    assert base64.b64decode(record["body_base64"]) == b"\xff\x00"
    assert "body" not in record


def test_max_body_truncates_at_a_character(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer("äöü".encode())))
    record = record_of(gtool("fetch", "--json", "--max-body", "3", server.url))
    assert (record["body"], record["truncated"], record["exitcode"]) == ("ä", True, 0)
    assert record["size_download"] == 6


def test_a_body_of_exactly_max_body_is_not_truncated(gtool, good):
    record = record_of(gtool("fetch", "--json", "--max-body", "5", f"{good.url}/1234"))
    assert (record["body"], record["truncated"]) == ("/1234", False)


def test_bodies_are_truncated_at_1m_by_default(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(bytes([120]) * ((1 << 20) + 1))))
    record = record_of(gtool("fetch", "--json", server.url))
    assert (len(record["body"]), record["truncated"]) == (1 << 20, True)


@pytest.mark.parametrize(("size", "code"), [("6", 0), ("5", 63)])
def test_max_size_fails_what_is_larger(gtool, good, size, code):
    assert gtool("fetch", "--max-size", size, f"{good.url}/12345").code == code


def test_include_headers_has_them_by_lower_case_name_in_order(gtool, peer):
    headers = ["X-Many: 1", "x-many: 2", "X-One: one"]
    server = peer(lambda connection, head: connection.sendall(answer(b"", "200 OK", *headers)))
    assert record_of(gtool("fetch", "--json", "--include-headers", server.url))["headers"] == {
        "content-length": ["0"],
        "x-many": ["1", "2"],
        "x-one": ["one"],
    }


def test_include_headers_has_those_of_the_last_answer(gtool, good, redirecting):
    result = gtool("fetch", "--json", "--include-headers", redirecting(good.url).url)
    assert "location" not in record_of(result)["headers"]


def test_no_body_leaves_bodies_out(gtool, good):
    record = record_of(gtool("fetch", "--json", "--no-body", f"{good.url}/x"))
    assert not {"body", "body_base64", "truncated"} & record.keys()
    assert record["size_download"] == 2


def test_an_error_page_is_in_the_record_and_fails(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"no such page", "404 Not Found")))
    result = gtool("fetch", "--json", server.url)
    record = record_of(result)
    assert (record["body"], record["response_code"], record["exitcode"], record["ok"]) == (
        "no such page",
        404,
        22,
        False,
    )
    assert result.code == 22


def test_an_error_page_does_not_reach_stdout(gtool, peer, good):
    server = peer(lambda connection, head: connection.sendall(answer(b"no such page", "404 Not Found")))
    result = gtool("fetch", server.url, f"{good.url}/x")
    assert (result.out, result.code) == (b"/x", 22)


def test_no_fail_lets_an_error_page_through(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"no such page", "404 Not Found")))
    result = gtool("fetch", "--no-fail", server.url)
    assert (result.out, result.code, result.err) == (b"no such page", 0, "")


def test_no_fail_makes_records_of_error_pages_ok(gtool, httpbin):
    record = record_of(gtool("fetch", "--json", "--no-fail", f"{httpbin}/status/500"))
    assert (record["ok"], record["exitcode"], record["response_code"]) == (True, 0, 500)


def test_the_exit_status_is_that_of_the_first_failing_input_in_input_order(gtool, httpbin, refused_port):
    urls = [f"{httpbin}/get", f"{httpbin}/status/500", f"127.0.0.1:{refused_port}", "file:x"]
    assert gtool("fetch", *urls).code == 22


def test_a_record_has_these_fields_in_this_order(gtool, good):
    options = ["--json", "--include-headers", "--sha256"]
    record = record_of(gtool("fetch", *options, f"{good.url}/x"))
    assert list(record) == [
        *["seq", "id", "url", "ok", "method", "url_effective", "response_code", "http_version", "content_type"],
        *["size_download", "headers", "sha256", "body", "truncated"],
        *["num_redirects", "num_retries", "num_connects", "remote_ip", "remote_port", "time_namelookup"],
        *["time_connect", "time_appconnect", "time_starttransfer", "time_total", "started_at", "exitcode", "errormsg"],
    ]  # fmt: skip


# Lines


def test_write_out_is_a_line_per_input(gtool, good):
    result = gtool("fetch", "-w", "%{http_code} %{seq} %{url} 100%%", "--ordered", f"{good.url}/1", f"{good.url}/2")
    assert result.out.decode() == f"200 0 {good.url}/1 100%\n200 1 {good.url}/2 100%\n"


def test_write_out_has_escapes_and_aliases(gtool, good):
    result = gtool("fetch", "-o", "out/{seq}", "-w", r"%{http_code}\t%{filename_effective}\n", good.url)
    assert result.out == b"200\tout/0\n"


def test_write_out_of_json_is_the_record(gtool, good):
    result = gtool("fetch", "-w", "%{json}", good.url)
    assert record_of(result)["url"] == good.url


def test_write_out_has_a_line_for_failures_too(gtool, refused_port):
    assert gtool("fetch", "-w", "%{exitcode}", f"127.0.0.1:{refused_port}").out == b"7\n"


def test_write_out_takes_control_characters_of_a_peer_away(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"", "200 OK", "Content-Type: \x1b[31mred")))
    assert b"\x1b" not in gtool("fetch", "-w", "%{content_type}", server.url).out


# Input


def test_null_ends_requests_in_the_place_of_newline(gtool, good):
    stdin = f"{good.url}/1\0{good.url}/2\0".encode()
    assert gtool("fetch", "-0", "-i", "-", stdin=stdin).out == b"/1/2"


def test_null_lets_an_object_have_more_than_one_line(gtool, good):
    stdin = f'{{"url":\n"{good.url}/1"}}\0'.encode()
    assert gtool("fetch", "-0", "-i", "-", stdin=stdin).out == b"/1"


def test_arguments_come_before_files_and_files_in_their_order(gtool, good, tmp_path):
    (tmp_path / "one").write_text(f"{good.url}/1\n")
    (tmp_path / "two").write_text(f"{good.url}/2\n")
    assert gtool("fetch", "-i", "two", "-i", "-", "-i", "one", f"{good.url}/0", stdin=f"{good.url}/3".encode()).out == (
        b"/0/2/3/1"
    )


def test_a_request_object_has_its_own_method_headers_and_data(gtool, httpbin):
    line = json.dumps({"url": f"{httpbin}/anything", "method": "PUT", "headers": {"X-A": ["1", "2"]}, "data": "raw ü"})
    echo = echo_of(gtool("fetch", "--json", "-i", "-", stdin=line.encode()))
    assert (echo["method"], echo["headers"]["X-A"]) == ("PUT", "1,2")
    assert "raw ü" in (*echo["form"], echo["data"])


def test_a_request_object_has_json_of_its_own(gtool, httpbin):
    line = json.dumps({"url": f"{httpbin}/anything", "json": {"a": None}})
    echo = echo_of(gtool("fetch", "--json", "-i", "-", stdin=line.encode()))
    assert (echo["method"], echo["json"], echo["headers"]["Content-Type"]) == ("POST", {"a": None}, "application/json")


def test_a_request_object_with_all_keys_works(gtool, httpbin, tmp_path):
    plain = gtool("fetch", f"{httpbin}/base64/aGVsbG8=").out
    keys = {
        "url": f"{httpbin}/base64/aGVsbG8=",
        "method": "GET",
        "headers": ["X-A: 1"],
        "id": 7,
        "output": "hello.txt",
        "sha256": hashlib.sha256(plain).hexdigest(),
        "max_time": 20,
    }
    record = record_of(gtool("fetch", "--json", "-i", "-", stdin=json.dumps(keys).encode()))
    assert (record["exitcode"], record["id"], Path(record["body_path"])) == (0, 7, Path("hello.txt"))
    assert (tmp_path / "hello.txt").read_bytes() == plain


def test_headers_of_a_request_object_take_the_place_of_those_of_the_run(gtool, good):
    lines = json.dumps({"url": good.url, "headers": {"x-who": "one"}}) + f"\n{good.url}\n"
    gtool("fetch", "-c", "1", "-H", "X-Who: all", "-H", "X-Too: all", "-i", "-", stdin=lines.encode())
    assert [(header(head, "X-Who"), header(head, "X-Too")) for head in good.requests] == [
        ("one", "all"),
        ("all", "all"),
    ]


def test_what_a_request_object_asks_for_does_not_carry_over_to_the_next(gtool, httpbin):
    special = {"url": f"{httpbin}/anything", "method": "PUT", "headers": {"X-A": "1"}, "data": "body"}
    lines = f"{json.dumps(special)}\n{httpbin}/anything\n"
    second = gtool("fetch", "--json", "-c", "1", "--ordered", "-i", "-", stdin=lines.encode()).records[1]
    echo = json.loads(second["body"])
    assert (echo["method"], echo["data"], "X-A" in echo["headers"]) == ("GET", "", False)


@pytest.mark.parametrize("request_id", ["text", 7, 1.5, None, True, [1, {"a": "ü"}], {"nested": [None]}, 2**70])
def test_the_id_of_a_request_comes_back_as_it_was(gtool, good, request_id):
    line = json.dumps({"url": good.url, "id": request_id})
    assert record_of(gtool("fetch", "--json", "-i", "-", stdin=line.encode()))["id"] == request_id


# The summary


def test_summary_counts_on_stderr(gtool, httpbin, refused_port):
    urls = [f"{httpbin}/get", f"{httpbin}/status/404", f"127.0.0.1:{refused_port}"]
    err = gtool("fetch", "--json", "--summary", *urls).err
    assert re.search(r"^inputs +3 +1 succeeded, 2 failed", err, re.MULTILINE)
    assert re.search(r"^HTTP 2xx +1$", err, re.MULTILINE)
    assert re.search(r"^exit 7 +1 +could not connect$", err, re.MULTILINE)
    assert re.search(r"^total +\d", err, re.MULTILINE)


def test_summary_is_json_where_the_log_is(gtool, httpbin, refused_port):
    urls = [f"{httpbin}/get", f"{httpbin}/status/404", f"127.0.0.1:{refused_port}"]
    summary = json.loads(gtool("--log-format", "json", "fetch", "--json", "--summary", *urls).err)
    assert (summary["inputs"], summary["succeeded"], summary["failed"]) == (3, 1, 2)
    assert summary["by_status"] == {"2xx": 1, "4xx": 1}
    assert summary["by_exitcode"] == {"7": 1, "22": 1}
    for phase in ("time_connect", "time_first_byte", "time_total"):
        assert 0 < summary[phase]["p50"] <= summary[phase]["p90"] <= summary[phase]["p99"] <= summary[phase]["max"]


def test_summary_leaves_stdout_as_it_is(gtool, good):
    assert gtool("fetch", "--summary", f"{good.url}/x").out == b"/x"


def test_summary_is_printed_for_an_interrupted_run_too(start_gtool, peer):
    server = peer(lambda connection, head: connection.recv(1) and None)
    process = start_gtool("fetch", "--json", "--summary", server.url)
    wait_until(lambda: server.requests)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=TIMEOUT_S)[1].startswith(b"inputs ")


def test_failures_are_json_lines_where_the_log_is(gtool, refused_port):
    [line] = gtool("--log-format", "json", "fetch", f"127.0.0.1:{refused_port}").err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["exitcode"], entry["url"]) == ("warning", 7, f"127.0.0.1:{refused_port}")


def test_quiet_logs_no_failures(gtool, refused_port):
    result = gtool("-q", "fetch", f"127.0.0.1:{refused_port}")
    assert (result.err, result.code) == ("", 7)


def test_there_is_no_progress_off_a_terminal(gtool, good):
    assert gtool("fetch", "-o", "{seq}", good.url).err == ""
