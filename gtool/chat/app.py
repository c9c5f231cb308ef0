"""The chat as a WSGI application: who asks, and to whom that goes: a stream, a poll, or Flask for all that is short."""

from __future__ import annotations

from collections.abc import Iterable

import simplejson
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import HTTPException

from gtool.chat.api import Api
from gtool.chat.chat import Chat
from gtool.chat.pages import ChatPages
from gtool.chat.polls import Polls
from gtool.chat.streams import Streams
from gtool.chat.visitor import Visitor
from gtool.streams.log import Unavailable
from gtool.web.guard import HEADERS, Guard, Refusal
from gtool.web.pages import harmless
from gtool.web.respond import CLOSE, JSON, Application, Environ, Refused, StartResponse, respond
from gtool.web.site import NO_PAGE, READ_ONLY, check

MOST_SENT = 64 << 10  #: bytes of a request's body, at least
ESCAPED = 8  #: times that a message may be longer in JSON
FOREIGN = Refusal("403 Forbidden", "a form of another site can't be sent here")
#: Paths whose answers do without a name, or a token: it is there that one says who one is.
OPEN = ("/", "/favicon.ico")


class App:
    def __init__(self, chat: Chat, guard: Guard) -> None:
        self._chat = chat
        self._guard = guard
        self._most_sent = max(MOST_SENT, ESCAPED * chat.settings.max_message)
        self._polls = Polls(chat)
        streams = Streams(chat)
        self._flask: Application = make_flask(chat, self._polls, guard)
        self._streams = {"/api/ws": streams.websocket, "/api/stream": streams.events}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._answer(environ, start_response)
        except Unavailable as error:
            refused = away(error)
        except Refused as error:
            refused = error
        if not environ["PATH_INFO"].startswith("/api/") or environ["PATH_INFO"] in self._streams:
            raise refused  # in plain text: that is what clients of a WebSocket show
        body = f"{simplejson.dumps({'error': refused.text})}\n".encode()
        return respond(environ, start_response, refused.status, body, JSON, refused.headers)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        check(environ, self._guard.refuse_origin(environ) or _refuse_foreign(environ, method))
        if not environ["QUERY_STRING"].isascii():
            raise Refused("400 Bad Request", "a query of ASCII is wanted: other bytes are written as %XX")
        visitor = environ["gtool.visitor"] = Visitor(self._chat.store, self._guard, environ)
        if path not in OPEN:
            visitor.check()
        if method in READ_ONLY and (open_stream := self._streams.get(path)):
            return open_stream(environ, start_response, visitor)
        if method == "POST" and path.startswith("/poll/"):
            user = path.removeprefix("/poll/").encode("latin-1").decode(errors="replace")
            return self._polls.answer(environ, start_response, visitor, user)
        if int(environ.get("CONTENT_LENGTH") or 0) > self._most_sent:
            raise Refused("413 Content Too Large", f"a request has up to {self._most_sent} bytes", [CLOSE])
        return self._flask(environ, start_response)


def make_flask(chat: Chat, polls: Polls, guard: Guard) -> Flask:
    app = Flask("gtool.chat", static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = True  # to whoever runs us: one place answers for all bugs
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(Api(chat).blueprint)
    app.register_blueprint(ChatPages(chat, polls, guard).blueprint)

    @app.errorhandler(Refused)
    def refuse(error: Refused) -> Response:
        return _say(error.status, error.text, list(error.headers))

    @app.errorhandler(Unavailable)
    def postpone(error: Unavailable) -> Response:
        return refuse(away(error))

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> Response:
        headers = [("Allow", ", ".join(sorted(error.valid_methods or ())))] if hasattr(error, "valid_methods") else []
        text = {404: NO_PAGE, 405: "this can't be done here"}.get(error.code or 500, error.name)
        return _say(f"{error.code} {error.name}", text, headers)

    @app.after_request
    def harden(response: Response) -> Response:
        for name, value in HEADERS:
            response.headers.setdefault(name, value)
        return response

    return app


def away(error: Unavailable) -> Refused:
    return Refused("503 Service Unavailable", f"the store is away: {error}", [CLOSE, ("Retry-After", "1")])


def _say(status: str, text: str, headers: list[tuple[str, str]]) -> Response:
    """Say in a sentence what is wrong: in JSON below /api, on a page to a browser."""
    if request.path.startswith("/api/"):
        return Response(
            f"{simplejson.dumps({'error': text}, ensure_ascii=False)}\n", status, headers, content_type=JSON
        )
    if request.accept_mimetypes.best_match(["text/plain", "text/html"]) == "text/html":
        root = "../" * max(0, request.path.count("/") - 1) or "./"
        body = render_template("error.html", root=root, status=status, text=text)
        host = request.environ["HTTP_HOST"]
        return Response(body, status, [*headers, *harmless(host)], content_type="text/html; charset=utf-8")
    return Response(f"{text}\n", status, headers, content_type="text/plain; charset=utf-8")


def _refuse_foreign(environ: Environ, method: str) -> Refusal | None:
    """Refuse what a browser sends for a page of another site; one that names no Origin still says this (Fetch)."""
    is_foreign = environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none")
    return FOREIGN if is_foreign and method not in READ_ONLY else None
