"""A WebSocket's client side: the handshake, messages, pings both ways, and closings."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import pytest

import gtool.web.client
from gtool.errors import UsageError
from gtool.web.client import Client, Silent, connect, tls_context
from gtool.web.frames import Message
from gtool.web.handshake import Rejected, Wanted, parse_url
from tests.conftest import TIMEOUT_S, answer
from tests.e2e.servers import receive_exactly
from tests.e2e.ws import BINARY, CLOSE, FIN, PING, PONG, TEXT, frame
from tests.servers.deaf import deaf_host
from tests.servers.looped import server_tls

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SOON_S = 0.1


def switching(head: bytes, *headers: str) -> bytes:
    found = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
    assert found
    accept = base64.b64encode(hashlib.sha1(found[1] + GUID).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", *headers]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode()


def said(opcode: int, data: bytes = b"", first: int = FIN) -> bytes:
    return frame(opcode, data, first, mask=None)


def closing(code: int, reason: bytes = b"") -> bytes:
    return said(CLOSE, code.to_bytes(2, "big") + reason)


def read_frame(connection: socket.socket) -> tuple[int, bytes]:
    """Read a client's frame: its opcode and its data."""
    first, size = receive_exactly(connection, 2)
    assert size & 0x80, "a client must mask"
    size &= 0x7F
    if size >= 126:
        size = int.from_bytes(receive_exactly(connection, 2 if size == 126 else 8), "big")
    mask = receive_exactly(connection, 4)
    data = receive_exactly(connection, size)
    return first & 15, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


@contextmanager
def connected(url: str, timeout_s: float | None = TIMEOUT_S, context: Any = None, **wanted: Any) -> Iterator[Client]:
    full, place = parse_url(url)
    client = connect(Wanted(full, **wanted), place, context, timeout_s)
    try:
        with gevent.Timeout(TIMEOUT_S):
            yield client
    finally:
        client.close()


@pytest.fixture
def talking(peer) -> Callable[..., str]:
    """Make a server that opens the WebSocket and then does this; give its URL."""

    def make(talk: Callable[[socket.socket], object], *headers: str, context: Any = None) -> str:
        def handler(connection: socket.socket, head: bytes) -> None:
            connection.settimeout(TIMEOUT_S)
            connection.sendall(switching(head, *headers))
            talk(connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        host = peer(handler, context).host
        return f"wss://{host.replace('127.0.0.1', 'localhost')}/" if context else f"ws://{host}/"

    return make


@pytest.fixture
def saying(talking) -> Callable[..., str]:
    """Make a server that says these bytes, and ends."""
    return lambda *data, headers=(): talking(lambda connection: connection.sendall(b"".join(data)), *headers)


def texts(client: Client) -> list[str]:
    return [message.data.decode() for message in client.messages()]


# --- the handshake


def test_the_answer_is_at_hand(saying):
    with connected(saying(headers=("X-One: a",))) as client:
        assert client.handshake.header("x-one") == "a"


def test_a_subprotocol_may_be_agreed_on(saying):
    with connected(saying(headers=("Sec-WebSocket-Protocol: b",)), subprotocols=("a", "b")) as client:
        assert client.handshake.subprotocol == "b"


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer x"),
        ("Origin", "https://a"),
        ("Host", "a"),
        ("X", "y"),
    ],
)
def test_a_header_is_sent_once_whatever_it_is(peer, header):
    server = peer(lambda connection, _: connection.sendall(answer(b"", "404 No")))
    with pytest.raises(Rejected), connected(f"ws://{server.host}/", headers=(header,)):
        pass
    name, value = header
    assert re.findall(rf"(?im)^{name}: (.*)\r$", server.requests[0].decode()) == [value]


def test_without_a_subprotocol_there_is_none(saying):
    with connected(saying(), subprotocols=("a",)) as client:
        assert client.handshake.subprotocol is None


def test_a_subprotocol_that_nobody_has_asked_for_is_a_refusal(saying):
    with pytest.raises(Rejected), connected(saying(headers=("Sec-WebSocket-Protocol: c",)), subprotocols=("a",)):
        pass


def test_a_password_in_the_url_is_sent(peer):
    server = peer(lambda connection, _: connection.sendall(answer(b"", "404 No")))
    with pytest.raises(Rejected), connected(f"ws://me:s3cret@{server.host}/"):
        pass
    assert b"Authorization: Basic bWU6czNjcmV0" in server.requests[0]


def test_a_refusal_has_its_status_and_its_sentence(peer):
    server = peer(lambda connection, _: connection.sendall(answer(b"\nnot you\nor them", "403 No")))
    with pytest.raises(Rejected, match="HTTP 403: not you") as caught, connected(server.host):
        pass
    assert caught.value.status == 403


def test_a_refusal_that_goes_on_for_ever_is_bounded_by_the_time(peer):
    def handler(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 403 No\r\n\r\nand so on")
        connection.recv(1)

    with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"), connected(peer(handler).host, 0.2):
        pass


def test_a_host_whose_addresses_do_not_answer_takes_no_longer_than_it_may():
    with (
        deaf_host() as host,
        gevent.Timeout(TIMEOUT_S),
        pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"),
        connected(host, 0.2),
    ):
        pass


def test_an_end_instead_of_an_answer_is_a_refusal(peer):
    server = peer(lambda connection, _: connection.shutdown(socket.SHUT_RDWR))
    with pytest.raises(Rejected) as caught, connected(server.host):
        pass
    assert caught.value.status == 0


def test_nobody_there_is_an_error_of_the_system(refused_port):
    with pytest.raises(ConnectionRefusedError), connected(f"ws://127.0.0.1:{refused_port}/"):
        pass


# --- messages


def test_messages_come_up_to_the_end(saying):
    with connected(saying(said(TEXT, b"a"), said(TEXT, b"b"))) as client:
        assert (texts(client), client.close_code) == (["a", "b"], None)


def test_a_closing_has_code_and_reason(saying):
    with connected(saying(closing(1008, b"why"))) as client:
        assert (texts(client), client.close_code, client.close_reason) == ([], 1008, "why")


def test_a_closing_without_a_code_is_1005(saying):
    with connected(saying(said(CLOSE))) as client:
        assert (texts(client), client.close_code) == ([], 1005)


@pytest.mark.parametrize(("data", "code"), [(b"\x83\x01x", 1002), (b"\x81\x01\xff", 1007), (b"\x81\x7e\xff\xff", 1009)])
def test_a_bad_frame_ends_it_with_its_code(saying, data, code):
    with connected(saying(said(TEXT, b"a"), data), max_message=1000) as client:
        assert (texts(client), client.close_code) == (["a"], code)


def test_a_connection_that_is_reset_is_an_error(talking):
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    with connected(talking(reset)) as client, pytest.raises(ConnectionResetError):
        texts(client)


def test_what_is_sent_is_masked_and_whole(talking):
    heard = []
    with connected(talking(lambda connection: heard.append(read_frame(connection)))) as client:
        client.send(Message(b"x" * 70_000, True))
        texts(client)
    assert heard == [(TEXT, b"x" * 70_000)]


def test_what_comes_is_read_while_what_is_sent_has_to_wait(talking):
    """A server that does not read on before it is read from."""
    is_stuck = threading.Event()

    def talk(connection: socket.socket) -> None:
        assert is_stuck.wait(TIMEOUT_S)
        for number in range(3):
            connection.sendall(said(TEXT, b"%d" % number))
            assert not go_on.wait(SOON_S)  # so that they come one by one
        connection.shutdown(socket.SHUT_RDWR)

    go_on = threading.Event()
    with connected(talking(talk)) as client:
        sender = gevent.spawn(send_until_it_breaks, client)
        gevent.sleep(SOON_S)  # longer than the buffers take to fill
        is_stuck.set()
        found = []
        with gevent.Timeout(5, False), suppress(OSError):
            for message in client.messages():
                found.append(message.data)
        sender.kill()
    assert found == [b"0", b"1", b"2"]


def send_until_it_breaks(client: Client) -> None:
    with suppress(OSError):
        while True:
            client.send(Message(b"x" * (16 << 20), True))


# --- pings


@pytest.fixture
def brief(monkeypatch) -> None:
    monkeypatch.setattr(gtool.web.client, "PING_S", SOON_S)
    monkeypatch.setattr(gtool.web.client, "PONG_S", SOON_S)


def test_a_ping_of_the_servers_is_answered(talking):
    heard = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(said(PING, b"there?"))
        heard.append(read_frame(connection))

    with connected(talking(talk)) as client:
        texts(client)
    assert heard == [(PONG, b"there?")]


def test_pings_are_answered_while_what_is_sent_has_to_wait(talking):
    """Their pongs wait for the message before them, and whoever reads does not."""
    heard = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(said(PING, b"1"))
        connection.sendall(said(TEXT, b"read on"))
        has_read.wait(TIMEOUT_S)
        heard.append(read_frame(connection)[0])
        heard.append(read_frame(connection))

    has_read = threading.Event()
    with connected(talking(talk)) as client:
        sender = gevent.spawn(client.send, Message(bytes(16 << 20), False))
        gevent.sleep(SOON_S)  # longer than the buffers take to fill
        messages = client.messages()
        assert next(messages) == Message(b"read on", True)
        has_read.set()
        assert list(messages) == []
        sender.get(timeout=TIMEOUT_S)
    assert heard == [BINARY, (PONG, b"1")]


def test_of_many_pings_of_one_who_reads_nothing_the_last_is_answered(talking):
    heard = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"".join(said(PING, b"%d" % number) for number in range(1000)) + said(TEXT, b"read on"))
        has_read.wait(TIMEOUT_S)
        heard.extend((read_frame(connection)[0], read_frame(connection)))
        connection.sendall(closing(1000))
        heard.append(read_frame(connection)[0])

    has_read = threading.Event()
    with connected(talking(talk)) as client:
        sender = gevent.spawn(client.send, Message(bytes(16 << 20), False))
        gevent.sleep(SOON_S)  # longer than the buffers take to fill
        messages = client.messages()
        assert next(messages) == Message(b"read on", True)
        has_read.set()
        assert list(messages) == []
        sender.get(timeout=TIMEOUT_S)
    assert heard == [BINARY, (PONG, b"999"), CLOSE]


@pytest.mark.usefixtures("brief")
def test_over_tls_a_server_that_is_silent_is_asked_and_left(talking, authority, tmp_path, ca_file):
    heard = []
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        heard.append(read_frame(connection))
        done.wait(TIMEOUT_S)

    url = talking(talk, context=server_tls(authority, tmp_path))
    with connected(url, context=tls_context(str(ca_file), None, None, False)) as client:
        with pytest.raises(Silent):
            texts(client)
        done.set()
    assert heard == [(PING, b"")]


@pytest.mark.usefixtures("brief")
def test_a_server_that_is_silent_is_asked(talking):
    heard = []
    with connected(talking(lambda connection: heard.append(read_frame(connection)))) as client:
        texts(client)
    assert heard == [(PING, b"")]


@pytest.mark.usefixtures("brief")
def test_a_server_that_does_not_answer_is_not_there(talking):
    done = threading.Event()
    with connected(talking(lambda _: done.wait(TIMEOUT_S))) as client:
        with pytest.raises(Silent, match="no pong"):
            texts(client)
        done.set()


@pytest.mark.usefixtures("brief")
def test_a_server_that_answers_is_waited_for(talking):
    def talk(connection: socket.socket) -> None:
        for _ in range(5):
            opcode, data = read_frame(connection)
            assert opcode == PING
            connection.sendall(said(PONG, data))
        connection.sendall(said(TEXT, b"late"))

    with connected(talking(talk)) as client:
        assert texts(client) == ["late"]


@pytest.mark.usefixtures("brief")
def test_a_message_is_as_good_as_a_pong(talking):
    def talk(connection: socket.socket) -> None:
        for _ in range(5):
            read_frame(connection)
            connection.sendall(said(TEXT, b"busy"))

    with connected(talking(talk)) as client:
        assert texts(client) == ["busy"] * 5


# --- closings


def test_close_shakes_hands(talking):
    heard = []

    def talk(connection: socket.socket) -> None:
        heard.append(read_frame(connection))
        connection.sendall(closing(1000))

    with connected(talking(talk)) as client:
        client.close(1001, "bye")
        assert heard == [(CLOSE, b"\x03\xe9bye")]


def shakes_hands(talking: Callable[..., str], *, is_last: bool) -> list[tuple[int, bytes]]:
    """Have a server close, and perhaps end its side at once; give what it hears."""
    heard = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(closing(1001, b"bye"))
        if is_last:
            connection.shutdown(socket.SHUT_WR)
        is_sent.set()
        with suppress(AssertionError):  # it ends instead
            heard.append(read_frame(connection))
        is_over.set()

    is_sent, is_over = threading.Event(), threading.Event()
    with connected(talking(talk)) as client:
        assert is_sent.wait(TIMEOUT_S)
        assert texts(client) == []
    assert is_over.wait(TIMEOUT_S)
    return heard


def test_a_closing_of_the_servers_is_answered(talking):
    assert shakes_hands(talking, is_last=False) == [(CLOSE, b"\x03\xe9bye")]


def test_a_closing_of_a_server_that_says_nothing_more_is_answered(talking):
    assert shakes_hands(talking, is_last=True) == [(CLOSE, b"\x03\xe9bye")]


def test_close_ends_one_who_waits_to_send(talking, monkeypatch):
    monkeypatch.setattr(gtool.web.client, "CLOSE_S", SOON_S)
    done = threading.Event()
    with connected(talking(lambda _: done.wait(TIMEOUT_S))) as client, gevent.Timeout(TIMEOUT_S / 2):
        sender = gevent.spawn(send_until_it_breaks, client)
        gevent.sleep(SOON_S)
        client.close()
        sender.get()
    done.set()


def test_close_leaves_no_greenlet(saying):
    with connected(saying()) as client:
        client.close()
        assert client._writer.dead


def test_close_does_not_wait_for_ever(talking, monkeypatch):
    monkeypatch.setattr(gtool.web.client, "CLOSE_S", SOON_S)
    done = threading.Event()
    with connected(talking(lambda _: done.wait(TIMEOUT_S))) as client, gevent.Timeout(TIMEOUT_S / 2):
        client.close()
    done.set()


def test_close_does_not_wait_for_one_who_goes_on_talking(talking, monkeypatch):
    monkeypatch.setattr(gtool.web.client, "CLOSE_S", SOON_S)

    def talk(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(said(TEXT, b"x" * 1000))

    with connected(talking(talk)) as client, gevent.Timeout(TIMEOUT_S / 2):
        client.close()


def test_closing_what_has_ended_is_no_error(saying):
    with connected(saying()) as client:
        texts(client)
        client.close()


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("data", [closing(1000), b"\x83\x01x"], ids=["closing", "bad frame"])
def test_a_server_that_stays_on_after_the_end_does_not_hold_it(talking, monkeypatch, data):
    monkeypatch.setattr(gtool.web.client, "CLOSE_S", SOON_S)
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(data)
        done.wait(TIMEOUT_S)

    with connected(talking(talk)) as client, gevent.Timeout(TIMEOUT_S / 2):
        try:
            assert texts(client) == []
        finally:
            done.set()


# --- TLS


def test_certificates_are_checked():
    context = tls_context(None, None, None, False)
    assert (context.check_hostname, context.verify_mode.name) == (True, "CERT_REQUIRED")


def test_certificates_are_not_checked_if_told_so():
    context = tls_context(None, None, None, True)
    assert (context.check_hostname, context.verify_mode.name) == (False, "CERT_NONE")


def test_an_authority_is_trusted(ca_file):
    assert len(tls_context(str(ca_file), None, None, False).get_ca_certs()) == 1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_that_is_not_there_is_named(tmp_path, authority, number):
    authority.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    files = [str(tmp_path / name) for name in ("ca.pem", "me.pem", "me.pem")]
    files[number] = str(tmp_path / "missing")
    with pytest.raises(UsageError, match=f"^cannot use {files[number]}: No such file or directory"):
        tls_context(*files, False)


def test_a_key_that_is_none_is_refused(tmp_path):
    (tmp_path / "me.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="cannot use "):
        tls_context(None, str(tmp_path / "me.pem"), None, False)


@pytest.fixture
def pems(tmp_path, authority) -> Path:
    """A directory of files that fit, and of some that don't."""
    ours, theirs = authority.issue_cert("me"), authority.issue_cert("other")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "both.pem"))
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    theirs.private_key_pem.write_to_path(str(tmp_path / "other.pem"))
    (tmp_path / "text.pem").write_text("nothing")
    (tmp_path / "directory").mkdir()
    return tmp_path


@pytest.mark.parametrize(("cert", "key"), [("both.pem", None), ("cert.pem", "key.pem"), ("both.pem", "key.pem")])
def test_a_certificate_of_ones_own_is_taken(pems, cert, key):
    tls_context(str(pems / "ca.pem"), str(pems / cert), key and str(pems / key), False)


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (("text.pem", "both.pem", None), "{0}/text.pem: no PEM in it"),
        (("directory", "both.pem", None), "{0}/directory: Is a directory"),
        (("ca.pem", "directory", "key.pem"), "{0}/directory: Is a directory"),
        (("ca.pem", "text.pem", None), "{0}/text.pem: "),
        (("ca.pem", "cert.pem", None), "{0}/cert.pem: "),
        (("ca.pem", "text.pem", "key.pem"), "{0}/text.pem and {0}/key.pem: "),
        (("ca.pem", "cert.pem", "text.pem"), "{0}/cert.pem and {0}/text.pem: "),
        (
            ("ca.pem", "cert.pem", "other.pem"),
            "{0}/cert.pem and {0}/other.pem: the key does not belong to the certificate",
        ),
    ],
)
def test_a_file_that_is_no_use_is_named(pems, names, wrong):
    with pytest.raises(UsageError) as caught:
        tls_context(*(name and str(pems / name) for name in names), False)
    assert str(caught.value).startswith(f"cannot use {wrong.format(pems)}")


@pytest.mark.parametrize("names", [("text.pem", None), ("cert.pem", None), ("cert.pem", "text.pem")])
def test_what_is_wrong_with_a_certificate_is_said_in_words(pems, names):
    with pytest.raises(UsageError) as caught:
        tls_context(None, *(name and str(pems / name) for name in names), False)
    assert "ssl.c" not in str(caught.value)
