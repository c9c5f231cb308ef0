"""What a request says; and what pywsgi lets pass in it, and other servers read differently. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from urllib.parse import parse_qs, urlsplit

from gtool.web.guard import TOKEN
from gtool.web.respond import Environ

ABSOLUTE = re.compile("[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)


class LengthWanted(ValueError):
    """A body comes in chunks."""


def check_headers(headers: Message) -> None:
    """Refuse two lengths of one body, on which servers differ. ValueError; LengthWanted for chunks.

    pywsgi's reader of chunks fails where a size is missing; what is sent to us is short, and its length known.
    """
    if len(set(headers.get_all("Content-Length", []))) > 1:
        raise ValueError("two lengths of one body")
    length = headers.get("Content-Length", "0").strip()
    if not (length.isascii() and length.isdigit()):
        raise ValueError("a length that is no number")
    if "Transfer-Encoding" in headers:
        raise LengthWanted


def origin_form(target: str) -> str:
    """Give a request's target without a scheme and a host (RFC 9112 section 3.2.2)."""
    if not ABSOLUTE.match(target):
        return target
    parts = urlsplit(target)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def query_of(environ: Environ) -> Mapping[str, list[str]]:
    return parse_qs(environ["QUERY_STRING"])


def offered_subprotocols(environ: Environ) -> list[str]:
    """Give the subprotocols that a client offers, the best first (RFC 6455 section 11.3.4)."""
    names = [name.strip() for name in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]
    return [name for name in names if TOKEN.fullmatch(name)]
