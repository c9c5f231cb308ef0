"""Conversations of either side under test, and peers made of the `websockets` library."""

from __future__ import annotations

from typing import Any

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER
from websockets.protocol import Protocol as FrameProtocol

from gtool.web.frames import MAX_MESSAGE, Conversation, InOrder, Message, Pong


def client_extension(window_bits: int) -> PerMessageDeflate:
    return PerMessageDeflate(True, True, window_bits, 15)


def client_side(extension: PerMessageDeflate | None = None, max_size: int | None = MAX_MESSAGE) -> FrameProtocol:
    protocol = FrameProtocol(CLIENT, max_size=max_size)
    protocol.extensions = [extension] if extension else []
    return protocol


def server_side(extension: PerMessageDeflate | None = None, max_size: int | None = MAX_MESSAGE) -> Conversation:
    return conversation_of(SERVER, extension, max_size)


def conversation_of(side: Any, extension: PerMessageDeflate | None = None, max_size: int | None = MAX_MESSAGE) -> Any:
    protocol = InOrder(side, max_size=max_size)
    protocol.extensions = [extension] if extension else []
    return Conversation(protocol)


def received_by_client(data: bytes, extension: PerMessageDeflate | None = None) -> list[tuple[bool, bytes]]:
    """What `websockets` makes of frames; each must be a whole message."""
    client = client_side(extension, None)
    client.receive_data(data)
    assert client.parser_exc is None
    return [(frame.opcode is Opcode.TEXT, bytes(frame.data)) for frame in client.events_received()]


def chunks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def find(conversation: Conversation, chunks: list[bytes]) -> list[Message | Pong]:
    return [found for chunk in chunks for found in conversation.receive(chunk)]


def hear(conversation: Conversation, chunks: list[bytes]) -> list[Message]:
    return [found for found in find(conversation, chunks) if isinstance(found, Message)]
