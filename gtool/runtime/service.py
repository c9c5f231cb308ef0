"""What a command is to the server that runs it, and what a server is to its master."""

from __future__ import annotations

from typing import Any, Protocol

from gtool.runtime.connection import Connection
from gtool.runtime.listen import Listener
from gtool.runtime.tally import Counted


class DatagramListener(Counted, Protocol):
    """What answers the datagrams of a listener."""

    def stop(self) -> None:
        """Take no more; send what is on its way; then close the socket, and say so by Server.datagrams_ended()."""

    def close(self) -> None:
        """Close the socket now, and say so."""


class Obedient(Protocol):
    """What a master can tell one of its processes: a server, or what works beside servers."""

    def publish(self) -> None: ...

    def finish(self) -> None: ...

    def stop(self) -> None: ...


class Service:
    """What a server says. A subclass may leave out what it has none of.

    It is made in the worker that it serves in, for the server of that worker.
    """

    def connect(self, connection: Connection, sock: Any) -> None:
        """Take over a connection: see to its driver. `sock` does not block; under TLS it is one of gevent's."""
        raise NotImplementedError("a command without connections listens for none")

    def datagrams(self, listener: Listener) -> DatagramListener:
        """Answer the datagrams of a listener from now on."""
        raise NotImplementedError("a command without datagrams refuses udp://")

    def drain(self) -> None:
        """Have connections end that would go on for ever: the server drains."""

    def close(self) -> None:
        """Let go of what is not a connection's: the server has ended."""
