"""What every web-facing tool has at its door: who may come in, its base path, its files, its health and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gtool.runtime.report import EXPOSITION_TYPE
from gtool.web.guard import Guard, Refusal
from gtool.web.pages import Pages
from gtool.web.respond import CLOSE, Application, Environ, Refused, StartResponse, respond

NO_STORE = ("Cache-Control", "no-store")
NO_PAGE = "there is no such page: see /"
READ_ONLY = ("GET", "HEAD")


class Status(NamedTuple):
    """What an application says of itself."""

    health: Callable[[], str]  #: what is wrong, or nothing
    metrics: Callable[[], str]  #: in Prometheus' text format


class Site:
    """A WSGI application around a tool's own; that one finds its paths without the base path, as in PATH_INFO."""

    def __init__(self, application: Application, guard: Guard, base_path: str, pages: Pages, status: Status) -> None:
        """`base_path` begins with a slash, or is empty."""
        self._application = application
        self._guard = guard
        self._base_path = base_path
        self._pages = pages
        self._status = status

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return self._answer(environ, start_response)
        except Refused as error:
            return respond(environ, start_response, error.status, error.text, headers=error.headers)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        check(environ, self._guard.refuse_host(environ))
        path = self._inner_path(environ["PATH_INFO"])
        if path is None:
            if environ["PATH_INFO"] == self._base_path:
                return self._redirect(environ, start_response)
            raise Refused("404 Not Found", NO_PAGE)
        if environ["REQUEST_METHOD"] in READ_ONLY:
            if path == "/healthz":
                trouble = self._status.health()
                status = "503 Service Unavailable" if trouble else "200 OK"
                return respond(environ, start_response, status, trouble or "ok", headers=[NO_STORE])
            if page := self._pages.find(path):
                return respond(environ, start_response, "200 OK", page.data, page.content_type, page.headers)
            if path == "/metrics":
                check(environ, self._guard.refuse_origin(environ) or self._guard.refuse_token(environ))
                body = self._status.metrics().encode()
                return respond(environ, start_response, "200 OK", body, EXPOSITION_TYPE, [NO_STORE])
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = self._base_path, path
        return self._application(environ, start_response)

    def _inner_path(self, path: str) -> str | None:
        if not self._base_path:
            return path
        inner = path.removeprefix(self._base_path)
        return inner if inner != path and inner.startswith("/") else None

    def _redirect(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Send on to the base path with its slash. Relative: a proxy may have its own idea of what comes before."""
        query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
        where = f"{self._base_path.rpartition('/')[2]}/{query}"
        return respond(environ, start_response, "308 Permanent Redirect", "", headers=[("Location", where)])


def check(environ: Environ, refusal: Refusal | None) -> None:
    """Say no, where the guard does. Refused."""
    if refusal is None:
        return
    environ["gtool.handler"].connection.warn("request refused", reason=refusal.text)
    ask = [("WWW-Authenticate", "Bearer")] if refusal.status.startswith("401") else []
    raise Refused(refusal.status, refusal.text, [*ask, CLOSE])
