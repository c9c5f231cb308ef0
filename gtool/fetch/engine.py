"""One run: inputs in, transfers up to the limits, each one's end judged, retried or reported.

All of it happens in callbacks on the loop: `_pump` starts what may start, `_on_done` takes what has ended. The
greenlet that calls run() only waits for the end, and then clears up. It is longer than a sitting: what could leave has
left (schedule, job, ledger, multi), and the rest shares the one state of a run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

import gevent
import pycurl
from gevent.event import Event

from gtool.errors import GtoolError, Interrupted
from gtool.fetch.handles import Handle, cookie_share
from gtool.fetch.inputs import Inputs, Later
from gtool.fetch.job import SUCCESS, UNPLANNED, Job, Verdict
from gtool.fetch.ledger import Ledger
from gtool.fetch.multi import Multi
from gtool.fetch.record import NOTHING, TIMED_OUT, Measured
from gtool.fetch.report import Report
from gtool.fetch.retry import backoff
from gtool.fetch.schedule import Scheduler
from gtool.fetch.settings import Settings
from gtool.fetch.tally import Tally
from gtool.fetch.urls import URL_MALFORMED
from gtool.log import EventLog
from gtool.runtime.alarm import NEVER, Alarm

if TYPE_CHECKING:
    from gtool.fetch.files import Files
    from gtool.fetch.journal import Journal

log = EventLog("fetch")

FLUSH_S = 5.0  #: for what is done to reach stdout after a signal
UNREAD_S = 10.0  #: for inputs that a pipe still gives after the deadline to be reported as not run
UNSENT_AT_ONCE = 256  #: inputs taken in one turn of the loop that come to no transfer


class End(Enum):
    """Why a run is over."""

    ALL_DONE = auto()
    DEADLINE = auto()
    FAILED_EARLY = auto()
    INTERRUPTED = auto()


class Engine:
    """Runs the transfers of one command."""

    def __init__(
        self,
        settings: Settings,
        make_report: Callable[[Callable[[], None]], Report],
        files: Files | None,
        journal: Journal | None,
        tally: Tally,
    ) -> None:
        """`make_report` makes the Report, given what it shall call when it has room again."""
        output = settings.output
        self._settings = settings
        self._inputs = Inputs(settings.urls, settings.inputs, settings.separator, self._pump)
        self._report = make_report(self._on_room)
        self._journal = journal
        if journal:
            journal.on_room = self._on_room
        self._ledger = Ledger(settings, self._report, files, journal, tally, self._on_failure)
        # Record lines alone need no headers; everything else does: the status before the first byte of a body,
        # Retry-After, validators.
        self._wants_headers = (
            not output.has_lines or output.output is not None or output.include_headers or settings.retries.retry > 0
        )
        self._scheduler: Scheduler[Job] = Scheduler(settings.limits, time.monotonic())
        self._multi = Multi(self._on_done, self._pump)
        self._share = cookie_share(settings.network)
        self._idle = [self._new_handle()]
        self._active: dict[pycurl.Curl, Job] = {}
        self._wake = Alarm(self._pump)
        self._stall = Alarm(self._end_stalled)
        self._deadline = Alarm(partial(self._stop, End.DEADLINE))
        self._deadline_at = time.monotonic() + settings.deadline if settings.deadline else NEVER
        self._end: End | None = None
        self._over = Event()
        self._room = Event()
        self._is_pumping = False
        self._has_more = False  #: inputs that came up in this turn of the loop, and were not looked at
        self._may_be_resolving = False
        self._given_up: list[Job] = []

    @property
    def in_flight(self) -> int:
        return len(self._active)

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that the transfers in flight have moved so far."""
        return sum(job.handle.bytes_moved() for job in self._active.values() if job.handle)

    @property
    def input_error(self) -> GtoolError | None:
        """Why not all of the inputs could be read."""
        return self._inputs.error

    @property
    def total(self) -> int | None:
        """Number of inputs, once it is known."""
        return self._inputs.count if self._inputs.is_at_end else None

    def run(self) -> None:
        """Do it all. Raises what is thrown in: Interrupted, or the error of an output.

        What is done by then is reported, what is in progress is given up.
        """
        self._deadline.set(self._deadline_at)
        self._stall.set(self._next_look())
        try:
            self._pump()
            self._over.wait()
            if self._end is End.DEADLINE:
                self._report_not_run()
            self._give_up()
            self._report.close()
        except Interrupted:
            self._give_up()
            with contextlib.suppress(gevent.Timeout), gevent.Timeout(FLUSH_S):
                self._report.close()
            raise
        finally:
            self._clear_up()

    # Starting

    def _pump(self) -> None:
        """Start all that may start now."""
        if self._end or self._is_pumping:
            return
        self._is_pumping = True
        now = time.monotonic()
        concurrency = self._settings.limits.concurrency
        while len(self._active) < concurrency and not self._is_behind and not self._end:
            job = self._scheduler.next(now) or self._next_input(now)
            if job is None:
                break
            self._start(job, now)
        self._is_pumping = False
        if self._inputs.is_at_end and not self._active and not self._scheduler.waiting:
            self._stop(End.ALL_DONE)
        elif self._has_more:
            self._has_more = False
            self._wake.set(now)
        elif self._scheduler.waiting:
            is_free = len(self._active) < concurrency and not self._is_behind
            self._wake.set(self._scheduler.wake_at(now) if is_free else NEVER)

    def _next_input(self, now: float) -> Job | None:
        """Read on, as long as inputs are wanted and there, to one that may start."""
        for _ in range(UNSENT_AT_ONCE):
            if not self._scheduler.is_hungry or not self._report.has_room or self._is_behind or self._end:
                return None
            item = self._inputs.next()
            if isinstance(item, Later):
                return None
            job = self._ledger.enter(item)
            if job is not None:
                job = self._scheduler.offer(job, now)
                if job is not None:
                    return job
        self._has_more = True
        return None

    def _start(self, job: Job, now: float) -> None:
        handle = self._idle.pop() if self._idle else self._new_handle()
        try:
            job.begin_attempt(handle, now, self._resume, self._will_retry)
        except (ValueError, OSError, pycurl.error) as error:
            self._idle.append(handle)
            job.handle = None
            self._scheduler.finished(job, now)
            self._ledger.close(job, NOTHING, (URL_MALFORMED, f"cannot be sent: {error}"))
            return
        self._active[handle.curl] = job
        self._multi.add(handle.curl)

    @property
    def _is_behind(self) -> bool:
        """Whether what is done waits for stdout or the disk."""
        return self._report.is_behind or (self._journal is not None and self._journal.is_behind)

    def _resume(self, curl: pycurl.Curl) -> None:
        """Let a paused transfer go on, if it has not been ended in the meantime."""
        if curl in self._active:
            self._multi.resume(curl)

    def _new_handle(self) -> Handle:
        return Handle(self._settings.network, self._multi.on_new_socket, self._share, self._wants_headers)

    # Ending

    def _on_done(self, curl: pycurl.Curl, code: int, message: str) -> None:
        """Take a transfer that has ended, for whatever reason, and is out of the multi handle."""
        job = self._active.pop(curl)
        assert job.handle is not None
        measured = job.handle.measured()
        verdict = job.judge(code, message, measured, self._settings.output.fail)
        self._scheduler.finished(job, time.monotonic())
        if code and not measured.time_namelookup:
            self._may_be_resolving = True
        if verdict is SUCCESS and measured.response_code < 400:
            self._ledger.close(job, measured, verdict)
        elif refusal := self._retry(job, measured, verdict):
            self._ledger.close(job, measured, refusal)
        self._idle.append(job.handle)
        job.handle = None

    def _retry(self, job: Job, measured: Measured, verdict: Verdict) -> Verdict | None:
        """Have a failed attempt made again, if it may be; else the verdict that stands."""
        delay = self._plan_retry(job, verdict[0], measured.response_code)
        if delay is None:
            return verdict
        if refusal := job.take_back():
            return refusal
        url, (exitcode, error) = job.request.shown, verdict
        log.info("retrying", url=url, exitcode=exitcode, error=error, attempt=job.attempts, delay=round(delay, 3))
        self._scheduler.retry(job, time.monotonic() + delay)
        return None

    def _will_retry(self, job: Job, status: int) -> bool:
        """Decide at the head of an answer, before its body goes anywhere, whether it will be asked for again."""
        return self._plan_retry(job, 0, status) is not None

    def _plan_retry(self, job: Job, exitcode: int, status: int) -> float | None:
        """Seconds until the next attempt, None if there is none. Decided once per attempt."""
        policy = self._settings.retries
        if job.retry_in != UNPLANNED or not policy.retry:
            return job.retry_in if policy.retry else None
        asked = job.retry_after() if status else None
        delay = _backoff(job.attempts) if asked is None else asked
        now = time.monotonic()  # not before the date in a Retry-After was held against the clock
        if asked is not None:
            self._scheduler.pause_host(job.host, now + min(asked, policy.retry_max_time))
        may_retry = now + delay < self._deadline_at and job.may_retry(policy, exitcode, status, now + delay)
        job.retry_in = delay if may_retry else None
        return job.retry_in

    def _on_failure(self) -> None:
        if self._settings.fail_early:
            self._stop(End.FAILED_EARLY)

    def _on_room(self) -> None:
        self._room.set()
        self._pump()

    # Being stopped

    def _stop(self, end: End) -> None:
        if self._end is None:
            self._end = end
            self._over.set()

    def _next_look(self) -> float:
        timeout_s = self._settings.network.stall_timeout
        return time.monotonic() + min(1.0, timeout_s / 4) if timeout_s else NEVER

    def _end_stalled(self) -> None:
        now, timeout_s = time.monotonic(), self._settings.network.stall_timeout
        for curl, job in list(self._active.items()):
            if job.has_stalled(now, timeout_s):
                self._multi.remove(curl)
                self._on_done(curl, TIMED_OUT, f"stalled: no byte for {timeout_s:g} s (--stall-timeout)")
        self._pump()
        self._stall.set(self._next_look())

    def _report_not_run(self) -> None:
        """Report, after the deadline, what was in progress, what waited, and what was still in the inputs."""
        verdict = TIMED_OUT, f"the run's --deadline of {self._settings.deadline:g} s was over"
        for curl, job in list(self._active.items()):
            self._multi.remove(curl)
            del self._active[curl]
            assert job.handle is not None
            self._ledger.close(job, job.handle.measured(), verdict)
            self._idle.append(job.handle)
        for job in self._scheduler.drain():
            self._ledger.close(job, NOTHING, verdict)
        give_up_at = time.monotonic() + UNREAD_S
        while time.monotonic() < give_up_at or not self._inputs.is_live:
            item = self._inputs.next()
            if isinstance(item, Later):
                return
            job_not_run = self._ledger.enter(item)
            if job_not_run:
                self._ledger.close(job_not_run, NOTHING, verdict)
            if self._inputs.count % UNSENT_AT_ONCE == 0:
                gevent.sleep(0)  # signals and the writer of stdout have their turn
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        while self._is_behind or not self._report.has_room:
            self._room.clear()
            self._room.wait()

    def _give_up(self) -> None:
        """Take all transfers out of the multi handle, so that nothing moves any more."""
        self._stop(End.INTERRUPTED)
        for curl, job in self._active.items():
            if job.handle and not job.handle.is_connected:
                self._may_be_resolving = True
            self._multi.remove(curl)
            self._given_up.append(job)
        self._active.clear()

    def _clear_up(self) -> None:
        """Remove what unfinished bodies have left behind, and close all there is."""
        self._give_up()
        for job in (*self._given_up, *self._scheduler.drain()):
            job.body.discard()
            if job.handle:
                self._idle.append(job.handle)
        if self._share and self._idle:
            self._idle[0].flush_cookies()
        for handle in self._idle:
            handle.close()
        for alarm in (self._wake, self._stall, self._deadline):
            alarm.close()
        self._multi.close(abandon=self._may_be_resolving)
        self._inputs.close()


def _backoff(attempts: int) -> float:
    from random import uniform

    return backoff(attempts, uniform)
