"""A short answer to a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gtool.web.guard import HEADERS

TEXT = "text/plain; charset=utf-8"

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


def respond(
    environ: Environ,
    start_response: StartResponse,
    status: str,
    body: bytes | str,
    content_type: str = TEXT,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """Answer a request with a whole body; a sentence gets its line feed."""
    data = f"{body}\n".encode() if isinstance(body, str) else body
    fields = [("Content-Type", content_type), ("Content-Length", str(len(data))), *HEADERS, *headers]
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        fields.append(("Connection", "close"))  # what stands in its body is nothing to us
    start_response(status, fields)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [data]
