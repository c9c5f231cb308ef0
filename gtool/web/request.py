"""What pywsgi lets pass in a request, and other servers read differently."""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import urlsplit

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
