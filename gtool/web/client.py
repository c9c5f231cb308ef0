"""A WebSocket's client side: connect, then messages as they come. Waits, in greenlets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Any

import gevent
from gevent import ssl
from gevent.lock import RLock
from gevent.socket import create_connection

from gtool.errors import UsageError
from gtool.runtime.connection import CHUNK_BYTES
from gtool.web.peer import CLOSE_S, PING_S, PONG_S
from gtool.web.websocket import ClientHandshake, Conversation, Message, Place, Pong, Rejected, Wanted

NORMAL = 1000


class Silent(OSError):
    """The peer does not answer a ping."""

    def __init__(self) -> None:
        super().__init__("no pong")


class Client:
    """One connection. One greenlet reads; any may send."""

    def __init__(self, sock: Any, conversation: Conversation, handshake: ClientHandshake) -> None:
        self._socket = sock
        self._conversation = conversation
        self._lock = RLock()
        self.handshake = handshake

    @property
    def close_code(self) -> int | None:
        """The code that the peer has closed with; None if the connection broke without one."""
        return self._conversation.close_code

    @property
    def close_reason(self) -> str:
        return self._conversation.close_reason

    def messages(self) -> Iterator[Message]:
        """Wait for messages, until the connection ends. OSError if it breaks, Silent if the peer is not there."""
        yield from self._take(b"")  # what came together with the handshake
        pinged_at: float | None = None
        while True:
            self._socket.settimeout(PING_S if pinged_at is None else PONG_S)
            try:
                data = self._socket.recv(CHUNK_BYTES)
            except TimeoutError:
                if pinged_at is not None:
                    raise Silent from None
                pinged_at = monotonic()
                self._conversation.ping()
                self._answer()
                continue
            pinged_at = None
            if not data:
                self._conversation.receive_end()
                return
            yield from self._take(data)
            self._answer()

    def send(self, message: Message) -> None:
        with self._lock:
            self._socket.sendall(self._conversation.encode(message))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Close with a handshake, or without one if the peer takes too long."""
        with gevent.Timeout(CLOSE_S, False), contextlib.suppress(OSError):  # type: ignore[arg-type]
            if self._conversation.is_open:
                self._conversation.close(code, reason)
                self._answer()
                self._socket.settimeout(CLOSE_S)
                while data := self._socket.recv(CHUNK_BYTES):
                    self._conversation.receive(data)
        self.abandon()

    def abandon(self) -> None:
        """Close the socket, without a word."""
        self._socket.close()

    def _take(self, data: bytes) -> Iterator[Message]:
        for found in self._conversation.receive(data):
            if isinstance(found, Pong):
                with self._lock:
                    self._socket.sendall(found.frame)
            else:
                yield found

    def _answer(self) -> None:
        data, is_all = self._conversation.output()
        with self._lock:
            if data:
                self._socket.sendall(data)
            if is_all:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_WR)


def connect(wanted: Wanted, place: Place, context: ssl.SSLContext | None, timeout_s: float | None) -> Client:
    """Connect, and shake hands, in that time. OSError if that fails, Rejected if the server does not want to."""
    deadline = TimeoutError(f"no answer within {timeout_s:g} s" if timeout_s else "timed out")
    with gevent.Timeout(timeout_s or None, deadline):
        sock: Any = create_connection((place.host, place.port))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if place.is_tls:
                assert context
                sock = context.wrap_socket(sock, server_hostname=place.host)
            return _shake_hands(sock, wanted)
        except BaseException:
            sock.close()
            raise


def _shake_hands(sock: Any, wanted: Wanted) -> Client:
    handshake = ClientHandshake(wanted)
    sock.sendall(handshake.request)
    while True:
        data = sock.recv(CHUNK_BYTES)
        conversation = handshake.receive(data)
        if conversation:
            return Client(sock, conversation, handshake)
        if not data:
            raise Rejected("the server has closed the connection instead of an answer")


def tls_context(cacert: str | None, cert: str | None, key: str | None, is_insecure: bool) -> ssl.SSLContext:
    """Make a client's TLS context; `cacert` None is the bundle of certifi. UsageError for files that can't be used."""
    import certifi

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    path = cacert or certifi.where()
    try:
        context.load_verify_locations(path)
        if cert:
            path = cert
            context.load_cert_chain(cert, key, password="")
    except OSError as error:
        raise UsageError(f"cannot use {path}: {getattr(error, 'reason', None) or error.strerror}") from error
    return context
