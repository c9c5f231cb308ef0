"""One WebSocket connection (RFC 6455, RFC 7692): the handshake, the conversation, and its life on a channel.

The only module that knows gevent-websocket, which does the upgrade inside pywsgi, and `websockets`, whose protocol does
the frames without I/O.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from gevent.pywsgi import WSGIHandler
from geventwebsocket.handler import WebSocketHandler
from websockets.exceptions import InvalidHeader, InvalidParameterName, NegotiationError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import SERVER, State
from websockets.protocol import Protocol as FrameProtocol

from gtool.web.channel import Channel

MAX_MESSAGE = 1 << 20
PING_S = 25.0  #: of silence after which a peer is asked whether it is there
PONG_S = 8.0  #: that it has to say so
CLOSE_S = 2.0  #: that it has to answer a close frame
LEAST_DEFLATED = 256  #: a smaller message would not get smaller, or not by a packet
MOST_WAITING = 1 << 18  #: bytes that wait for a peer to read, above which nothing is read from it

NO_LOG = logging.getLogger("gtool.websockets")
NO_LOG.disabled = True  # both libraries log each connection; the server's own log has them

# No context is kept from one message to the next: a connection would hold 300 KB of zlib's, and a broadcast could not
# be compressed once for all (RFC 7692 section 7.1.1).
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, compress_settings={"memLevel": 5}
)


class Message(NamedTuple):
    data: bytes
    is_text: bool  #: then data is UTF-8, which was checked


class BadHandshake(Exception):
    """A request that can't be upgraded: the answer's status, and a sentence."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What belongs to the answer (RFC 9110 section 15.5.22, RFC 6455 section 4.4)."""
        if not self.status.startswith("426"):
            return [("Connection", "close")]
        return [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]


def wants_upgrade(environ: dict[str, Any]) -> bool:
    return "websocket" in _tokens(environ, "HTTP_UPGRADE")


def check_handshake(environ: dict[str, Any]) -> None:
    """Hold an upgrade request against RFC 6455 section 4.2.1. BadHandshake if it is none."""
    if environ["REQUEST_METHOD"] != "GET" or environ["SERVER_PROTOCOL"] != "HTTP/1.1":
        raise BadHandshake("400 Bad Request", "a WebSocket is opened by GET over HTTP/1.1")
    if not wants_upgrade(environ):
        raise BadHandshake("426 Upgrade Required", "this is for WebSockets: Upgrade: websocket is wanted")
    if "upgrade" not in _tokens(environ, "HTTP_CONNECTION"):
        raise BadHandshake("400 Bad Request", "Connection: Upgrade is missing")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION", "").strip() != "13":
        raise BadHandshake("426 Upgrade Required", "Sec-WebSocket-Version: 13 is wanted (RFC 6455)")
    try:
        nonce = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", "").strip(), validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise BadHandshake("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes in base64")


def negotiate(offers: str) -> tuple[str, PerMessageDeflate | None]:
    """Choose the first offer of permessage-deflate that can be met; give the header of the answer, if there is one.

    BadHandshake if the offers can't be read.
    """
    try:
        parsed = parse_extension(offers) if offers else []
    except InvalidHeader as error:
        raise BadHandshake("400 Bad Request", "Sec-WebSocket-Extensions can't be read") from error
    for name, params in parsed:
        if name != DEFLATE.name:
            continue
        try:
            answer, extension = DEFLATE.process_request_params(params, [])
        except (NegotiationError, InvalidParameterName):
            continue
        return build_extension([(name, answer)]), extension
    return "", None


def broadcast_frame(data: bytes, is_text: bool, window_bits: int = 0) -> bytes:
    """Encode a message once for all peers of a server that have agreed on the same."""
    extensions = []
    if window_bits and len(data) >= LEAST_DEFLATED:
        extensions = [PerMessageDeflate(True, True, 15, window_bits, {"memLevel": 5})]
    return Frame(Opcode.TEXT if is_text else Opcode.BINARY, data).serialize(mask=False, extensions=extensions)


class UpgradeHandler(WebSocketHandler):  # type: ignore[misc]
    """pywsgi's handler, for applications that turn a request into a WebSocket when they have looked at it."""

    _extra: Sequence[tuple[str, str]] | None = None  # headers, while the answer is 101

    def run_application(self) -> None:
        WSGIHandler.run_application(self)

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return super().start_response(status, [*headers, *(self._extra or ())], exc_info)

    def log_request(self) -> None:
        pass

    def upgrade(
        self, max_message: int, headers: Sequence[tuple[str, str]] = (), subprotocol: str | None = None
    ) -> Conversation:
        """Answer 101, with these headers. BadHandshake, and nothing sent, if the request is not one for that."""
        check_handshake(self.environ)
        answer, extension = negotiate(self.environ.get("HTTP_SEC_WEBSOCKET_EXTENSIONS", ""))
        chosen = {"Sec-WebSocket-Extensions": answer, "Sec-WebSocket-Protocol": subprotocol}
        self._extra = [*headers, *((name, value) for name, value in chosen.items() if value)]
        self.upgrade_websocket()
        self.write(b"")
        protocol = FrameProtocol(SERVER, max_size=max_message, logger=NO_LOG)
        protocol.extensions = [extension] if extension else []
        return Conversation(protocol)


class Conversation:
    """What is said over one connection, of either side; does no I/O."""

    __slots__ = ("_decoder", "_extensions", "_is_client", "_is_text", "_parts", "_protocol")

    def __init__(self, protocol: FrameProtocol) -> None:
        self._protocol = protocol
        self._extensions = protocol.extensions
        self._is_client = protocol.side is not SERVER
        self._is_text = False
        self._parts: list[bytes] | None = None  # of a message that is not complete
        self._decoder: codecs.IncrementalDecoder | None = None

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

    def receive(self, data: bytes) -> Iterator[Message]:
        """Take bytes of the peer's; give the messages that are complete by them. output() has what to answer."""
        self._protocol.receive_data(data)
        return self._messages()

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

    def output(self) -> tuple[bytes, bool]:
        """Give what is to be sent besides messages: pongs, pings, a close frame; and whether nothing follows."""
        pieces = self._protocol.data_to_send()
        return b"".join(pieces), b"" in pieces

    def _messages(self) -> Iterator[Message]:
        for frame in self._protocol.events_received():
            opcode = frame.opcode  # type: ignore[union-attr]
            if opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                try:
                    message = self._assemble(frame)
                except UnicodeDecodeError as error:
                    self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at byte {error.start}")
                    return
                if message:
                    yield message

    def _assemble(self, frame: Any) -> Message | None:
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                if self._is_text and not data.isascii():
                    data.decode()
                return Message(data, self._is_text)
            self._parts = []
            self._decoder = codecs.getincrementaldecoder("utf-8")() if self._is_text else None
        assert self._parts is not None
        if data:
            self._parts.append(data)
        if self._decoder:
            self._decoder.decode(data, frame.fin)  # fails where the text does, not only at its end
        if not frame.fin:
            return None
        message = Message(b"".join(self._parts), self._is_text)
        self._parts = self._decoder = None
        return message


class Listener(Protocol):
    """What an application does with a WebSocket."""

    def message(self, message: Message) -> None: ...

    def drained(self) -> None:
        """Take note that all that waited is sent."""

    def closed(self) -> None:
        """Forget the connection: nothing can be sent any more."""


class WebSocket:
    """A conversation on a channel, kept alive. Never waits; a peer that does not read is not read from."""

    __slots__ = ("_closing_at", "_conversation", "_is_closed", "_pinged_at", "channel", "listener")

    def __init__(self, conversation: Conversation) -> None:
        """`channel` and `listener` are to be set before anything comes."""
        self._conversation = conversation
        self._pinged_at: float | None = None
        self._closing_at: float | None = None
        self._is_closed = False
        self.channel: Channel
        self.listener: Listener

    @property
    def window_bits(self) -> int:
        """What broadcast_frame() is to be told for this peer."""
        return self._conversation.window_bits

    @property
    def is_open(self) -> bool:
        return self._conversation.is_open

    def send(self, message: Message) -> None:
        self.write(self._conversation.encode(message))

    def write(self, frames: bytes) -> None:
        """Send frames that are encoded already. The close frame was not sent yet, or nothing is sent."""
        if not self._is_closed:
            self.channel.write(frames)

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; the channel ends with it, or when the peer does not answer."""
        self._conversation.close(code, reason)
        self._answer()

    def tick(self, now: float) -> None:
        """See whether the peer is alive."""
        channel = self.channel
        silence = now - channel.connection.active_at
        if self._closing_at is not None:
            if now - self._closing_at > CLOSE_S:
                channel.finish("no answer to close")
            return
        if self._is_closed:
            self._closing_at = now
        elif channel.waiting:
            if silence > PING_S + PONG_S:
                channel.close("does not read")
        elif self._pinged_at is not None and silence > now - self._pinged_at:
            if now - self._pinged_at > PONG_S:
                channel.close("no pong")
        else:
            self._pinged_at = None
            if silence > PING_S:
                self._pinged_at = now
                self._conversation.ping()
                self._answer()

    def received(self, data: bytes) -> None:
        for message in self._conversation.receive(data):
            self.listener.message(message)
        self._answer()
        if self.channel.waiting > MOST_WAITING:
            self.channel.pause()

    def received_all(self) -> None:
        self._conversation.receive_end()
        self._is_closed = True

    def drained(self) -> None:
        self.channel.resume()
        if not self._is_closed:
            self.listener.drained()

    def asked_to_close(self, reason: str) -> None:
        self.close(CloseCode.GOING_AWAY, reason)

    def ended(self) -> None:
        self._is_closed = True
        self.listener.closed()

    def _answer(self) -> None:
        data, is_all = self._conversation.output()
        if data and not self._is_closed:
            self.channel.write(data)
        self._is_closed = self._is_closed or not self._conversation.is_open
        if is_all:
            code = self._conversation.close_code
            self.channel.finish(f"closed {code}" if code else "closed")


def _tokens(environ: dict[str, Any], header: str) -> set[str]:
    return {token.strip().lower() for token in environ.get(header, "").split(",")}
