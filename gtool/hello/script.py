"""What hello-server says: a message, then counted lines from a template. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from string import Formatter
from typing import NamedTuple

FIELDS = ("n", "time", "peer", "connection")


class BadTemplate(ValueError):
    """The template can't be filled in; says why."""


class Script(NamedTuple):
    """The message is bytes as they are; the lines get line ends. `lines` of them, numbered from 0."""

    message: bytes
    template: str
    lines: int
    line_end: bytes = b"\n"

    def parts(self, peer: str, connection: int, clock: Callable[[], str]) -> Iterator[bytes]:
        """Give the message, if there is one, then line by line. `clock` tells the time in words."""
        if self.message:
            yield self.message
        for n in range(self.lines):
            fields = {"n": n, "time": clock(), "peer": peer, "connection": connection}
            yield self.template.format_map(fields).encode(errors="surrogateescape") + self.line_end


def check_template(template: str) -> None:
    """Raise BadTemplate for fields that there are not, and for braces that do not match."""
    try:
        fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise BadTemplate(f"template {template!r}: {error}") from error
    for field in fields:
        if field not in FIELDS:
            raise BadTemplate(
                f"template {template!r}: there is no {{{field}}}; there are {{n}} {{time}} {{peer}} {{connection}}"
            )
    try:
        template.format_map({"n": 0, "time": "", "peer": "", "connection": 1})
    except ValueError as error:
        raise BadTemplate(f"template {template!r}: {error}") from error
