"""GET /metrics over HTTP, for Prometheus."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent.hub import get_hub
from gevent.pywsgi import WSGIHandler, WSGIServer

from gtool.log import EventLog, SeldomLog
from gtool.runtime.accept import Acceptor
from gtool.runtime.greenlets import green
from gtool.runtime.listen import Listener
from gtool.runtime.report import EXPOSITION_TYPE, exposition
from gtool.runtime.shared import Counts

log = EventLog("metrics")

PATH = "/metrics"
CLIENTS = 16  #: at once
CLIENT_S = 10.0  #: that a client may keep its connection
CLOSE_S = 1.0  #: that clients whose connections are shut down have to end


class Metrics:
    """Serves what `read()` gives, on a listener. Who comes while CLIENTS are being served is closed at once."""

    def __init__(self, listener: Listener, read: Callable[[], Counts]) -> None:
        self._read = read
        # It only stands for the handlers' server, and never listens: without descriptors it would end the process.
        self._wsgi = WSGIServer(("", 0), self._answer, log=None, error_log=None)
        self._clients: dict[Any, Any] = {}  # greenlets, and the sockets that they serve
        self._seldom = SeldomLog(log)
        self._acceptor = Acceptor(listener, self._take, self._exhausted)

    def close(self) -> None:
        self._acceptor.close()
        for sock in self._clients.values():
            _shut_down(sock)
        gevent.joinall(list(self._clients), timeout=CLOSE_S)

    def _take(self, _listener: Listener, sock: socket.socket, address: Any) -> None:
        if len(self._clients) == CLIENTS:
            sock.close()
            return
        client = green(sock)
        self._clients[gevent.spawn(self._serve, client, address)] = client

    def _serve(self, client: Any, address: Any) -> None:
        """Serve a connection; at its deadline shut it down, which pywsgi takes for the client's doing."""
        timer: Any = get_hub().loop.timer(CLIENT_S)
        timer.start(_shut_down, client)
        try:
            _Handler(client, address, self._wsgi).handle()
        except OSError:
            pass  # the client has gone
        finally:
            timer.close()
            del self._clients[gevent.getcurrent()]

    def _exhausted(self) -> None:
        self._seldom.warning("no descriptor for a connection to /metrics: it is refused")

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            body = b"there is only /metrics\n"
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
            return [body]
        body = exposition(self._read()).encode()
        start_response("200 OK", [("Content-Type", EXPOSITION_TYPE), ("Content-Length", str(len(body)))])
        return [body]


class _Handler(WSGIHandler):
    def handle_error(self, kind: Any, error: Any, traceback: Any) -> None:
        """Close the connection of a client that has gone; anything else is a bug."""
        if issubclass(kind, OSError):
            self.close_connection = True
            return
        super().handle_error(kind, error, traceback)


def _shut_down(sock: Any) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
