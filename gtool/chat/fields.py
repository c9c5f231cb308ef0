"""What a request says, read as what it has to be. No I/O."""

from __future__ import annotations

from typing import Any

import simplejson

from gtool.streams.log import Cursor, parse_cursor
from gtool.web.respond import Refused


def json_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object. Refused for anything else."""
    try:
        fields = simplejson.loads(data.decode())
        if not isinstance(fields, dict):
            raise ValueError("it is none")
    except (ValueError, RecursionError) as error:
        raise Refused("400 Bad Request", f"a JSON object is wanted: {error}") from error
    return fields


def text_of(fields: dict[str, Any], name: str, default: Any) -> Any:
    """Give a field that is a text, or else `default` where it is not there. Refused for anything else."""
    value = fields.get(name, default)
    if value is not default and not isinstance(value, str):
        raise Refused("400 Bad Request", f"{name}: a text is wanted")
    return value


def cursor_of(text: str, name: str) -> Cursor:
    """Read an id. Refused for what is none."""
    try:
        return parse_cursor(text)
    except ValueError as error:
        raise Refused("400 Bad Request", f"{name}: {error}") from error
