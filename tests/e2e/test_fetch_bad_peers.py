"""Peers that misbehave, on real sockets: each costs its own input a record, and no other input anything."""

from __future__ import annotations

import datetime
import gzip
import json
import re
import socket
import ssl
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trustme

from tests.conftest import Peer, answer, read_head

CHUNK = b"x" * 100
BOMB_BYTES = 200 << 20
MEMORY_KB = 80 << 10

Fetch = Callable[..., dict[str, Any]]


@pytest.fixture
def good(peer) -> Peer:
    """The neighbour: a server with nothing wrong."""
    return peer(lambda connection, head: connection.sendall(answer(b"good")))


@pytest.fixture
def fetch(gtool, good) -> Fetch:
    """Fetch a bad URL before and after a good one; give the first one's record when all the rest is as it should be."""

    def fetch_beside_good(url: str, *options: str | Path) -> dict[str, Any]:
        result = gtool("fetch", "--json", *options, url, good.url, url)
        bad, neighbour, bad_again = sorted(result.records, key=lambda record: record["seq"])
        assert (neighbour["exitcode"], neighbour.get("body", "good")) == (0, "good")
        assert bad_again["exitcode"] == bad["exitcode"] == result.code
        assert result.err == ""
        return bad

    return fetch_beside_good


def check_failure(record: dict[str, Any], exitcode: int, message: str) -> None:
    """Hold a record against curl's code and a pattern that a clear message has in it."""
    assert record["exitcode"] == exitcode
    assert not record["ok"]
    assert re.search(message, record["errormsg"], re.IGNORECASE)
    assert "\n" not in record["errormsg"]


def silent(connection: socket.socket, head: bytes) -> None:
    """Say nothing until the other side has gone."""
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    """Close at once with RST in the place of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def says(*pieces: bytes) -> Callable[[socket.socket, bytes], None]:
    """Say this and hang up."""

    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"".join(pieces))
        connection.close()

    return handle


def redirects(target: str) -> Callable[[socket.socket, bytes], None]:
    """Send whoever asks there."""
    return lambda connection, head: connection.sendall(answer(b"", "302 Found", f"Location: {target}"))


# Never sent


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://host:port/", "http://a b/", "http://h:99999/", "http:///x"]
)
def test_a_malformed_url_has_code_3(fetch, url):
    record = fetch(url)
    check_failure(record, 3, "URL|port|host")
    assert record["url"] == url


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "gopher://127.0.0.1", "file:///etc/passwd", "file:x", "javascript:alert(1)"]
)
def test_a_scheme_other_than_http_has_code_1(fetch, url):
    scheme = url.partition(":")[0]
    check_failure(fetch(url), 1, f"protocol.*{scheme}.*http")


def test_an_unresolvable_name_has_code_6(fetch):
    check_failure(fetch("http://nowhere.invalid/"), 6, "resolve.*nowhere.invalid")


# Connecting


def test_a_refused_port_has_code_7(fetch, refused_port):
    check_failure(fetch(f"http://127.0.0.1:{refused_port}/"), 7, f"connect.*{refused_port}")


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port whose backlog is full and stays so: further connections are neither accepted nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(address)
        yield address[1]
        for connection in waiting:
            connection.close()


def test_connect_timeout_ends_an_attempt_to_connect(fetch, full_backlog):
    record = fetch(f"http://127.0.0.1:{full_backlog}/", "--connect-timeout", "500ms", "--stall-timeout", "20s")
    check_failure(record, 28, "connect|timed out|timeout")
    assert record["time_connect"] == 0


def test_connect_timeout_covers_the_tls_handshake(fetch, peer):
    server = peer(lambda connection, head: None)  # it reads the ClientHello, and finds no end of a head in it
    record = fetch(f"https://{server.host}/", "--connect-timeout", "500ms", "--stall-timeout", "20s")
    check_failure(record, 28, "timed out|timeout")


def test_connect_timeout_does_not_end_a_transfer_that_is_connected(fetch, peer):
    def late(connection: socket.socket, head: bytes) -> None:
        Event().wait(1.0)  # longer than the time-out: that is what is tested
        connection.sendall(answer(b"late"))

    record = fetch(peer(late).url, "--connect-timeout", "500ms")
    assert record["body"] == "late"


class Blurter(Peer):
    """Answers in plain HTTP whatever comes first."""

    def _treat(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(answer(b"plain"))


@pytest.fixture
def blurter() -> Iterator[Blurter]:
    server = Blurter(silent)
    yield server
    server.close()


def test_plain_http_on_a_tls_port_has_code_35(fetch, blurter):
    check_failure(fetch(f"https://{blurter.host}/"), 35, "TLS|SSL")


# Time


def test_a_server_that_says_nothing_ends_at_stall_timeout_with_code_28(fetch, peer):
    record = fetch(peer(silent).url, "--stall-timeout", "500ms")
    check_failure(record, 28, "stalled.*0.5 s")


def test_a_server_that_says_nothing_ends_at_max_time_with_code_28(fetch, peer):
    record = fetch(peer(silent).url, "--max-time", "1s")
    check_failure(record, 28, "timed out")
    assert 0.9 < record["time_total"] < 10


def test_max_time_of_a_request_object_holds_for_that_one_alone(gtool, good, peer):
    bad = json.dumps({"url": peer(silent).url, "max_time": 0.3})
    result = gtool("fetch", "--json", "-i", "-", stdin=f"{bad}\n{good.url}\n".encode())
    assert {record["seq"]: record["exitcode"] for record in result.records} == {0: 28, 1: 0}


def test_a_slow_drip_outlives_stall_timeout(fetch, peer):
    def drip(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n")
        for _ in range(14):
            Event().wait(0.1)  # the pace: all of it takes longer than the time-out
            connection.sendall(b"d")

    record = fetch(peer(drip).url, "--stall-timeout", "800ms")
    assert record["body"] == "d" * 14
    assert record["time_total"] > 0.8


def test_a_slow_drip_ends_at_max_time_with_code_28(fetch, peer):
    def drip(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b"d")
            Event().wait(0.05)

    record = fetch(peer(drip).url, "--max-time", "1s", "--stall-timeout", "20s")
    check_failure(record, 28, "timed out")
    assert set(record["body"]) == {"d"}


# Bodies


def test_a_reset_in_the_middle_of_a_body_has_code_56(fetch, peer):
    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + CHUNK)
        reset(connection)

    check_failure(fetch(peer(handle).url), 56, "reset")


def test_a_connection_closed_without_an_answer_has_code_52(fetch, peer):
    check_failure(fetch(peer(says()).url), 52, "empty reply")


def test_a_body_shorter_than_its_content_length_has_code_18(fetch, peer):
    record = fetch(peer(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", CHUNK)).url)
    check_failure(record, 18, "900 bytes")
    assert record["body"] == CHUNK.decode()  # what did come is there


def test_a_content_length_that_is_no_number_fails(fetch, peer):
    record = fetch(peer(says(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", CHUNK)).url)
    check_failure(record, 8, "content-length")


@pytest.mark.parametrize("body", [b"zz\r\nbody\r\n0\r\n\r\n", b"5\r\nbodyandmore\r\n0\r\n\r\n"])
def test_broken_chunking_has_code_56(fetch, peer, body):
    server = peer(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body))
    check_failure(fetch(server.url), 56, "chunk")


def test_chunks_without_an_end_have_code_18(fetch, peer):
    server = peer(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"))
    check_failure(fetch(server.url), 18, "closed|partial|remaining")


def broken_gzip() -> bytes:
    packed = bytearray(gzip.compress(b"".join(b"%d\n" % number for number in range(10_000))))
    packed[5000:5050] = b"\xff" * 50
    return bytes(packed)


@pytest.mark.parametrize("body", [broken_gzip(), b"not gzip at all"], ids=["corrupt", "plain"])
def test_broken_gzip_has_code_61(fetch, peer, body):
    server = peer(says(answer(body, "200 OK", "Content-Encoding: gzip")))
    check_failure(fetch(server.url), 61, "encoding")


@pytest.mark.parametrize("answered", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00\xff" * 50, b"HTTP/9.9 200 OK\r\n\r\n"])
def test_what_is_no_http_has_code_1(fetch, peer, answered):
    check_failure(fetch(peer(says(answered)).url), 1, "HTTP")


def zeros(size_bytes: int) -> bytes:
    """That many zeros, as gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(size_bytes >> 20)), packer.flush()])


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return answer(zeros(BOMB_BYTES), "200 OK", "Content-Encoding: gzip")


def test_max_size_stops_a_gzip_bomb_with_code_63(fetch, peer, bomb):
    record = fetch(peer(says(bomb)).url, "--max-size", "1M", "--no-body")
    check_failure(record, 63, "--max-size 1048576")


@pytest.mark.parametrize("options", [["--json", "--max-size", "1M"], ["--json"], ["-w", "%{exitcode}", "-o", "{seq}"]])
def test_a_gzip_bomb_takes_little_memory(start_gtool, peer, bomb, options):
    process = start_gtool("fetch", *options, "-i", "-")
    process.stdin.write(peer(says(bomb)).url.encode() + b"\n")
    process.stdin.flush()
    process.stdout.readline()  # it is done with that, and waits for more
    assert peak_memory_kb(process.pid) < MEMORY_KB


def peak_memory_kb(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


# Headers


def test_ten_thousand_headers_have_a_record(fetch, peer):
    headers = (f"X-{number}: {number}" for number in range(10_000))
    check_failure(fetch(peer(says(answer(b"", "200 OK", *headers))).url), 100, "too many.*headers")


def test_five_thousand_headers_are_not_too_many(fetch, peer):
    headers = (f"X-{number}: {number}" for number in range(4990))
    record = fetch(peer(says(answer(b"", "200 OK", *headers))).url, "--include-headers")
    assert record["headers"]["x-4989"] == ["4989"]


def test_a_header_without_end_has_a_record_that_says_so(fetch, peer):
    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            connection.sendall(CHUNK * 100)

    check_failure(fetch(peer(handle).url), 100, "header|large")


def test_control_characters_of_a_peer_do_not_reach_stderr(gtool, peer):
    server = peer(redirects("ftp://\x1b[31mred"))
    result = gtool("-vv", "fetch", server.url)
    assert "\x1b" not in result.err


# Redirects


def test_a_redirect_loop_has_code_47(fetch, peer):
    server = peer(redirects("/again"))
    record = fetch(server.url, "--max-redirs", "5")
    check_failure(record, 47, "redirects")
    assert record["num_redirects"] == 5


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:1/x"])
def test_a_redirect_to_another_scheme_has_code_1(fetch, peer, target):
    record = fetch(peer(redirects(target)).url)
    check_failure(record, 1, "protocol")
    assert record["body"] == ""


# Certificates


class TlsPeer(Peer):
    """Answers over TLS, and closes what it has opened even where the client does not like the certificate."""

    def _treat(self, connection: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
            while read_head(secure):
                secure.sendall(answer(b"secure"))


@pytest.fixture
def tls_peer() -> Iterator[Callable[[trustme.LeafCert], str]]:
    """Start a TLS server with that certificate: gives its address, by the name of localhost."""
    with ExitStack() as stack:

        def start(certificate: trustme.LeafCert) -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server = TlsPeer(silent, context)
            stack.callback(server.close)
            return f"https://localhost:{server.host.partition(':')[2]}/"

        yield start


def test_an_expired_certificate_has_code_60(fetch, tls_peer, authority, ca_file):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    url = tls_peer(authority.issue_cert("localhost", not_after=yesterday))
    check_failure(fetch(url, "--cacert", ca_file), 60, "certificate has expired")


def test_a_certificate_for_another_host_has_code_60(fetch, tls_peer, authority, ca_file):
    url = tls_peer(authority.issue_cert("elsewhere.example"))
    check_failure(fetch(url, "--cacert", ca_file), 60, "localhost")


def test_an_unknown_authority_has_code_60(fetch, tls_peer, authority):
    check_failure(fetch(tls_peer(authority.issue_cert("localhost"))), 60, "certificate")


def test_cacert_makes_its_authority_trusted(fetch, tls_peer, authority, ca_file):
    assert fetch(tls_peer(authority.issue_cert("localhost")), "--cacert", ca_file)["body"] == "secure"


def test_insecure_takes_any_certificate(fetch, tls_peer, authority):
    assert fetch(tls_peer(authority.issue_cert("elsewhere.example")), "-k")["body"] == "secure"


# Without records


def test_without_records_each_failure_is_one_line_of_the_log(gtool, good, peer, refused_port):
    torn = peer(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", CHUNK)).url
    result = gtool("fetch", "-o", "{seq}", f"127.0.0.1:{refused_port}", good.url, torn)
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert all("exitcode=" in line and "error=" in line for line in lines)


def test_the_body_of_a_good_peer_reaches_stdout_beside_bad_ones(gtool, good, peer, refused_port):
    result = gtool("fetch", "file:x", f"127.0.0.1:{refused_port}", good.url, peer(says()).url, good.url)
    assert result.out == b"goodgood"
    assert result.code == 1


def test_what_came_of_a_torn_body_is_on_stdout_once_and_the_next_follows(gtool, good, peer):
    torn = peer(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", CHUNK)).url
    result = gtool("fetch", "--concurrency", "1", torn, good.url)
    assert result.out in (CHUNK + b"good", b"good")
    assert result.code == 18


def test_a_torn_body_leaves_no_file(gtool, good, peer, tmp_path):
    torn = peer(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", CHUNK)).url
    gtool("fetch", "-o", "out/{seq}", torn, good.url)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]
