"""What a server of streams and its tail have in common; what a tail is told, and what it writes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from gtool.web.frames import Message
from gtool.web.handshake import Place, Wanted

#: Header of an answer that begins a stream: the id after which it begins.
CURSOR_HEADER = "Gtool-Cursor"

Taken = TypeVar("Taken", contravariant=True)
Opened = TypeVar("Opened", bound="Identified", covariant=True)


class Settings(NamedTuple):
    """What a tail is told. Times are seconds; None is for ever, or without a bound."""

    wanted: Wanted
    place: Place
    tls: Any = None
    connect_timeout: float | None = 10.0
    most: int | None = None  #: messages
    timeout: float | None = None
    since: str | None = None  #: an id, or what else the server understands
    reconnects: bool = True
    is_strict: bool = False
    awaits: str = ""  #: what is to be said when the time is up before the output has enough


class Identified(Protocol):
    @property
    def id(self) -> str | None: ...


class Language(Protocol[Opened]):
    """What a server speaks."""

    @property
    def subprotocol(self) -> str:
        """Whoever agrees on this one tells ids."""

    def open(self, data: bytes) -> tuple[Opened | None, Mapping[str, Any]]:
        """Read a message of such a server, or else a note about the stream. ValueError if it is neither."""

    def bare(self, message: Message) -> Opened:
        """Take a message of any other server. PeerGone if that won't do."""


class Output(Protocol[Taken]):
    """What a tail writes to."""

    def write(self, received: Taken) -> bool:
        """Write a message; it is out when this returns. True if no further one is wanted."""

    def keep(self, cursor: str, is_last: bool = False) -> None:
        """Remember where to go on, for the next run."""

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call back, on the loop, when nobody reads any more."""
