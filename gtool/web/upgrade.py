"""A server's part of the handshake of a WebSocket (RFC 6455 section 4.2, RFC 7692): which request may become one.

The only module that knows gevent-websocket, which does the upgrade inside pywsgi.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from gevent.pywsgi import WSGIHandler
from geventwebsocket.handler import WebSocketHandler
from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension
from websockets.protocol import SERVER

from gtool.web.frames import NO_LOG, Conversation, InOrder
from gtool.web.respond import Refused

# No context is kept from one message to the next: a connection would hold 300 KB of zlib's, and a broadcast could not
# be compressed once for all (RFC 7692 section 7.1.1).
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True, compress_settings={"memLevel": 5}
)


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


class UpgradeHandler(WebSocketHandler):  # type: ignore[misc]
    """pywsgi's handler, for applications that turn a request into a WebSocket when they have looked at it."""

    _extra: Sequence[tuple[str, str]] | None = None  # headers, while the answer is 101

    def run_application(self) -> None:
        WSGIHandler.run_application(self)

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return super().start_response(status, [*headers, *(self._extra or ())], exc_info)

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
        protocol = InOrder(SERVER, max_size=max_message, logger=NO_LOG)
        protocol.extensions = [extension] if extension else []
        return Conversation(protocol)


def _tokens(environ: dict[str, Any], header: str) -> set[str]:
    return {token.strip().lower() for token in environ.get(header, "").split(",")}
