"""Who may use a web-facing tool: by the Host that was asked for, the Origin that asks, and a shared secret. No I/O.

A page of another site can open a WebSocket to any address its visitor reaches; the browser only names the page's
Origin. And a name that a stranger owns can be pointed at loopback after the page was loaded (DNS rebinding): then the
Origin fits, and the Host is one that we were not told to serve.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
ANY = "*"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  #: a name in a header (RFC 9110 section 5.6.2)
HOST = re.compile(r"(?:([0-9a-z._-]+)|\[([0-9a-f:.]+(?:%[0-9a-z._-]+)?)\])(?::(\d{0,5}))?", re.ASCII)
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

#: for every answer; pages add a Content-Security-Policy of their own
HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Refusal(NamedTuple):
    status: str
    text: str


class Guard(NamedTuple):
    """`hosts` are names and addresses without a port, in lower case; `origins` as browsers send them. `*` is any."""

    hosts: frozenset[str] = frozenset(LOOPBACK_NAMES)
    origins: frozenset[str] = frozenset()
    token: str | None = None

    def refuse_host(self, environ: dict[str, Any]) -> Refusal | None:
        """Say what is wrong with a request's Host; `gtool.local_host` in environ is the address that it came to."""
        host = split_host(environ.get("HTTP_HOST", ""))
        if host is None:
            return Refusal("400 Bad Request", "the Host header is missing, or no host")
        if ANY in self.hosts or host[0] in self.hosts or host[0] == environ.get("gtool.local_host"):
            return None
        return Refusal("403 Forbidden", f"this server is not told to serve the host {host[0]!r} (--allow-host)")

    def refuse_origin(self, environ: dict[str, Any]) -> Refusal | None:
        """Say whether a page of another site asks. Programs send no Origin, and need none."""
        origin = environ.get("HTTP_ORIGIN")
        if origin is None or self.is_allowed(origin) or is_same(origin, environ.get("HTTP_HOST", "")):
            return None
        return Refusal("403 Forbidden", f"the origin {origin[:200]!r} is not allowed (--allow-origin)")

    def refuse_token(self, environ: dict[str, Any]) -> Refusal | None:
        """Ask for the secret, as `Authorization: Bearer`, or `?token=` where a browser can't send a header."""
        if self.token is None:
            return None
        kind, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        given = credentials.strip(" \t")
        if kind.lower() != "bearer":
            given = dict(parse_qsl(environ["QUERY_STRING"], encoding="latin-1")).get("token", "")
        # WSGI's strings are bytes in disguise (PEP 3333).
        if hmac.compare_digest(given.encode("latin-1"), self.token.encode()):
            return None
        return Refusal("401 Unauthorized", "the token is missing, or wrong (Authorization: Bearer, or ?token=)")

    def is_allowed(self, origin: str) -> bool:
        return ANY in self.origins or origin.lower() in self.origins


def guard_for(
    listening: Iterable[str], hosts: Iterable[str], origins: Iterable[str], token: str | None = None
) -> Guard:
    """Make a guard that serves loopback names, the hosts listened on by name, and those allowed.

    ValueError for a host or an origin that is none, and could never match.
    """
    served = {*LOOPBACK_NAMES, *(host.strip("[]").lower() for host in listening), *map(_host, hosts)}
    return Guard(frozenset(served), frozenset(map(_origin, origins)), token)


def _host(text: str) -> str:
    if text == ANY:
        return ANY
    found = split_host(f"[{text}]" if text.count(":") > 1 and "[" not in text else text)
    if found is None:
        raise ValueError(f"{text!r} is not a host such as feed.example.com")
    return found[0]


def _origin(text: str) -> str:
    """Spell an origin as browsers do: without the port that is the scheme's own."""
    if text == ANY:
        return ANY
    scheme, separator, rest = text.rstrip("/").lower().partition("://")
    if not separator or not scheme or split_host(rest) is None:
        raise ValueError(f"{text!r} is not an origin such as https://example.com")
    return f"{scheme}://{rest.removesuffix(f':{PORTS.get(scheme)}')}"


def split_host(header: str) -> tuple[str, int | None] | None:
    """Part a Host header into the host, in lower case and without brackets, and the port; None if it is none."""
    match = HOST.fullmatch(header.strip().lower())
    if match is None:
        return None
    name, address, digits = match.groups()
    host, port = (name or address).rstrip("."), int(digits) if digits else None
    return (host, port) if host and (port or 0) < 1 << 16 else None


def is_same(origin: str, host_header: str) -> bool:
    """Whether an Origin is that of the Host; where one has no port it is the default one of the Origin's scheme."""
    scheme, separator, rest = origin.partition("://")
    theirs, ours = split_host(rest), split_host(host_header)
    default = PORTS.get(scheme.lower())
    if not separator or default is None or theirs is None or ours is None:
        return False
    return (theirs[0], theirs[1] or default) == (ours[0], ours[1] or default)
