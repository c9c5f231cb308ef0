"""What has come of a client's job. It travels as JSON from a process of its own; those of several add up. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gtool.errors import GtoolError
from gtool.stats import NANOSECOND, LatencyHistogram

COUNTS = ("sent", "answered", "lost", "retried", "late", "duplicates")


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
