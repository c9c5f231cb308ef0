"""WebSocket (RFC 6455, RFC 7692): the handshake of either side, and the conversation after it. No I/O of its own.

The only module that knows gevent-websocket, which does the upgrade inside pywsgi, and `websockets`, whose protocol does
the frames without I/O; that is why both sides' handshakes stand here, and it is longer than others.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gevent.pywsgi import WSGIHandler
from geventwebsocket.handler import WebSocketHandler
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHeader, InvalidStatus, InvalidURI, NegotiationError
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.http11 import Response
from websockets.protocol import SERVER, State
from websockets.protocol import Protocol as FrameProtocol
from websockets.uri import parse_uri

from gtool.log import escape_controls
from gtool.web.respond import Refused

MAX_MESSAGE = 1 << 20
LEAST_DEFLATED = 256  #: a smaller message would not get smaller, or not by a packet

MOST_SHOWN = 300  #: bytes of a refusal's body
USER = re.compile("//[^/]*@")
SCHEMES = {"http": "ws", "https": "wss"}

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


class BadHandshake(Refused):
    """A request that can't be upgraded; the headers are those of RFC 9110 section 15.5.22, RFC 6455 section 4.4."""

    def __init__(self, status: str, text: str) -> None:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        super().__init__(status, text, upgrade if status.startswith("426") else [("Connection", "close")])


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
    if environ.get("CONTENT_LENGTH", "0").strip() != "0":
        raise BadHandshake("400 Bad Request", "a request for a WebSocket has no body")
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
        except NegotiationError:
            continue
        # A client that is to keep to 8 bits may have a zlib that takes 9 (madler/zlib#171): ours can read all of them.
        extension.remote_max_window_bits = 15
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
        self.environ["HTTP_UPGRADE"] = "websocket"  # the library wants nothing beside it
        self.upgrade_websocket()
        self.write(b"")
        theirs = self.__dict__.pop("websocket")  # it would say good-bye, in the midst of ours, when it is collected
        theirs.closed = True
        theirs.stream = None
        protocol = _InOrder(SERVER, max_size=max_message, logger=NO_LOG)
        protocol.extensions = [extension] if extension else []
        return Conversation(protocol)


class Pong(NamedTuple):
    """What is to be sent in its place among the messages: the answer to a ping."""

    frame: bytes


class _InOrder(FrameProtocol):
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


class _ClientInOrder(_InOrder, ClientProtocol):
    """The same of a client's."""


class Conversation:
    """What is said over one connection, of either side; does no I/O."""

    __slots__ = ("_extensions", "_is_client", "_protocol")

    def __init__(self, protocol: _InOrder) -> None:
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


class Wanted(NamedTuple):
    """What a client connects to, and what it says there."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    max_message: int = MAX_MESSAGE


class Place(NamedTuple):
    """Where a URL leads; `name` is what may be shown of it: no password, and no query, which may hold a token."""

    host: str
    port: int
    is_tls: bool
    name: str


def parse_url(url: str) -> tuple[str, Place]:
    """Read ws://HOST/PATH, or http://, or without a scheme; give it as ws or wss. ValueError if it is none."""
    scheme, separator, rest = url.partition("://")
    full = f"{SCHEMES.get(scheme.lower(), scheme)}://{rest}" if separator else f"ws://{url}"
    try:
        uri = parse_uri(full)
    except (InvalidURI, ValueError) as error:
        shown = USER.sub("//", url)  # without a password
        raise ValueError(f"{shown!r} is not a URL such as ws://host:10000/") from error
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    name = f"{full.partition('://')[0]}://{host}:{uri.port}{uri.path}"
    return full, Place(uri.host, uri.port, uri.secure, name)


class ClientHandshake:
    """A client's part of the handshake: its request, and what it makes of the answer."""

    def __init__(self, wanted: Wanted) -> None:
        """`request` is what is to be sent."""
        self._protocol = _ClientInOrder(
            parse_uri(wanted.url),
            origin=wanted.origin,
            extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
            subprotocols=wanted.subprotocols or None,
            max_size=wanted.max_message,
            logger=NO_LOG,
        )
        request = self._protocol.connect()
        for name, value in wanted.headers:
            if name in request.headers and name.lower() in ("host", "authorization", "origin", "user-agent"):
                del request.headers[name]
            request.headers[name] = value
        self._protocol.send_request(request)
        self.request = b"".join(self._protocol.data_to_send())
        self._answer: Response | None = None

    def receive(self, data: bytes) -> Conversation | None:
        """Take bytes of the server's, none at its end; give the conversation that they open. Rejected if they don't."""
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        error = self._protocol.handshake_exc
        if error is not None:
            raise _rejection(error) from error
        if self._protocol.state is State.CONNECTING:
            return None
        self._answer = self._protocol.events[0]  # type: ignore[assignment]
        del self._protocol.events[0]
        return Conversation(self._protocol)

    def header(self, name: str) -> str | None:
        """Give a header of the answer, once there is one."""
        return self._answer.headers.get(name) if self._answer else None

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol


class Rejected(Exception):
    """A server does not open the WebSocket. `status` is that of its answer, 0 if that is no HTTP or not WebSocket."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


def _rejection(error: Exception) -> Rejected:
    if not isinstance(error, InvalidStatus):
        return Rejected(f"no WebSocket: {error}")
    answer = error.response
    body = bytes(answer.body or b"")[:MOST_SHOWN].decode(errors="replace")
    sentence = body.strip().splitlines()[0] if body.strip() else answer.reason_phrase
    return Rejected(f"HTTP {answer.status_code}: {escape_controls(sentence)}", answer.status_code)


def _tokens(environ: dict[str, Any], header: str) -> set[str]:
    return {token.strip().lower() for token in environ.get(header, "").split(",")}
