"""ws-feed among peers that break the rules of HTTP and WebSocket, or that are just not there any more."""

from __future__ import annotations

import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from tests.conftest import TIMEOUT_S, run_gtool
from tests.e2e.probes import descriptors, is_dropped, resident_bytes
from tests.e2e.servers import GtoolServer, receive_all
from tests.e2e.ws import (
    BINARY,
    CLOSE,
    CONT,
    FAST,
    FIN,
    LOOPBACK,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    SMALL_BUFFER,
    TEXT,
    Raw,
    ask_bytes,
    connect,
    deflated,
    fed_by_hand,
    feed,
    frame,
    head_of,
    plain,
    put,
    raw,
    read_answer,
    request,
    reset,
    upgrading,
    wait_for_metric,
)

MASK = b"\x01\x02\x03\x04"
MAX_GROWTH_BYTES = 24 << 20
DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate"}
BAD_UTF8 = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok \xe2\x82"]

BAD_UPGRADES = {
    "no key": ({"Sec_WebSocket_Key": None}, 400),
    "an empty key": ({"Sec_WebSocket_Key": ""}, 400),
    "a key that is no base64": ({"Sec_WebSocket_Key": "!" * 24}, 400),
    "a key of 15 bytes": ({"Sec_WebSocket_Key": "MTIzNDU2Nzg5MDEyMzQ1"}, 400),
    "a key of 17 bytes": ({"Sec_WebSocket_Key": "MTIzNDU2Nzg5MDEyMzQ1Njc="}, 400),
    "no version": ({"Sec_WebSocket_Version": None}, 426),
    "an old version": ({"Sec_WebSocket_Version": "8"}, 426),
    "a later version": ({"Sec_WebSocket_Version": "14"}, 426),
    "a version that is no number": ({"Sec_WebSocket_Version": "x"}, 426),
    "no Connection": ({"Connection": None}, 400),
    "another Connection": ({"Connection": "keep-alive"}, 400),
    "no Host": ({"Host": ""}, 400),
    "extensions that can't be read": ({"Sec_WebSocket_Extensions": "a;b=;;"}, 400),
}  # fmt: skip

BAD_REQUESTS = {
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "words": b"please let me in\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "a bad Content-Length": request("/", "Content-Length: many"),
    "a negative Content-Length": request("/", "Content-Length: -1"),
    "a Host twice": request("/", "Host: localhost", "Host: localhost"),
    "another Host too": request("/", "Host: localhost", "Host: evil.example"),
}
AMBIGUOUS = {
    "a space before the colon": request("/healthz", "Name : value"),
    "a header without a colon": request("/healthz", "a header without a colon"),
    "a folded header": request("/healthz", "Name: value", " folded"),
    "two Content-Lengths": request("/healthz", "Content-Length: 5", "Content-Length: 6") + b"123456",
    "a name that is no token": request("/healthz", "Na(me): value"),
    "no name": request("/healthz", ": value"),
    "a first header that is folded": b"GET /healthz HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "a length for an upgrade": upgrading(Content_Length="5") + b"12345",
}
CHUNKED = {
    "nothing": b"",
    "an empty line": b"\r\n",
    "no size": b"\r\n\r\n",
    "a size that is none": b"zz\r\nabc\r\n0\r\n\r\n",
    "an extension without a size": b";a=b\r\n\r\n",
    "a negative size": b"-5\r\nabcde\r\n0\r\n\r\n",
    "a size without end": b"f" * 100_000,
    "half a chunk": b"5\r\nab",
    "chunks": b"5\r\nabcde\r\n0\r\n\r\n",
}


def is_well(server: GtoolServer) -> None:
    """Check that the server still serves, and has not said more than a sentence about whoever misbehaved."""
    assert ask_bytes(server, request("/healthz")).status == 200
    assert "Traceback" not in server.err
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def walking() -> Iterator[GtoolServer]:
    with feed() as server:
        yield server


@pytest.fixture(scope="module")
def echoing() -> Iterator[GtoolServer]:
    with feed("--echo") as server:
        yield server


@pytest.fixture
def shared(walking: GtoolServer) -> Iterator[GtoolServer]:
    """One feed for all who are only refused."""
    yield walking
    is_well(walking)


@pytest.fixture
def echo(echoing: GtoolServer) -> Iterator[GtoolServer]:
    """One that sends back what comes, for all whose frames are bad."""
    yield echoing
    is_well(echoing)


# --- upgrades


@pytest.mark.parametrize("name", BAD_UPGRADES)
def test_a_bad_upgrade_is_refused_with_a_sentence(echo: GtoolServer, name: str):
    headers, status = BAD_UPGRADES[name]
    answer = ask_bytes(echo, upgrading(**headers))
    assert answer.status == status
    assert answer.text.strip()


def test_a_wrong_version_is_told_which_is_right(shared: GtoolServer):
    answer = ask_bytes(shared, upgrading(Sec_WebSocket_Version="7"))
    assert answer.status == 426
    assert answer.headers["sec-websocket-version"] == "13"


def test_a_refused_upgrade_ends_its_connection_where_it_cannot_be_told_from_what_follows(shared: GtoolServer):
    with shared.connect() as sock:
        sock.sendall(upgrading(Sec_WebSocket_Key="bad"))
        assert b" 400 " in receive_all(sock)


def test_an_upgrade_by_post_is_405(shared: GtoolServer):
    assert ask_bytes(shared, upgrading().replace(b"GET", b"POST", 1)).status == 405


def test_an_upgrade_of_http_1_0_is_refused(shared: GtoolServer):
    assert ask_bytes(shared, upgrading().replace(b"HTTP/1.1", b"HTTP/1.0", 1)).status == 400


def test_an_upgrade_to_something_else_gets_the_page(shared: GtoolServer):
    assert ask_bytes(shared, upgrading(Upgrade="h2c")).status == 200


@pytest.mark.parametrize("offer", ["x-unknown; a=1", "permessage-deflate; server_max_window_bits=7",
                                   "permessage-deflate; nonsense", "permessage-bzip2",
                                   "permessage-deflate; client_max_window_bits=x"])  # fmt: skip
def test_an_extension_that_cannot_be_met_is_not_used(echo: GtoolServer, offer: str):
    with raw(echo, Sec_WebSocket_Extensions=offer) as client:
        assert "sec-websocket-extensions" not in client.answer.headers
        client.send(TEXT, b"x" * 1000)
        assert client.read_text() == "x" * 1000


# --- requests


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_what_is_no_request_is_400(shared: GtoolServer, name: str):
    answer = ask_bytes(shared, BAD_REQUESTS[name])
    assert answer.status == 400
    assert answer.text.strip()
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_headers_that_two_servers_may_read_differently_are_400(shared: GtoolServer, name: str):
    with shared.connect() as sock:
        sock.sendall(AMBIGUOUS[name])
        answer = read_answer(sock)
        assert answer.status == 400
        assert answer.text.strip()
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b"", "what follows could be taken for another request"


def test_the_same_content_length_twice_is_one(shared: GtoolServer):
    assert ask_bytes(shared, request("/healthz", "Content-Length: 0", "Content-Length: 0")).status == 200


@pytest.mark.parametrize("body", CHUNKED)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_body_in_chunks_is_411_and_the_server_lives(method: str, body: str):
    with feed(*FAST) as server, connect(server) as good, server.connect() as sock:
        with suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(request("/", "Transfer-Encoding: chunked", method=method) + CHUNKED[body])
        answer = read_answer(sock)
        assert answer.status == 411
        assert "Content-Length" in answer.text
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b"", "what follows could be taken for another request"
        good.recv(TIMEOUT_S)
        is_well(server)


@pytest.mark.parametrize("value", ["chunked", "gzip, chunked", "identity", "x", ""])
@pytest.mark.parametrize("lines", [[], ["Content-Length: 5"]], ids=["", "with a length"])
def test_every_transfer_encoding_is_411(shared: GtoolServer, value: str, lines: list[str]):
    assert ask_bytes(shared, request("/healthz", *lines, f"Transfer-Encoding: {value}")).status == 411
    assert ask_bytes(shared, upgrading(Transfer_Encoding=value)).status == 411


@pytest.mark.parametrize(
    "target", ["http://localhost/healthz", "HTTP://LOCALHOST:80/healthz", "https://[::1]:1/healthz?a=http://b/"]
)
def test_a_request_may_name_the_whole_url(shared: GtoolServer, target: str):
    assert ask_bytes(shared, request(target)).text == "ok\n"


def test_a_whole_url_without_a_path_is_the_page(shared: GtoolServer):
    assert ask_bytes(shared, request("http://localhost")).text == ask_bytes(shared, request("/")).text
    assert ask_bytes(shared, upgrading("http://localhost?envelope=1")).status == 101


@pytest.mark.parametrize("target", ["http://[::1/healthz", "http://", "://", "//localhost/healthz", "*", "healthz"])
def test_a_target_that_is_no_url_of_ours_gets_an_answer_and_the_server_lives(shared: GtoolServer, target: str):
    assert ask_bytes(shared, request(target)).status in (200, 400, 404)


def test_a_whole_url_lets_nobody_past_the_host_that_is_asked_for(shared: GtoolServer):
    assert ask_bytes(shared, request("http://localhost/latest", "Host: evil.example")).status == 403


@pytest.mark.parametrize("empty", [b"\r\n", b"\n"])
def test_an_empty_line_before_a_request_is_ignored(shared: GtoolServer, empty: bytes):
    with shared.connect() as sock:
        for _ in range(3):
            sock.sendall(empty + request("/healthz"))
            assert read_answer(sock).status == 200


def test_empty_lines_without_end_are_no_request(shared: GtoolServer):
    with shared.connect() as sock:
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(100):
                sock.sendall(b"\r\n" * 1000)
        with suppress(ConnectionResetError):
            assert receive_all(sock)[:12] in (b"", b"HTTP/1.1 400")


def test_a_path_too_long_for_any_file_is_404(shared: GtoolServer):
    assert ask_bytes(shared, request(f"/static/{'a' * 300}.js")).status == 404


def test_a_request_line_that_is_too_long_is_414(shared: GtoolServer):
    assert ask_bytes(shared, request("/" + "a" * 70_000)).status == 414


@pytest.mark.parametrize("lines", [["X: " + "a" * 70_000], ["X: " + "a" * 1000] * 90])
def test_headers_that_are_too_long_are_431(shared: GtoolServer, lines: list[str]):
    assert ask_bytes(shared, request("/", *lines)).status == 431


def test_headers_that_never_end_are_431(shared: GtoolServer):
    with shared.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(1000):
                sock.sendall(b"X-More: of the same\r\n" * 100)
        with suppress(ConnectionResetError):
            assert read_answer(sock).status == 431


@pytest.mark.parametrize(("count", "status"), [(90, 200), (101, 431), (1000, 431)])
def test_more_than_100_headers_are_431(shared: GtoolServer, count: int, status: int):
    lines = [f"X-{number}: x" for number in range(count - 1)]  # and the Host
    assert ask_bytes(shared, request("/healthz", *lines)).status == status


def test_a_head_that_comes_too_slowly_is_408():
    line, _, headers = upgrading().partition(b"\r\n")
    with feed("--handshake-timeout", "500ms") as server, server.connect() as sock:
        sock.sendall(line + b"\r\n")
        for byte in headers:
            if select.select([sock], [], [], 0.05)[0]:
                break
            sock.sendall(bytes([byte]))
        answer = read_answer(sock)
        assert answer.status == 408
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""


def test_a_request_line_that_comes_too_slowly_is_408():
    with feed("--handshake-timeout", "500ms") as server, server.connect() as sock:
        for byte in b"GET /" + b"a" * 1000:
            if select.select([sock], [], [], 0.05)[0]:
                break
            sock.sendall(bytes([byte]))
        answer = read_answer(sock)
        assert answer.status == 408
        assert answer.headers["connection"] == "close"
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        is_well(server)


def test_slow_heads_keep_nobody_from_being_served():
    with feed("--handshake-timeout", "5m") as server, ExitStack() as stack:
        for _ in range(200):
            slow = stack.enter_context(server.connect())
            slow.sendall(b"GET / HTTP/1.1\r\nHost: local")
        with raw(server) as client:
            assert client.answer.status == 101


def test_a_connection_that_says_nothing_is_closed_after_the_handshake_timeout():
    with feed("--handshake-timeout", "500ms") as server, server.connect() as sock:
        assert receive_all(sock) == b""
        assert " WARNING " not in server.err


def test_a_connection_kept_alive_that_says_nothing_is_closed_without_a_warning():
    with feed("--handshake-timeout", "500ms") as server, server.connect() as sock:
        sock.sendall(request("/healthz"))
        assert read_answer(sock).status == 200
        assert receive_all(sock) == b""
        assert " WARNING " not in server.err


def test_an_upgrade_is_not_under_the_deadline_of_its_head():
    with feed("--handshake-timeout", "500ms", "--interval", "1s") as server, raw(server) as client:
        begun = time.monotonic()
        while time.monotonic() - begun < 2:
            assert client.read().opcode == TEXT


def test_a_body_that_never_comes_holds_up_its_own_connection_only():
    with feed("--handshake-timeout", "1s") as server, server.connect() as sock:
        sock.sendall(request("/", "Content-Length: 1000000", method="POST"))
        assert read_answer(sock).status == 405
        with suppress(ConnectionResetError):
            assert sock.recv(1) == b""
        is_well(server)


def test_a_client_that_does_not_read_its_answers_is_let_go():
    with feed("--handshake-timeout", "1s") as server, plain(server, SMALL_BUFFER) as sock:
        sock.setblocking(False)
        with suppress(BlockingIOError, ConnectionResetError, BrokenPipeError):
            while True:
                sock.send(request("/") * 100)
        wait_for_metric(server, "open_connections", 1)  # the one that asks


# --- frames


def is_closed_with(client: Raw, code: int) -> None:
    assert client.read_close().code == code


@pytest.mark.parametrize("size", [(16 << 20) + 1, 1 << 32, (1 << 63) - 1])
def test_a_message_that_is_too_long_is_closed_with_1009_before_it_is_sent(echo: GtoolServer, size: int):
    with raw(echo) as client:
        client.sock.sendall(head_of(FIN | BINARY, size) + MASK)
        is_closed_with(client, 1009)


def test_the_longest_message_may_be_set():
    with feed("--echo", "--max-message", "1k") as server, raw(server) as client:
        client.send(TEXT, b"x" * 1024)
        assert client.read_text() == "x" * 1024
        client.sock.sendall(head_of(FIN | TEXT, 1025) + MASK)
        is_closed_with(client, 1009)


def test_a_longest_message_of_nothing_is_a_usage_error():
    result = run_gtool("ws-feed", "-l", LOOPBACK, "--max-message", "0")
    assert result.code == 2
    assert "--max-message" in result.err


def test_a_feed_takes_no_long_messages_either(shared: GtoolServer):
    with raw(shared) as client:
        client.sock.sendall(head_of(FIN | BINARY, (1 << 20) + 1) + MASK)
        is_closed_with(client, 1009)


def test_a_length_with_its_highest_bit_is_a_protocol_error_or_too_long(echo: GtoolServer):
    with raw(echo) as client:
        client.sock.sendall(struct.pack("!BBQ", FIN | TEXT, 0xFF, 1 << 63) + MASK)
        assert client.read_close().code in (1002, 1009)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_a_frame_without_a_mask_is_closed_with_1002(echo: GtoolServer, opcode: int):
    with raw(echo) as client:
        client.send(opcode, b"\x03\xe8", mask=None)
        is_closed_with(client, 1002)


@pytest.mark.parametrize("text", BAD_UTF8)
def test_text_that_is_not_utf8_is_closed_with_1007(echo: GtoolServer, text: bytes):
    with raw(echo) as client:
        client.send(TEXT, text)
        is_closed_with(client, 1007)


def test_text_that_is_not_utf8_is_found_out_before_its_message_ends(echo: GtoolServer):
    with raw(echo) as client:
        client.send(TEXT, b"\xce\xba\xed\xa0\x80", first=0)
        is_closed_with(client, 1007)


def test_a_feed_checks_what_it_does_not_need_too(shared: GtoolServer):
    with raw(shared) as client:
        client.send(TEXT, b"\xff")
        is_closed_with(client, 1007)


def test_a_reason_that_is_not_utf8_is_closed_with_1007(echo: GtoolServer):
    with raw(echo) as client:
        client.send(CLOSE, b"\x03\xe8\xff\xff")
        assert client.read_close().code in (1002, 1007)


def test_a_close_frame_of_one_byte_is_closed_with_1002(echo: GtoolServer):
    with raw(echo) as client:
        client.send(CLOSE, b"\x03")
        is_closed_with(client, 1002)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_of_126_bytes_is_closed_with_1002(echo: GtoolServer, opcode: int):
    with raw(echo) as client:
        client.send(opcode, b"\x03\xe8" + b"x" * 124)
        is_closed_with(client, 1002)


def test_a_control_frame_of_125_bytes_is_a_good_one(echo: GtoolServer):
    with raw(echo) as client:
        client.send(PING, b"x" * 125)
        assert client.read() == (FIN | PONG, b"x" * 125)


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_in_fragments_is_closed_with_1002(echo: GtoolServer, opcode: int):
    with raw(echo) as client:
        client.send(opcode, b"", first=0)
        is_closed_with(client, 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_an_opcode_that_nobody_knows_is_closed_with_1002(echo: GtoolServer, opcode: int):
    with raw(echo) as client:
        client.send(opcode, b"x")
        is_closed_with(client, 1002)


@pytest.mark.parametrize("bits", [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3])
def test_reserved_bits_that_nobody_has_agreed_on_are_closed_with_1002(echo: GtoolServer, bits: int):
    with raw(echo) as client:
        client.send(TEXT, b"x", first=FIN | bits)
        is_closed_with(client, 1002)


@pytest.mark.parametrize("bits", [RSV2, RSV3])
def test_reserved_bits_of_other_extensions_are_closed_with_1002_under_compression_too(echo: GtoolServer, bits: int):
    with raw(echo, **DEFLATE) as client:
        client.send(TEXT, b"x", first=FIN | bits)
        is_closed_with(client, 1002)


def test_a_compressed_control_frame_is_closed_with_1002(echo: GtoolServer):
    with raw(echo, **DEFLATE) as client:
        client.send(PING, b"x", first=FIN | RSV1)
        is_closed_with(client, 1002)


def test_a_continuation_of_nothing_is_closed_with_1002(echo: GtoolServer):
    with raw(echo) as client:
        client.send(CONT, b"x")
        is_closed_with(client, 1002)


def test_a_message_within_another_is_closed_with_1002(echo: GtoolServer):
    with raw(echo) as client:
        client.send(TEXT, b"x", first=0)
        client.send(TEXT, b"y")
        is_closed_with(client, 1002)


def test_what_came_before_a_bad_frame_is_still_answered(echo: GtoolServer):
    with raw(echo) as client:
        client.sock.sendall(frame(TEXT, b"good") + frame(TEXT, b"bad", first=FIN | RSV2))
        assert client.read_text() == "good"
        is_closed_with(client, 1002)


def test_nothing_that_comes_after_a_good_bye_is_answered(echo: GtoolServer):
    with raw(echo) as client:
        client.sock.sendall(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late") + frame(PING, b"late"))
        assert client.read() == (FIN | CLOSE, b"\x03\xe8")
        with suppress(ConnectionResetError):
            assert client.sock.recv(1) == b""


def test_a_compression_bomb_is_closed_with_1009():
    bomb = deflated(bytes(64 << 20))
    assert len(bomb) < 100_000
    with feed("--echo") as server, raw(server, **DEFLATE) as client:
        before = resident_bytes(server.process.pid)
        client.send(BINARY, bomb, first=FIN | RSV1)
        is_closed_with(client, 1009)
        assert resident_bytes(server.process.pid) - before < 48 << 20


def test_a_compression_bomb_in_fragments_is_closed_with_1009():
    bomb = deflated(bytes(64 << 20))
    with feed("--echo", "--max-message", "1M") as server, raw(server, **DEFLATE) as client:
        client.send(BINARY, bomb[:100], first=RSV1)
        with suppress(ConnectionResetError, BrokenPipeError):
            for at in range(100, len(bomb), 1000):
                client.send(CONT, bomb[at : at + 1000], first=0)
        is_closed_with(client, 1009)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x07", b"no deflate at all"])
def test_what_cannot_be_decompressed_ends_the_connection(echo: GtoolServer, data: bytes):
    with raw(echo, **DEFLATE) as client:
        client.send(TEXT, data, first=FIN | RSV1)
        assert client.read_close().code in (1002, 1007)


def test_fragments_that_never_end_are_closed_with_1009():
    with feed("--echo", "--max-message", "1M") as server, raw(server) as client:
        client.send(BINARY, b"x" * 60_000, first=0)
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(100):
                client.send(CONT, b"x" * 60_000, first=0)
        with suppress(ConnectionResetError):
            is_closed_with(client, 1009)
        is_well(server)


def test_empty_fragments_that_never_end_take_no_memory():
    with feed("--echo") as server, raw(server) as client:
        client.send(BINARY, b"", first=0)
        many = frame(CONT, b"", first=0) * 10_000
        client.sock.sendall(many)
        before = resident_bytes(server.process.pid)
        for _ in range(20):
            client.sock.sendall(many)
        client.send(PING, b"there?")
        assert client.read() == (FIN | PONG, b"there?")
        assert resident_bytes(server.process.pid) - before < MAX_GROWTH_BYTES


def test_frames_may_come_byte_by_byte(echo: GtoolServer):
    with raw(echo, **DEFLATE) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in frame(TEXT, b"slowly") + frame(TEXT, deflated(b"compressed"), first=FIN | RSV1):
            client.sock.sendall(bytes([byte]))
        assert client.read_text() == "slowly"
        assert client.read_text() == "compressed"


def test_rubbish_after_the_upgrade_ends_that_connection_only():
    with feed(*FAST) as server, connect(server) as good:
        for _ in range(20):
            with raw(server) as client:
                with suppress(ConnectionResetError, BrokenPipeError):
                    client.sock.sendall(os.urandom(5000))
                client.sock.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):
                    receive_all(client.sock)
        good.recv(TIMEOUT_S)
        is_well(server)


# --- clients that don't read, and clients that have gone


def test_a_client_that_never_reads_its_echoes_is_not_read_from_and_takes_no_memory():
    with feed("--echo") as server, raw(server, buffer=SMALL_BUFFER) as client:
        before = resident_bytes(server.process.pid)
        client.sock.setblocking(False)
        message = frame(BINARY, bytes(60_000))
        sent = 0
        begun = time.monotonic()
        while select.select([], [client.sock], [], 1)[1]:
            assert time.monotonic() - begun < TIMEOUT_S
            assert sent < 200 << 20, "it is read without end"
            with suppress(BlockingIOError):
                sent += client.sock.send(message)
        assert resident_bytes(server.process.pid) - before < MAX_GROWTH_BYTES
        with raw(server) as other:
            other.send(TEXT, b"me too")
            assert other.read_text() == "me too"


def test_a_client_that_reads_its_echoes_late_gets_all_of_them(echo: GtoolServer):
    message = frame(BINARY, bytes(60_000))
    with raw(echo, buffer=SMALL_BUFFER) as client:
        client.sock.setblocking(False)
        data = bytearray()
        count = 0
        while select.select([], [client.sock], [], 1)[1] and count < 3000:
            data = data or bytearray(message)
            count += len(data) == len(message)
            with suppress(BlockingIOError):
                del data[: client.sock.send(data)]
        client.sock.settimeout(TIMEOUT_S)
        for _ in range(count - bool(data)):
            assert client.read() == (FIN | BINARY, bytes(60_000))
        client.sock.sendall(data)
        if data:
            assert client.read() == (FIN | BINARY, bytes(60_000))


def test_pings_of_a_client_that_never_reads_take_no_memory():
    with feed("--echo") as server, raw(server, buffer=SMALL_BUFFER) as client:
        before = resident_bytes(server.process.pid)
        client.sock.setblocking(False)
        many = frame(PING, b"x" * 125) * 100
        sent = 0
        while select.select([], [client.sock], [], 1)[1] and sent < 100 << 20:
            with suppress(BlockingIOError):
                sent += client.sock.send(many)
        assert sent < 100 << 20, "it is read without end"
        assert resident_bytes(server.process.pid) - before < MAX_GROWTH_BYTES


@pytest.mark.parametrize("words", [["--echo"], [*FAST]], ids=["echo", "walk"])
def test_a_client_that_is_reset_is_forgotten(words: list[str]):
    with feed(*words) as server:
        for _ in range(20):
            with raw(server) as client:
                client.vanish()
        wait_for_metric(server, "open_connections", 1)  # the one that asks
        is_well(server)


def test_a_client_that_is_reset_in_the_middle_of_a_message_is_forgotten():
    with feed("--echo") as server:
        for size in (1, 5, 100, 5000):
            with raw(server) as client:
                client.sock.sendall(frame(BINARY, bytes(10_000))[:size])
                client.vanish()
        wait_for_metric(server, "open_connections", 1)


def test_a_client_that_is_reset_while_it_is_written_to_is_forgotten():
    with fed_by_hand() as server:
        for _ in range(10):
            with raw(server, buffer=SMALL_BUFFER) as client:
                put(server, *["x" * 100_000] * 100)
                client.read()
                client.vanish()
        wait_for_metric(server, "open_connections", 1)
        is_well(server)


def test_500_clients_that_vanish_at_once_are_forgotten_and_make_no_line_in_the_log():
    with feed("--interval", "50ms") as server, connect(server) as good:
        wait_for_metric(server, "open_connections", 2)
        before = descriptors(server.process.pid)
        with ExitStack() as stack:
            clients = []
            for _ in range(500):
                sock = stack.enter_context(plain(server, SMALL_BUFFER))
                sock.sendall(upgrading())
                clients.append(sock)
            for sock in clients:
                assert sock.recv(12) == b"HTTP/1.1 101"
            for sock in clients:
                reset(sock)
        wait_for_metric(server, "open_connections", 2)
        assert descriptors(server.process.pid) <= before + 2
        good.recv(TIMEOUT_S)
        assert not re.search(r" (WARNING|ERROR) ", server.err)


def test_1000_that_connect_and_vanish_before_a_word_are_forgotten():
    with feed() as server:
        with ExitStack() as stack:
            for sock in [stack.enter_context(plain(server)) for _ in range(1000)]:
                reset(sock)
        wait_for_metric(server, "open_connections", 1)
        is_well(server)


def is_turned_away(sock: socket.socket) -> bool:
    try:
        return sock.recv(12) != b"HTTP/1.1 101"
    except ConnectionResetError:
        return True


def test_a_server_without_descriptors_left_turns_clients_away_and_serves_the_others():
    under = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    waiting: list[socket.socket] = []
    dropped = 0
    with feed(*FAST, under=under) as server, connect(server) as good, ExitStack() as stack:
        for _ in range(80):
            sock = stack.enter_context(plain(server))
            with suppress(ConnectionResetError, BrokenPipeError):
                sock.sendall(upgrading())
            waiting.append(sock)
        end = time.monotonic() + TIMEOUT_S
        while dropped <= 10 and time.monotonic() < end:  # of some nothing is heard: the kernel has them in its queue
            for sock in select.select(waiting, [], [], 1)[0]:
                waiting.remove(sock)
                dropped += is_turned_away(sock)
        assert dropped > 10
        good.recv(TIMEOUT_S)
        assert server.process.poll() is None


def test_an_event_stream_that_is_sent_something_goes_on():
    with feed(*FAST) as server, server.connect() as sock:
        sock.sendall(request("/sse") + b"what is this?" * 1000)
        assert read_answer(sock).status == 200
        received = b""
        while received.count(b"data: ") < 20:
            received += sock.recv(1000)


def test_an_event_stream_that_vanishes_is_forgotten():
    with feed(*FAST) as server:
        for _ in range(10):
            with server.connect() as sock:
                sock.sendall(request("/sse"))
                assert read_answer(sock).status == 200
                reset(sock)
        wait_for_metric(server, "open_connections", 1)


def test_plain_tcp_that_shuts_down_at_once_is_let_go(shared: GtoolServer):
    with shared.connect() as sock:
        sock.shutdown(socket.SHUT_WR)
        assert is_dropped(sock)
