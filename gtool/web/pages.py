"""Pages, scripts and styles that are package data: found by their path, with the headers that keep them harmless."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PREFIX = "/static/"
NAME = re.compile(r"[a-z0-9_]{1,64}\.(css|js|svg)", re.ASCII)  #: of what is given out; pages are given by html()
SHARED = "gtool.web"  #: live.js is there


class Page(NamedTuple):
    data: bytes
    content_type: str
    headers: list[tuple[str, str]]


class Pages:
    """The files below `static/` of a package, and of this one."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find(self, path: str) -> Page | None:
        """Give the file at `/static/NAME`; None if there is none."""
        name = path.removeprefix(PREFIX)
        if name == path or not NAME.fullmatch(name):
            return None
        data = _read(self._package, name) or _read(SHARED, name)
        if data is None:
            return None
        return Page(data, TYPES[name.rpartition(".")[2]], [("Cache-Control", "no-cache")])

    def html(self, name: str, host: str) -> Page:
        data = _read(self._package, name)
        assert data is not None
        return Page(data, TYPES["html"], [*harmless(host), ("Cache-Control", "no-cache")])


def harmless(host: str) -> list[tuple[str, str]]:
    """Give the header for a page in which no script or style but ours runs, that connects only to its own host.

    Browsers differ on whether 'self' has ws: in it (Content Security Policy level 3, section 6.7.2.8), so it is named;
    `host` has to be one that the guard has let in.
    """
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' "
        f"ws://{host} wss://{host}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return [("Content-Security-Policy", policy)]


@lru_cache(maxsize=64)
def _read(package: str, name: str) -> bytes | None:
    path = files(package) / "static" / name
    return path.read_bytes() if path.is_file() else None
