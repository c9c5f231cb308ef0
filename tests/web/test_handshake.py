"""A client's part of the handshake: URLs, the request, and what it makes of an answer."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol

from gtool.web.frames import Conversation, Message
from gtool.web.handshake import ClientHandshake, Place, Rejected, Wanted, parse_url
from tests.web.conversations import (
    chunks_of,
    hear,
)


@pytest.mark.parametrize(
    ("url", "full", "place"),
    [
        ("ws://example.org", "ws://example.org", Place("example.org", 80, False, "ws://example.org:80")),
        (
            "wss://example.org/a?b=c",
            "wss://example.org/a?b=c",
            Place("example.org", 443, True, "wss://example.org:443/a"),
        ),
        ("http://localhost:10000/", "ws://localhost:10000/", Place("localhost", 10000, False, "ws://localhost:10000/")),
        ("HTTPS://localhost", "wss://localhost", Place("localhost", 443, True, "wss://localhost:443")),
        ("WS://localhost", "WS://localhost", Place("localhost", 80, False, "WS://localhost:80")),
        ("localhost:10000", "ws://localhost:10000", Place("localhost", 10000, False, "ws://localhost:10000")),
        (
            "localhost:10000/a?since=1",
            "ws://localhost:10000/a?since=1",
            Place("localhost", 10000, False, "ws://localhost:10000/a"),
        ),
        ("127.0.0.1:1", "ws://127.0.0.1:1", Place("127.0.0.1", 1, False, "ws://127.0.0.1:1")),
        ("ws://[::1]:10000/", "ws://[::1]:10000/", Place("::1", 10000, False, "ws://[::1]:10000/")),
        ("[::1]:10000", "ws://[::1]:10000", Place("::1", 10000, False, "ws://[::1]:10000")),
        (
            "ws://user:password@example.org/",
            "ws://user:password@example.org/",
            Place("example.org", 80, False, "ws://example.org:80/"),
        ),
    ],
)
def test_a_url_is_read_as_users_write_it(url, full, place):
    assert parse_url(url) == (full, place)


@pytest.mark.parametrize(
    "url",
    ["", "/", "://", "ws://", "ws:///path", "ftp://example.org", "file:///etc", "ws://a#b", "ws://a:x", "ws://a:99999"],
)
def test_what_is_no_url_of_a_websocket_is_refused(url):
    with pytest.raises(ValueError, match=r".+"):
        parse_url(url)


def test_a_refusal_of_a_url_names_it():
    with pytest.raises(ValueError, match="ws://localhost:99999"):
        parse_url("ws://localhost:99999")


def shake(wanted: Wanted, **server: Any) -> tuple[ClientHandshake, ServerProtocol, Request]:
    """A client, and the server of `websockets` that has its request, and has not answered."""
    client = ClientHandshake(wanted)
    protocol = ServerProtocol(**server)
    protocol.receive_data(client.request)
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    return client, protocol, request


def answer(protocol: ServerProtocol, request: Request) -> bytes:
    protocol.send_response(protocol.accept(request))
    return b"".join(protocol.data_to_send())


WANTED = Wanted("ws://localhost:10000/feed?since=0")


@pytest.mark.parametrize("size", [1, 1 << 16])
def test_a_server_that_agrees_opens_a_conversation(size):
    client, protocol, request = shake(WANTED)
    *some, conversation = [client.receive(chunk) for chunk in chunks_of(answer(protocol, request), size)]
    assert some == [None] * len(some)
    assert isinstance(conversation, Conversation)
    protocol.receive_data(conversation.encode(Message(b"hello", True)))
    assert [bytes(frame.data) for frame in protocol.events_received()] == [b"hello"]


def test_the_request_names_host_and_path():
    _, _, request = shake(WANTED)
    assert (request.headers["Host"], request.path) == ("localhost:10000", "/feed?since=0")


def test_compression_is_offered_and_used_if_the_server_agrees():
    client, protocol, request = shake(WANTED, extensions=[ServerPerMessageDeflateFactory()])
    conversation = client.receive(answer(protocol, request))
    frame = conversation.encode(Message(b"x" * 10_000, True))
    protocol.receive_data(frame)
    assert len(frame) < 1000
    assert [bytes(frame.data) for frame in protocol.events_received()] == [b"x" * 10_000]


def test_headers_of_ones_own_are_sent():
    wanted = WANTED._replace(headers=(("X-One", "1"), ("X-Two", "2"), ("X-One", "3")))
    headers = shake(wanted)[2].headers
    assert (headers.get_all("X-One"), headers["X-Two"]) == (["1", "3"], "2")


@pytest.mark.parametrize("name", ["Host", "host", "Authorization", "Origin"])
def test_a_header_of_ones_own_takes_the_place_of_ours(name):
    wanted = Wanted("ws://user:password@localhost/", ((name, "mine"),), origin="http://ours")
    assert shake(wanted)[2].headers.get_all(name) == ["mine"]


@pytest.mark.parametrize("url", ["ws://me:s3cret@example.org:1/a?token=s3cret", "me:s3cret@example.org:1/a?t=s3cret"])
def test_what_may_be_shown_of_a_url_has_no_secret(url):
    assert parse_url(url)[1].name == "ws://example.org:1/a"


def test_what_may_be_shown_of_a_url_is_one_itself():
    name = parse_url("wss://me:s3cret@[::1]/a?b")[1].name
    assert (name, parse_url(name)[1]) == ("wss://[::1]:443/a", Place("::1", 443, True, name))


def test_a_user_in_the_url_is_sent_as_authorization():
    assert shake(Wanted("ws://user:password@localhost/"))[2].headers["Authorization"].startswith("Basic ")


def test_an_origin_is_sent_if_there_is_one():
    assert shake(WANTED._replace(origin="http://example.org"))[2].headers["Origin"] == "http://example.org"
    assert "Origin" not in shake(WANTED)[2].headers


def test_the_subprotocol_that_the_server_chooses_is_known():
    client, protocol, request = shake(WANTED._replace(subprotocols=("one", "two")), subprotocols=["two"])
    client.receive(answer(protocol, request))
    assert client.subprotocol == "two"


def test_a_header_of_the_answer_can_be_asked_for():
    client, protocol, request = shake(WANTED)
    before = client.header("X-Cursor")
    response = protocol.accept(request)
    response.headers["X-Cursor"] = "5"
    protocol.send_response(response)
    client.receive(b"".join(protocol.data_to_send()))
    assert (before, client.header("x-cursor"), client.header("X-Other")) == (None, "5", None)


def test_what_comes_with_the_answer_is_heard():
    client, protocol, request = shake(WANTED)
    data = answer(protocol, request)
    protocol.send_text(b"first")
    conversation = client.receive(data + b"".join(protocol.data_to_send()))
    assert list(conversation.receive(b"")) == [Message(b"first", True)]


def test_a_limit_holds_for_what_the_server_says():
    client, protocol, request = shake(WANTED._replace(max_message=10))
    conversation = client.receive(answer(protocol, request))
    protocol.send_text(b"x" * 11)
    assert hear(conversation, protocol.data_to_send()) == []
    assert conversation.close_code == 1009


def rejection(data: bytes, size: int = 1 << 16) -> Rejected:
    client = ClientHandshake(WANTED)
    with pytest.raises(Rejected) as caught:
        [client.receive(chunk) for chunk in [*chunks_of(data, size), b""]]
    return caught.value


@pytest.mark.parametrize("size", [1, 1 << 16])
@pytest.mark.parametrize(
    ("head", "body", "status", "sentence"),
    [
        (b"403 Forbidden", b"the origin is not allowed\nmore", 403, "HTTP 403: the origin is not allowed"),
        (b"401 Unauthorized", b"", 401, "HTTP 401: Unauthorized"),
        (b"404 Not Found", b"\n \n", 404, "HTTP 404: Not Found"),
        (b"200 OK", b"a page", 200, "HTTP 200: a page"),
        (b"500 Oops", b"\xff", 500, "HTTP 500: \N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_server_that_refuses_is_quoted(size, head, body, status, sentence):
    data = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
    rejected = rejection(data, size)
    assert (str(rejected), rejected.status) == (sentence, status)


def test_a_long_refusal_is_cut():
    data = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10_000
    assert len(str(rejection(data))) < 400


def test_a_refusal_shows_no_control_characters():
    body = b"\x1b[31mred\x07"
    data = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert str(rejection(data)).isprintable()


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 101\r\n\r\n", b"HTTP/1.1 403 Forb"])
def test_what_is_no_answer_is_rejected(data):
    assert rejection(data).status == 0


@pytest.mark.parametrize(
    "header",
    ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept:"],
)
def test_an_answer_that_lacks_something_is_rejected(header):
    client, protocol, request = shake(WANTED)
    lines = answer(protocol, request).decode().split("\r\n")
    kept = [line for line in lines if not line.startswith(header)]
    assert len(kept) == len(lines) - 1
    with pytest.raises(Rejected, match="no WebSocket"):
        client.receive("\r\n".join(kept).encode())


def test_an_answer_to_another_key_is_rejected():
    client, _, _ = shake(WANTED)
    _, protocol, request = shake(WANTED)
    with pytest.raises(Rejected, match="no WebSocket"):
        client.receive(answer(protocol, request))


def test_an_extension_that_nobody_has_offered_is_rejected():
    client, protocol, request = shake(WANTED)
    response = protocol.accept(request)
    response.headers["Sec-WebSocket-Extensions"] = "x-made-up"
    protocol.send_response(response)
    with pytest.raises(Rejected, match="no WebSocket"):
        client.receive(b"".join(protocol.data_to_send()))
