"""What tests of ws-feed talk with: plain sockets that can say anything, event streams, and the websockets package."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect

from tests.conftest import TIMEOUT_S, read_head
from tests.e2e.servers import GtoolServer, receive_exactly, running

LOOPBACK = "127.0.0.1:0"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10  # RFC 6455 section 11.8
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
KEY = base64.b64encode(bytes(range(16))).decode()
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
UPGRADE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}
SMALL_BUFFER = 4096
RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) sends RST
FAST = ("--interval", "10ms")


# --- servers


@contextmanager
def feed(*args: Any, options: Sequence[str] = (), **how: Any) -> Iterator[GtoolServer]:
    """Run ws-feed on a free port; `options` are those of gtool itself."""
    with running(*options, "ws-feed", "-l", LOOPBACK, *args, **how) as server:
        yield server


@contextmanager
def fed_by_hand(*args: Any, options: Sequence[str] = (), **popen: Any) -> Iterator[GtoolServer]:
    """Run `ws-feed --stdin`; put() gives it its lines."""
    with feed("--stdin", *args, options=options, stdin=subprocess.PIPE, **popen) as server:
        try:
            yield server
        finally:
            end_input(server)


def put(server: GtoolServer, *lines: str | bytes) -> None:
    """Write lines, whatever the time that it takes to read them."""
    put_bytes(server, b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))


def put_bytes(server: GtoolServer, data: bytes) -> None:
    assert server.process.stdin
    server.process.stdin.write(data)
    server.process.stdin.flush()


def end_input(server: GtoolServer) -> None:
    assert server.process.stdin
    with suppress(BrokenPipeError):
        server.process.stdin.close()


def wait_until(condition: Callable[[], Any], what: str = "it") -> Any:
    """Ask again and again until the answer is yes; give it."""
    end = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} has not come about"
        time.sleep(0.02)
    return found


# --- HTTP


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  #: by names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def request(path: str = "/", *lines: str, method: str = "GET", version: str = "HTTP/1.1", host: str = "") -> bytes:
    """The bytes of a request; it has a Host unless one of the lines is."""
    own = [] if any(line.lower().startswith("host:") for line in lines) else [f"Host: {host or 'localhost'}"]
    return "\r\n".join([f"{method} {path} {version}", *own, *lines, "", ""]).encode("latin-1")


def upgrading(path: str = "/", **headers: str | None) -> bytes:
    """The bytes of a request for a WebSocket; a header is changed, added, or, by None, left out."""
    given = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    lines = {name.lower(): value for name, value in UPGRADE.items()} | given
    return request(path, *(f"{name}: {value}" for name, value in lines.items() if value is not None))


def read_answer(sock: socket.socket, is_head: bool = False) -> Answer:
    """Read an answer and, if it has a length, its body."""
    head = read_head(sock)
    assert head, "the connection ended without an answer"
    status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    version, status = status_line.split(" ")[:2]
    assert version == "HTTP/1.1"
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    size = 0 if is_head or status == "101" else int(headers.get("content-length", 0))
    return Answer(int(status), headers, receive_exactly(sock, size))


def ask(server: GtoolServer, path: str = "/", *lines: str, method: str = "GET", version: str = "HTTP/1.1") -> Answer:
    """Make a request on a connection of its own."""
    return ask_bytes(server, request(path, *lines, method=method, version=version), is_head=method == "HEAD")


def ask_bytes(server: GtoolServer, data: bytes, is_head: bool = False) -> Answer:
    with server.connect() as sock:
        with suppress(ConnectionResetError, BrokenPipeError):
            sock.sendall(data)
        return read_answer(sock, is_head)


def metrics(server: GtoolServer) -> dict[str, float]:
    """The numbers at /metrics, by name and labels, less the `gtool_`."""
    samples = [line.rpartition(" ") for line in ask(server, "/metrics").text.splitlines() if line[:1] != "#"]
    return {name.removeprefix("gtool_"): float(value) for name, _, value in samples}


def wait_for_metric(server: GtoolServer, name: str, value: float) -> None:
    wait_until(lambda: metrics(server)[name] == value, f"{name} of {value}")


def latest(server: GtoolServer) -> dict[str, Any]:
    return ask(server, "/latest").json  # type: ignore[no-any-return]


# --- event streams


class Event(NamedTuple):
    kind: str
    id: str | None
    data: str


@dataclass
class Events:
    """An event stream, read as WHATWG HTML section 9.2.6 says, from an answer with neither length nor chunks."""

    sock: socket.socket
    answer: Answer
    buffer: bytearray = field(default_factory=bytearray)

    def __iter__(self) -> Iterator[Event]:
        """Give all to the end of the stream."""
        while (event := self.next()) is not None:
            yield event

    def take(self, count: int) -> list[Event]:
        return list(itertools.islice(self, count))

    def next(self) -> Event | None:
        fields: dict[str, list[str]] = {}
        while True:
            while (end := self.buffer.find(b"\n")) < 0:
                data = self.sock.recv(65536)
                if not data:
                    assert not self.buffer, "the stream ended within an event"
                    return None
                self.buffer += data
            line = self.buffer[:end].decode()
            del self.buffer[: end + 1]
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                fields.setdefault(name, []).append(value)
            elif "data" in fields:
                ids = fields.get("id")
                return Event(fields.get("event", ["message"])[-1], ids[-1] if ids else None, "\n".join(fields["data"]))


@contextmanager
def events_of(server: GtoolServer, path: str = "/sse", *lines: str, buffer: int | None = None) -> Iterator[Events]:
    with plain(server, buffer) as sock:
        sock.sendall(request(path, *lines))
        answer = read_answer(sock)
        assert answer.status == 200, answer
        yield Events(sock, answer)


# --- WebSockets over a plain socket


class Frame(NamedTuple):
    first: int  #: FIN, the reserved bits and the opcode
    data: bytes

    @property
    def opcode(self) -> int:
        return self.first & 15

    @property
    def code(self) -> int:
        """Of a close frame; 0 if it tells none."""
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.data[:2])[0] if self.data else 0


def head_of(first: int, size: int, is_masked: bool = True) -> bytes:
    """A frame's header without its mask (RFC 6455 section 5.2)."""
    mask_bit = 0x80 if is_masked else 0
    if size < 126:
        return struct.pack("!BB", first, mask_bit | size)
    if size < 1 << 16:
        return struct.pack("!BBH", first, mask_bit | 126, size)
    return struct.pack("!BBQ", first, mask_bit | 127, size)


def frame(opcode: int, data: bytes = b"", first: int = FIN, mask: bytes | None = b"\x01\x02\x03\x04") -> bytes:
    """A frame as a client sends it; `first` has FIN and the reserved bits."""
    if mask is None:
        return head_of(first | opcode, len(data), False) + data
    whole = mask * (len(data) // 4 + 1)
    masked = int.from_bytes(data, "big") ^ int.from_bytes(whole[: len(data)], "big")
    return head_of(first | opcode, len(data)) + mask + masked.to_bytes(len(data), "big")


def deflated(data: bytes) -> bytes:
    """A payload as permessage-deflate has it (RFC 7692 section 7.2.1)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


def inflated(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data + b"\0\0\xff\xff")


@dataclass
class Raw:
    """A WebSocket by hand: nothing is answered, nothing is read that is not asked for."""

    sock: socket.socket
    answer: Answer

    def send(self, opcode: int, data: bytes = b"", first: int = FIN, mask: bytes | None = b"\x01\x02\x03\x04") -> None:
        self.sock.sendall(frame(opcode, data, first, mask))

    def read(self) -> Frame:
        first, size = receive_exactly(self.sock, 2)
        assert not size & 0x80, "a server must not mask"
        if size >= 126:
            size = int.from_bytes(receive_exactly(self.sock, 2 if size == 126 else 8), "big")
        return Frame(first, receive_exactly(self.sock, size))

    def read_text(self) -> str:
        frame_ = self.read()
        assert frame_.first == FIN | TEXT, frame_
        return frame_.data.decode()

    def read_close(self) -> Frame:
        """Read up to the close frame, and check that the stream ends after it."""
        while (frame_ := self.read()).opcode != CLOSE:
            pass
        with suppress(ConnectionResetError):  # we may have sent more than was read
            assert self.sock.recv(1) == b""
        return frame_

    def vanish(self) -> None:
        """Be gone without a word: RST."""
        reset(self.sock)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def plain(server: GtoolServer, buffer: int | None = None) -> socket.socket:
    """Make a connection; `buffer` is what the kernel is to keep for us at most, about."""
    sock = socket.socket()
    sock.settimeout(TIMEOUT_S)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    try:
        sock.connect(server.target())
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def raw(server: GtoolServer, path: str = "/", buffer: int | None = None, **headers: str | None) -> Iterator[Raw]:
    """Open a WebSocket by hand."""
    with plain(server, buffer) as sock:
        sock.sendall(upgrading(path, **headers))
        answer = read_answer(sock)
        assert answer.status == 101, answer
        yield Raw(sock, answer)


# --- the websockets package


def connect(
    server: GtoolServer, path: str = "/", trusting: ssl.SSLContext | None = None, **options: Any
) -> ClientConnection:
    """Open a WebSocket by the websockets package; it doesn't compress unless told to. Over TLS with a context."""
    given = {"open_timeout": TIMEOUT_S, "ping_interval": None, "compression": None, "max_size": None, "proxy": None}
    if trusting:
        given["sock"] = _by_one_thread(trusting.wrap_socket(server.connect(), server_hostname="localhost"))
    url = f"ws://{server.urls[0].partition('://')[2]}{path}"
    return websockets_connect(url, **{**given, **options})


def _by_one_thread(secure: ssl.SSLSocket) -> socket.socket:
    """Give a plain socket for one over TLS, which the package would read and write in two threads at once.

    OpenSSL's connections are not made for that, and Python 3.11 doesn't lock them: now and then the first request is
    never sent (python/cpython issue 137583 has the story).
    """
    near, far = socket.socketpair()
    passing = threading.Thread(target=_pass_both_ways, args=(secure, far), daemon=True)
    passing.start()
    return _NearEnd(near, passing)


class _NearEnd(socket.socket):
    """A socket whose other end is a thread's: when it is closed, that has ended."""

    def __init__(self, sock: socket.socket, other: threading.Thread) -> None:
        super().__init__(sock.family, sock.type, sock.proto, sock.detach())
        self._other = other

    def close(self) -> None:
        super().close()
        self._other.join(TIMEOUT_S)


def _pass_both_ways(secure: ssl.SSLSocket, plain: socket.socket) -> None:
    with secure, plain, suppress(OSError):
        while True:
            ready = (
                select.select([plain], [], [], 0)[0] if secure.pending() else select.select([secure, plain], [], [])[0]
            )
            if plain in ready:
                data = plain.recv(65536)
                if not data:
                    return
                secure.settimeout(TIMEOUT_S)
                secure.sendall(data)
            secure.setblocking(False)  # what is ready may be no data, but a session's ticket
            with suppress(ssl.SSLWantReadError):
                data = secure.recv(65536)
                if not data:
                    return
                plain.sendall(data)


def receive(client: ClientConnection, count: int) -> list[Any]:
    return [client.recv(TIMEOUT_S) for _ in range(count)]


def receive_json(client: ClientConnection, count: int) -> list[Any]:
    return [json.loads(message) for message in receive(client, count)]


def receive_to_end(client: ClientConnection) -> tuple[list[Any], int | None]:
    """Receive up to the end; give the messages, and the code that the server has closed with."""
    messages = []
    try:
        while True:
            messages.append(client.recv(TIMEOUT_S))
    except ConnectionClosed as error:
        return messages, error.rcvd.code if error.rcvd else None


def offset(id_: str) -> int:
    return int(id_.partition(":")[2])
