"""A received message as a line, or as the fields of one in JSON. No I/O."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import simplejson

from gtool.log import escape_controls
from gtool.streams.log import parse_cursor


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
        return escape_controls(received.data.decode(errors="replace")).encode(errors="backslashreplace") + b"\n"
    return received.data + b"\n"


def enveloped(received: Received, now: float) -> dict[str, object]:
    """Give a message as the fields of an envelope; its time is `now` where the server has not told one."""
    fields: dict[str, object] = {"id": received.id, "time": round(now, 6) if received.time is None else received.time}
    if received.is_text:
        fields["data"] = received.data.decode(errors="replace")  # a path may be anything
    else:
        fields["base64"] = base64.b64encode(received.data).decode()
    return fields


def open_envelope(data: bytes) -> tuple[Received | None, Mapping[str, Any]]:
    """Read what ws-feed says to who has asked for ids: a message, or else a note. ValueError if it is neither."""
    try:
        fields = simplejson.loads(data)
        if not isinstance(fields, dict):
            raise ValueError("no object")
        if "id" not in fields:
            return None, fields
        time_s = float(fields["time"])
        if not math.isfinite(time_s):
            raise ValueError("no time")
        message = Received(fields["data"].encode(), True, str(parse_cursor(fields["id"])), time_s)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError("no envelope of ws-feed's") from error
    return message, {}
