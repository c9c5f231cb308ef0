"""Where bodies are kept, and what can be wrong with that: in the record or nowhere, as they are here.

In a file is gtool.fetch.files, in line for stdout is gtool.fetch.stream. What bytes are held against is Body's, in
gtool.fetch.bodies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from gtool.fetch.record import Headers, inline_body


class ResumePoint(NamedTuple):
    """Bytes that a store already has, and what tells whether the rest still fits to them."""

    offset: int
    validator: str  #: for If-Range: an entity tag or a date


class CannotRestart(Exception):
    """Part of the body is out, and the rest cannot be asked for alone."""


class BadName(Exception):
    """An input has no file to go to."""


class Exists(Exception):
    """There is a file of that name, and it is to be left alone (--no-clobber)."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Store:
    """Keeps one body over all the attempts at it; this one keeps nothing. What writes may raise OSError."""

    skips_failures = False  #: the body of an answer that counts as a failure is left out

    def start(self) -> ResumePoint | None:
        """Make ready for an attempt: what to resume from, or None to start anew."""
        return None

    def take_back(self) -> None:
        """Have nothing of a failed attempt go out before the next one starts. CannotRestart if there can be none."""

    def rewind(self) -> None:
        """Throw away what is there: the answer starts from the first byte. May raise CannotRestart."""

    def begin(self, headers: Headers) -> None:
        """Take note of the answer whose bytes come next."""

    def append(self, data: bytes) -> None:
        """Keep some more bytes."""

    def prefix(self) -> Iterable[bytes]:
        """The bytes before a resume point, where an earlier run has left them."""
        return ()

    def finish(self, sha256: str | None) -> dict[str, Any]:
        """The body is complete: give the record's fields for it."""
        return {}

    def discard(self) -> dict[str, Any]:
        """The input has failed, or is given up: give the record's fields for what is left of its body."""
        return {}


NOWHERE = Store()  #: has no state, so one does for all


class InlineStore(Store):
    """Keeps the first `max_bytes` for the record; of a failed transfer too."""

    def __init__(self, max_bytes: int) -> None:
        self._data = bytearray()
        self._max_bytes = max_bytes
        self._is_truncated = False

    def take_back(self) -> None:
        self._data.clear()
        self._is_truncated = False

    def append(self, data: bytes) -> None:
        room = self._max_bytes - len(self._data)
        self._data += data[:room]
        self._is_truncated = self._is_truncated or len(data) > room

    def finish(self, sha256: str | None) -> dict[str, Any]:
        return inline_body(bytes(self._data), self._is_truncated)

    def discard(self) -> dict[str, Any]:
        return self.finish(None)


def validator_of(headers: Headers) -> str | None:
    """What If-Range may carry for this answer: a strong entity tag or a date; None if nothing or if it is encoded."""
    values = headers.as_dict()
    if "content-encoding" in values:
        return None  # offsets count encoded bytes, and we have kept decoded ones
    tag = values.get("etag", [""])[-1]
    if tag and not tag.startswith("W/"):
        return tag
    return values.get("last-modified", [None])[-1]
