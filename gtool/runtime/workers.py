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

from gtool.errors import BUG, GtoolError
from gtool.log import EventLog
from gtool.runtime import lifecycle
from gtool.runtime.hub import READ, get_hub
from gtool.runtime.interrupts import STOP_SIGNALS
from gtool.runtime.service import Obedient

log = EventLog("workers")

DRAIN, FINISH, PUBLISH = b"d", b"f", b"p"
LAST_CALL = signal.SIGUSR2  #: a worker to the master: the last connection of all was accepted
PUBLISHED_S = 0.05  #: that workers have to bring their counts up to date before these are read
STABLE_S = 1.0  #: a worker that dies sooner than this after its start is replaced no sooner
GRACE_S = 2.0  #: that a worker may take beyond its drain time-out

Work = Callable[[int, socket.socket, Callable[[], None]], None]


class _Worker(NamedTuple):
    number: int
    control: socket.socket
    started_at: float


class Master:
    """Keeps `count` workers running.

    `work(number, control, last_call)` is called in each; it calls `last_call` when there are no turns left.
    `bury(number)` is called here at the end of one.
    """

    def __init__(
        self,
        count: int,
        work: Work,
        bury: Callable[[int], None],
        drain_timeout: float,
    ) -> None:
        self._work = work
        self._bury = bury
        self._drain_timeout = drain_timeout
        self._workers: dict[int, _Worker] = {}  # by process id
        self._missing = set(range(count))  # numbers of those to be started
        self._schedule = sched.scheduler(time.monotonic)
        self._signals = 0  # to stop
        self._is_ending = False
        wanted = {number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
        self._awaited = {*wanted, signal.SIGCHLD, signal.SIGUSR1, LAST_CALL}

    def start(self) -> None:
        """Start the workers, and have signals wait for run()."""
        # Blocked, it is queued all the same; one that a worker sends in its last moment must not end us afterwards.
        signal.signal(LAST_CALL, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody can be waited for
        signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        for number in sorted(self._missing):
            self._fork(number)

    def run(
        self,
        duration: float | None,
        stats_period_s: float | None,
        report: Callable[[], None],
        on_stop: Callable[[], None] = lambda: None,
    ) -> int:
        """Wait until all workers have ended as they were told, by a signal or after `duration`; give the exit code."""
        self._on_stop = on_stop
        if duration is not None:
            self._schedule.enter(duration, 0, self._drain)
        if stats_period_s:
            self._report_every(stats_period_s, report)
        while self._workers or self._missing:
            delay = self._schedule.run(blocking=False)
            awaited = self._awaited
            info = signal.sigwaitinfo(awaited) if delay is None else signal.sigtimedwait(awaited, delay)
            number = info.si_signo if info else 0
            if number == signal.SIGUSR1:
                self._report(report)
            elif number == LAST_CALL:
                if info and info.si_pid in self._workers:
                    self._tell_end(FINISH)
            elif number in STOP_SIGNALS:
                self._signals += 1
                if self._signals > 1:
                    self._kill()
                    for pid in self._workers:
                        os.waitpid(pid, 0)
                    return 128 + number
                self._drain()
            self._reap()
        return 0

    def _report_every(self, period_s: float, report: Callable[[], None]) -> None:
        def again() -> None:
            self._schedule.enter(period_s, 0, again)
            self._report(report)

        self._schedule.enter(period_s, 0, again)

    def _report(self, report: Callable[[], None]) -> None:
        """Have the workers publish their counts, and report them then."""
        self._tell(PUBLISH)
        self._schedule.enter(PUBLISHED_S, 0, report)

    def _drain(self) -> None:
        self._tell_end(DRAIN)
        self._schedule.enter(self._drain_timeout + GRACE_S, 0, self._kill)

    def _tell_end(self, what: bytes) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._on_stop()
        self._missing.clear()
        self._tell(what)

    def _tell(self, what: bytes) -> None:
        for worker in self._workers.values():
            try:
                worker.control.send(what)
            except OSError:
                continue  # it has just died, or was stopped and has not listened for long

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
        if code or not self._is_ending:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            log.warning("a worker has ended", worker=worker.number, pid=pid, how=how, replaced=not self._is_ending)
        if not self._is_ending:
            self._missing.add(worker.number)
            self._schedule.enterabs(worker.started_at + STABLE_S, 0, self._fork, (worker.number,))

    def _fork(self, number: int) -> None:
        if number not in self._missing:
            return  # the end came first
        ours, theirs = socket.socketpair()
        if sys.stdout:
            sys.stdout.flush()  # or the worker would have a copy of what is in it
        try:
            pid = os.fork()
        except OSError as error:
            log.warning("cannot start a worker yet", worker=number, reason=error.strerror)
            ours.close()
            theirs.close()
            self._schedule.enter(STABLE_S, 0, self._fork, (number,))
            return
        if pid == 0:
            ours.close()
            for worker in self._workers.values():
                worker.control.close()
            master = os.getppid()
            _be_worker(lambda: self._be_told(number, theirs, master))
        theirs.close()
        ours.setblocking(False)
        self._missing.discard(number)
        self._workers[pid] = _Worker(number, ours, time.monotonic())
        log.info("worker started", worker=number, pid=pid)

    def _be_told(self, number: int, control: socket.socket, master: int) -> None:
        """Do the work, in the worker, now that its loop takes signals."""

        def last_call() -> None:
            if os.getppid() == master:
                os.kill(master, LAST_CALL)

        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._awaited)
        self._work(number, control, last_call)


def _be_worker(work: Callable[[], None]) -> NoReturn:
    """Run a worker to its end, and leave: what the master cleans up is none of ours."""
    code = BUG
    try:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, LAST_CALL):
            signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the master says what they mean
        lifecycle.run(work)
        code = 0
    except GtoolError as error:
        code = error.exit_code
        log.error(str(error))
    except BaseException as error:
        log.exception("a bug in gtool", error=f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)


def obey(control: socket.socket, server: Obedient) -> Any:
    """Have a worker's server do what the master says; give the watcher, to be closed."""
    watcher: Any = get_hub().loop.io(control.fileno(), READ)
    is_draining = False

    def ready() -> None:
        nonlocal is_draining
        said = control.recv(1)
        if said == PUBLISH:
            server.publish()
        elif said == FINISH:
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
