"""What one client is to do, and what has come of it. Both travel as JSON to and from a process of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from gtool.errors import GtoolError
from gtool.stats import NANOSECOND, LatencyHistogram

COUNTS = ("sent", "answered", "lost", "retried", "late", "duplicates")


@dataclass(frozen=True, slots=True)
class Keys:
    """CURVE keys of a client, in Z85 (RFC 32 of ZeroMQ): the server's public one, and its own pair."""

    server: str
    public: str
    secret: str


@dataclass(frozen=True, slots=True)
class Job:
    """Times are seconds, sizes bytes, rates messages a second."""

    endpoint: str
    pattern: str
    size: int
    count: int | None
    duration: float | None
    warmup: int
    rate: float | None
    phase: float  #: that the first message is later than the start: the clients of a rate take turns
    pipeline: int
    timeout: float
    retries: int
    is_plain: bool
    keys: Keys | None

    @property
    def is_strict(self) -> bool:
        """Whether a REQ socket takes the first answer for the one that it waits for.

        Else it waits for no lost answer, and takes no late or second one for the next (REQ_RELAXED, REQ_CORRELATE).
        That costs a frame each way: not where the first lost answer is the end, and the server is ours.
        """
        return self.pattern == "req-rep" and not self.retries and not self.is_plain

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Job:
        keys = document["keys"]
        return cls(**{**document, "keys": keys and Keys(**keys)})


@dataclass(slots=True)
class Tally:
    """What one client, or several, have measured. Times are time.monotonic()'s, which processes share."""

    sent: int = 0
    sent_by_each: list[int] = field(default_factory=list)  #: of those that were added
    answered: int = 0
    lost: int = 0  #: not answered in time
    retried: int = 0  #: of them, asked anew
    late: int = 0  #: of them, answered after all
    duplicates: int = 0  #: answers to what was answered already
    started_at: float = 0.0
    ended_at: float = 0.0
    error: str | None = None
    exit_code: int = 0
    round_trips: LatencyHistogram = field(default_factory=lambda: LatencyHistogram(NANOSECOND))
    #: from when the message was sent, not from when it was due; where there is a rate
    uncorrected: LatencyHistogram | None = None

    def fail(self, error: GtoolError) -> None:
        """Note what ended it; of several the first."""
        if self.error is None:
            self.error, self.exit_code = str(error), error.exit_code

    def fail_as(self, other: dict[str, Any]) -> None:
        """Note what has ended another client, as its tally travels."""
        if self.error is None:
            self.error, self.exit_code = other["error"], other["exit_code"]

    def add(self, other: dict[str, Any]) -> None:
        """Add the tally of another client, as it travels."""
        self.sent_by_each.append(other["sent"])
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + other[name])
        if other["started_at"]:
            self.started_at = min(self.started_at or other["started_at"], other["started_at"])
            self.ended_at = max(self.ended_at, other["ended_at"])
        self.fail_as(other)
        self.round_trips.add(other["round_trips"])
        if other["uncorrected"] is not None:
            self.uncorrected = self.uncorrected or LatencyHistogram(NANOSECOND)
            self.uncorrected.add(other["uncorrected"])

    def to_json(self) -> dict[str, Any]:
        names = (*COUNTS, "started_at", "ended_at", "error", "exit_code")
        return {
            **{name: getattr(self, name) for name in names},
            "round_trips": self.round_trips.encoded(),
            "uncorrected": self.uncorrected and self.uncorrected.encoded(),
        }
