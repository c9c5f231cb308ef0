"""A received message as a line: bare, or as JSON; harmless on a terminal. No I/O."""

from __future__ import annotations

import base64
from typing import NamedTuple

import simplejson

from gtool.log import escape_controls


class Received(NamedTuple):
    """A message that came. `id` and `time`, in seconds since 1970, are those of a server that tells them."""

    data: bytes
    is_text: bool
    id: str | None = None
    time: float | None = None


def bare_line(received: Received, is_for_terminal: bool) -> bytes:
    """Write a message as it is, or in base64 if it is binary."""
    if not received.is_text:
        return base64.b64encode(received.data) + b"\n"
    if is_for_terminal:
        return escape_controls(received.data.decode()).encode(errors="backslashreplace") + b"\n"
    return received.data + b"\n"


def json_line(received: Received, now: float) -> bytes:
    """Write a message in an envelope; its time is `now` where the server has not told one."""
    fields = {"id": received.id, "time": round(now, 6) if received.time is None else received.time}
    if received.is_text:
        fields["data"] = received.data.decode()
    else:
        fields["base64"] = base64.b64encode(received.data).decode()
    return simplejson.dumps(fields, ensure_ascii=False).encode() + b"\n"
