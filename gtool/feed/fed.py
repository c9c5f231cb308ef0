"""A worker's supply: what the process that has the source says."""

from __future__ import annotations

import socket
from typing import Any

from gevent.socket import socket as GreenSocket

from gtool.errors import GtoolError
from gtool.feed.link import END, ENTRY, HEAD, HELLO, LOST, READY, TROUBLE, Said
from gtool.feed.supply import Pace
from gtool.runtime.connection import CHUNK_BYTES
from gtool.streams.memory import MemoryLog

UNKNOWN = "-"  #: the epoch, until the feeder has told it


class Fed:
    """Mirrors the feeder's log."""

    def __init__(self, path: str) -> None:
        self.trouble = ""  #: the feeder's
        self.is_loaded = False
        self._path = path
        self._socket: Any = GreenSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        self._at = 0  # what is before it was taken

    def open_log(self, most: int, most_bytes: int) -> MemoryLog:
        return MemoryLog(most, most_bytes, UNKNOWN)

    def run(self, mirror: MemoryLog, pace: Pace) -> None:
        """Take messages until the source has ended. GtoolError if the feeder dies: nothing would come any more."""
        try:
            self._socket.connect(self._path)
            while (said := self._read()).kind != END:
                if said.kind == ENTRY and self.is_loaded:
                    pace(len(said.data))
                self._take_in(said, mirror)
        except OSError as error:
            raise GtoolError(f"the process that reads the source is not to be reached: {error.strerror}") from error

    def _take_in(self, said: Said, mirror: MemoryLog) -> None:
        if said.kind == HELLO:
            mirror.epoch = said.data.decode()
            mirror.begin_after(said.offset)
        elif said.kind == READY:
            self.is_loaded = True
        elif said.kind == TROUBLE:
            self.trouble = said.data.decode()
        elif said.kind == LOST:
            mirror.lose(said.offset, int(said.data))
        else:
            mirror.mirror(said.offset, said.time, said.data)

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> Said:
        kind, offset, time_s, size = HEAD.unpack(self._take(HEAD.size))
        return Said(kind, int.from_bytes(offset), time_s, self._take(size))

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            data = self._socket.recv(max(CHUNK_BYTES, size))
            if not data:
                raise GtoolError("the process that reads the source has died")
            self._buffer, self._at = self._buffer[self._at :] + data, 0
        self._at += size
        return self._buffer[self._at - size : self._at]
