"""The JSON API, but for what goes on after its request: see streams and polls."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import simplejson
from flask import Blueprint, Response, request

from gtool.chat.chat import Chat
from gtool.chat.fields import JSON, cursor_of, json_object, text_of
from gtool.chat.messages import render, render_all
from gtool.chat.store import words_of
from gtool.chat.visitor import Visitor, cookie_name
from gtool.streams.log import Cursor, Entry, oldest_cursor
from gtool.streams.subscription import can_resume
from gtool.web.respond import Refused

SHOWN, MOST_SHOWN = 50, 500  #: messages in an answer
COOKIE_S = 30 * 24 * 3600


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
        return answer({"rooms": [self._described(room) for room in self._chat.store.rooms()]})

    def add_room(self) -> Response:
        room, is_new = self._chat.add_room(fields_of_request().get("name"), address())
        return answer(self._described(room), 201 if is_new else 200)

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
        return answertext_of(f'{{"messages": {render_all(self._log.epoch, entries)}, {simplejson.dumps(head)[1:]}')

    def search(self) -> Response:
        self._chat.check_address(address())
        words = words_of(request.args.get("q", ""))
        if not words:
            raise Refused("400 Bad Request", "q: words to look for are wanted")
        rooms = [self._chat.room(name) for name in request.args.getlist("room")] or self._chat.store.rooms()
        found = self._chat.store.search(words, rooms, _before(self._log.epoch), _limit())
        return answertext_of(f'{{"messages": {render_all(self._log.epoch, found)}}}')

    def presence(self) -> Response:
        rooms = [self._chat.room(name) for name in request.args.getlist("room")] or self._chat.store.rooms()
        crowds = {room: self._chat.presence.crowd(room) for room in rooms}
        return answer(
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
        return answer({"names": visitor().names})

    def begin_session(self) -> Response:
        claim, token = self._chat.claim(visitor(), text_of(fields_of_request(), "name", ""), address())
        return with_cookie(
            answer({"name": claim.name, "token": token}, 201), cookie_name(claim.key, self._log.epoch), token
        )

    def end_session(self) -> Response:
        response = Response(status=204)
        for name in [request.args["name"]] if "name" in request.args else visitor().names:
            claim = visitor().claim_of(name)
            self._chat.store.drop_claim(claim)
            response.delete_cookie(cookie_name(claim.key, self._log.epoch), path=cookie_path())
        return response


def visitor() -> Visitor:
    found: Visitor = request.environ["gtool.visitor"]
    return found


def address() -> str:
    """Give where a request comes from, for limits: of IPv6 the network, of which one host may have all."""
    found = request.environ.get("REMOTE_ADDR") or ""
    return ":".join(ip_address(found).exploded.split(":")[:4]) if ":" in found and "%" not in found else found


def posted(epoch: str, entry: Entry, is_new: bool) -> Response:
    response = answertext_of(render(epoch, entry), 201)
    if not is_new:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def answer(body: object, status: int = 200) -> Response:
    return answertext_of(simplejson.dumps(body, ensure_ascii=False), status)


def answertext_of(body: str, status: int = 200) -> Response:
    return Response(f"{body}\n", status, content_type=JSON, headers=[("Cache-Control", "no-store")])


def with_cookie(response: Response, name: str, token: str) -> Response:
    """Give a browser its session; scripts in pages can't read it, and other sites' requests don't bring it."""
    response.set_cookie(
        name,
        token,
        max_age=COOKIE_S,  # how long the name is whose it is is said by the claim
        path=cookie_path(),
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


def cookie_path() -> str:
    return request.environ["SCRIPT_NAME"] or "/"


def fields_of_request() -> dict[str, Any]:
    """Give the JSON object that a request brings. Refused for anything else."""
    if request.mimetype != JSON:
        raise Refused("415 Unsupported Media Type", f"Content-Type: {JSON} is wanted")
    return json_object(request.get_data(cache=False))


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
