"""hello-server as a whole: a greenlet per connection says the script, and closes as it was told."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from gtool.hello.script import Script
from gtool.runtime.address import peer_name
from gtool.runtime.connection import CHUNK_BYTES, LINGER_S, Connection
from gtool.runtime.datagrams import Datagrams
from gtool.runtime.greenlets import FunctionDriver, Stream
from gtool.runtime.listen import Listener
from gtool.runtime.server import Server
from gtool.runtime.service import Service

MAX_DATAGRAM = 65_507


class Settings(NamedTuple):
    """What hello-server is told beyond what every server is. Times are seconds, sizes bytes."""

    script: Script
    interval: float = 0.0  #: between parts
    wait_for_input: bool = False
    close: str = "fin"  #: fin, rst, linger or never
    chunk_size: int | None = None


class HelloService(Service):
    """One worker's: says the script to each connection, and in one datagram to who sends one."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self._settings = settings
        self._server = server

    def connect(self, connection: Connection, sock: Any) -> None:
        FunctionDriver(connection, sock, self._serve)

    def datagrams(self, listener: Listener) -> Datagrams:
        numbers = itertools.count(1)

        def answer(_: bytes, address: Any) -> bytes:
            parts = self._settings.script.parts(peer_name(address), next(numbers), _now)
            return next(_joined(parts, MAX_DATAGRAM))[:MAX_DATAGRAM]

        return Datagrams(self._server, listener, answer)

    def _serve(self, stream: Stream) -> str:
        settings, connection = self._settings, stream.connection
        if settings.wait_for_input and not stream.read():
            return "closed"
        parts = settings.script.parts(connection.peer, connection.number, _now)
        for part in _paced(parts, stream, settings) if settings.interval else _joined(parts):
            for chunk in _chunks(part, settings.chunk_size):
                stream.write(chunk)
        connection.messages += 1
        self._close(stream)
        return "served"

    def _close(self, stream: Stream) -> None:
        closing = self._settings.close
        if closing == "rst":
            stream.reset()
        elif closing == "never":
            while stream.read():
                pass
        else:
            stream.finish(None if closing == "linger" else LINGER_S)


def _paced(parts: Iterator[bytes], stream: Stream, settings: Settings) -> Iterator[bytes]:
    """Wait between parts; each is made when its time has come, and tells that time."""
    for number in range(settings.script.size):
        if number:
            stream.pause(settings.interval)
        yield next(parts)


def _joined(parts: Iterator[bytes], size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Put small parts together, up to `size` bytes and a part: a packet for each would be slow."""
    batch = b""
    for part in parts:
        batch += part
        if len(batch) >= size:
            yield batch
            batch = b""
    yield batch


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _chunks(data: bytes, size: int | None) -> Iterator[bytes]:
    step = size or max(1, len(data))
    return (data[start : start + step] for start in range(0, len(data), step))
