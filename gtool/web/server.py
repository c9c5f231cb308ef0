"""HTTP on the shared listeners: pywsgi serves requests, and gives up those connections that become streams.

A request is served by a greenlet. A WebSocket or an event stream goes on as a channel, without one.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from http.client import HTTPException
from time import monotonic
from typing import Any, Protocol

import gevent
from gevent.hub import get_hub
from gevent.pywsgi import WSGIServer

from gtool.log import EventLog
from gtool.runtime.address import plain_host
from gtool.runtime.connection import GOOD_BYE_S, LINGER_S, Connection, why
from gtool.runtime.greenlets import GreenletDriver, Stream, green
from gtool.runtime.server import Server
from gtool.web.channel import Channel, Owner, unsent_bytes
from gtool.web.frames import GOING_AWAY, MAX_MESSAGE, NO_LOG
from gtool.web.peer import Listener as WebSocketListener
from gtool.web.peer import WebSocket
from gtool.web.request import LengthWanted, check_headers, origin_form
from gtool.web.respond import TEXT, Application, Environ
from gtool.web.upgrade import UpgradeHandler
from gtool.web.wire import HeadTooLarge, Wire

log = EventLog("web")

TICK_S = 1.0
STOPS = "the server stops"


class Live(Owner, Protocol):
    """What goes on when its request is over: a WebSocket, an event stream."""

    channel: Channel

    def tick(self, now: float) -> None:
        """See to it about once a second; `now` is time.monotonic()'s."""

    def close(self, code: int, reason: str) -> None: ...


class WebService:
    """One worker's: gives the application its requests, and looks after what lives longer."""

    def __init__(self, server: Server, application: Application, head_timeout_s: float | None) -> None:
        """An application finds its Handler as `gtool.handler` in environ."""
        self.poller = server.poller
        self.head_timeout_s = head_timeout_s
        names = {"SERVER_NAME": "gtool", "SERVER_PORT": ""}
        # It only stands for the handlers' server, and never listens: connections come from ours.
        self.wsgi = WSGIServer(("", 0), application, log=None, error_log=None, environ=names)
        self.wsgi.logger = NO_LOG  # type: ignore[attr-defined]
        self.requests: set[HttpDriver] = set()
        self.is_ending = False  #: no further request is read
        self._live: dict[Live, None] = {}
        self._timer: Any = get_hub().loop.timer(TICK_S, TICK_S, ref=False)
        self._timer.start(self._tick)

    def connect(self, connection: Connection, sock: Any) -> None:
        self.requests.add(HttpDriver(connection, sock, self))

    def drain(self) -> None:
        """Say good-bye to those who would stay for ever."""
        self.end_requests()
        for live in list(self._live):
            live.close(GOING_AWAY, STOPS)

    def end_requests(self) -> None:
        """Read no further request; what is being answered goes on."""
        self.is_ending = True
        for driver in [one for one in self.requests if one.is_idle]:
            driver.close("drained")

    def close(self) -> None:
        self._timer.close()

    def keep(self, live: Live) -> None:
        self._live[live] = None

    def _tick(self) -> None:
        now = monotonic()
        for live in list(self._live):
            if live.channel.is_closed:
                del self._live[live]
            else:
                live.tick(now)


class HttpDriver(GreenletDriver):
    """Drives a connection by pywsgi, request after request, until it ends or goes on as a channel."""

    def __init__(self, connection: Connection, sock: Any, web: WebService) -> None:
        super().__init__(connection)
        self._stream = Stream(connection, sock if connection.is_tls else green(sock))
        self._wire = Wire(self._stream, web.head_timeout_s)
        self._web = web

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun."""
        return self._wire.is_idle

    def run(self) -> None:
        handler = Handler(self._wire, self.connection, self._stream.socket, self._web)
        reason = self._serve(handler)
        self._web.requests.discard(self)
        if handler.goes_on and not self.closed_for:
            self._go_on(*handler.goes_on)
            return
        try:
            self._stream.finish(GOOD_BYE_S if self.closed_for else LINGER_S)
        except gevent.GreenletExit:
            pass  # closed once more
        finally:
            self._stream.socket.close()
            self.connection.end(self.closed_for or reason)

    def _serve(self, handler: Handler) -> str:
        """Serve requests, and give the reason why there are no more."""
        try:
            if not self.closed_for:
                handler.handle()
        except OSError as error:
            return why(error)
        except gevent.GreenletExit:
            pass
        return why(self._wire.error) if self._wire.error else "closed"  # pywsgi says nothing of an error

    def _go_on(self, live: Live, begin: Callable[[], object]) -> None:
        sock = self._stream.socket
        if not self.connection.is_tls:  # a socket of gevent's is no use any more, and has two watchers
            sock = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
        rest = self._wire.let_go()
        sock.setblocking(False)
        live.channel = Channel(self._web.poller, self.connection, sock, live)
        self._web.keep(live)
        begin()
        if rest and live.channel.is_open:
            live.received(rest)
        if self._web.is_ending:
            live.close(GOING_AWAY, STOPS)


class Handler(UpgradeHandler):
    """One connection's requests. An application calls open_websocket() or open_stream(), and returns nothing then."""

    path: str

    def __init__(self, wire: Wire, connection: Connection, sock: Any, web: WebService) -> None:
        super().__init__(wire, connection.peer, web.wsgi)
        self.connection = connection
        self._web = web
        self.goes_on: tuple[Live, Callable[[], object]] | None = None
        self._wire = wire
        self._is_late = False
        self._sock = sock
        local = sock.getsockname()
        self._local_host = plain_host(local[0]) if isinstance(local, tuple) else None

    def open_websocket(
        self,
        open_: Callable[[WebSocket], WebSocketListener],
        max_message: int = MAX_MESSAGE,
        headers: Sequence[tuple[str, str]] = (),
        subprotocol: str | None = None,
    ) -> None:
        """Upgrade the request; `open_` gives the listener of the WebSocket, once it can be written to.

        BadHandshake, and nothing is sent, if it is no request for that.
        """
        websocket = WebSocket(self.upgrade(max_message, headers, subprotocol))

        def begin() -> None:
            websocket.listener = open_(websocket)

        self.goes_on = (websocket, begin)

    def open_stream(self, live: Live, begin: Callable[[], object], headers: Sequence[tuple[str, str]]) -> None:
        """Answer 200 with a body that ends when the connection does; `begin` is called once it can be written to.

        An answer to HEAD is over with its headers.
        """
        if self.command == "HEAD":
            self.start_response("200 OK", list(headers))
            return
        self.start_response("200 OK", [*headers, ("Connection", "close")])
        self.provided_content_length = False  # else pywsgi would send chunks
        self.write(b"")
        self.goes_on = (live, begin)

    @property
    def has_arrived(self) -> bool:
        """Whether the peer has taken all that was sent to it, as far as its kernel tells."""
        if self.connection.ended_for:
            return self.connection.ended_for == "closed"
        return not unsent_bytes(self._sock)

    @property
    def is_half_closed(self) -> bool:
        """Whether the peer has shut down its side: it may have gone, and read no answer."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def read_requestline(self) -> str:
        if self._web.is_ending:
            return ""
        self._wire.begin_head()
        try:
            line: str = super().read_requestline()
            return line if line.strip() or not line else super().read_requestline()  # RFC 9112 section 2.2
        except TimeoutError:
            self._is_late = not self._wire.is_idle
            return "late" if self._is_late else ""

    def read_request(self, line: str) -> bool:
        """Read the headers. TimeoutError; ValueError where pywsgi lets pass what other servers read differently."""
        if self._is_late:
            raise TimeoutError
        is_read: bool = super().read_request(line)
        check_headers(self.headers)
        self.path = origin_form(self.path)
        return is_read

    def get_environ(self) -> Environ:
        self._wire.end_head()
        environ: Environ = super().get_environ()
        environ["wsgi.url_scheme"] = "https" if self.connection.is_tls else "http"
        environ["gtool.handler"] = self
        environ["REMOTE_ADDR"] = self.connection.peer.rpartition(":")[0].strip("[]")
        environ["gtool.local_host"] = self._local_host
        return environ

    def log_request(self) -> None:
        if self.environ:
            path = self.environ["PATH_INFO"]  # not the query, which may hold a token
            log.debug("request", peer=self.connection.peer, method=self.command, path=path, status=self.code)

    def handle_error(self, kind: Any, error: Any, traceback: Any) -> None:
        if issubclass(kind, gevent.GreenletExit | OSError):  # we close, or the peer has
            self.close_connection = True
            return
        super().handle_error(kind, error, traceback)

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes]:
        """Say what is wrong with a request that can't be read; pywsgi's own prints tracebacks of some."""
        if isinstance(error, TimeoutError):
            status, text = "408 Request Timeout", "the request did not come in time"
        elif isinstance(error, LengthWanted):
            status, text = "411 Length Required", "a body is wanted with its Content-Length, not in chunks"
        elif isinstance(error, HeadTooLarge | HTTPException):  # HTTPException: more than 100 of them
            status, text = "431 Request Header Fields Too Large", "the headers are too long"
        else:
            status, text = "400 Bad Request", "this is no HTTP request that can be read"
        self.connection.warn("bad request", reason=text)
        body = f"{text}\n".encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {TEXT}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return status, head.encode() + body
