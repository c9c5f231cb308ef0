"""echo-server's services, as the clients meet them that people have: ncat, socat, nc, openssl, and plain sockets."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, skip_unless_all
from tests.e2e.probes import events, exchange
from tests.e2e.servers import GtoolServer, receive_all, receive_exactly, running

LOOPBACK = "127.0.0.1:0"
MESSAGE = os.urandom(1_000_000)
SECONDS_1900_TO_1970 = 2_208_988_800

Connect = Callable[[GtoolServer], socket.socket]


def through(*words: str | Path, message: bytes = MESSAGE) -> bytes:
    """Give a client the message on stdin, to its end; what it says until it ends by itself."""
    done = subprocess.run(list(map(str, words)), input=message, capture_output=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def through_open(*words: str | Path, message: bytes = MESSAGE) -> bytes:
    """The same with a client that knows no half-close: stdin stays open until as many bytes have come back."""
    with subprocess.Popen(
        list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as client:
        assert client.stdin
        assert client.stdout
        watchdog = threading.Timer(TIMEOUT_S, client.kill)
        watchdog.start()
        sender = threading.Thread(target=lambda: (client.stdin.write(message), client.stdin.flush()))
        sender.start()
        try:
            return client.stdout.read(len(message))
        finally:
            sender.join()
            watchdog.cancel()
            client.kill()


class TlsClient:
    """A TLS client that can shut down writing and go on reading, which ssl.SSLSocket cannot (RFC 8446 section 6.1)."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._socket = sock
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_hostname="localhost")
        self._drive(self._tls.do_handshake)

    def write(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def shut_down_writing(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):  # close_notify is written; the server's is not there yet
            self._tls.unwrap()
        self._flush()

    def read_all(self) -> bytes:
        """Read to the server's close_notify; a stream that ends without one is an ssl.SSLEOFError."""
        received = b""
        try:
            while data := self._drive(lambda: self._tls.read(65536)):
                received += data
        except ssl.SSLZeroReturnError:
            pass
        return received

    def _drive(self, step: Callable[[], bytes | None]) -> bytes | None:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._socket.recv(65536)
                if data:
                    self._coming.write(data)
                else:
                    self._coming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        self._socket.sendall(self._going.read())


# --- clients that people have: 1 MB through each, and an end by half-close


@pytest.mark.needs("ncat")
def test_ncat_gets_all_back_and_then_the_end():
    with running("echo-server", "-l", LOOPBACK) as server:
        assert through("ncat", "127.0.0.1", str(server.port)) == MESSAGE


@pytest.mark.needs("ncat")
def test_ncat_over_ipv6_gets_all_back():
    with running("echo-server", "-l", "[::1]:0") as server:
        assert through("ncat", "-6", "::1", str(server.port)) == MESSAGE


@pytest.mark.needs("ncat")
def test_ncat_over_a_unix_socket_gets_all_back(tmp_path: Path):
    with running("echo-server", "-l", f"unix:{tmp_path}/echo.sock") as server:
        assert through("ncat", "-U", server.target()) == MESSAGE


@pytest.mark.needs("ncat")
def test_ncat_over_tls_gets_all_back(certificate: Path, ca_file: Path):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server:
        words = ["ncat", "--ssl-verify", "--ssl-trustfile", ca_file, "localhost", str(server.port)]
        assert through_open(*words) == MESSAGE


@pytest.mark.needs("socat")
def test_socat_gets_all_back_and_then_the_end():
    with running("echo-server", "-l", LOOPBACK) as server:
        assert through("socat", "-t", str(TIMEOUT_S), "-", f"TCP:127.0.0.1:{server.port}") == MESSAGE


@pytest.mark.needs("socat")
def test_socat_over_a_unix_socket_gets_all_back(tmp_path: Path):
    with running("echo-server", "-l", f"unix:{tmp_path}/echo.sock") as server:
        assert through("socat", "-t", str(TIMEOUT_S), "-", f"UNIX:{server.target()}") == MESSAGE


@pytest.mark.needs("socat")
def test_socat_over_tls_gets_all_back(certificate: Path, ca_file: Path):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server:
        assert through_open("socat", "-", f"OPENSSL:localhost:{server.port},pf=ip4,cafile={ca_file}") == MESSAGE


@pytest.mark.needs("socat")
def test_socat_over_udp_gets_its_datagram_back():
    with running("echo-server", "-l", f"udp://{LOOPBACK}") as server:
        datagram = MESSAGE[:8192]
        assert through_open("socat", "-b", "8192", "-", f"UDP:127.0.0.1:{server.port}", message=datagram) == datagram


@pytest.mark.needs("nc")
def test_nc_gets_all_back_and_then_the_end():
    with running("echo-server", "-l", LOOPBACK) as server:
        assert through("nc", "-N", "127.0.0.1", str(server.port)) == MESSAGE


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_gets_all_back(certificate: Path, ca_file: Path, version: str):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server:
        words = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", ca_file, version]
        assert through_open(*words, "-connect", f"127.0.0.1:{server.port}") == MESSAGE


def test_a_half_closed_tls_stream_is_echoed_to_its_last_byte_and_closed_cleanly(
    certificate: Path, trusting: ssl.SSLContext
):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server, server.connect() as sock:
        client = TlsClient(sock, trusting)
        client.write(MESSAGE[:100_000])
        client.shut_down_writing()
        assert client.read_all() == MESSAGE[:100_000]
        assert sock.recv(1) == b""  # of TCP too


# --- TLS, and clients that do not speak it


def test_plain_text_to_tls_ends_that_connection_with_a_reason_in_the_log(certificate: Path, trusting: ssl.SSLContext):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server:
        with server.connect() as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with suppress(ConnectionResetError):
                receive_all(client)  # an alert, where OpenSSL has one for that
            peer = "{}:{}".format(*client.getsockname())
        server.wait_for_log("TLS handshake failed")
        (failure,) = events(server, "TLS handshake failed")
        assert failure["peer"] == peer
        assert "http request" in failure["reason"]
        assert server.wait_for_counts(refused=1)["accepted"] == 0
        with trusting.wrap_socket(server.connect(), server_hostname="localhost") as client:
            exchange(client)


def test_a_tls_client_that_goes_away_in_its_handshake_leaves_the_others_be(certificate: Path, trusting: ssl.SSLContext):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server:
        with server.connect() as client:
            client.sendall(b"\x16\x03\x01\x02\x00\x01")  # how a ClientHello begins
        server.wait_for_counts(refused=1, open=0)
        with trusting.wrap_socket(server.connect(), server_hostname="localhost") as client:
            exchange(client)


def test_a_tls_client_that_says_nothing_is_closed_after_the_handshake_timeout(certificate: Path):
    words = ["--tls-cert", certificate, "--handshake-timeout", "300ms"]
    with running("echo-server", "-l", LOOPBACK, *words) as server, server.connect() as client:
        begun = time.monotonic()
        assert client.recv(1) == b""
        assert time.monotonic() - begun > 0.25
        server.wait_for_log("TLS handshake failed")
        assert "timed out" in events(server, "TLS handshake failed")[0]["reason"]


def test_the_handshake_timeout_is_over_once_the_handshake_is_done(certificate: Path, trusting: ssl.SSLContext):
    words = ["--tls-cert", certificate, "--handshake-timeout", "300ms"]
    with (
        running("echo-server", "-l", LOOPBACK, *words) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost") as client,
        server.connect() as silent,
    ):
        exchange(client)
        assert silent.recv(1) == b""  # so long has it been by now
        exchange(client)


# --- UDP


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 65_507])
def test_a_datagram_comes_back_whole(size: int):
    with running("echo-server", "-l", f"udp://{LOOPBACK}") as server, server.connect() as client:
        client.send(MESSAGE[:size])
        assert client.recv(65_536) == MESSAGE[:size]


def test_a_datagram_comes_back_from_the_address_that_it_was_sent_to():
    with running("echo-server", "-l", "udp://:0", listeners=2) as server:
        for host in ("127.0.0.1", "127.0.0.9"):
            server.urls = [f"udp://{host}:{server.port}"]
            with server.connect() as client:  # a connected socket takes datagrams from there only
                client.send(b"hello")
                assert client.recv(100) == b"hello"


@contextmanager
def from_port(host: str, port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(TIMEOUT_S)
        client.bind((host, port))
        yield client


@contextmanager
def from_a_service_port() -> Iterator[socket.socket]:
    """A client on a port below 1024."""
    for port in range(1023, 511, -1):
        try:
            with from_port("127.0.0.1", port) as client:
                yield client
                return
        except OSError as error:
            if error.errno == errno.EACCES:
                skip_unless_all("ports below 1024 are not for us")
            if error.errno != errno.EADDRINUSE:
                raise
    skip_unless_all("all ports below 1024 are in use")


def is_answered(server: GtoolServer, client: socket.socket) -> bool:
    """Whether a datagram of this client is; one of another client, sent after it, is in any case."""
    client.sendto(b"loop", server.target())
    with server.connect() as other:
        other.send(b"hello")
        assert other.recv(100) == b"hello"
    client.setblocking(False)
    try:
        return client.recv(100) == b"loop"
    except BlockingIOError:
        return False


def test_a_datagram_from_a_service_port_is_not_answered_but_counted():
    with running("echo-server", "-l", f"udp://{LOOPBACK}") as server, from_a_service_port() as client:
        assert not is_answered(server, client)
        server.wait_for_log("not answered")
        assert server.counts()["refused"] == 1


def test_a_datagram_from_our_own_port_is_not_answered():
    with running("echo-server", "-l", f"udp://{LOOPBACK}") as server, from_port("127.0.0.2", server.port) as client:
        assert not is_answered(server, client)


def test_allow_any_source_answers_service_ports():
    words = ["-l", f"udp://{LOOPBACK}", "--allow-any-source"]
    with running("echo-server", *words) as server, from_a_service_port() as client:
        assert is_answered(server, client)


def test_allow_any_source_answers_our_own_port():
    words = ["-l", f"udp://{LOOPBACK}", "--allow-any-source"]
    with running("echo-server", *words) as server, from_port("127.0.0.2", server.port) as client:
        assert is_answered(server, client)


# --- services


@pytest.fixture(params=["plain", "tls"])
def security(request: pytest.FixtureRequest, certificate: Path, trusting: ssl.SSLContext) -> tuple[list, Connect]:
    """The options of a server, with TLS and without, and how to connect to it: two drivers, one logic."""
    if request.param == "plain":
        return [], GtoolServer.connect
    return (
        ["--tls-cert", certificate],
        lambda server: trusting.wrap_socket(server.connect(), server_hostname="localhost"),
    )


def test_discard_takes_all_and_says_nothing():
    with running("-v", "echo-server", "-l", LOOPBACK, "--service", "discard") as server, server.connect() as client:
        client.sendall(MESSAGE)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
        server.wait_for_log("connection closed")
        (closed,) = events(server, "connection closed")
        assert (closed["received"], closed["sent"]) == ("1000000", "0")


def test_chargen_speaks_at_once_and_for_ever_each_line_one_character_further(security: tuple[list, Connect]):
    options, connect = security
    with (
        running("echo-server", "-l", LOOPBACK, "--service", "chargen", *options) as server,
        connect(server) as client,
    ):
        lines = receive_exactly(client, 74 * 3000).split(b"\r\n")[:-1]
    assert {len(line) for line in lines} == {72}
    assert lines[0] == bytes(range(32, 104))
    assert lines[95] == lines[0]
    assert all(following[:-1] == line[1:] for line, following in pairwise(lines))


def test_chargen_goes_on_while_the_client_sends():
    with running("echo-server", "-l", LOOPBACK, "--service", "chargen") as server, server.connect() as client:
        for _ in range(100):
            client.sendall(MESSAGE[:65536])
            receive_exactly(client, 65536)


def test_daytime_says_the_time_in_one_line_and_closes(security: tuple[list, Connect]):
    options, connect = security
    with (
        running("echo-server", "-l", LOOPBACK, "--service", "daytime", *options) as server,
        connect(server) as client,
    ):
        line = receive_all(client).decode()
    assert re.fullmatch(r"\w+, \w+ \d\d, \d{4} \d\d:\d\d:\d\d-UTC\r\n", line)
    assert time.strftime("%Y", time.gmtime()) in line


def test_time_says_four_bytes_and_closes(security: tuple[list, Connect]):
    options, connect = security
    with running("echo-server", "-l", LOOPBACK, "--service", "time", *options) as server, connect(server) as client:
        (seconds,) = struct.unpack("!I", receive_all(client))
    assert abs(seconds - SECONDS_1900_TO_1970 - time.time()) < 5


def test_a_client_that_has_sent_something_receives_the_time_all_the_same():
    with running("echo-server", "-l", LOOPBACK, "--service", "daytime") as server, server.connect() as client:
        client.sendall(MESSAGE[:10_000])  # unread input at a close makes a RST
        assert receive_all(client).endswith(b"-UTC\r\n")


@contextmanager
def udp_client(service: str) -> Iterator[tuple[GtoolServer, socket.socket]]:
    with running("echo-server", "-l", f"udp://{LOOPBACK}", "--service", service) as server, server.connect() as client:
        yield server, client


def test_discard_answers_no_datagram():
    with udp_client("discard") as (server, client):
        client.send(b"hello")
        assert server.wait_for_counts(received=5)["sent"] == 0


def test_chargen_answers_a_datagram_with_up_to_512_characters():
    with udp_client("chargen") as (_, client):
        answers = []
        for _ in range(20):
            client.send(b"")
            answers.append(client.recv(65_536))
    assert all(re.fullmatch(rb"[ -~]{0,512}", answer) for answer in answers)
    assert len({len(answer) for answer in answers}) > 1


def test_daytime_answers_a_datagram_with_the_time_in_words():
    with udp_client("daytime") as (_, client):
        client.send(b"")
        assert client.recv(65_536).endswith(b"-UTC\r\n")


def test_time_answers_a_datagram_with_four_bytes():
    with udp_client("time") as (_, client):
        client.send(b"")
        (seconds,) = struct.unpack("!I", client.recv(65_536))
    assert abs(seconds - SECONDS_1900_TO_1970 - time.time()) < 5


# --- lines, and a limit on bytes


def test_a_line_goes_back_when_it_is_complete_and_not_before(security: tuple[list, Connect]):
    options, connect = security
    with running("echo-server", "-l", LOOPBACK, "--line", *options) as server, connect(server) as client:
        client.sendall(b"one\ntw")
        assert client.recv(100) == b"one\n"
        assert server.wait_for_counts(received=6)["sent"] == 4
        client.sendall(b"o\n")
        assert client.recv(100) == b"two\n"


def test_lines_sent_byte_by_byte_go_back_whole():
    with running("echo-server", "-l", LOOPBACK, "--line") as server, server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"hello\nworld\n":
            client.sendall(bytes([byte]))
        assert receive_exactly(client, 12) == b"hello\nworld\n"


def test_the_last_line_goes_back_even_if_it_is_not_terminated():
    with running("echo-server", "-l", LOOPBACK, "--line") as server, server.connect() as client:
        client.sendall(b"one\ntwo")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"one\ntwo"


def test_the_last_line_goes_back_over_tls_even_if_it_is_not_terminated(certificate: Path, trusting: ssl.SSLContext):
    words = ["-l", LOOPBACK, "--line", "--tls-cert", certificate]
    with running("echo-server", *words) as server, server.connect() as sock:
        client = TlsClient(sock, trusting)
        client.write(b"one\ntwo")
        client.shut_down_writing()
        assert client.read_all() == b"one\ntwo"


def test_a_line_may_be_as_long_as_max_line():
    with running("echo-server", "-l", LOOPBACK, "--line", "--max-line", "10") as server, server.connect() as client:
        exchange(client, b"x" * 10 + b"\n")


@pytest.mark.parametrize("rest", [b"", b"\nthird\n"], ids=["unterminated", "terminated"])
def test_a_longer_line_ends_its_connection_when_the_earlier_ones_have_gone_back(
    security: tuple[list, Connect], rest: bytes
):
    options, connect = security
    words = ["-l", LOOPBACK, "--line", "--max-line", "10", *options]
    with running("-v", "echo-server", *words) as server, connect(server) as client:
        client.sendall(b"first\nsecond\n" + b"x" * 11 + rest)
        peer = "{}:{}".format(*client.getsockname())
        assert receive_all(client) == b"first\nsecond\n"
        server.wait_for_log("line too long")
        assert [event["peer"] for event in events(server, "line too long")] == [peer]


def test_a_client_that_sends_too_long_a_line_and_goes_on_receives_the_earlier_ones():
    words = ["-l", LOOPBACK, "--line", "--max-line", "64k"]
    with running("echo-server", *words) as server, server.connect() as client:
        client.sendall(b"first\n")
        sender = threading.Thread(target=send_what_is_taken, args=(client, b"x" * 1_000_000))
        sender.start()
        assert receive_all(client) == b"first\n"  # and no RST, which would take it away
        sender.join()


def send_what_is_taken(client: socket.socket, data: bytes) -> None:
    try:
        client.sendall(data)
    except OSError:
        return


def test_max_line_is_64k_if_nobody_says_another():
    with running("echo-server", "-l", LOOPBACK, "--line") as server:
        with server.connect() as client:
            client.sendall(b"x" * 65_536 + b"\n")
            assert len(receive_exactly(client, 65_537)) == 65_537
        with server.connect() as client:
            client.sendall(b"x" * 65_537)
            assert receive_all(client) == b""


def test_a_connection_that_sends_more_than_max_bytes_gets_so_many_back_and_is_closed(security: tuple[list, Connect]):
    options, connect = security
    with (
        running("-v", "echo-server", "-l", LOOPBACK, "--max-bytes", "10", *options) as server,
        connect(server) as client,
    ):
        client.sendall(b"0123456789abcdef")
        assert receive_all(client) == b"0123456789"
        client.close()
        server.wait_for_log("connection closed")
        assert events(server, "connection closed")[0]["reason"] == "max bytes"


def test_a_line_that_exceeds_max_line_and_max_bytes_ends_its_connection_and_not_the_server():
    words = ["-l", LOOPBACK, "--line", "--max-line", "4", "--max-bytes", "20"]
    with running("echo-server", *words) as server:
        with server.connect() as client:
            client.sendall(b"abc\n" + b"x" * 30)
            assert receive_all(client) == b"abc\n"
        with server.connect() as client:
            client.sendall(b"abc\n")
            assert receive_exactly(client, 4) == b"abc\n"


def test_max_bytes_may_be_reached():
    with running("echo-server", "-l", LOOPBACK, "--max-bytes", "10") as server, server.connect() as client:
        exchange(client, b"0123456789")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


def test_max_bytes_is_for_each_connection():
    with running("echo-server", "-l", LOOPBACK, "--max-bytes", "10") as server:
        for _ in range(3):
            with server.connect() as client:
                exchange(client, b"0123456789")
