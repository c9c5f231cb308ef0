"""What a client does, on either engine: ask and take the time until the answer, or push as fast as it can."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import zmq

from gtool.errors import GtoolError, PeerGone
from gtool.pingpong.connection import connected
from gtool.pingpong.engine import SMALLEST_LIMIT, Engine, Link
from gtool.pingpong.job import Job, Tally
from gtool.pingpong.pace import Pace
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.sequence import Numbering
from gtool.stats import NANOSECOND, LatencyHistogram

EMPTY_ROUNDS = 10_000
CHUNK_BYTES, CHUNK_MESSAGES = 1 << 20, 256  #: pushed between two looks at the clock
DEFAULT_HWM = 1000  # libzmq's

clock = time.monotonic
Silence = Callable[[], PeerGone]


class Orders(Protocol):
    """Who has given the job."""

    def wait_for_start(self) -> None:
        """Return when all clients are connected and warmed up, as this one is."""

    def finish(self, tally: Tally) -> None:
        """Take what was measured; return when the connection may be closed, and what is unsent with it be dropped."""


def measure(engine: Engine, context: zmq.Context[Any], job: Job, orders: Orders) -> None:
    """Do a job. What ends it early is in the tally, with all that was measured until then."""
    tally = Tally()
    pattern = PATTERNS[job.pattern]
    sock = context.socket(pattern.client)
    sock.sndhwm = sock.rcvhwm = max(DEFAULT_HWM, job.pipeline)
    sock.maxmsgsize = max(SMALLEST_LIMIT, job.size)
    if pattern.client == zmq.REQ:  # so that a lost answer is not waited for, nor taken for the next one
        sock.req_relaxed = sock.req_correlate = True
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(connected(engine, sock, job.endpoint, job.keys, job.timeout))
            if pattern.is_one_way:
                _push(engine, connection.link, job, tally, orders)
            else:
                _ask(engine, connection.link, job, tally, orders, connection.silence)
        except GtoolError as error:
            tally.fail(error)
        orders.finish(tally)


def empty_loop(engine: Engine) -> float:
    """Measure the meter: the median of round trips to nowhere, in seconds."""
    tally = Tally()
    job = Job("", "dealer-router", 32, EMPTY_ROUNDS, None, 0, None, 0.0, 1, 1.0, 0, False, None)
    RoundTrips(engine, _Mirror(), job, tally, lambda: PeerGone("")).run()
    found = tally.round_trips.percentiles().p50
    assert found is not None
    return found


def _ask(engine: Engine, link: Link, job: Job, tally: Tally, orders: Orders, silence: Silence) -> None:
    warmup = replace(job, count=job.warmup, duration=None, rate=None)
    asked = RoundTrips(engine, link, warmup, Tally(), silence).run()
    orders.wait_for_start()
    RoundTrips(engine, link, job, tally, silence, asked).run()


class _Asked(NamedTuple):
    message: bytes
    counts_from: float
    sent_at: float
    tries: int


class RoundTrips:
    """Asks, up to `pipeline` questions at once, and takes the time until each is answered."""

    def __init__(
        self, engine: Engine, link: Link, job: Job, tally: Tally, silence: Silence, first_number: int = 0
    ) -> None:
        """`silence` tells why nothing has come; numbers below the first one were asked before."""
        self._engine = engine
        self._link = link
        self._job = job
        self._tally = tally
        self._silence = silence
        self._number = first_number
        self._numbering = Numbering(job.size)
        self._envelope = [b""] if job.is_plain and job.pattern == "dealer-router" else []
        self._left = math.inf if job.count is None else job.count
        self._asked: dict[bytes, _Asked] = {}  # by number as sent, oldest first
        self._given_up: set[bytes] = set()
        self._pace = Pace(job.rate, 0.0)
        self._ends_at = math.inf
        if job.rate is not None:
            tally.uncorrected = LatencyHistogram(NANOSECOND)

    def run(self) -> int:
        """Ask all, and give the number that comes next. PeerGone if a question is not answered, or by rubbish."""
        job, tally = self._job, self._tally
        tally.started_at = clock()
        self._pace = Pace(job.rate, tally.started_at + job.phase)
        self._ends_at = tally.started_at + (math.inf if job.duration is None else job.duration)
        try:
            while self._ask_what_is_due() or self._asked or self._left:
                self._wait()
        finally:
            tally.ended_at = clock()
        return self._number

    def _ask_what_is_due(self) -> bool:
        """Ask what is due and has room; tell whether anything was."""
        has_asked = False
        while self._left and len(self._asked) < self._job.pipeline:
            now = clock()
            if now >= self._ends_at:
                self._left = 0
            elif self._pace.due_at > now:
                break
            else:
                self._left -= 1
                self._ask(self._pace.take(), 1)
                has_asked = True
        return has_asked

    def _ask(self, counts_from: float | None, tries: int) -> None:
        """Ask one; its time counts from now, or from before. What is noted is noted while it is on its way."""
        message = next(self._numbering.messages(self._number, 1))
        frames = [*self._envelope, message]
        sent_at = clock()
        is_sent = self._link.send(frames, self._job.timeout)
        self._number += 1
        self._tally.sent += 1
        asked = _Asked(message, sent_at if counts_from is None else counts_from, sent_at, tries)
        self._asked[message[: self._numbering.width]] = asked
        if len(self._asked) == self._job.pipeline:
            self._pace.is_full(sent_at)
        if not is_sent:
            raise self._silence()

    def _wait(self) -> None:
        """Wait for an answer, or until the next question is due."""
        now = clock()
        next_at = min(self._pace.due_at, self._ends_at) if self._left else math.inf
        if not self._asked:
            self._engine.sleep(max(0.0, next_at - now))
            return
        oldest = next(iter(self._asked.values()))
        gives_up_at = oldest.sent_at + self._job.timeout
        until = min(gives_up_at, next_at) if len(self._asked) < self._job.pipeline else gives_up_at
        frames = self._link.receive(max(0.0, until - now))
        now = clock()
        if frames is not None:
            self._take(frames, now)
        elif now >= gives_up_at:
            self._give_up(oldest)

    def _take(self, frames: list[bytes], now: float) -> None:
        answer = frames[-1]
        key = answer[: self._numbering.width]
        asked = self._asked.get(key)
        if asked is None and self._was_asked(answer):
            if key in self._given_up:
                self._given_up.remove(key)
                self._tally.late += 1
            else:
                self._tally.duplicates += 1
            return
        if asked is None or frames != [*self._envelope, asked.message]:
            raise PeerGone(f"{self._job.endpoint} answers rubbish: {answer[:40]!r}", "it has to send back what comes")
        self._forget(key, now)
        self._tally.answered += 1
        self._tally.round_trips.record(now - asked.counts_from)
        if self._tally.uncorrected is not None:
            self._tally.uncorrected.record(now - asked.sent_at)

    def _was_asked(self, answer: bytes) -> bool:
        """Whether it answers one of our questions, of those that are not open any more."""
        numbering = self._numbering
        if len(answer) != numbering.size:
            return False
        (number,) = numbering.struct.unpack(answer)
        return number < min(self._number, numbering.modulus) and answer == numbering.struct.pack(number)

    def _give_up(self, asked: _Asked) -> None:
        """Give a question up, and ask a new one in its place if it may."""
        key = asked.message[: self._numbering.width]
        self._forget(key, clock())
        self._given_up.add(key)
        self._tally.lost += 1
        if asked.tries > self._job.retries:
            raise self._silence()
        self._tally.retried += 1
        self._ask(None, asked.tries + 1)

    def _forget(self, key: bytes, now: float) -> None:
        if len(self._asked) == self._job.pipeline:
            self._pace.has_room(now)
        del self._asked[key]


def _push(engine: Engine, link: Link, job: Job, tally: Tally, orders: Orders) -> None:
    """Send as fast as there is room, or at the rate. PeerGone if there is none in time."""
    numbering = Numbering(job.size)
    silence = PeerGone(f"{job.endpoint} has taken nothing for {job.timeout:g} s", "it has stopped, or cannot keep up")
    if job.pattern == "pub-sub" and link.receive(job.timeout) is None:
        raise PeerGone(f"{job.endpoint} does not subscribe within {job.timeout:g} s")
    if link.send_all([numbering.warmup] * job.warmup, job.timeout) < job.warmup:
        raise silence
    orders.wait_for_start()
    most = max(1, min(CHUNK_MESSAGES, CHUNK_BYTES // job.size))
    tally.started_at = clock()
    first_at = tally.started_at + job.phase
    ends_at = tally.started_at + (math.inf if job.duration is None else job.duration)
    count = math.inf if job.count is None else job.count
    try:
        while tally.sent < count and (now := clock()) < ends_at:
            due = math.inf if job.rate is None else math.floor((now - first_at) * job.rate) + 1
            wanted = int(min(most, count - tally.sent, due - tally.sent))
            if wanted <= 0:
                engine.sleep(min(ends_at, first_at + tally.sent / (job.rate or 1.0)) - now)
                continue
            sent = link.send_all(numbering.messages(tally.sent, wanted), job.timeout)
            tally.sent += sent
            if sent < wanted:
                raise silence
    finally:
        tally.ended_at = clock()


class _Mirror:
    """A link to nowhere: what is sent is what comes back."""

    sock = None
    _frames: list[bytes] | None = None

    def send(self, frames: list[bytes], timeout_s: float) -> bool:
        self._frames = frames
        return True

    def receive(self, timeout_s: float) -> list[bytes] | None:
        return self._frames

    def send_all(self, messages: object, timeout_s: float) -> int:
        raise NotImplementedError

    def receive_some(self, timeout_s: float) -> list[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        pass
