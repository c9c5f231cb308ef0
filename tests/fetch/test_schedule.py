"""Which input may start when: the scheduler run against a clock of our own, over random inputs and limits."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.schedule import NEVER, SWEEP_EVERY, Limits, Scheduler, TokenBucket

fixed = settings(derandomize=True, deadline=None, max_examples=100)

START = 1000.0
HAIR = 1e-6  #: of a token: what rounding may do


@dataclass(frozen=True)
class Attempt:
    """What becomes of one attempt: how long it takes, and what its end brings."""

    duration: float
    retry_after: float | None = None  #: None: it was the last one
    pause: float = 0.0  #: of its host


@dataclass(eq=False)
class Job:
    seq: int
    host: str
    attempts: list[Attempt] = field(default_factory=lambda: [Attempt(0.0)])

    def __repr__(self) -> str:
        return f"{self.host}{self.seq}"


@dataclass(frozen=True)
class Start:
    at: float
    job: Job
    active_on_host: int  #: with this one


@dataclass
class Run:
    """A scheduler at work as the engine has it, on a clock that jumps from event to event."""

    limits: Limits
    jobs: list[Job]
    now: float = START
    starts: list[Start] = field(default_factory=list)
    pauses: list[tuple[float, str, float]] = field(default_factory=list)  #: since, host, until
    held: list[Job] = field(default_factory=list)  #: given to the scheduler, and not given back
    due: dict[int, float] = field(default_factory=dict)  #: of jobs that wait for their retry
    most_waiting: int = 0

    def __post_init__(self) -> None:
        self.scheduler: Scheduler[Job] = Scheduler(self.limits, self.now)
        self.active: Counter[str] = Counter()
        self.running: list[tuple[float, int, Job]] = []
        self._unread = list(reversed(self.jobs))
        self._tries: Counter[int] = Counter()

    def to_the_end(self) -> Run:
        for _ in range(10_000):
            self.fill()
            if self.is_over:
                assert not self._unread, "inputs that nobody asks for"
                return self
            self.go_on()
        raise AssertionError("it does not come to an end")

    @property
    def is_over(self) -> bool:
        return not self.running and not self.scheduler.waiting

    def go_on(self) -> None:
        """Let time pass until something happens."""
        self._sleep()
        self._end_due()

    def fill(self) -> None:
        """Start all that may start."""
        while len(self.running) < self.limits.concurrency:
            job = self.scheduler.next(self.now) or self._read()
            if job is None:
                break
            self._start(job)

    def _read(self) -> Job | None:
        while self._unread and self.scheduler.is_hungry:
            read = self._unread.pop()
            self.held.append(read)
            job = self.scheduler.offer(read, self.now)
            self.most_waiting = max(self.most_waiting, self.scheduler.waiting)
            if job is not None:
                return job
        return None

    def _start(self, job: Job) -> None:
        self.held.remove(job)
        self.active[job.host] += 1
        self.starts.append(Start(self.now, job, self.active[job.host]))
        attempt = job.attempts[self._tries[job.seq]]
        heappush(self.running, (self.now + attempt.duration, job.seq, job))

    def _sleep(self) -> None:
        wake_at = self.scheduler.wake_at(self.now) if len(self.running) < self.limits.concurrency else NEVER
        until = min(wake_at, self.running[0][0] if self.running else NEVER)
        assert until < NEVER, "jobs wait, and nothing will ever start them"
        assert until >= self.now
        assert wake_at > self.now, "it is to be asked again at once, though it has just said no"
        self.now = until

    def _end_due(self) -> None:
        while self.running and self.running[0][0] <= self.now:
            _, _, job = heappop(self.running)
            attempt = job.attempts[self._tries[job.seq]]
            self._tries[job.seq] += 1
            self.active[job.host] -= 1
            self.scheduler.finished(job, self.now)
            if attempt.pause:
                self.scheduler.pause_host(job.host, self.now + attempt.pause)
                self.pauses.append((self.now, job.host, self.now + attempt.pause))
            if attempt.retry_after is not None:
                self.held.append(job)
                self.due[job.seq] = self.now + attempt.retry_after
                self.scheduler.retry(job, self.now + attempt.retry_after)


HOSTS = st.sampled_from("aaabbc")
TIMES = st.sampled_from([0.0, 0.1, 0.25, 1.0, 3.0]) | st.floats(0, 5)
RATES = st.sampled_from([0.5, 3.0, 7.3, 40.0, 1000.0])


@st.composite
def jobs(draw: st.DrawFn, *, with_retries: bool = True, with_pauses: bool = True) -> list[Job]:
    pauses = st.just(0.0) | TIMES if with_pauses else st.just(0.0)
    failures = st.lists(st.builds(Attempt, TIMES, TIMES, pauses), max_size=2 if with_retries else 0)
    attempts = st.builds(lambda failed, last: [*failed, last], failures, st.builds(Attempt, TIMES, st.none(), pauses))
    return [Job(seq, draw(HOSTS), draw(attempts)) for seq in range(draw(st.integers(0, 20)))]


def limits_with(**drawn: st.SearchStrategy[Any]) -> st.SearchStrategy[Limits]:
    """Any limits, but those given are drawn from there."""
    any_limits = {
        "concurrency": st.sampled_from([20, 8, 3, 1]),
        "concurrency_per_host": st.none() | st.integers(1, 3),
        "rate": st.none() | RATES,
        "rate_per_host": st.none() | RATES,
        "lookahead": st.sampled_from([1, 5, 30]),
    }
    return st.builds(Limits, **{**any_limits, **drawn})


LIMITS = limits_with()
UNLIMITED = Limits(concurrency=1000)


def assert_within_rate(starts: list[float], rate: float) -> None:
    """Assert that no stretch of time has more starts than a bucket of that rate lets through."""
    burst = max(1.0, rate / 10)
    for first, since in enumerate(starts):
        for last, until in enumerate(starts[first:], 1):
            assert last <= burst + rate * (until - since) + HAIR


def by_host(run: Run) -> dict[str, list[Start]]:
    starts: dict[str, list[Start]] = defaultdict(list)
    for start in run.starts:
        starts[start.job.host].append(start)
    return starts


def is_spent(rate: float | None, starts: list[Start], now: float) -> bool:
    """Whether a bucket that these starts have drawn from has no token."""
    if rate is None:
        return False
    bucket = TokenBucket(rate, START)
    for start in starts:
        bucket.ready_at(start.at)
        bucket.take()
    return bucket.ready_at(now) > now


def assert_all_have_reasons(run: Run) -> None:
    limits, now = run.limits, run.now
    if len(run.running) == limits.concurrency or is_spent(limits.rate, run.starts, now):
        return
    starts = by_host(run)
    for job in run.held:
        assert (
            run.due.get(job.seq, now) > now
            or run.active[job.host] == limits.concurrency_per_host
            or any(host == job.host and until > now for _, host, until in run.pauses)
            or is_spent(limits.rate_per_host, starts[job.host], now)
        ), f"{job} could start"


# Whatever the inputs, the limits, the times


@fixed
@given(LIMITS, jobs())
def test_every_job_starts_once_and_once_for_each_retry(limits, jobs):
    run = Run(limits, jobs).to_the_end()
    assert Counter(start.job.seq for start in run.starts) == {job.seq: len(job.attempts) for job in jobs}


@fixed
@given(limits_with(concurrency_per_host=st.integers(1, 3)), jobs())
def test_no_host_has_more_at_once_than_its_limit(limits, jobs):
    run = Run(limits, jobs).to_the_end()
    assert all(start.active_on_host <= limits.concurrency_per_host for start in run.starts)


@fixed
@given(limits_with(rate=RATES), jobs())
def test_starts_keep_to_the_rate(limits, jobs):
    run = Run(limits, jobs).to_the_end()
    assert_within_rate([start.at for start in run.starts], limits.rate)


@fixed
@given(limits_with(rate_per_host=RATES), jobs())
def test_starts_on_each_host_keep_to_its_rate(limits, jobs):
    run = Run(limits, jobs).to_the_end()
    for starts in by_host(run).values():
        assert_within_rate([start.at for start in starts], limits.rate_per_host)


@fixed
@given(LIMITS, jobs())
def test_nothing_starts_on_a_host_that_is_paused(limits, jobs):
    run = Run(limits, jobs).to_the_end()
    early = [
        (start, until) for since, host, until in run.pauses for start in by_host(run)[host] if since < start.at < until
    ]
    assert not early


@fixed
@given(LIMITS, jobs(with_retries=False))
def test_not_more_inputs_wait_than_the_lookahead(limits, jobs):
    assert Run(limits, jobs).to_the_end().most_waiting <= limits.lookahead


@fixed
@given(LIMITS, jobs(with_retries=False))
def test_the_jobs_of_one_host_start_in_input_order(limits, jobs):
    run = Run(limits, jobs).to_the_end()
    for starts in by_host(run).values():
        assert [start.job.seq for start in starts] == sorted(start.job.seq for start in starts)


@fixed
@given(st.integers(1, 8), st.none() | RATES, jobs(with_retries=False, with_pauses=False))
def test_input_order_is_kept_where_no_host_is_in_the_way(concurrency, rate, jobs):
    run = Run(Limits(concurrency=concurrency, rate=rate), jobs).to_the_end()
    assert [start.job.seq for start in run.starts] == list(range(len(jobs)))


@fixed
@given(LIMITS, jobs())
def test_a_job_that_waits_has_a_reason(limits, jobs):
    """Its own retry, the rate, or its own host, which is full, paused or out of tokens: no host holds up another."""
    run = Run(limits, jobs)
    run.fill()
    assert_all_have_reasons(run)
    while not run.is_over:
        run.go_on()
        run.fill()
        assert_all_have_reasons(run)


@fixed
@given(LIMITS, jobs(), st.integers(0, 20))
def test_drain_gives_back_what_waits_in_input_order(limits, jobs, steps):
    run = Run(limits, jobs)
    run.fill()
    for _ in range(steps):
        if not run.is_over:
            run.go_on()
            run.fill()
    assert run.scheduler.waiting == len(run.held)
    assert run.scheduler.drain() == sorted(run.held, key=lambda job: job.seq)


# One thing at a time


def test_a_full_host_does_not_hold_up_another():
    run = Run(Limits(concurrency=10, concurrency_per_host=1), [*(Job(seq, "a") for seq in range(50)), Job(50, "b")])
    run.fill()
    assert [start.job.seq for start in run.starts] == [0, 50]


def test_a_host_without_tokens_does_not_hold_up_another():
    run = Run(Limits(concurrency=10, rate_per_host=0.01), [*(Job(seq, "a") for seq in range(50)), Job(50, "b")])
    run.fill()
    assert [start.job.seq for start in run.starts] == [0, 50]


def test_a_paused_host_does_not_hold_up_another():
    run = Run(UNLIMITED, [*(Job(seq, "a") for seq in range(50)), Job(50, "b")])
    run.scheduler.pause_host("a", START + 60)
    run.fill()
    assert [start.job.seq for start in run.starts] == [50]


def test_a_paused_host_starts_when_the_pause_is_over():
    scheduler: Scheduler[Job] = Scheduler(UNLIMITED, START)
    scheduler.pause_host("a", START + 60)
    job = Job(0, "a")
    assert scheduler.offer(job, START) is None
    assert scheduler.wake_at(START) == START + 60
    assert scheduler.next(START + 60) is job


def test_a_shorter_pause_does_not_end_a_longer_one():
    scheduler: Scheduler[Job] = Scheduler(UNLIMITED, START)
    scheduler.pause_host("a", START + 60)
    scheduler.pause_host("a", START + 5)
    assert scheduler.offer(Job(0, "a"), START + 59) is None


def test_a_retry_waits_for_its_time_and_then_goes_first():
    scheduler: Scheduler[Job] = Scheduler(UNLIMITED, START)
    again, later = Job(0, "a"), Job(1, "a")
    scheduler.retry(again, START + 2)
    assert scheduler.next(START + 1.9) is None
    scheduler.add(later)
    assert [scheduler.next(START + 2), scheduler.next(START + 2)] == [again, later]


def test_a_job_is_given_at_once_where_nothing_is_limited():
    scheduler: Scheduler[Job] = Scheduler(UNLIMITED, START)
    job = Job(0, "a")
    assert scheduler.offer(job, START) is job
    assert scheduler.waiting == 0


def test_a_job_is_not_given_at_once_where_there_is_a_rate():
    scheduler: Scheduler[Job] = Scheduler(Limits(rate=1.0), START)
    first, second = Job(0, "a"), Job(1, "b")
    assert [scheduler.offer(first, START), scheduler.offer(second, START)] == [first, None]
    assert scheduler.wake_at(START) == START + 1


def test_a_host_is_not_forgotten_while_a_job_of_it_runs():
    scheduler: Scheduler[Job] = Scheduler(Limits(concurrency_per_host=2), START)
    first, *others = (Job(seq, "a") for seq in range(4))
    assert [scheduler.offer(job, START) for job in (first, others[0])] == [first, others[0]]
    scheduler.finished(first, START)
    assert [scheduler.offer(job, START) for job in others[1:]] == [others[1], None]


def test_only_an_end_helps_where_all_hosts_are_full():
    scheduler: Scheduler[Job] = Scheduler(Limits(concurrency_per_host=1), START)
    first, second = Job(0, "a"), Job(1, "a")
    assert scheduler.offer(first, START) is first
    assert scheduler.offer(second, START) is None
    assert scheduler.wake_at(START) == NEVER
    scheduler.finished(first, START)
    assert scheduler.next(START) is second


def test_no_input_is_wanted_while_one_could_start():
    scheduler: Scheduler[Job] = Scheduler(UNLIMITED, START)
    scheduler.add(Job(0, "a"))
    assert not scheduler.is_hungry


def test_after_drain_nothing_is_left():
    scheduler: Scheduler[Job] = Scheduler(Limits(concurrency_per_host=1), START)
    scheduler.offer(Job(0, "a"), START)
    scheduler.pause_host("b", START + 1)
    scheduler.add(Job(1, "a"))
    scheduler.add(Job(2, "b"))
    scheduler.retry(Job(3, "c"), START + 1)
    scheduler.drain()
    assert (scheduler.waiting, scheduler.next(START + 9), scheduler.wake_at(START + 9)) == (0, None, NEVER)


@pytest.mark.parametrize("limits", [Limits(concurrency_per_host=1), Limits(rate_per_host=100.0)])
def test_hosts_that_are_done_with_are_forgotten(limits):
    scheduler: Scheduler[Job] = Scheduler(limits, START)
    for seq in range(5 * SWEEP_EVERY):
        job = scheduler.offer(Job(seq, f"h{seq}"), START + seq)
        assert job
        scheduler.finished(job, START + seq)
    assert len(scheduler._hosts) <= 2 * SWEEP_EVERY


# Token buckets


def take_all(bucket: TokenBucket, now: float) -> int:
    taken = 0
    while bucket.ready_at(now) <= now:
        bucket.take()
        taken += 1
    return taken


@pytest.mark.parametrize(("rate", "burst"), [(0.01, 1), (1, 1), (10, 1), (100, 10), (1000, 100)])
def test_a_bucket_lets_a_tenth_of_a_second_through_at_once_and_at_least_one(rate, burst):
    assert take_all(TokenBucket(rate, START), START) == burst


def test_a_bucket_says_when_the_next_token_is_there():
    bucket = TokenBucket(4.0, START)
    bucket.take()
    assert bucket.ready_at(START) == START + 0.25
    assert bucket.ready_at(START + 0.25) == START + 0.25


@fixed
@given(st.floats(0.01, 10_000), st.lists(st.floats(0, 0.3), min_size=1, max_size=20))
def test_the_token_is_there_at_the_time_that_a_bucket_has_named(rate, waits):
    bucket, now = TokenBucket(rate, START), START
    for wait in waits:
        now = bucket.ready_at(now + wait)
        assert bucket.ready_at(now) == now
        bucket.take()


def test_a_bucket_does_not_save_up_more_than_its_burst():
    bucket = TokenBucket(100.0, START)
    assert take_all(bucket, START + 3600) == 10


def test_a_bucket_is_full_when_its_burst_is_back():
    bucket = TokenBucket(100.0, START)
    take_all(bucket, START)
    assert [bucket.is_full(START + wait) for wait in (0.0, 0.09, 0.11)] == [False, False, True]
