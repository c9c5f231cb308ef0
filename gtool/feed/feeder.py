"""The process that has the source, and feeds the workers."""

from __future__ import annotations

import contextlib
from typing import Any

import gevent
from gevent.event import Event

from gtool.errors import Interrupted
from gtool.feed.link import END, ENTRY, HELLO, LOST, READY, TROUBLE, Link, say
from gtool.feed.supply import Supply
from gtool.log import EventLog
from gtool.runtime.greenlets import green
from gtool.streams.burst import Burst
from gtool.streams.memory import MemoryLog
from gtool.streams.subscription import Subscription

log = EventLog("feed")

ENTRIES = 200  #: in one write
LOADED_S = 0.05  #: between looks at whether the supply has what was there before
PATIENCE_S = 1.0  #: that the source waits for a worker which does not read
WATCH_S = 0.5  #: between looks at whether the supply is in trouble
QUIET_S = 0.2  #: without a worker, after which none is just starting


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
            sock.sendall(say(HELLO, self._log.floor, data=self._log.epoch.encode()))
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
                said = b"".join(say(ENTRY, entry.offset, entry.time, entry.data) for entry in entries)
                if subscription.lost > lost:
                    said = say(LOST, floor, data=b"%d" % (subscription.lost - lost)) + said
                    lost = subscription.lost
                if not is_ready and not subscription.has_more:
                    is_ready = True
                    said += say(READY)  # all that is kept
                if trouble != self._trouble:
                    trouble = self._trouble
                    said += say(TROUBLE, data=trouble.encode())
                if not said and self._has_ended:
                    sock.sendall(say(END))
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


def _wait_for_end(sock: Any, worker: _Worker) -> None:
    """Wait until a worker has gone; it says nothing."""
    with contextlib.suppress(OSError):
        while sock.recv(1):
            pass
    worker.has_news.set()
