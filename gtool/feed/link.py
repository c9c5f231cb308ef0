"""One process feeds the workers: what it says to each of them, over a Unix socket that nobody else can reach.

A worker gets the log's epoch, all that is kept, and then what comes: its own log mirrors the feeder's, ids and all.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from typing import Any, NamedTuple

import gevent
from gevent.event import Event
from gevent.socket import socket as GreenSocket

from gtool.errors import GtoolError
from gtool.feed.delivery import group_of
from gtool.feed.supply import Pace, Supply
from gtool.log import EventLog
from gtool.runtime.connection import CHUNK_BYTES, green
from gtool.streams.memory import MemoryLog
from gtool.streams.subscription import Subscription

log = EventLog("feed")

HEAD = struct.Struct("!BQdI")  # kind, offset, time, size of the data that follow
HELLO, ENTRY, LOST, END = range(4)
ENTRIES = 200  #: in one write
WAIT_S = 5.0  #: for the feeder's first word
PATIENCE_S = 1.0  #: that the source waits for a worker which does not read


class Said(NamedTuple):
    kind: int
    offset: int
    time: float
    data: bytes


class Link:
    """Where the feeder and the workers meet; made before the fork."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gtool-feed-")  # only we may enter it
        self.path = os.path.join(self._folder.name, "feed")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(1024)

    def close(self) -> None:
        self.listener.close()
        self._folder.cleanup()


class Feeder:
    """The process that has the supply; the workers' companion."""

    def __init__(self, link: Link, supply: Supply, kept: MemoryLog, closes_at_end: bool) -> None:
        self._listener: Any = green(link.listener)
        self._supply = supply
        self._log = kept
        self._closes_at_end = closes_at_end
        self._has_ended = False
        self._changed = Event()  # something was appended, or sent
        self._over = Event()
        self._positions: dict[object, int] = {}
        self._is_finishing = False
        self._group = group_of(kept.most)
        self._paced_at = 0
        kept.listen(lambda _: self._changed.set())

    def run(self) -> None:
        """Feed until stop(), or until the workers have gone after finish()."""
        acceptor = gevent.spawn(self._accept)
        producer = gevent.spawn(self._produce)
        try:
            self._over.wait()
        finally:
            producer.kill()
            self._supply.close()
            acceptor.kill()
            self._listener.close()

    def stop(self) -> None:
        self._over.set()

    def finish(self) -> None:
        self._is_finishing = True
        self._end_if_done()

    def publish(self) -> None:
        """Have no counts."""

    def _pace(self) -> None:
        """Wait for the workers now and then, but not for ever for one that hangs."""
        if self._log.newest - self._paced_at < self._group:
            return
        self._paced_at = self._log.newest
        with gevent.Timeout(PATIENCE_S, False):  # type: ignore[arg-type]
            while any(position < self._log.newest for position in self._positions.values()):
                self._wait()

    def _produce(self) -> None:
        self._supply.run(self._log, self._pace)
        log.notice("the source has ended", closes=self._closes_at_end)
        self._has_ended = self._closes_at_end
        self._changed.set()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            gevent.spawn(self._feed, sock)

    def _feed(self, sock: Any) -> None:
        key = object()
        subscription = Subscription(self._log, "all")
        lost = 0
        try:
            sock.sendall(_say(HELLO, self._log.floor, 0, self._log.epoch.encode()))
            while not self._over.is_set():
                floor = self._log.floor
                entries = subscription.take(ENTRIES)
                said = b"".join(_say(ENTRY, entry.offset, entry.time, entry.data) for entry in entries)
                if subscription.lost > lost:
                    said, lost = _say(LOST, floor, 0) + said, subscription.lost
                if said:
                    sock.sendall(said)
                    self._positions[key] = subscription.position
                    self._changed.set()
                elif self._has_ended:
                    sock.sendall(_say(END, 0, 0))
                    while sock.recv(1):
                        pass
                    return
                else:
                    self._wait()
        except OSError:
            pass  # the worker has gone; its master knows
        finally:
            sock.close()
            self._positions.pop(key, None)
            self._changed.set()
            self._end_if_done()

    def _wait(self) -> None:
        self._changed.clear()
        self._changed.wait()

    def _end_if_done(self) -> None:
        if self._is_finishing and not self._positions:
            self._over.set()


class Fed:
    """A worker's side: a supply of messages for it."""

    trouble = ""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: Any = GreenSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        self._at = 0  # what is before it was taken

    def open_log(self, most: int, most_bytes: int) -> MemoryLog:
        """Make a log that mirrors the feeder's. GtoolError if the feeder does not answer."""
        self._socket.settimeout(WAIT_S)
        try:
            self._socket.connect(self._path)
            hello = self._read()
        except OSError as error:
            raise GtoolError(f"the process that reads the source does not answer: {error}") from error
        self._socket.settimeout(None)
        mirror = MemoryLog(most, most_bytes, hello.data.decode())
        mirror.begin_after(hello.offset)
        return mirror

    def run(self, mirror: MemoryLog, pace: Pace) -> None:
        """Take messages until the source has ended. GtoolError if the feeder dies: nothing would come any more."""
        while (said := self._read()).kind != END:
            if said.kind == LOST:
                mirror.lose(said.offset)
            else:
                mirror.mirror(said.offset, said.time, said.data)
                pace()

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> Said:
        kind, offset, time_s, size = HEAD.unpack(self._take(HEAD.size))
        return Said(kind, offset, time_s, self._take(size))

    def _take(self, size: int) -> bytes:
        while len(self._buffer) - self._at < size:
            data = self._socket.recv(max(CHUNK_BYTES, size))
            if not data:
                raise GtoolError("the process that reads the source has died")
            self._buffer, self._at = self._buffer[self._at :] + data, 0
        self._at += size
        return self._buffer[self._at - size : self._at]


def _say(kind: int, offset: int, time_s: float, data: bytes = b"") -> bytes:
    return HEAD.pack(kind, offset, time_s, len(data)) + data
