"""Which input may start now: rates, limits per host, pauses, retries. Pure: the caller brings the clock.

Jobs that may start wait in one heap, in input order. A job whose host is busy, paused or out of tokens is
parked with its host, so that it holds nobody up, and comes back when the host can take one:

    add, retry when due ──> ready ──next()──> started ──finished()──┐
                              ▲  └─> parked with its host ──────────┤
                              └──── released, one at a time <───────┘

Each host with parked jobs has one of: a job in `ready`, a timer, or started jobs that will finish. Times are
seconds of one monotonic clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, NamedTuple, Protocol, TypeVar


class Schedulable(Protocol):
    seq: int
    host: str


Job = TypeVar("Job", bound=Schedulable)

NEVER = float("inf")
HAIR = 1e-9  #: seconds or tokens that do not matter, else rounding has us wake up for nothing, again and again
SWEEP_EVERY = 1024  #: hosts that come and go between two looks for forgotten ones


class Limits(NamedTuple):
    """How much may run at once and per second; None is no limit."""

    concurrency: int = 20
    concurrency_per_host: int | None = None
    rate: float | None = None  #: starts per second
    rate_per_host: float | None = None
    lookahead: int = 1000  #: inputs read ahead of the oldest one that still waits


class TokenBucket:
    """A rate limit that lets a tenth of a second's worth through at once, and at least one."""

    __slots__ = ("_burst", "_rate", "_stamp", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate / 10)
        self._tokens = self._burst
        self._stamp = now

    def ready_at(self, now: float) -> float:
        """When a token is there: now, or later."""
        self._tokens = min(self._burst, self._tokens + (now - self._stamp) * self._rate)
        self._stamp = now
        return now if self._tokens >= 1 - HAIR else now + (1 - self._tokens) / self._rate

    def take(self) -> None:
        self._tokens -= 1

    def is_full(self, now: float) -> bool:
        self.ready_at(now)
        return self._tokens >= self._burst


class _Host(Generic[Job]):
    __slots__ = ("active", "bucket", "parked", "paused_until", "wake_at")

    def __init__(self, bucket: TokenBucket | None) -> None:
        self.active = 0
        self.bucket = bucket
        self.parked: list[tuple[int, Job]] = []
        self.paused_until = 0.0
        self.wake_at = NEVER

    def free_at(self, now: float, limit: int | None) -> float:
        """When it can take a job: now, later, or NEVER while only a finished job can make room."""
        if limit is not None and self.active >= limit:
            return NEVER
        return max(self.paused_until, self.bucket.ready_at(now) if self.bucket else now)

    def is_forgettable(self, now: float) -> bool:
        idle = not self.active and not self.parked and self.paused_until <= now
        return idle and (self.bucket is None or self.bucket.is_full(now))


class Scheduler(Generic[Job]):
    """Holds the jobs that wait; not more than the caller adds."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._limits_hosts = limits.concurrency_per_host is not None or limits.rate_per_host is not None
        self._bucket = TokenBucket(limits.rate, now) if limits.rate else None
        self._is_unlimited = not self._limits_hosts and self._bucket is None
        self._ready: list[tuple[int, Job]] = []
        #: (when, whether it is a host, seq, a job to retry | the name of a host to look at again)
        self._timers: list[tuple[float, bool, int, Job | str]] = []
        self._hosts: dict[str, _Host[Job]] = {}
        self._sweep_at = SWEEP_EVERY
        self.waiting = 0  #: jobs held: ready, parked, or waiting for their retry

    @property
    def is_hungry(self) -> bool:
        """Whether another input is welcome: nothing is ready, and the look-ahead has room."""
        return not self._ready and self.waiting < self._limits.lookahead

    def offer(self, job: Job, now: float) -> Job | None:
        """Take in a new job, and give the one that may start now, if any: this one at once where nothing is limited."""
        if self._is_unlimited and not self._hosts:
            return job
        self.add(job)
        return self.next(now)

    def add(self, job: Job) -> None:
        """Take in a new job, to be given by next()."""
        self.waiting += 1
        heappush(self._ready, (job.seq, job))

    def retry(self, job: Job, at: float) -> None:
        """Take back a job that has finished; it is ready again at that time."""
        self.waiting += 1
        heappush(self._timers, (at, False, job.seq, job))

    def pause_host(self, name: str, until: float) -> None:
        """Start nothing on that host before that time."""
        host = self._host(name, 0.0)
        host.paused_until = max(host.paused_until, until)

    def next(self, now: float) -> Job | None:
        """Take the first job in input order that may start now, or None."""
        if self._timers:
            self._release_due(now)
        while self._ready:
            if self._bucket and self._bucket.ready_at(now) > now:
                return None
            seq, job = heappop(self._ready)
            if self._limits_hosts or job.host in self._hosts:
                host = self._host(job.host, now)
                free_at = host.free_at(now, self._limits.concurrency_per_host)
                if free_at > now:
                    self._park(host, seq, job, free_at)
                    continue
                self._charge(host)
            if self._bucket:
                self._bucket.take()
            self.waiting -= 1
            return job
        return None

    def finished(self, job: Job, now: float) -> None:
        """Note that a job given by next() has ended, which may make room on its host."""
        if not self._hosts:
            return
        host = self._hosts.get(job.host)
        if host is None:
            return
        if self._limits_hosts:
            host.active -= 1
        self._release(host)
        if host.is_forgettable(now):
            del self._hosts[job.host]
        elif len(self._hosts) > self._sweep_at:
            self._hosts = {name: host for name, host in self._hosts.items() if not host.is_forgettable(now)}
            self._sweep_at = len(self._hosts) + SWEEP_EVERY

    def wake_at(self, now: float) -> float:
        """When next() is worth asking again though nothing has finished; NEVER if only that helps."""
        timer = self._timers[0][0] if self._timers else NEVER
        token = self._bucket.ready_at(now) if self._bucket and self._ready else NEVER
        return min(timer, token)

    def drain(self) -> list[Job]:
        """Give up: hand back every job that waits, in input order."""
        jobs = [job for _, job in self._ready]
        jobs += [job for _, _, _, job in self._timers if not isinstance(job, str)]
        jobs += [job for host in self._hosts.values() for _, job in host.parked]
        self._ready, self._timers, self._hosts, self.waiting = [], [], {}, 0
        return sorted(jobs, key=lambda job: job.seq)

    def _host(self, name: str, now: float) -> _Host[Job]:
        host = self._hosts.get(name)
        if host is None:
            rate = self._limits.rate_per_host
            host = self._hosts[name] = _Host(TokenBucket(rate, now) if rate else None)
        return host

    def _charge(self, host: _Host[Job]) -> None:
        if self._limits_hosts:
            host.active += 1
        if host.bucket:
            host.bucket.take()
        self._release(host)  # the next one may be free to start as well; if not, it parks again

    def _park(self, host: _Host[Job], seq: int, job: Job, free_at: float) -> None:
        heappush(host.parked, (seq, job))
        if free_at < host.wake_at:
            host.wake_at = free_at
            heappush(self._timers, (free_at, True, seq, job.host))

    def _release(self, host: _Host[Job]) -> None:
        if host.parked:
            heappush(self._ready, heappop(host.parked))

    def _release_due(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now + HAIR:
            _, _, seq, job = heappop(self._timers)
            if not isinstance(job, str):
                heappush(self._ready, (seq, job))
            elif host := self._hosts.get(job):
                host.wake_at = NEVER
                self._release(host)
