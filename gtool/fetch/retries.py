"""Has failed attempts made again, as long as a run's rules and its time allow it."""

from __future__ import annotations

import time

from gtool.fetch.job import UNPLANNED, Job, Verdict
from gtool.fetch.retry_policy import RetryPolicy, backoff
from gtool.fetch.schedule import Scheduler
from gtool.log import EventLog

log = EventLog("fetch")


class Retries:
    """Puts jobs back into the schedule. Whether there is another attempt is decided once for each."""

    def __init__(self, policy: RetryPolicy, scheduler: Scheduler[Job], deadline_at: float) -> None:
        """`deadline_at` is the end of the run, on the monotonic clock."""
        self._policy = policy
        self._scheduler = scheduler
        self._deadline_at = deadline_at

    def will_retry(self, job: Job, status: int) -> bool:
        """Decide at the head of an answer, before its body goes anywhere, whether it will be asked for again."""
        return self._plan(job, 0, status) is not None

    def retry(self, job: Job, verdict: Verdict, status: int) -> Verdict | None:
        """Have a failed attempt made again, if it may be; else the verdict that stands."""
        delay = self._plan(job, verdict[0], status)
        if delay is None:
            return verdict
        if refusal := job.take_back():
            return refusal
        url, (exitcode, error) = job.request.shown, verdict
        log.info("retrying", url=url, exitcode=exitcode, error=error, attempt=job.attempts, delay=round(delay, 3))
        self._scheduler.retry(job, time.monotonic() + delay)
        return None

    def _plan(self, job: Job, exitcode: int, status: int) -> float | None:
        """Seconds until the next attempt, None if there is none."""
        policy = self._policy
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


def _backoff(attempts: int) -> float:
    from random import uniform

    return backoff(attempts, uniform)
