"""What is said over a WebSocket (RFC 6455, RFC 7692), of either side: messages, pongs, closings. No I/O of its own.

The frames are those of the `websockets` library's protocol, which upgrade.py and handshake.py too are made of; no other
module knows it.
"""

from __future__ import annotations

import codecs
import logging
from typing import Any, NamedTuple

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

MAX_MESSAGE = 1 << 20
LEAST_DEFLATED = 256  #: a smaller message would not get smaller, or not by a packet

#: Codes of a close frame (RFC 6455 section 7.4.1); TRY_AGAIN_LATER is registered with IANA (section 11.7).
NORMAL, GOING_AWAY, NO_CODE, BROKEN, INTERNAL_ERROR = 1000, 1001, 1005, 1006, 1011
SERVICE_RESTART, TRY_AGAIN_LATER = 1012, 1013

NO_LOG = logging.getLogger("gtool.websockets")
NO_LOG.disabled = True  # the libraries log each connection; the server's own log has them


class Message(NamedTuple):
    data: bytes
    is_text: bool  #: then data is UTF-8, which was checked


class Pong(NamedTuple):
    """What is to be sent in its place among the messages: the answer to a ping."""

    frame: bytes


def broadcast_frame(data: bytes, is_text: bool, window_bits: int = 0) -> bytes:
    """Encode a message once for all peers of a server that have agreed on the same."""
    extensions = []
    if window_bits and len(data) >= LEAST_DEFLATED:
        extensions = [PerMessageDeflate(True, True, 15, window_bits, {"memLevel": 5})]
    return Frame(Opcode.TEXT if is_text else Opcode.BINARY, data).serialize(mask=False, extensions=extensions)


class InOrder(Protocol):
    """The library's protocol, with what is found in a chunk kept in order: messages, complete and checked, and pongs.

    The library gives frames, and what is to be sent beside them: of a ping between two messages it can't be told when
    its pong is due; and a text that is none is found by the one who takes the frames, when a close frame behind it was
    answered already.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.found: list[Message | Pong] = []
        self.begun: bytearray | None = None  # of a message that is not complete; a list of bytes would be 40 times it
        self.is_text = False
        self.decoder: codecs.IncrementalDecoder | None = None

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a message may be given up by it: it is answered by its own code
        super().recv_frame(frame)
        self.events.pop()
        if frame.opcode is Opcode.PING:
            self.found.append(Pong(self.writes.pop()))
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._assemble(frame)

    def _assemble(self, frame: Frame) -> None:
        """Take a frame of a message. UnicodeDecodeError, which ends the connection with 1007, where a text is none."""
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self.is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                if self.is_text and not data.isascii():
                    data.decode()
                self.found.append(Message(data, self.is_text))
                return
            self.begun = bytearray()
            self.decoder = codecs.getincrementaldecoder("utf-8")() if self.is_text else None
        assert self.begun is not None
        self.begun += data
        if self.decoder:
            self.decoder.decode(data, frame.fin)
        if frame.fin:
            self.found.append(Message(bytes(self.begun), self.is_text))
            self.begun = self.decoder = None


class Conversation:
    """What is said over one connection, of either side; does no I/O."""

    __slots__ = ("_extensions", "_is_client", "_protocol")

    def __init__(self, protocol: InOrder) -> None:
        self._protocol = protocol
        self._extensions = protocol.extensions
        self._is_client = protocol.side is not SERVER

    @property
    def window_bits(self) -> int:
        """The window that the peer wants messages compressed with, in bits; 0 is not at all."""
        deflate = self._extensions[0] if self._extensions else None
        return deflate.local_max_window_bits if isinstance(deflate, PerMessageDeflate) else 0

    @property
    def is_open(self) -> bool:
        return self._protocol.state is State.OPEN

    @property
    def close_code(self) -> int | None:
        """The code that the peer has closed with, or that we have; None as long as neither has."""
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return close.code if close else None

    @property
    def close_reason(self) -> str:
        close = self._protocol.close_rcvd or self._protocol.close_sent
        return close.reason if close else ""

    def receive(self, data: bytes) -> list[Message | Pong]:
        """Take bytes of the peer's; give what is found in them, in order. What output() has comes after that."""
        self._protocol.receive_data(data)
        found, self._protocol.found = self._protocol.found, []
        return found

    def receive_end(self) -> None:
        self._protocol.receive_eof()

    def encode(self, message: Message) -> bytes:
        """Make the frame of a message; to be sent in the order in which they are made."""
        extensions = self._extensions if len(message.data) >= LEAST_DEFLATED else []
        opcode = Opcode.TEXT if message.is_text else Opcode.BINARY
        return Frame(opcode, message.data).serialize(mask=self._is_client, extensions=extensions)

    def ping(self) -> None:
        if self._protocol.state in (State.OPEN, State.CLOSING):
            self._protocol.send_ping(b"")

    def close(self, code: int, reason: str = "") -> None:
        if self.is_open:
            self._protocol.send_close(code, reason)

    def release(self) -> None:
        """Let go of what was received in part: the protocol and its parser hold each other, and would stay for long."""
        self._protocol.parser.close()
        self._protocol.found, self._protocol.begun, self._protocol.decoder = [], None, None
        self._protocol.reader.discard()

    def output(self) -> tuple[bytes, bool]:
        """Give what is to be sent besides messages and pongs: a ping, a close frame; and whether nothing follows."""
        pieces = self._protocol.data_to_send()
        return b"".join(pieces), b"" in pieces
