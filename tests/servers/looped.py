"""A server and its clients on the loop of the tests: one thread, real sockets, and the same order each time."""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import gevent
import trustme
from gevent import socket as green_socket
from gevent.hub import get_hub
from gevent.queue import Queue
from gevent.ssl import SSLContext

from gtool.runtime.address import parse_address
from gtool.runtime.connection import Connection
from gtool.runtime.greenlets import LINGER_RESET
from gtool.runtime.listen import Listener, open_listeners
from gtool.runtime.server import Server
from gtool.runtime.service import Service
from gtool.runtime.settings import Settings
from gtool.runtime.shared import Counters, Counts, Shared, Tickets
from gtool.runtime.tls import server_context

TIMEOUT_S = 10
LOOPBACK = "127.0.0.1:0"


class Recording(Server):
    """A server that tells, too, why connections have ended."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reasons: Queue[str] = Queue()
        self.opened: list[Connection] = []

    def accept(self, connection: Connection, sock: Any) -> None:
        self.opened.append(connection)
        super().accept(connection, sock)

    def ended(self, connection: Connection, reason: str) -> None:
        super().ended(connection, reason)
        self.reasons.put(reason)


class Looped:
    """A server that runs, and its clients."""

    def __init__(self, server: Recording, listeners: Sequence[Listener], counters: Counters, stack: ExitStack) -> None:
        self.server = server
        self.listeners = listeners
        self.running: Any = None  #: the greenlet
        self._counters = counters
        self._stack = stack

    def target(self, number: int = 0) -> Any:
        return self._targets[number]

    def start(self, service: Service, duration: float | None) -> None:
        self._targets = [listener.socket.getsockname() for listener in self.listeners]
        self.running = gevent.spawn(self.server.run, service, duration)
        gevent.idle()

    def socket(self, number: int = 0) -> Any:
        """A socket that waits on the loop, though not for ever, and is closed at the end."""
        served = self.listeners[number].socket
        sock = green_socket.socket(served.family, served.type)
        self._stack.callback(sock.close)
        sock.settimeout(TIMEOUT_S)
        return sock

    def connect(self, number: int = 0, buffer_bytes: int | None = None) -> Any:
        sock = self.socket(number)
        if buffer_bytes:
            shrink(sock, buffer_bytes)
        sock.connect(self.target(number))
        if sock.family != green_socket.AF_UNIX and sock.type == green_socket.SOCK_STREAM:
            sock.setsockopt(green_socket.IPPROTO_TCP, green_socket.TCP_NODELAY, 1)  # each chunk is on its way at once
        return sock

    def reason(self) -> str:
        """Wait for the end of a connection, and tell why it has ended."""
        return self.server.reasons.get(timeout=TIMEOUT_S)

    @property
    def counts(self) -> Counts:
        self.server.publish()
        return self._counters.read()

    def stop(self) -> None:
        """Have it stop, and wait until it has; what went wrong in it is raised here."""
        self.server.stop()
        self.wait()

    def wait(self) -> None:
        """Wait for its end."""
        self.running.get(timeout=TIMEOUT_S)


@contextmanager
def looped(
    make_service: Callable[[Server], Service],
    *addresses: str,
    settings: Settings = Settings(drain_timeout=0.05),  # noqa: B008
    max_total: int | None = None,
    duration: float | None = None,
    buffer_bytes: int | None = None,
    default_scheme: str = "tcp",
) -> Iterator[Looped]:
    """Run a server while the block runs. What fails in callbacks and greenlets that nobody awaits fails the test."""
    with failures_raise(), ExitStack() as stack:
        listeners = open_listeners(map(parse_address, addresses or [LOOPBACK]), default_scheme)
        for listener in listeners:
            stack.callback(listener.remove)
            if buffer_bytes:
                shrink(listener.socket, buffer_bytes)  # what is accepted inherits it
        counts = (settings.limits.max_connections, max_total)
        free, left = (None if n is None else stack.enter_context(closing(Tickets(n))) for n in counts)
        counters = Counters()
        server = Recording(settings, listeners, Shared(counters, free, left))
        made = Looped(server, listeners, counters, stack)
        made.start(make_service(server), duration)
        stack.callback(made.stop)
        with ExitStack() as clients:
            made._stack = clients
            yield made


@contextmanager
def failures_raise() -> Iterator[None]:
    """Raise at the end what has failed on the loop meanwhile, and nobody has awaited."""
    hub: Any = get_hub()
    failures: list[BaseException] = []
    before = vars(hub).get("handle_error")

    def keep(context: object, kind: Any, value: Any, traceback: object) -> None:
        is_awaited = isinstance(context, gevent.Greenlet) and context.has_links()
        if not is_awaited and not issubclass(kind, gevent.GreenletExit):
            failures.append(value)

    hub.handle_error = keep
    try:
        yield
    finally:
        if before:
            hub.handle_error = before
        else:
            del hub.handle_error
    if failures:
        raise failures[0]


def shrink(sock: Any, size_bytes: int) -> None:
    """Have the kernel hold little, lest a test has to move megabytes to fill it."""
    for option in (green_socket.SO_SNDBUF, green_socket.SO_RCVBUF):
        sock.setsockopt(green_socket.SOL_SOCKET, option, size_bytes)


def send_apart(sock: Any, chunks: Iterable[bytes]) -> None:
    """Send each chunk when the server has done all that it can with those before."""
    for chunk in chunks:
        sock.sendall(chunk)
        gevent.idle()


def end_input(sock: Any) -> None:
    sock.shutdown(green_socket.SHUT_WR)


def reset(sock: Any) -> None:
    """Close it such that the peer gets RST."""
    sock.setsockopt(green_socket.SOL_SOCKET, green_socket.SO_LINGER, LINGER_RESET)
    sock.close()


def receive_all(sock: Any) -> bytes:
    """Read to the end of the stream."""
    received = bytearray()
    while data := sock.recv(1 << 16):
        received += data
    return bytes(received)


def receive_exactly(sock: Any, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = sock.recv(min(1 << 16, size - len(received)))
        assert data, f"the stream ended after {len(received)} of {size} bytes"
        received += data
    return bytes(received)


def exchange(sock: Any, chunks: Sequence[bytes]) -> bytes:
    """Send the chunks and half-close, reading all the while; give what came back."""
    sender = gevent.spawn(lambda: (send_apart(sock, chunks), end_input(sock)))
    received = receive_all(sock)
    sender.get(timeout=TIMEOUT_S)
    return received


def fill(sock: Any, pattern: bytes, most: int) -> int:
    """Send over and over, reading nothing, until the server takes no more, or takes `most`; give how many bytes."""
    sent = 0
    sock.setblocking(False)
    while sent < most:
        start = sent % len(pattern)
        try:
            sent += sock.send(pattern[start:])
        except BlockingIOError:
            if not _can_send_soon(sock):
                break
    sock.settimeout(TIMEOUT_S)
    return sent


def _can_send_soon(sock: Any) -> bool:
    for _ in range(20):  # turns of the loop: window updates may come one by one
        gevent.idle()
        if _is_writable(sock):
            return True
    return False


def _is_writable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLOUT)
    return bool(poll.poll(0))


def server_tls(authority: trustme.CA, directory: Path) -> ssl.SSLContext:
    """What a server with a certificate for localhost speaks TLS by."""
    path = directory / "localhost.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    return server_context(str(path), None)


def secure(sock: Any, authority: trustme.CA) -> Any:
    """Do a client's handshake with localhost."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context.wrap_socket(sock, server_hostname="localhost")
