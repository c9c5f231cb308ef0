"""Prefork: N processes that accept on the same sockets, and a master that replaces those that die.

The master runs no loop of gevent, so that a fork copies none: it waits for signals and times, and tells each worker
over a socket what to do. When the master dies that socket ends, and the worker drains and goes too.
"""

from __future__ import annotations

import os
import sched
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from gevent.hub import get_hub

from gtool.errors import BUG, GtoolError
from gtool.log import EventLog
from gtool.runtime import lifecycle
from gtool.runtime.server import Server

log = EventLog("workers")

DRAIN, FINISH = b"d", b"f"
AWAITED = {*lifecycle.STOP_SIGNALS, signal.SIGCHLD, signal.SIGUSR1}
STABLE_S = 1.0  #: a worker that dies sooner than this after its start is replaced no sooner
GRACE_S = 2.0  #: that a worker may take beyond its drain time-out
READ = 1  # libev's event bit


class _Worker(NamedTuple):
    number: int
    control: socket.socket
    started_at: float


class Master:
    """Keeps `count` workers running: `work(number, control)` is called in each, `bury(number)` here at its end."""

    def __init__(
        self, count: int, work: Callable[[int, socket.socket], None], bury: Callable[[int], None], drain_timeout: float
    ) -> None:
        self._work = work
        self._bury = bury
        self._drain_timeout = drain_timeout
        self._workers: dict[int, _Worker] = {}  # by process id
        self._missing = set(range(count))  # numbers of those to be started
        self._schedule = sched.scheduler(time.monotonic)
        self._signals = 0  # to stop
        self._is_ending = False

    def start(self) -> None:
        """Start the workers, and have signals wait for run()."""
        signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
        for number in sorted(self._missing):
            self._fork(number)

    def run(
        self,
        duration: float | None,
        stats: float | None,
        report: Callable[[], None],
        on_stop: Callable[[], None] = lambda: None,
    ) -> int:
        """Wait until all workers have ended as they were told, by a signal or after `duration`; give the exit code."""
        self._on_stop = on_stop
        if duration is not None:
            self._schedule.enter(duration, 0, self._drain)
        if stats:
            self._every(stats, report)
        while self._workers or self._missing:
            delay = self._schedule.run(blocking=False)
            info = signal.sigwaitinfo(AWAITED) if delay is None else signal.sigtimedwait(AWAITED, delay)
            number = info.si_signo if info else 0
            if number == signal.SIGUSR1:
                report()
            elif number in lifecycle.STOP_SIGNALS:
                self._signals += 1
                if self._signals > 1:
                    self._kill()
                    return 128 + number
                self._drain()
            self._reap()
        return 0

    def _every(self, period_s: float, callback: Callable[[], None]) -> None:
        def again() -> None:
            self._schedule.enter(period_s, 0, again)
            callback()

        self._schedule.enter(period_s, 0, again)

    def _drain(self) -> None:
        self._tell(DRAIN)
        self._schedule.enter(self._drain_timeout + GRACE_S, 0, self._kill)

    def _tell(self, what: bytes) -> None:
        if not self._is_ending:
            self._on_stop()
        self._is_ending = True
        self._missing.clear()
        for worker in self._workers.values():
            try:
                worker.control.send(what)
            except OSError:
                continue  # it has just died

    def _kill(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid in list(self._workers):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        worker = self._workers.pop(pid)
        worker.control.close()
        self._bury(worker.number)
        if code == 0:
            if not self._is_ending:
                self._tell(FINISH)  # it has accepted the last connection of all
            return
        what = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        log.warning("a worker has died", worker=worker.number, pid=pid, how=what, replaced=not self._is_ending)
        if not self._is_ending:
            self._missing.add(worker.number)
            self._schedule.enterabs(worker.started_at + STABLE_S, 0, self._fork, (worker.number,))

    def _fork(self, number: int) -> None:
        if number not in self._missing:
            return  # the end came first
        ours, theirs = socket.socketpair()
        if sys.stdout:
            sys.stdout.flush()  # or the worker would have a copy of what is in it
        pid = os.fork()
        if pid == 0:
            ours.close()
            for worker in self._workers.values():
                worker.control.close()
            _be_worker(lambda: self._work(number, theirs))
        theirs.close()
        self._missing.discard(number)
        self._workers[pid] = _Worker(number, ours, time.monotonic())
        log.info("worker started", worker=number, pid=pid)


def _be_worker(work: Callable[[], None]) -> NoReturn:
    """Run a worker to its end, and leave: what the master cleans up is none of ours."""
    code = BUG
    try:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the master says what they mean
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, AWAITED)
        lifecycle.run(work)
        code = 0
    except GtoolError as error:
        code = error.exit_code
        log.error(str(error))
    except BaseException as error:
        log.exception("a bug in gtool", error=f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def obey(control: socket.socket, server: Server) -> Any:
    """Have a worker's server do what the master says; give the watcher, to be closed."""
    watcher: Any = get_hub().loop.io(control.fileno(), READ)
    is_draining = False

    def ready() -> None:
        nonlocal is_draining
        said = control.recv(1)
        if said == FINISH:
            server.finish()
        elif said == DRAIN:
            is_draining = True
            server.stop()
        elif is_draining:
            os._exit(BUG)  # the master was told to end at once
        else:
            watcher.stop()
            server.stop()

    control.setblocking(False)
    watcher.start(ready)
    return watcher
