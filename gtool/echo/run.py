"""echo-server as a whole: which driver has a connection."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from gtool.echo.datagrams import FaultyDatagrams
from gtool.echo.faults import Faults, Transit, transit_for
from gtool.echo.greenlets import Conversation
from gtool.echo.plain import Plain
from gtool.echo.services import datagram_answer, session_factory
from gtool.runtime.connection import Connection
from gtool.runtime.datagrams import Datagrams
from gtool.runtime.greenlets import FunctionDriver, Stream
from gtool.runtime.listen import Listener
from gtool.runtime.server import Server
from gtool.runtime.service import Service


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
        self._poller = server.poller
        self._make_session = session_factory(settings.service, settings.max_line)

    def connect(self, connection: Connection, sock: Any) -> None:
        """Drive it by callbacks; over TLS or with faults, by greenlets."""
        settings = self._settings
        session = self._make_session()
        transit = transit_for(settings.faults, settings.seed, connection.number)
        if transit is None and not connection.is_tls:
            Plain(self._poller, connection, sock, session, settings.max_bytes)
            return

        def converse(stream: Stream) -> str:
            return Conversation(stream, session, settings.max_bytes, settings.faults, transit).run()

        FunctionDriver(connection, sock, converse)

    def datagrams(self, listener: Listener, server: Server) -> Datagrams:
        say, any_source = datagram_answer(self._settings.service), self._settings.any_source

        def answer(data: bytes, _address: Any) -> bytes | None:
            return say(data)

        if not self._settings.faults.are_any():
            return Datagrams(server, listener, answer, any_source)
        transit = Transit(self._settings.faults, random.Random(f"{self._settings.seed}/datagrams"))
        return FaultyDatagrams(server, listener, answer, any_source, transit)
