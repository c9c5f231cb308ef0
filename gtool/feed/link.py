"""One process feeds the workers: what it says to each of them, over a Unix socket that nobody else can reach.

A worker gets the log's epoch, all that is kept, and then what comes: its own log mirrors the feeder's, ids and all.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
from typing import Any, NamedTuple

import gevent
from gevent.event import Event
from gevent.socket import socket as GreenSocket

from gtool.errors import BindError, GtoolError, Interrupted
from gtool.feed.burst import Burst
from gtool.feed.supply import Pace, Supply
from gtool.log import EventLog
from gtool.runtime.connection import CHUNK_BYTES, green
from gtool.streams.memory import MemoryLog
from gtool.streams.subscription import Subscription

log = EventLog("feed")

HEAD = struct.Struct("!B16sdI")  # kind, offset, time, size of the data that follow
HELLO, ENTRY, LOST, TROUBLE, READY, END = range(6)
ENTRIES = 200  #: in one write
LOADED_S = 0.05  #: between looks at whether the supply has what was there before
PATIENCE_S = 1.0  #: that the source waits for a worker which does not read
WATCH_S = 0.5  #: between looks at whether the supply is in trouble
UNKNOWN = "-"  #: the epoch, until the feeder has told it
QUIET_S = 0.2  #: without a worker, after which none is just starting


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
        try:
            self.listener.bind(self.path)
        except OSError as error:
            self.close()
            raise BindError(f"cannot make a socket at {self.path}: {error}", "TMPDIR may be another") from error
        self.listener.listen(1024)

    def close(self) -> None:
        self.listener.close()
        self._folder.cleanup()


class _Worker:
    """A worker, as its feeder sees it."""

    def __init__(self) -> None:
        self.position = 0  #: of what was said to it
        self.has_news = Event()
        self.is_late = False  #: it has not read for a while; nobody waits for it until it has caught up


class Feeder:
    """The process that has the supply; the workers' companion."""

    def __init__(self, link: Link, supply: Supply, kept: MemoryLog, closes_at_end: bool) -> None:
        self._listener: Any = green(link.listener)
        self._supply = supply
        self._log = kept
        self._closes_at_end = closes_at_end
        self._has_ended = False
        self._trouble = ""
        self._workers: set[_Worker] = set()
        self._has_said = Event()
        self._has_parted = Event()
        self._is_stopping = Event()
        self._burst = Burst(kept)
        kept.listen(lambda _: self._tell())

    def run(self) -> None:
        """Feed until the workers have gone, after stop() or finish(): what they drain may yet need us."""
        feeding = [gevent.spawn(work) for work in (self._accept, self._produce, self._watch)]
        try:
            with contextlib.suppress(Interrupted):  # a signal to all of us: the workers drain, and the master knows
                self._is_stopping.wait()
            with contextlib.suppress(Interrupted):
                self._wait_for_workers()
        finally:
            gevent.killall(feeding)
            self._supply.close()
            self._listener.close()

    def stop(self) -> None:
        self._is_stopping.set()

    def finish(self) -> None:
        self._is_stopping.set()

    def publish(self) -> None:
        """Have no counts."""

    def _wait_for_workers(self) -> None:
        """Wait until they have gone, and a moment for one that is just starting."""
        is_quiet = False
        while self._workers or not is_quiet:
            self._has_parted.clear()
            is_quiet = not self._has_parted.wait(QUIET_S) and not self._workers

    def _produce(self) -> None:
        self._supply.run(self._log, self._pace)
        log.notice("the source has ended", closes=self._closes_at_end)
        self._has_ended = self._closes_at_end
        self._tell()

    def _watch(self) -> None:
        """Have the workers know when nothing comes for a reason."""
        while True:
            gevent.sleep(WATCH_S)
            if self._trouble != self._supply.trouble:
                self._trouble = self._supply.trouble
                self._tell()

    def _tell(self) -> None:
        for worker in self._workers:
            worker.has_news.set()

    def _pace(self, size: int) -> None:
        """Before a message of that size: wait for the workers, if need be, but not for ever for one that hangs."""
        if self._burst.has_room(size):
            return
        self._tell()  # of what was lost, too
        gevent.sleep(0)  # where there is no worker yet, one must be able to come
        with gevent.Timeout(PATIENCE_S, False):  # type: ignore[arg-type]
            while self._behind():
                self._has_said.clear()
                self._has_said.wait()
        for worker in self._behind():
            worker.is_late = True
        self._burst.begin()

    def _behind(self) -> list[_Worker]:
        return [one for one in self._workers if one.position < self._log.newest and not one.is_late]

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            gevent.spawn(self._feed, sock)

    def _feed(self, sock: Any) -> None:
        worker = _Worker()
        self._workers.add(worker)
        try:
            while not self._supply.is_loaded:
                gevent.sleep(LOADED_S)
            sock.sendall(_say(HELLO, self._log.floor, data=self._log.epoch.encode()))
            self._say_all(sock, worker)
        except OSError:
            pass  # the worker has gone; its master knows
        finally:
            sock.close()
            self._workers.discard(worker)
            self._has_said.set()
            self._has_parted.set()

    def _say_all(self, sock: Any, worker: _Worker) -> None:
        """Say what there is and what comes, until the end of the feed. OSError when the worker has gone."""
        subscription = Subscription(self._log, "all")
        lost, trouble, is_ready = 0, "", False
        watch = gevent.spawn(_wait_for_end, sock, worker)
        try:
            while not watch.dead:
                floor = self._log.floor
                entries = subscription.take(ENTRIES)
                said = b"".join(_say(ENTRY, entry.offset, entry.time, entry.data) for entry in entries)
                if subscription.lost > lost:
                    said = _say(LOST, floor, data=b"%d" % (subscription.lost - lost)) + said
                    lost = subscription.lost
                if not is_ready and not subscription.has_more:
                    is_ready = True
                    said += _say(READY)  # all that is kept
                if trouble != self._trouble:
                    trouble = self._trouble
                    said += _say(TROUBLE, data=trouble.encode())
                if not said and self._has_ended:
                    sock.sendall(_say(END))
                    watch.join()
                    return
                if said:
                    sock.sendall(said)
                    worker.position = subscription.position
                    worker.is_late = worker.is_late and subscription.has_more
                    self._has_said.set()
                else:
                    worker.has_news.clear()
                    worker.has_news.wait()
        finally:
            watch.kill()


class Fed:
    """A worker's side: a supply of messages for it."""

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


def _say(kind: int, offset: int = 0, time_s: float = 0.0, data: bytes = b"") -> bytes:
    return HEAD.pack(kind, offset.to_bytes(16), time_s, len(data)) + data


def _wait_for_end(sock: Any, worker: _Worker) -> None:
    """Wait until a worker has gone; it says nothing."""
    with contextlib.suppress(OSError):
        while sock.recv(1):
            pass
    worker.has_news.set()
