"""What is said over a WebSocket: messages however they are cut, pings in their place, closings with a reason."""

from __future__ import annotations

import base64
import random
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, SERVER
from websockets.protocol import Protocol as FrameProtocol

from gtool.web.frames import LEAST_DEFLATED, Conversation, Message, Pong, broadcast_frame
from gtool.web.upgrade import negotiate
from tests.web.conversations import (
    chunks_of,
    client_extension,
    client_side,
    conversation_of,
    find,
    hear,
    received_by_client,
    server_side,
)

fixed = settings(derandomize=True, deadline=None, max_examples=100)
#: repeated, it is like itself only farther back than a small window reaches
FAR_APART = base64.b64encode(random.Random(1).randbytes(1500))


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
