"""What hello-server says: a message, then counted lines from a template. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from string import Formatter
from typing import NamedTuple

FIELDS = ("n", "time", "peer", "connection")
WIDTH = re.compile(r"0?\d{1,3}", re.ASCII)


class BadTemplate(ValueError):
    """The template can't be filled in; says why."""


class Script(NamedTuple):
    """The message is bytes as they are; the lines get line ends. `lines` of them, numbered from 0."""

    message: bytes
    template: str
    lines: int
    line_end: bytes = b"\n"

    @property
    def size(self) -> int:
        """Of how many parts it is."""
        return self.lines + bool(self.message)

    def parts(self, peer: str, connection: int, clock: Callable[[], str]) -> Iterator[bytes]:
        """Give the message, if there is one, then line by line. `clock` tells the time in words."""
        if self.message:
            yield self.message
        for n in range(self.lines):
            fields = {"n": n, "time": clock(), "peer": peer, "connection": connection}
            yield self.template.format_map(fields).encode(errors="surrogateescape") + self.line_end


def check_template(template: str) -> None:
    """Raise BadTemplate for fields that there are not, for braces that do not match, for formats but a width of {n}."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise BadTemplate(f"template {template!r}: {error}") from error
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS:
            known = " ".join(f"{{{name}}}" for name in FIELDS)
            raise BadTemplate(f"template {template!r}: there is no {{{field}}}; there are {known}")
        if conversion or (spec and not (field == "n" and WIDTH.fullmatch(spec))):
            raise BadTemplate(f"template {template!r}: {{{field}}} takes no format; {{n}} takes a width, as {{n:03}}")
