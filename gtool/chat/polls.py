"""Long polls: what comes after a cursor, or is waited for; for those who send no cursor, one is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic
from typing import NamedTuple
from urllib.parse import parse_qs
from weakref import ReferenceType, ref

import simplejson

from gtool.chat.chat import Chat
from gtool.chat.fields import cursor_of, json_object
from gtool.chat.messages import render_all
from gtool.chat.visitor import Visitor
from gtool.runtime.connection import Connection
from gtool.streams.log import Cursor, Entry, oldest_cursor
from gtool.streams.subscription import Subscription
from gtool.web.request import query_of
from gtool.web.respond import CLOSE, JSON, Environ, Refused, StartResponse, respond
from gtool.web.server import Handler
from gtool.web.site import NO_STORE

WAIT_S = 10.0
MOST_FIELDS = 8192  #: bytes of a request's fields
MOST_GIVEN = 200  #: messages in an answer
PAGE = 500  #: entries that are looked at at once
USERS = 2_000  #: that poll without a cursor


class Answer(NamedTuple):
    entries: list[Entry]
    cursor: Cursor  #: for the next poll
    is_recovered: bool


class _Place(NamedTuple):
    """Where somebody is who sends no cursor: it has what is up to `had`, and was given what is up to `given`."""

    had: Cursor
    given: Cursor
    connection: Connection | None = None  #: over which it was given
    handler: ReferenceType[Handler] | None = None  #: while that stands

    def has_arrived(self, connection: Connection) -> bool:
        """Whether the answer has, to one who asks again over a connection."""
        if self.connection is None or self.connection is connection:
            return True
        handler = self.handler() if self.handler else None
        return handler.has_arrived if handler else self.connection.ended_for == "closed"


Asker = tuple[str, frozenset[str] | None]  #: the key of a name, and the rooms that are asked for


class Polls:
    """POST /poll/USER."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._joined: OrderedDict[str, dict[str, None]] = OrderedDict()  # rooms, by the key of a user's name
        self._places: OrderedDict[Asker, _Place] = OrderedDict()

    def join(self, key: str, room: str) -> None:
        """Have a user, who sends no cursor or rooms, get what comes in a room from now on."""
        now = self._chat.cursor()
        rooms = self._joined.setdefault(key, {})
        before = self._places.get((key, frozenset(rooms) or None), _Place(now, now))
        rooms[room] = None
        self._joined.move_to_end(key)
        if len(self._joined) > USERS:
            self._joined.popitem(last=False)
        self._keep((key, frozenset(rooms)), before)

    def answer(self, environ: Environ, start_response: StartResponse, visitor: Visitor, user: str) -> Iterable[bytes]:
        """Answer once there is something, or in WAIT_S. Refused."""
        fields = _fields(environ)
        claim = visitor.claim_of(user)
        names = [self._chat.room(name) for name in fields.get("room", ())]
        rooms = frozenset(names or self._joined.get(claim.key) or ()) or None
        present = frozenset(self._chat.room(name) for name in fields.get("in", ())) or rooms or frozenset()
        self._chat.presence.polled(present, claim.name, monotonic())
        text = (fields.get("cursor") or [""])[-1]
        handler: Handler = environ["gtool.handler"]
        asker = (claim.key, rooms)
        since = cursor_of(text, "cursor") if text else self._place(asker, handler)
        found = self._wait(since, rooms)
        if not text:
            # Who has shut down its side may not be there any more: it comes again for the same.
            given = since if handler.is_half_closed else found.cursor
            self._keep(asker, _Place(since, given, handler.connection, ref(handler)))
        body = (
            f'{{"messages": {render_all(found.cursor.epoch, found.entries)}, "cursor": "{found.cursor}", "recovered":'
            f' {simplejson.dumps(found.is_recovered)}, "oldest": "{oldest_cursor(self._chat.store.log)}"}}'
        )
        return respond(environ, start_response, "200 OK", body.encode(), JSON, [NO_STORE], is_read=True)

    def _place(self, asker: Asker, handler: Handler) -> Cursor:
        """Give the cursor of somebody who sends none: after what the last answer gave, if that has arrived."""
        place = self._places.get(asker)
        if place is None:
            return self._chat.cursor()
        return place.given if place.has_arrived(handler.connection) else place.had

    def _keep(self, asker: Asker, place: _Place) -> None:
        self._places[asker] = place
        self._places.move_to_end(asker)
        if len(self._places) > USERS:
            self._places.popitem(last=False)

    def _wait(self, since: Cursor, rooms: frozenset[str] | None) -> Answer:
        delivery = self._chat.delivery
        subscription = Subscription(delivery.log, since)
        if not subscription.is_recovered:
            subscription.begin_anew(self._chat.backlog(rooms))
        deadline = monotonic() + WAIT_S
        with delivery.waiting(rooms) as event:
            while True:
                event.clear()
                entries = [] if subscription.is_awaited() else _take(subscription, rooms)
                rest = deadline - monotonic()
                if entries or not subscription.is_recovered or rest <= 0 or delivery.has_let_go:
                    break
                event.wait(rest)
        if subscription.is_awaited():  # of another process, that has more than we have; or of nobody
            if rest > 0:
                return Answer([], since, is_recovered=True)
            subscription.begin_anew(self._chat.backlog(rooms))
            entries = _take(subscription, rooms)
        return Answer(entries, self._cursor(subscription.position), subscription.is_recovered)

    def _cursor(self, position: int) -> Cursor:
        """Give the cursor after an entry's number."""
        log = self._chat.delivery.log
        entries = log.read(position - 1, 1) if log.oldest <= position else []
        return Cursor(log.epoch, entries[0].offset if entries else log.newest_offset)


def _take(subscription: Subscription, rooms: frozenset[str] | None) -> list[Entry]:
    """Give what comes next in these rooms, up to MOST_GIVEN."""
    found: list[Entry] = []
    while len(found) < MOST_GIVEN and subscription.has_more:
        for entry in subscription.take(PAGE):
            if rooms is None or entry.topic in rooms:
                found.append(entry)
                if len(found) == MOST_GIVEN:
                    subscription.position = entry.number
                    break
    return found


def _fields(environ: Environ) -> dict[str, list[str]]:
    """Give what a form, a JSON object or the query says. Refused."""
    fields = dict(query_of(environ))
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MOST_FIELDS:
        raise Refused("413 Content Too Large", f"a poll has up to {MOST_FIELDS} bytes", [CLOSE])
    data = environ["wsgi.input"].read(length)
    if not environ.get("CONTENT_TYPE", "").startswith(JSON):
        return {**fields, **parse_qs(data.decode(errors="replace"))}
    given = json_object(data or b"{}")
    return {**fields, **{name: [str(one) for one in _listed(value)] for name, value in given.items()}}


def _listed(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]
