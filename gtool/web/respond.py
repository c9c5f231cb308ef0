"""A short answer to a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gtool.web.guard import HEADERS

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

CLOSE = ("Connection", "close")  #: a header: what comes behind this request is nothing to us

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Refused(Exception):
    """A request that is not served: the answer's status, a sentence, and further headers."""

    def __init__(self, status: str, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers


def respond(
    environ: Environ,
    start_response: StartResponse,
    status: str,
    body: bytes | str,
    content_type: str = TEXT,
    headers: Iterable[tuple[str, str]] = (),
    is_read: bool = False,
) -> list[bytes]:
    """Answer a request with a whole body; a sentence gets its line feed.

    Unless `is_read`, nobody has read the request's own body, and the connection ends with the answer.
    """
    data = f"{body}\n".encode(errors="replace") if isinstance(body, str) else body
    fields = [("Content-Type", content_type), ("Content-Length", str(len(data))), *HEADERS, *headers]
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and not is_read:
        fields.append(CLOSE)
    start_response(status, fields)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [data]
