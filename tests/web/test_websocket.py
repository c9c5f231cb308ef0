"""Handshakes held against the RFC, frames against those of `websockets`, messages however they are cut."""

from __future__ import annotations

import base64
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLIENT, SERVER
from websockets.protocol import Protocol as FrameProtocol
from websockets.server import ServerProtocol

from gtool.web import websocket as websocket_module
from gtool.web.websocket import (
    LEAST_DEFLATED,
    BadHandshake,
    ClientHandshake,
    Conversation,
    Message,
    Place,
    Pong,
    Rejected,
    Wanted,
    broadcast_frame,
    check_handshake,
    negotiate,
    parse_url,
    wants_upgrade,
)

fixed = settings(derandomize=True, deadline=None, max_examples=100)
KEY = base64.b64encode(bytes(16)).decode()
GOOD = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
}
NO_CONTEXT = "server_no_context_takeover; client_no_context_takeover"
MAX_MESSAGE = 1 << 20
#: repeated, it is like itself only farther back than a small window reaches
FAR_APART = base64.b64encode(random.Random(1).randbytes(1500))


def handshake(**changes: str | None) -> dict[str, str]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"HTTP_UPGRADE": "WebSocket"},
        {"HTTP_CONNECTION": "keep-alive, Upgrade"},
        {"HTTP_CONNECTION": "keep-alive,\tupgrade"},
        {"HTTP_SEC_WEBSOCKET_VERSION": " 13 "},
        {"HTTP_SEC_WEBSOCKET_KEY": f" {KEY} "},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": " 0 "},
    ],
)
def test_a_request_for_a_websocket_is_one(changes):
    check_handshake(handshake(**changes))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"REQUEST_METHOD": "POST"}, "400"),
        ({"REQUEST_METHOD": "HEAD"}, "400"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "400"),
        ({"HTTP_UPGRADE": None}, "426"),
        ({"HTTP_UPGRADE": ""}, "426"),
        ({"HTTP_UPGRADE": "h2c"}, "426"),
        ({"HTTP_UPGRADE": "websockets"}, "426"),
        ({"HTTP_CONNECTION": None}, "400"),
        ({"HTTP_CONNECTION": "close"}, "400"),
        ({"HTTP_CONNECTION": "upgraded"}, "400"),
        ({"CONTENT_LENGTH": "1"}, "400"),
        ({"CONTENT_LENGTH": "-1"}, "400"),
        ({"CONTENT_LENGTH": "x"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "13, 8"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "013"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(bytes(15)).decode()}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(bytes(17)).decode()}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": KEY.rstrip("=")}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY[:5]} {KEY[5:]}"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY},{KEY}"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "ä" + KEY[1:]}, "400"),
    ],
)
def test_any_other_request_is_refused(changes, status):
    with pytest.raises(BadHandshake) as caught:
        check_handshake(handshake(**changes))
    assert caught.value.status.startswith(status)


@pytest.mark.parametrize(("changes", "expected"), [({}, True), ({"HTTP_UPGRADE": "h2c"}, False)])
def test_whether_an_upgrade_is_wanted_is_seen_by_its_header(changes, expected):
    assert wants_upgrade(handshake(**changes)) is expected


def test_a_refusal_says_what_would_be_right():
    with pytest.raises(BadHandshake) as caught:
        check_handshake(handshake(HTTP_SEC_WEBSOCKET_VERSION="8"))
    assert dict(caught.value.headers) == {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
    }


def test_a_refusal_of_another_kind_ends_the_connection():
    assert BadHandshake("400 Bad Request", "it is no GET").headers == [("Connection", "close")]


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("", ""),
        ("x-webkit-deflate-frame", ""),
        ("permessage-deflate", f"permessage-deflate; {NO_CONTEXT}"),
        ("permessage-deflate; client_max_window_bits", f"permessage-deflate; {NO_CONTEXT}"),
        (
            "permessage-deflate; client_max_window_bits=10",
            f"permessage-deflate; {NO_CONTEXT}; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=10",
        ),
        (
            'permessage-deflate; server_max_window_bits="10"',
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=10",
        ),
        ("permessage-deflate; server_no_context_takeover", f"permessage-deflate; {NO_CONTEXT}"),
        ("permessage-deflate; client_no_context_takeover", f"permessage-deflate; {NO_CONTEXT}"),
        ("foo, permessage-deflate", f"permessage-deflate; {NO_CONTEXT}"),
        (
            "permessage-deflate; server_max_window_bits=99, permessage-deflate; server_max_window_bits=9",
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=9",
        ),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=9",
        ),
        ("permessage-deflate; server_max_window_bits", ""),
        ("permessage-deflate; server_max_window_bits=7", ""),
        ("permessage-deflate; server_max_window_bits=16", ""),
        ("permessage-deflate; server_max_window_bits=010", ""),
        ("permessage-deflate; client_max_window_bits=16", ""),
        ("permessage-deflate; server_no_context_takeover=1", ""),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", ""),
        ("permessage-deflate; unknown", ""),
    ],
)
def test_the_first_offer_that_can_be_met_is_taken(offers, answer):
    assert negotiate(offers)[0] == answer


@pytest.mark.parametrize("offers", ["a;;", ";", "permessage-deflate; =9", "permessage-deflate; a=", "a b", '"'])
def test_offers_that_cannot_be_read_are_refused(offers):
    with pytest.raises(BadHandshake, match="400"):
        negotiate(offers)


@given(st.text('permsag-dflt;,= "1890_', max_size=40))
@fixed
def test_whatever_is_offered_there_is_an_answer_or_a_refusal(offers):
    try:
        answer, extension = negotiate(offers)
    except BadHandshake:
        return
    assert bool(answer) == bool(extension)


@pytest.mark.parametrize("bits", range(8, 16))
def test_what_is_agreed_on_can_be_kept(bits):
    """zlib makes no raw stream with a window of 8 bits."""
    _, extension = negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    conversation = server_side(extension)
    frame = conversation.encode(Message(b"x" * LEAST_DEFLATED, True))
    assert received_by_client(frame, client_extension(bits) if extension else None) == [(True, b"x" * LEAST_DEFLATED)]


def client_extension(window_bits: int) -> PerMessageDeflate:
    return PerMessageDeflate(True, True, window_bits, 15)


def client_side(extension: PerMessageDeflate | None = None, max_size: int | None = MAX_MESSAGE) -> FrameProtocol:
    protocol = FrameProtocol(CLIENT, max_size=max_size)
    protocol.extensions = [extension] if extension else []
    return protocol


def server_side(extension: PerMessageDeflate | None = None, max_size: int | None = MAX_MESSAGE) -> Conversation:
    return conversation_of(SERVER, extension, max_size)


def conversation_of(side: Any, extension: PerMessageDeflate | None = None, max_size: int | None = MAX_MESSAGE) -> Any:
    protocol = websocket_module._InOrder(side, max_size=max_size)
    protocol.extensions = [extension] if extension else []
    return Conversation(protocol)


def received_by_client(data: bytes, extension: PerMessageDeflate | None = None) -> list[tuple[bool, bytes]]:
    """What `websockets` makes of frames; each must be a whole message."""
    client = client_side(extension, None)
    client.receive_data(data)
    assert client.parser_exc is None
    return [(frame.opcode is Opcode.TEXT, bytes(frame.data)) for frame in client.events_received()]


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("size", [0, 1, 125, 126, LEAST_DEFLATED - 1, LEAST_DEFLATED, 65535, 65536, 1 << 18])
@pytest.mark.parametrize("window_bits", [0, *range(9, 16)])
def test_a_broadcast_is_understood_by_each_peer(window_bits, size, is_text):
    data = (FAR_APART * (size // len(FAR_APART) + 1))[:size]
    extension = client_extension(window_bits) if window_bits else None
    assert received_by_client(broadcast_frame(data, is_text, window_bits), extension) == [(is_text, data)]


def test_a_broadcast_is_the_same_to_one_who_reads_it_later():
    """No context is kept from one message to the next."""
    frames = [broadcast_frame(bytes([65 + number]) * 1000, True, 15) for number in range(3)]
    assert received_by_client(frames[2], client_extension(15)) == [(True, b"C" * 1000)]
    assert len(received_by_client(b"".join(frames), client_extension(15))) == 3


def test_a_broadcast_is_compressed_where_that_is_worth_it():
    sizes = [len(broadcast_frame(b"x" * size, True, 15)) for size in (LEAST_DEFLATED - 1, LEAST_DEFLATED)]
    assert sizes[0] > LEAST_DEFLATED - 1 > 100 > sizes[1]


def test_a_broadcast_is_not_compressed_for_whom_has_not_asked():
    assert broadcast_frame(b"x" * 1000, True).endswith(b"x" * 1000)


@pytest.mark.parametrize("bits", range(9, 16))
def test_a_conversation_knows_the_window_of_its_peer(bits):
    assert server_side(negotiate(f"permessage-deflate; server_max_window_bits={bits}")[1]).window_bits == bits


def test_a_conversation_without_compression_has_no_window():
    assert server_side().window_bits == 0


# What is said, and how it is cut: messages into frames, with control frames between, and all of that into chunks.

texts = st.builds(str.__mul__, st.text(max_size=12), st.sampled_from([1, 1, 1, 100])).map(
    lambda text: Message(text.encode(), True)
)
binaries = st.builds(bytes.__mul__, st.binary(max_size=12), st.sampled_from([1, 1, 1, 100])).map(
    lambda data: Message(data, False)
)
controls = st.sampled_from([None, None, Frame(Opcode.PING, b"are you there"), Frame(Opcode.PONG, b"")])
cuts = st.lists(st.integers(0, 1200), max_size=4).map(sorted)
said = st.lists(st.tuples(texts | binaries, cuts, controls), max_size=6)


def frames_of(message: Message, cut: list[int], control: Frame | None) -> list[Frame]:
    edges = [0, *(min(edge, len(message.data)) for edge in cut), len(message.data)]
    frames = []
    for number, (start, end) in enumerate(pairwise(edges)):
        first = Opcode.TEXT if message.is_text else Opcode.BINARY
        is_last = number == len(edges) - 2
        frames.append(Frame(Opcode.CONT if number else first, message.data[start:end], is_last))
        if control:
            frames.append(control)
    return frames


def chunks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def find(conversation: Conversation, chunks: list[bytes]) -> list[Message | Pong]:
    return [found for chunk in chunks for found in conversation.receive(chunk)]


def hear(conversation: Conversation, chunks: list[bytes]) -> list[Message]:
    return [found for found in find(conversation, chunks) if isinstance(found, Message)]


@pytest.mark.parametrize("has_deflate", [False, True])
@pytest.mark.parametrize("side", [SERVER, CLIENT])
@given(said, st.sampled_from([1, 2, 7, 100, 1 << 16]))
@example([(Message("ä€😀".encode(), True), [1, 3, 6, 8], Frame(Opcode.PING, b"?"))], 1)
@fixed
def test_messages_are_the_same_however_they_are_cut(side, has_deflate, messages, size):
    ours, theirs = (PerMessageDeflate(True, True, 15, 15) if has_deflate else None for _ in range(2))
    conversation = conversation_of(side, ours)
    extensions = [theirs] if theirs else []
    frames = [frame for message in messages for frame in frames_of(*message)]
    data = b"".join(frame.serialize(mask=side is SERVER, extensions=extensions) for frame in frames)
    assert hear(conversation, chunks_of(data, size)) == [message for message, *_ in messages]
    assert conversation.is_open


@given(said, st.sampled_from([1, 7, 1 << 16]))
@fixed
def test_each_ping_is_answered_in_its_place_among_the_messages(messages, size):
    pong = Pong(Frame(Opcode.PONG, b"are you there").serialize(mask=False))
    frames = [frame for message in messages for frame in frames_of(*message)]
    whole = iter([message for message, *_ in messages])
    expected: list[Message | Pong] = []
    for frame in frames:
        if frame.opcode is Opcode.PING:
            expected.append(pong)
        elif frame.opcode is not Opcode.PONG and frame.fin:
            expected.append(next(whole))
    data = b"".join(frame.serialize(mask=True) for frame in frames)
    conversation = server_side()
    assert find(conversation, chunks_of(data, size)) == expected
    assert conversation.output() == (b"", False)


@given(st.lists(texts | binaries, max_size=6), st.sampled_from(["", "; server_max_window_bits=9", None]))
@fixed
def test_what_a_server_says_is_understood(messages, parameters):
    extension = None if parameters is None else negotiate(f"permessage-deflate{parameters}")[1]
    conversation = server_side(extension)
    data = b"".join(map(conversation.encode, messages))
    theirs = extension and client_extension(extension.local_max_window_bits)
    assert received_by_client(data, theirs) == [(is_text, data) for data, is_text in messages]


@pytest.mark.parametrize("takes_over", [True, False])
@given(st.lists(texts | binaries, max_size=6))
@fixed
def test_what_a_client_says_is_understood(takes_over, messages):
    client, server = client_side(PerMessageDeflate(True, not takes_over, 15, 15)), FrameProtocol(SERVER)
    server.extensions = [PerMessageDeflate(not takes_over, True, 15, 15)]
    conversation = Conversation(client)
    server.receive_data(b"".join(map(conversation.encode, messages)))
    heard = [Message(bytes(frame.data), frame.opcode is Opcode.TEXT) for frame in server.events_received()]
    assert (heard, server.parser_exc) == (messages, None)


def masked(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=True) for frame in frames)


def text(data: bytes, is_last: bool = True) -> Frame:
    return Frame(Opcode.TEXT, data, is_last)


def more(data: bytes, is_last: bool = False) -> Frame:
    return Frame(Opcode.CONT, data, is_last)


def closing(code: int = 1000, reason: str = "") -> Frame:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize())


def sent_close(conversation: Conversation) -> tuple[int, str, bool]:
    """The code and the reason of the close frame that is to be sent, last of all, and whether nothing follows."""
    data, is_all = conversation.output()
    peer = client_side()
    peer.receive_data(data)
    assert peer.close_rcvd
    return peer.close_rcvd.code, peer.close_rcvd.reason, is_all


@pytest.mark.parametrize(
    "frames",
    [
        (text(b"\xff"),),
        (text(b"\xc3"),),
        (text(b"a\xc3", False), more(b"(")),
        (text(b"\xed\xa0\x80", False),),  # a surrogate
        (text(b"", False), more(b"\xf8")),
        (text(b"\xf0\x9f", False), more(b"\x98"), more(b"", True)),
        (text(b"ok", False), more(b"\xc3", True)),
        (text(b"\xc0\xaf"),),  # overlong
        (text(b"\xf4\x90\x80\x80"),),  # over U+10FFFF
    ],
)
def test_text_that_is_no_utf_8_fails_where_it_goes_wrong(frames):
    conversation = server_side()
    assert hear(conversation, [masked(*frames)]) == []
    code, _, is_all = sent_close(conversation)
    assert (code, is_all, conversation.is_open) == (1007, True, False)


def test_text_may_be_cut_within_a_character():
    whole = "ä€😀".encode()
    frames = [text(whole[:1], False), *(more(whole[at : at + 1]) for at in range(1, len(whole))), more(b"", True)]
    assert hear(server_side(), [masked(*frames)]) == [Message(whole, True)]


def test_binary_messages_may_hold_anything():
    conversation = server_side()
    frames = (Frame(Opcode.BINARY, b"\xff", False), more(b"\xfe", True))
    assert hear(conversation, [masked(*frames)]) == [Message(b"\xff\xfe", False)]


def test_what_was_said_before_bad_text_is_given_and_nothing_after():
    conversation = server_side()
    messages = conversation.receive(masked(text(b"good"), text(b"\xff"), text(b"late")))
    assert [*messages, *conversation.receive(masked(text(b"later")))] == [Message(b"good", True)]


def test_bad_text_before_a_close_in_the_same_chunk_ends_it_once():
    conversation = server_side()
    assert hear(conversation, [masked(text(b"\xff"), closing(1000))]) == []
    assert conversation.output()[1]
    assert conversation.output() == (b"", False)


def test_a_message_that_comes_with_a_close_is_given():
    conversation = server_side()
    assert hear(conversation, [masked(text(b"last"), closing(1000, "bye"))]) == [Message(b"last", True)]
    assert sent_close(conversation) == (1000, "bye", True)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
def test_a_close_is_answered_with_its_code_and_known(code):
    conversation = server_side()
    hear(conversation, [masked(closing(code, "why"))])
    assert sent_close(conversation) == (code, "why", True)
    assert (conversation.close_code, conversation.close_reason, conversation.is_open) == (code, "why", False)


def test_a_close_within_a_message_is_answered_with_its_code():
    conversation = server_side()
    assert hear(conversation, [masked(text(b"x", False), closing(1001))]) == []
    assert sent_close(conversation) == (1001, "", True)


def test_a_close_without_a_code_is_answered_with_none():
    conversation = server_side()
    hear(conversation, [masked(Frame(Opcode.CLOSE, b""))])
    assert conversation.output() == (b"\x88\x00", True)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (Frame(Opcode.TEXT, b"x").serialize(mask=False), 1002),
        (masked(more(b"x", True)), 1002),
        (masked(text(b"x", False), text(b"y")), 1002),
        (b"\xf1\x80" + bytes(4), 1002),  # bits that nobody has agreed on
        (b"\x83\x80" + bytes(4), 1002),  # no opcode
        (b"\x09\x80" + bytes(4), 1002),  # a ping in pieces
        (b"\x89\xfe\x00\x7e" + bytes(4 + 126), 1002),  # a ping that is too long
        (b"\x88\x81" + bytes(4 + 1), 1002),  # half a code
        (b"\x88\x82" + bytes(4) + (1005).to_bytes(2, "big"), 1002),
        (b"\x88\x84" + bytes(4) + b"\x03\xe8\xff\xff", 1007),
    ],
    ids=range(10),  # masks are random, and names must not be
)
def test_what_breaks_the_protocol_ends_it(data, code):
    conversation = server_side()
    assert hear(conversation, [data]) == []
    found, _, is_all = sent_close(conversation)
    assert (found, is_all, conversation.is_open) == (code, True, False)


@pytest.mark.parametrize(
    "frames",
    [
        (text(b"x" * 101),),
        (text(b"x" * 50, False), more(b"x" * 51, True)),
        (text(b"x" * 50, False), more(b"x" * 50), more(b"x")),
    ],
)
def test_a_message_over_the_limit_ends_it(frames):
    conversation = server_side(max_size=100)
    assert hear(conversation, [masked(*frames)]) == []
    code, _, is_all = sent_close(conversation)
    assert (code, is_all) == (1009, True)


@pytest.mark.parametrize("frames", [(text(b"x" * 100),), (text(b"x" * 50, False), more(b"x" * 50, True))])
def test_a_message_at_the_limit_is_given(frames):
    assert hear(server_side(max_size=100), [masked(*frames)]) == [Message(b"x" * 100, True)]


def test_a_message_is_over_the_limit_once_it_is_unpacked():
    extension = negotiate("permessage-deflate")[1]
    conversation = server_side(extension, max_size=1000)
    bomb = Frame(Opcode.TEXT, bytes(10_000)).serialize(mask=True, extensions=[PerMessageDeflate(True, True, 15, 15)])
    assert len(bomb) < 1000
    assert hear(conversation, [bomb]) == []
    assert sent_close(conversation)[0] == 1009


@given(st.binary(max_size=60), st.sampled_from([1, 5, 100]), st.booleans())
@fixed
def test_whatever_comes_it_goes_on_or_ends_with_a_reason(data, size, has_deflate):
    conversation = server_side(negotiate("permessage-deflate")[1] if has_deflate else None)
    hear(conversation, chunks_of(data, size))
    _, is_all = conversation.output()
    assert conversation.is_open is not is_all
    assert conversation.is_open or conversation.close_code is not None


def test_closing_says_why_and_waits_for_the_answer():
    conversation = server_side()
    conversation.close(1001, "the server stops")
    assert sent_close(conversation) == (1001, "the server stops", False)
    hear(conversation, [masked(closing(1001))])
    assert conversation.output() == (b"", True)


def test_closing_twice_is_closing_once():
    conversation = server_side()
    conversation.close(1001)
    conversation.output()
    conversation.close(1000)
    assert conversation.output() == (b"", False)


def test_messages_that_come_while_it_closes_are_given():
    conversation = server_side()
    conversation.close(1001)
    assert hear(conversation, [masked(text(b"on its way"), closing())]) == [Message(b"on its way", True)]


def test_nothing_is_heard_after_a_close():
    assert hear(server_side(), [masked(closing(), text(b"late")), masked(text(b"later"))]) == []


def test_the_code_is_the_peers_if_it_has_given_one():
    conversation = server_side()
    conversation.close(1001, "ours")
    hear(conversation, [masked(closing(4000, "theirs"))])
    assert (conversation.close_code, conversation.close_reason) == (4000, "theirs")


def test_there_is_no_code_as_long_as_nobody_has_closed():
    assert (server_side().close_code, server_side().close_reason) == (None, "")


def test_an_end_without_a_close_has_no_code():
    conversation = server_side()
    conversation.receive_end()
    assert (conversation.close_code, conversation.output()) == (None, (b"", True))


def test_a_ping_is_one():
    conversation = server_side()
    conversation.ping()
    assert conversation.output() == (b"\x89\x00", False)


def test_a_ping_after_the_end_is_none():
    conversation = server_side()
    hear(conversation, [masked(closing())])
    conversation.receive_end()
    conversation.output()
    conversation.ping()
    assert conversation.output() == (b"", False)


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
