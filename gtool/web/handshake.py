"""A client's part of the handshake of a WebSocket (RFC 6455 section 4.1): its URL, its request, the answer. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from gtool.log import escape_controls
from gtool.web.frames import MAX_MESSAGE, NO_LOG, Conversation, InOrder

MOST_SHOWN = 300  #: bytes of a refusal's body
USER = re.compile("//[^/]*@")
SCHEMES = {"http": "ws", "https": "wss"}


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


class _Protocol(InOrder, ClientProtocol):
    """A client's protocol, that keeps what it finds in order."""


class ClientHandshake:
    """A client's part of the handshake: its request, and what it makes of the answer."""

    def __init__(self, wanted: Wanted) -> None:
        """`request` is what is to be sent."""
        self._protocol = _Protocol(
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
