"""One run: inputs in, transfers up to the limits, each one's end judged, retried or reported.

All of it happens in callbacks on the loop: `_pump` starts what may start, `_on_end` takes what has ended. The
greenlet that calls run() only waits for the end, and then clears up.
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
from gtool.fetch.flight import Flight
from gtool.fetch.inputs import Inputs, Later
from gtool.fetch.job import SUCCESS, Job
from gtool.fetch.ledger import Ledger
from gtool.fetch.record import NOTHING, TIMED_OUT, Measured
from gtool.fetch.report import Report
from gtool.fetch.retries import Retries
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
        wants_headers = (
            not output.has_lines or output.output is not None or output.include_headers or settings.retries.retry > 0
        )
        self._scheduler: Scheduler[Job] = Scheduler(settings.limits, time.monotonic())
        self._flight = Flight(settings.network, wants_headers, self._on_end, self._pump)
        self._wake = Alarm(self._pump)
        self._stall = Alarm(self._end_stalled)
        self._deadline = Alarm(partial(self._stop, End.DEADLINE))
        self._deadline_at = time.monotonic() + settings.deadline if settings.deadline else NEVER
        self._retries = Retries(settings.retries, self._scheduler, self._deadline_at)
        self._end: End | None = None
        self._over = Event()
        self._room = Event()
        self._is_pumping = False
        self._has_more = False  #: inputs that came up in this turn of the loop, and were not looked at
        self._given_up: list[Job] = []

    @property
    def in_flight(self) -> int:
        return len(self._flight)

    @property
    def bytes_in_flight(self) -> int:
        """Bytes that the transfers in flight have moved so far."""
        return self._flight.bytes_moved

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
        while len(self._flight) < concurrency and not self._is_behind and not self._end:
            job = self._scheduler.next(now) or self._next_input(now)
            if job is None:
                break
            self._start(job, now)
        self._is_pumping = False
        if self._inputs.is_at_end and not self._flight and not self._scheduler.waiting:
            self._stop(End.ALL_DONE)
        elif self._has_more:
            self._has_more = False
            self._wake.set(now)
        elif self._scheduler.waiting:
            is_free = len(self._flight) < concurrency and not self._is_behind
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
        try:
            self._flight.begin(job, now, self._retries.will_retry)
        except (ValueError, OSError, pycurl.error) as error:
            self._scheduler.finished(job, now)
            self._ledger.close(job, NOTHING, (URL_MALFORMED, f"cannot be sent: {error}"))

    @property
    def _is_behind(self) -> bool:
        """Whether what is done waits for stdout or the disk."""
        return self._report.is_behind or (self._journal is not None and self._journal.is_behind)

    # Ending

    def _on_end(self, job: Job, code: int, message: str, measured: Measured) -> None:
        """Take an attempt that has ended, for whatever reason."""
        verdict = job.judge(code, message, measured, self._settings.output.fail)
        self._scheduler.finished(job, time.monotonic())
        if verdict is SUCCESS and measured.response_code < 400:
            self._ledger.close(job, measured, verdict)
        elif refusal := self._retries.retry(job, verdict, measured.response_code):
            self._ledger.close(job, measured, refusal)

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
        self._flight.end_stalled(self._settings.network.stall_timeout)
        self._pump()
        self._stall.set(self._next_look())

    def _report_not_run(self) -> None:
        """Report, after the deadline, what was in progress, what waited, and what was still in the inputs."""
        verdict = TIMED_OUT, f"the run's --deadline of {self._settings.deadline:g} s was over"
        for job in self._flight.give_up():
            assert job.handle is not None
            self._ledger.close(job, job.handle.measured(), verdict)
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
        """Have nothing move any more."""
        self._stop(End.INTERRUPTED)
        self._given_up.extend(self._flight.give_up())

    def _clear_up(self) -> None:
        """Remove what unfinished bodies have left behind, and close all there is."""
        self._give_up()
        for job in (*self._given_up, *self._scheduler.drain()):
            job.body.discard()
        for alarm in (self._wake, self._stall, self._deadline):
            alarm.close()
        self._flight.close()
        self._inputs.close()
