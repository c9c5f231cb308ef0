"""echo-server as a whole: which driver has a connection. What a plain TCP server does without is not loaded for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from gtool.echo.faults import Faults, Transit, seeded, transit_for
from gtool.echo.plain import Plain
from gtool.echo.services import datagram_answer, session_factory
from gtool.runtime.connection import Connection
from gtool.runtime.listen import Listener
from gtool.runtime.server import Server
from gtool.runtime.service import Service

if TYPE_CHECKING:
    from gtool.runtime.datagrams import Datagrams


class Settings(NamedTuple):
    """What echo-server is told beyond what every server is. Sizes are bytes; None is without limit."""

    service: str = "echo"
    max_line: int | None = None  #: None: bytes, not lines
    max_bytes: int | None = None
    any_source: bool = False
    faults: Faults = Faults()
    seed: int = 0


class EchoService(Service):
    """One worker's: makes a session for each connection, and chooses its driver."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self._settings = settings
        self._server = server
        self._make_session = session_factory(settings.service, settings.max_line)
        self._converse = _converse() if settings.faults.are_any() or server.speaks_tls else None

    def connect(self, connection: Connection, sock: Any) -> None:
        """Drive it by callbacks; over TLS or with faults, by greenlets."""
        settings = self._settings
        session = self._make_session()
        transit = transit_for(settings.faults, settings.seed, connection.number)
        if self._converse and (transit or connection.is_tls):
            self._converse(connection, sock, session, settings.max_bytes, settings.faults, transit)
        else:
            Plain(self._server.poller, connection, sock, session, settings.max_bytes)

    def datagrams(self, listener: Listener) -> Datagrams:
        from gtool.echo.datagrams import FaultyDatagrams
        from gtool.runtime.datagrams import Datagrams

        say, any_source = datagram_answer(self._settings.service), self._settings.any_source

        def answer(data: bytes, _address: Any) -> bytes | None:
            return say(data)

        if not self._settings.faults.are_any():
            return Datagrams(self._server, listener, answer, any_source)
        transit = Transit(self._settings.faults, seeded(f"{self._settings.seed}/datagrams"))
        return FaultyDatagrams(self._server, listener, answer, any_source, transit)


def _converse() -> Callable[..., None]:
    from gtool.echo.greenlets import converse  # at the start: a connection may come when no file can be opened

    return converse
