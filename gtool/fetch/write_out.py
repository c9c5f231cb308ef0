"""curl's --write-out: a line per input, from the fields of its record. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from gtool.fetch.record import FIELDS, Record
from gtool.fetch.record_json import encode_json, json_line
from gtool.log import escape_controls

ALIASES = {
    "http_code": "response_code",
    "urlnum": "seq",
    "filename_effective": "body_path",
}  #: curl's other names
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
VARIABLE_OR_ESCAPE = re.compile(r"%%|%\{([^}]*)\}|\\(.)", re.DOTALL)


def parse_write_out(template: str) -> Callable[[Record], str]:
    """Compile curl's --write-out format to a function of a record, one line each.

    ValueError names a variable that is none. `%{json}` is the whole record.
    """
    parts: list[Callable[[Record], str]] = []
    position = 0
    for match in VARIABLE_OR_ESCAPE.finditer(template):
        parts.append(_constant(template[position : match.start()]))
        parts.append(_variable(match))
        position = match.end()
    parts.append(_constant(template[position:]))

    def line(record: Record) -> str:
        text = "".join(part(record) for part in parts)
        return text if text.endswith("\n") else f"{text}\n"

    return line


def _constant(text: str) -> Callable[[Record], str]:
    return lambda _record: text


def _variable(match: re.Match[str]) -> Callable[[Record], str]:
    if match[0] == "%%":
        return _constant("%")
    if match[2] is not None:
        return _constant(ESCAPES.get(match[2], match[0]))
    name = ALIASES.get(match[1], match[1])
    if name == "json":
        return lambda record: json_line(record).rstrip("\n")
    if name not in FIELDS:
        raise ValueError(f"unknown variable %{{{match[1]}}}; there are: {', '.join(FIELDS)}, json")
    return lambda record: _plain(record.get(name))


def _plain(value: object) -> str:
    """Spell a value for a line of text, where control characters of a peer have no place."""
    if isinstance(value, float):
        return f"{value:.6f}"
    if value is None:
        return ""
    return escape_controls(value) if isinstance(value, str) else encode_json(value)
