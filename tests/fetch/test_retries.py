"""Whether a failed attempt is made again, and when; the policy itself has tests of its own."""

from __future__ import annotations

import time

import pytest

from gtool.fetch import retries
from gtool.fetch.bodies import UNWANTED, Checks, body_for
from gtool.fetch.job import Job
from gtool.fetch.request import Request
from gtool.fetch.retries import Retries
from gtool.fetch.retry_policy import RetryPolicy
from gtool.fetch.schedule import Limits, Scheduler
from gtool.fetch.stores import CannotRestart, InlineStore
from gtool.runtime.alarm import NEVER

URL = "http://some.test/"
TIMED_OUT = 28, "timed out"
REFUSED = 22, "the server answered 503"
IN_AN_HOUR = 3600.0


class Asking(Job):
    """A job whose server asks for some patience; it counts how often that is read."""

    def __init__(self, asked_s: float | None = None, body=UNWANTED) -> None:
        super().__init__(0, Request(URL, URL, "some.test"), body, None)
        self.attempts = 1
        self.started = time.monotonic()
        self.reads = 0
        self._asked_s = asked_s

    def retry_after(self) -> float | None:
        self.reads += 1
        return self._asked_s


class Run:
    """A schedule, and the retries that are put into it."""

    def __init__(self, policy: RetryPolicy, deadline_s: float = NEVER) -> None:
        now = time.monotonic()
        self.scheduler: Scheduler[Job] = Scheduler(Limits(), now)
        self.retries = Retries(policy, self.scheduler, now + deadline_s)

    def waits_s(self) -> float:
        """How long it is until the next one may start."""
        now = time.monotonic()
        return self.scheduler.wake_at(now) - now


@pytest.fixture(autouse=True)
def longest_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no delay be left to chance: it is the longest that there may be."""
    monkeypatch.setattr(retries, "_backoff", lambda attempts: 2.0**attempts)


def test_without_retries_the_verdict_stands():
    run, job = Run(RetryPolicy(retry=0)), Asking()
    assert run.retries.retry(job, TIMED_OUT, 0) == TIMED_OUT
    assert not run.retries.will_retry(job, 503)
    assert not run.scheduler.waiting


def test_a_transient_failure_waits_for_its_next_attempt():
    run, job = Run(RetryPolicy(retry=1)), Asking()
    assert run.retries.retry(job, TIMED_OUT, 0) is None
    assert run.scheduler.waiting == 1
    assert 1 < run.waits_s() <= 2


def test_a_failure_for_good_is_one():
    run, job = Run(RetryPolicy(retry=1)), Asking()
    verdict = 22, "the server answered 404"
    assert run.retries.retry(job, verdict, 404) == verdict


def test_the_server_may_ask_for_more_time():
    run, job = Run(RetryPolicy(retry=1)), Asking(30.0)
    assert run.retries.retry(job, REFUSED, 503) is None
    assert 29 < run.waits_s() <= 30


@pytest.mark.parametrize(("policy", "deadline_s"), [(RetryPolicy(retry=1), 60.0), (RetryPolicy(1, False, 60.0), NEVER)])
def test_a_retry_that_would_come_too_late_is_none(policy: RetryPolicy, deadline_s: float):
    run, job = Run(policy, deadline_s), Asking(IN_AN_HOUR)
    assert run.retries.retry(job, REFUSED, 503) == REFUSED


def test_what_is_decided_at_the_head_of_an_answer_holds_at_its_end():
    run, job = Run(RetryPolicy(retry=1)), Asking(30.0)
    assert run.retries.will_retry(job, 503)
    assert run.retries.retry(job, REFUSED, 503) is None
    assert job.reads == 1


def test_what_can_not_be_taken_back_is_not_asked_for_again():
    class Told(InlineStore):
        def take_back(self) -> None:
            raise CannotRestart("part of it is on stdout")

    run, job = Run(RetryPolicy(retry=1)), Asking(body=body_for(Told(100), Checks(), None))
    assert run.retries.retry(job, TIMED_OUT, 0) == (18, "part of it is on stdout")
    assert not run.scheduler.waiting
