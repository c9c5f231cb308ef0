"""ws-feed over HTTP: what stands at which path, and who may have it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import simplejson

from gtool.feed.echo import Echo
from gtool.feed.view import SUBPROTOCOL, View, envelope
from gtool.live.delivery import Delivery
from gtool.live.reader import Reader
from gtool.live.terms import CURSOR_HEADER
from gtool.live.wish import Wish, wish_of
from gtool.streams.log import oldest_cursor
from gtool.streams.subscription import Since
from gtool.web import sse
from gtool.web.guard import Guard
from gtool.web.pages import Pages
from gtool.web.peer import Listener, WebSocket
from gtool.web.request import offered_subprotocols, query_of
from gtool.web.respond import CLOSE, JSON, Environ, Refused, StartResponse, respond
from gtool.web.server import Handler
from gtool.web.site import NO_PAGE, NO_STORE, READ_ONLY, check
from gtool.web.upgrade import wants_upgrade

LOADING = "the feed is being loaded: try again soon"
#: The longest message that is taken from a client of a feed, which nobody listens to.
MOST_SAID = 1 << 16
TRUE = ("1", "true", "yes")


class App:
    """The WSGI application of one worker."""

    def __init__(
        self,
        delivery: Delivery,
        guard: Guard,
        pages: Pages,
        max_message: int,
        is_echo: bool,
        is_loaded: Callable[[], bool],
    ) -> None:
        self._is_loaded = is_loaded
        self._is_echo = is_echo
        self._delivery = delivery
        self._guard = guard
        self._max_message = max_message
        self._pages = pages
        self._routes: Mapping[str, Callable[[Environ, StartResponse], Iterable[bytes]]] = {
            "/": self._root,
            "/sse": self._sse,
            "/latest": self._latest,
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in READ_ONLY:
            raise Refused("405 Method Not Allowed", "there is nothing here but to GET", [("Allow", "GET, HEAD")])
        route = self._routes.get(environ["PATH_INFO"])
        if route is None:
            raise Refused("404 Not Found", NO_PAGE)
        check(environ, self._guard.refuse_origin(environ) or self._guard.refuse_token(environ))
        return route(environ, start_response)

    def _root(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not wants_upgrade(environ) and not self._is_echo:
            page = self._pages.html("index.html", environ["HTTP_HOST"])
            return respond(environ, start_response, "200 OK", page.data, page.content_type, page.headers)
        offers = offered_subprotocols(environ)
        speaks_envelope = SUBPROTOCOL in offers and not self._is_echo
        chosen = SUBPROTOCOL if speaks_envelope else next((name for name in offers if name != SUBPROTOCOL), "")
        wish = self._wish(environ)
        has_envelope = speaks_envelope or _wants_envelope(environ)
        handler: Handler = environ["gtool.handler"]

        def open_(websocket: WebSocket) -> Listener:
            if self._is_echo:
                return Echo(websocket)
            view = View(True, has_envelope, websocket.window_bits)
            return self._begin(websocket, view, wish.since)

        longest = self._max_message if self._is_echo else min(self._max_message, MOST_SAID)
        handler.open_websocket(open_, longest, [(CURSOR_HEADER, str(wish.cursor))], chosen)
        return []

    def _sse(self, environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
        wish = self._wish(environ)
        headers = [*sse.HEADERS, (CURSOR_HEADER, str(wish.cursor)), *self._cors(environ)]
        handler: Handler = environ["gtool.handler"]
        stream = sse.EventStream()

        def begin() -> None:
            self._begin(stream, View(False, _wants_envelope(environ)), wish.since)

        handler.open_stream(stream, begin, headers)
        return []

    def _begin(self, stream: Any, view: View, since: Since) -> Reader:
        reader = self._delivery.open(stream, view, since)
        stream.listener = reader
        reader.begin()
        return reader

    def _wish(self, environ: Environ) -> Wish:
        if not self._is_loaded():
            raise Refused("503 Service Unavailable", LOADING, [CLOSE])
        return wish_of(environ, self._delivery.log)

    def _latest(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        log = self._delivery.log
        entries = log.read(log.newest - 1, 1)
        nothing = {"id": str(oldest_cursor(log)), "time": None, "data": None}
        body = envelope(log.epoch, entries[0]) if entries else simplejson.dumps(nothing)
        return respond(environ, start_response, "200 OK", body, JSON, [NO_STORE, *self._cors(environ)])

    def _cors(self, environ: Environ) -> list[tuple[str, str]]:
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or not self._guard.is_allowed(origin):
            return []
        return [("Access-Control-Allow-Origin", origin), ("Vary", "Origin")]


def _wants_envelope(environ: Environ) -> bool:
    return query_of(environ).get("envelope", [""])[-1].lower() in TRUE
