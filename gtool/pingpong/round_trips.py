"""Questions and answers: what is asked when, which answer belongs to which question, and how long it took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from gtool.errors import PeerGone
from gtool.pingpong.engine import Engine, Link
from gtool.pingpong.job import Job
from gtool.pingpong.pace import Pace
from gtool.pingpong.sequence import Numbering
from gtool.pingpong.tally import Tally
from gtool.stats import NANOSECOND, LatencyHistogram

clock = time.monotonic
Silence = Callable[[], PeerGone]


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
            self._ask_what_is_due()
            while self._asked or self._left:
                self._wait()
                self._ask_what_is_due()
        finally:
            tally.ended_at = clock()
        return self._number

    def _ask_what_is_due(self) -> None:
        """Ask what is due and has room."""
        while self._left and len(self._asked) < self._job.pipeline:
            now = clock()
            if now >= self._ends_at:
                self._left = 0
            elif self._pace.due_at > now:
                break
            else:
                self._left -= 1
                self._ask(self._pace.take(), 1)

    def _ask(self, counts_from: float | None, tries: int) -> None:
        """Ask one; its time counts from now, or from before. What is noted is noted while it is on its way."""
        message = next(self._numbering.messages(self._number, 1))
        frames = [*self._envelope, message]
        sent_at = clock()
        is_sent = self._link.send(frames, self._job.timeout)
        if not is_sent:
            raise self._silence()
        self._number += 1
        self._tally.sent += 1
        asked = _Asked(message, sent_at if counts_from is None else counts_from, sent_at, tries)
        self._asked[message[: self._numbering.width]] = asked
        if len(self._asked) == self._job.pipeline:
            self._pace.is_full(sent_at)

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
        if asked is None and self._was_asked(answer) and not self._job.is_strict:  # whose turn it is to ask then
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
