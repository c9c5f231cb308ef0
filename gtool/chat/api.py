"""The JSON API, but for what goes on after its request: see streams and polls."""

from __future__ import annotations

import simplejson
from flask import Blueprint, Response, request

from gtool.chat.chat import Chat
from gtool.chat.exchange import (
    address,
    end_sessions,
    fields_of_request,
    give_session,
    json_answer,
    json_text_answer,
    posted,
    visitor,
)
from gtool.chat.fields import cursor_of, text_of
from gtool.chat.messages import render_all
from gtool.chat.store import words_of
from gtool.streams.log import Cursor, oldest_cursor
from gtool.streams.subscription import can_resume
from gtool.web.respond import Refused

SHOWN, MOST_SHOWN = 50, 500  #: messages in an answer


class Api:
    """What is below /api."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._log = chat.store.log
        self.blueprint = Blueprint("api", __name__, url_prefix="/api")
        for method, rule, view in (
            ("GET", "/rooms", self.list_rooms),
            ("POST", "/rooms", self.add_room),
            ("POST", "/rooms/<room>/messages", self.post),
            ("GET", "/rooms/<room>/messages", self.list_messages),
            ("GET", "/search", self.search),
            ("GET", "/presence", self.presence),
            ("POST", "/rooms/<room>/typing", self.typing),
            ("GET", "/session", self.show_session),
            ("POST", "/session", self.begin_session),
            ("DELETE", "/session", self.end_session),
        ):
            self.blueprint.add_url_rule(rule, view_func=view, methods=[method])

    def _described(self, room: str) -> dict[str, object]:
        last = self._chat.store.history(room, None, 1)
        newest = str(Cursor(self._log.epoch, last[0].offset)) if last else None
        return {"name": room, "newest": newest, "users": self._chat.presence.crowd(room).count}

    def list_rooms(self) -> Response:
        return json_answer({"rooms": [self._described(room) for room in self._chat.store.rooms()]})

    def add_room(self) -> Response:
        room, is_new = self._chat.add_room(fields_of_request().get("name"), address())
        return json_answer(self._described(room), 201 if is_new else 200)

    def post(self, room: str) -> Response:
        fields = fields_of_request()
        user = visitor().name_for(text_of(fields, "user", None))
        key = request.headers.get("Idempotency-Key")
        entry, is_new = self._chat.say(user, self._chat.room(room), text_of(fields, "text", ""), key, address())
        return posted(self._log.epoch, entry, is_new)

    def list_messages(self, room: str) -> Response:
        return self._page_of(self._chat.room(room))

    def _page_of(self, room: str) -> Response:
        """Give a page: after `since`, or else the last before `before`. Both in order."""
        most, since = _limit(), request.args.get("since", "")
        is_recovered = True
        if since:
            after = oldest_cursor(self._log) if since == "all" else cursor_of(since, "since")
            is_recovered = can_resume(self._log, after)
            after = after if is_recovered else self._chat.backlog(frozenset((room,)))
            entries = self._chat.store.after(room, after.offset, most)
            last = entries[-1].offset if len(entries) == most else self._log.newest_offset
            cursor = max(Cursor(self._log.epoch, last), after)
        else:
            cursor = self._chat.cursor()
            entries = self._chat.store.history(room, _before(self._log.epoch), most)
        head = {"cursor": str(cursor), "recovered": is_recovered, "oldest": str(oldest_cursor(self._log))}
        return json_text_answer(f'{{"messages": {render_all(self._log.epoch, entries)}, {simplejson.dumps(head)[1:]}')

    def search(self) -> Response:
        self._chat.check_address(address())
        words = words_of(request.args.get("q", ""))
        if not words:
            raise Refused("400 Bad Request", "q: words to look for are wanted")
        rooms = [self._chat.room(name) for name in request.args.getlist("room")] or self._chat.store.rooms()
        found = self._chat.store.search(words, rooms, _before(self._log.epoch), _limit())
        return json_text_answer(f'{{"messages": {render_all(self._log.epoch, found)}}}')

    def presence(self) -> Response:
        rooms = [self._chat.room(name) for name in request.args.getlist("room")] or self._chat.store.rooms()
        crowds = {room: self._chat.presence.crowd(room) for room in rooms}
        return json_answer(
            {
                "rooms": {room: crowd.users for room, crowd in crowds.items()},
                "counts": {room: crowd.count for room, crowd in crowds.items()},
            }
        )

    def typing(self, room: str) -> Response:
        fields = fields_of_request()
        self._chat.check_address(address())
        self._chat.typing(visitor().name_for(text_of(fields, "user", None)), self._chat.room(room))
        return Response(status=204)

    def show_session(self) -> Response:
        return json_answer({"names": visitor().names})

    def begin_session(self) -> Response:
        claim, token = self._chat.claim(visitor(), text_of(fields_of_request(), "name", ""), address())
        response = json_answer({"name": claim.name, "token": token}, 201)
        return give_session(response, self._log.epoch, claim, token)

    def end_session(self) -> Response:
        names = [request.args["name"]] if "name" in request.args else visitor().names
        return end_sessions(Response(status=204), self._chat.store, names)


def _before(epoch: str) -> int | None:
    """Give the offset that `before` names; of an id of another epoch nothing is known."""
    text = request.args.get("before")
    if not text:
        return None
    cursor = cursor_of(text, "before")
    if cursor.epoch != epoch:
        raise Refused("410 Gone", f"{text} is of messages that are kept no more")
    return cursor.offset


def _limit() -> int:
    text = request.args.get("limit", "")
    if not text:
        return SHOWN
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST_SHOWN):
        raise Refused("400 Bad Request", f"limit: a number from 1 to {MOST_SHOWN} is wanted")
    return int(text)
