"""GET /metrics over HTTP, for Prometheus."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import Any

from gevent.hub import get_hub
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from gtool.runtime.connection import green
from gtool.runtime.listen import Listener
from gtool.runtime.report import exposition
from gtool.runtime.shared import Counts

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CLIENTS = 16  #: at once
CLIENT_S = 10.0  #: that a client may keep its connection


class _Handler(WSGIHandler):
    def handle(self) -> None:
        """Serve a connection; at its deadline shut it down, which pywsgi takes for the client's doing."""
        timer: Any = get_hub().loop.timer(CLIENT_S)
        timer.start(self._shut_down)
        try:
            super().handle()
        finally:
            timer.close()

    def _shut_down(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Metrics:
    """Serves what `read()` gives, on a listener."""

    def __init__(self, listener: Listener, read: Callable[[], Counts]) -> None:
        self._read = read
        self._server = WSGIServer(
            green(listener.socket), self._answer, log=None, error_log=None, handler_class=_Handler, spawn=Pool(CLIENTS)
        )
        self._server.start()

    def close(self) -> None:
        self._server.stop(timeout=0)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            body = b"there is only /metrics\n"
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
            return [body]
        body = exposition(self._read()).encode()
        start_response("200 OK", [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body)))])
        return [body]
