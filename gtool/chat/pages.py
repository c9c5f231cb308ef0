"""The pages: choose a name, the rooms, a room. They work without JavaScript too, by forms."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, render_template, request

from gtool.chat.chat import BACKLOG, Chat
from gtool.chat.claims import Claim
from gtool.chat.exchange import address, end_sessions, give_session, posted, visitor
from gtool.chat.messages import unpack
from gtool.chat.names import check_name
from gtool.chat.polls import Polls
from gtool.chat.visitor import Visitor
from gtool.web.guard import Guard
from gtool.web.pages import harmless
from gtool.web.respond import Refused


class ChatPages:
    """What a browser shows. A page is told where the site's root is, relative to it: proxies may move it."""

    def __init__(self, chat: Chat, polls: Polls, guard: Guard) -> None:
        self._chat, self._polls, self._guard = chat, polls, guard
        self.blueprint = Blueprint("pages", __name__)
        for method, rule, view in (
            ("GET", "/", self.choose),
            ("POST", "/", self.choose_name),
            ("POST", "/leave", self.leave),
            ("GET", "/<user>", self.show_rooms),
            ("GET", "/<room>/<user>", self.join),
            ("POST", "/put/<room>/<user>", self.put),
        ):
            self.blueprint.add_url_rule(rule, view_func=view, methods=[method])
        self.blueprint.add_app_template_filter(iso_time, "iso")

    def _show(self, template: str, root: str, status: int = 200, **values: Any) -> Response:
        host = request.environ["HTTP_HOST"]
        body = render_template(template, root=root, is_private=self._guard.token is not None, **values)
        # Under no-referrer, as for all else, a browser has a form say "Origin: null": anybody's.
        headers = [*harmless(host), ("Cache-Control", "no-store"), ("Referrer-Policy", "same-origin")]
        return Response(body, status, content_type="text/html; charset=utf-8", headers=headers)

    def _show_choice(self, error: Refused | None = None, name: str = "") -> Response:
        status = int(error.status.split()[0]) if error else 200
        wrong = "" if error is None else "token" if status == 401 else "name"  # the field that is to be changed
        return self._show(
            "choose.html",
            "./",
            status,
            error=error.text if error else "",
            wrong=wrong,
            name=name,
            names=visitor().names,
        )

    def _claim(self, user: str) -> tuple[Claim, str | None]:
        """Give the visitor's claim of a name, and its token if it is new: whoever comes first has it. Refused."""
        who = visitor()
        if who.is_taken(user):
            return who.claim_of(user), None
        try:
            check_name(user)
        except ValueError as error:
            raise Refused("404 Not Found", f"there can be no user {user[:80]}: {error}") from error
        is_foreign = request.headers.get("Sec-Fetch-Site") == "cross-site"
        if is_foreign or "Sec-Purpose" in request.headers or request.method == "HEAD" or "." in user:
            raise Refused("403 Forbidden", f"nobody is {user} yet: a name is chosen at /")
        return self._chat.claim(who, user, address())

    def _give(self, response: Response, claim: Claim, token: str | None) -> Response:
        return give_session(response, self._chat.store.log.epoch, claim, token)

    def choose(self) -> Response:
        return self._show_choice()

    def choose_name(self) -> Response:
        name = request.form.get("name", "")
        who = visitor()
        self._chat.check_address(address())
        try:
            if not who.may_enter and self._guard.token is not None:
                who = Visitor(
                    self._chat.store, self._guard, _with_token(request.environ, request.form.get("token", ""))
                )
                who.check()
            found, token = (who.claim_of(name), None) if name in who.names else self._chat.claim(who, name, address())
        except Refused as error:
            return self._show_choice(error, name)
        return self._give(see_other(f"./{quote(found.name)}"), found, token)

    def leave(self) -> Response:
        return end_sessions(see_other("./"), self._chat.store, request.form.getlist("name"))

    def show_rooms(self, user: str) -> Response:
        found, token = self._claim(user)
        response = self._show(
            "rooms.html",
            "./",
            user=found.name,
            rooms=self._chat.store.rooms(),
            presence=self._chat.presence,
            cursor=str(self._chat.cursor()),
            may_add_rooms=self._chat.settings.allows_new_rooms,
        )
        return self._give(response, found, token)

    def join(self, room: str, user: str) -> Response:
        room = self._chat.room(room)
        found, token = self._claim(user)
        cursor = self._chat.cursor()
        self._polls.join(found.key, room)
        epoch = self._chat.store.log.epoch
        messages = [unpack(epoch, entry) for entry in self._chat.store.history(room, None, BACKLOG)]
        response = self._show(
            "room.html",
            "../",
            user=found.name,
            room=room,
            rooms=self._chat.store.rooms(),
            messages=messages,
            cursor=str(cursor),
            crowd=self._chat.presence.crowd(room),
            has_older=len(messages) == BACKLOG,
            key=secrets.token_urlsafe(12),  # by which a form that is sent twice says its message once
        )
        return self._give(response, found, token)

    def put(self, room: str, user: str) -> Response:
        room = self._chat.room(room)
        found = visitor().claim_of(user)
        key = request.headers.get("Idempotency-Key") or request.form.get("key") or None
        entry, is_new = self._chat.say(found.name, room, request.form.get("message", ""), key, address())
        if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
            return see_other(f"../../{quote(room)}/{quote(found.name)}")
        return posted(self._chat.store.log.epoch, entry, is_new)


def see_other(where: str) -> Response:
    return Response(status=303, headers=[("Location", where)])


def iso_time(seconds: float) -> str:
    """Write seconds since 1970 as <time> has it: in UTC, with as many digits as JavaScript's clock."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _with_token(environ: dict[str, Any], token: str) -> dict[str, Any]:
    """Have a form's token count as one of a header."""
    return {**environ, "HTTP_AUTHORIZATION": f"Bearer {token.encode().decode('latin-1')}"}
