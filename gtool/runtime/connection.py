"""One accepted connection: who it is, what it has done, and for which reason it has ended."""

from __future__ import annotations

import errno
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from gtool.log import SeldomLog

if TYPE_CHECKING:
    from gtool.runtime.gate import IpAddress

CHUNK_BYTES = 1 << 16
LINGER_S = 2.0  #: how long a peer may take to close when we have said all
GOOD_BYE_S = 0.2  #: the same, when the server closes for a reason of its own


class Owner(Protocol):
    """The server, as far as a connection knows it."""

    seldom: SeldomLog

    def ended(self, connection: Connection, reason: str) -> None: ...


class Driver(Protocol):
    def close(self, reason: str) -> None:
        """Close the socket now, and end the connection with that reason."""


class Connection:
    """Counts of one connection. Its driver keeps them, and ends it once the socket is closed."""

    __slots__ = (
        "_owner",
        "active_at",
        "driver",
        "ended_for",
        "ip",
        "is_tls",
        "messages",
        "number",
        "opened_at",
        "peer",
        "received",
        "sent",
    )

    def __init__(self, owner: Owner, peer: str, ip: IpAddress | None, is_tls: bool = False) -> None:
        self._owner = owner
        self.peer = peer
        self.is_tls = is_tls
        self.ip = ip  #: only where a limit asks for it
        self.number = 0  #: in the order of acceptance, from 1, no other has it; 0 until it is accepted
        self.received = self.sent = self.messages = 0
        self.opened_at = self.active_at = monotonic()
        self.ended_for = ""  #: the reason, once its socket is closed
        self.driver: Driver

    def end(self, reason: str) -> None:
        """Say that the socket is closed, once."""
        self.ended_for = reason
        self._owner.ended(self, reason)

    def warn(self, event: str, **fields: object) -> None:
        """Log what a bad peer has done; seldom, for there may be many."""
        self._owner.seldom.warning(event, peer=self.peer, **fields)


def why(error: OSError) -> str:
    """Name what broke a connection, in a word or two for the log."""
    if type(error).__name__ == "SSLEOFError":  # of a module that is not loaded for everybody
        return "reset"
    if reason := getattr(error, "reason", None):  # of an ssl.SSLError
        return "TLS: " + str(reason).replace("_", " ").lower()
    return {errno.ECONNRESET: "reset", errno.EPIPE: "reset", errno.ETIMEDOUT: "timed out"}.get(
        error.errno or 0, error.strerror or type(error).__name__
    )
