"""/api/ws and /api/stream: messages of some rooms, or of all, as they come; the same, with the same ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import time
from typing import Any, NamedTuple

from gtool.chat.chat import Chat, presence_note
from gtool.chat.messages import SUBPROTOCOL
from gtool.chat.view import View
from gtool.chat.visitor import Visitor
from gtool.live.reader import Reader
from gtool.live.terms import CURSOR_HEADER
from gtool.live.wish import Wish, wish_of
from gtool.web import sse
from gtool.web.frames import Message
from gtool.web.peer import Listener, WebSocket
from gtool.web.request import offered_subprotocols, query_of
from gtool.web.respond import CLOSE, Environ, Refused, StartResponse
from gtool.web.server import Handler

MOST_SAID = 1 << 12  #: bytes of what a reader says: nobody listens
LOADING = "messages are being loaded: try again soon"
SECONDS_AGO = re.compile(r"-(\d{1,12}(?:\.\d{1,6})?)", re.ASCII)


class _Asked(NamedTuple):
    wish: Wish
    rooms: frozenset[str] | None
    present: frozenset[str]  #: rooms that the reader is in
    user: str | None


class Streams:
    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def websocket(self, environ: Environ, _start_response: StartResponse, visitor: Visitor) -> Iterable[bytes]:
        asked = self._ask(environ, visitor)
        handler: Handler = environ["gtool.handler"]

        def open_(websocket: WebSocket) -> Listener:
            return self._begin(websocket, View(True, asked.rooms, websocket.window_bits), asked)

        chosen = SUBPROTOCOL if SUBPROTOCOL in offered_subprotocols(environ) else None
        handler.open_websocket(open_, MOST_SAID, [(CURSOR_HEADER, str(asked.wish.cursor))], chosen)
        return []

    def events(self, environ: Environ, _start_response: StartResponse, visitor: Visitor) -> Iterable[bytes]:
        asked = self._ask(environ, visitor)
        headers = [*sse.HEADERS, (CURSOR_HEADER, str(asked.wish.cursor))]
        handler: Handler = environ["gtool.handler"]
        stream = sse.EventStream()
        handler.open_stream(stream, lambda: self._begin(stream, View(False, asked.rooms), asked), headers)
        return []

    def _ask(self, environ: Environ, visitor: Visitor) -> _Asked:
        """Read what a reader asks for. Refused."""
        chat = self._chat
        if not chat.store.is_loaded:
            raise Refused("503 Service Unavailable", LOADING, [CLOSE])
        query = query_of(environ)
        rooms = frozenset(chat.room(name) for name in query.get("room", ()))
        present = frozenset(chat.room(name) for name in query.get("in", ())) or rooms
        wanted = query.get("as", [None])[-1]
        user = visitor.claim_of(wanted).name if wanted else next(iter(visitor.names), None)
        return _Asked(self._wish(environ, query), rooms or None, present, user)

    def _wish(self, environ: Environ, query: Mapping[str, list[str]]) -> Wish:
        """Read where a reader begins: an id, `all`, or -SECONDS: so long ago."""
        match = SECONDS_AGO.fullmatch(query.get("since", [""])[-1])
        if match is None or environ.get("HTTP_LAST_EVENT_ID"):
            return wish_of(environ, self._chat.store.log)
        offset = self._chat.store.offset_at(time() - float(match[1]))
        cursor = self._chat.cursor()._replace(offset=offset)
        return Wish(cursor, cursor)

    def _begin(self, stream: Any, view: View, asked: _Asked) -> _Present:
        """Give a reader what it has missed, and what comes. One that can't go on begins anew with the backlog."""
        chat = self._chat
        reader = chat.delivery.open(stream, view, asked.wish.since)
        present = _Present(chat, reader, asked)
        stream.listener = present
        reader.begin()
        for room in asked.present:
            reader.tell(presence_note(room, chat.presence.crowd(room)))
        return present


class _Present:
    """A reader's listener: who reads in its own name is in the rooms that it reads."""

    __slots__ = ("_leave", "_reader")

    def __init__(self, chat: Chat, reader: Reader, asked: _Asked) -> None:
        self._reader = reader
        self._leave: Callable[[], None] | None = None
        if asked.user is not None:
            chat.presence.enter(asked.present, asked.user)
            self._leave = partial(chat.presence.leave, asked.present, asked.user)

    def message(self, message: Message) -> None:
        self._reader.message(message)

    def drained(self) -> None:
        self._reader.drained()

    def closed(self) -> None:
        if self._leave:
            self._leave()
        self._reader.closed()
