"""A WebSocket's client side: connect, then messages as they come. Waits, in greenlets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import ssl
from gevent.event import Event
from gevent.lock import RLock
from gevent.socket import create_connection

from gtool.errors import UsageError
from gtool.runtime.connection import CHUNK_BYTES
from gtool.web.attempt import secured, within
from gtool.web.frames import NORMAL, Conversation, Message
from gtool.web.handshake import ClientHandshake, Place, Rejected, Wanted
from gtool.web.peer import CLOSE_S, PING_S, PONG_S

_PEM = {"KEY_VALUES_MISMATCH": "the key does not belong to the certificate"}


class Silent(OSError):
    """The peer does not answer a ping."""

    def __init__(self) -> None:
        super().__init__("no pong")


class Client:
    """One connection. One greenlet reads; any may send, and waits; what the protocol answers is written by another.

    The one who reads must not wait for a write: where the peer reads no more until we do, that would be for ever.
    """

    def __init__(self, sock: Any, conversation: Conversation, handshake: ClientHandshake) -> None:
        self._socket = sock
        self._conversation = conversation
        self._lock = RLock()  # of who writes: a frame is whole before the next one
        self._pong = b""  # the newest that is to be written: it answers those before it too (RFC 6455 section 5.5.3)
        self._answers = b""  # pings and a close frame, that are to be written
        self._has_answers = Event()
        self._writer = gevent.spawn(self._write_answers)
        self.handshake = handshake

    @property
    def close_code(self) -> int | None:
        """The code that the connection was closed with, by either side; None if it broke without one."""
        return self._conversation.close_code

    @property
    def close_reason(self) -> str:
        return self._conversation.close_reason

    def messages(self) -> Iterator[Message]:
        """Wait for messages, until the connection ends. OSError if it breaks, Silent if the peer is not there."""
        yield from self._take(b"")  # what came together with the handshake
        is_asked = False
        while self._conversation.is_open:
            data = self._receive(PONG_S if is_asked else PING_S)
            if data:
                is_asked = False
                yield from self._take(data)
            elif data is not None:
                self._conversation.receive_end()
            elif is_asked:
                raise Silent
            else:
                is_asked = True
                self._conversation.ping()
                self._answer()

    def send(self, message: Message) -> None:
        """Wait until the kernel has taken a message. OSError if the connection broke."""
        with self._lock:
            try:
                self._socket.sendall(self._conversation.encode(message))
            except OSError:
                self._socket.shutdown(socket.SHUT_RDWR)  # no frame can follow half of one
                raise

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """End with the closing handshake, or without it if the peer takes too long."""
        with gevent.Timeout(CLOSE_S, False), contextlib.suppress(OSError):  # type: ignore[arg-type]
            self._conversation.close(code, reason)
            self._answer()
            self._write()
            while data := self._socket.recv(CHUNK_BYTES):
                self._conversation.receive(data)
        self._writer.kill()
        self._socket.close()

    def _receive(self, timeout_s: float) -> bytes | None:
        """Wait for bytes; None if there are none in time. The socket's own time-out would be the writers' too."""
        with gevent.Timeout(timeout_s, False):  # type: ignore[arg-type]
            data: bytes = self._socket.recv(CHUNK_BYTES)
            return data
        return None

    def _take(self, data: bytes) -> Iterator[Message]:
        for found in self._conversation.receive(data):
            if isinstance(found, Message):
                yield found
            else:
                self._pong = found.frame
        self._answer()

    def _answer(self) -> None:
        """Have written what is to be answered."""
        self._answers += self._conversation.output()[0]
        if self._pong or self._answers:
            self._has_answers.set()

    def _write_answers(self) -> None:
        with contextlib.suppress(OSError):  # the one who reads finds out
            while True:
                self._has_answers.wait()
                self._has_answers.clear()
                self._write()

    def _write(self) -> None:
        with self._lock:
            answers, self._pong, self._answers = self._pong + self._answers, b"", b""
            self._socket.sendall(answers)


def connect(wanted: Wanted, place: Place, context: ssl.SSLContext | None, timeout_s: float | None) -> Client:
    """Connect, and shake hands, in that time. OSError if that fails, Rejected if the server does not want to."""
    with within(timeout_s or None, f"no answer within {timeout_s:g} s" if timeout_s else ""):
        try:
            sock: Any = create_connection((place.host, place.port))
        except UnicodeError as error:  # of IDNA: a label that is empty, or too long
            raise OSError(f"{place.host!r} is no host name") from error
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: sock.close())  # the one that stands then
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if place.is_tls:
                assert context
                sock = secured(sock, context, place.host)
                sock.do_handshake()
            client = _shake_hands(sock, wanted)
            stack.pop_all()
            return client


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
    try:
        for path in (cacert or certifi.where(), cert, key):
            if path:
                with open(path, "rb"):
                    pass
        path = cacert or certifi.where()
        context.load_verify_locations(path)
        if cert:
            path = f"{cert} and {key}" if key else cert
            context.load_cert_chain(cert, key, password="")
    except OSError as error:
        why = _PEM.get(error.reason or "", "no PEM in it") if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(f"cannot use {path}: {why}") from error
    return context
