"""What was measured, as rows of figures. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from gtool.pingpong.tally import Tally
from gtool.stats import Distribution

FIGURES = {"min": "min", "mean": "mean", "p50": "p50", "p90": "p90", "p99": "p99", "p99.9": "p999", "max": "max",
           "stdev": "stdev"}  # fmt: skip  #: as they are called, and in a Distribution
COUNTS = ("sent", "received", "lost", "retried", "late", "duplicates", "gaps")


class Row(NamedTuple):
    """One run, of one size on one engine. Times are seconds, rates per second, sizes bytes."""

    pattern: str
    engine: str
    size: int
    clients: int
    sent: int
    received: int | None  #: by the server, or as answers; None where the server has not said so
    lost: int | None
    retried: int
    late: int
    duplicates: int
    gaps: int | None  #: places in the sequence where messages are missing; one way only
    elapsed_s: float
    rate: float | None  #: messages received, or round trips
    round_trip: Distribution | None
    uncorrected: Distribution | None  #: from when each was sent, not due
    histogram: str | None
    error: str | None

    def figure(self, name: str) -> float | None:
        """Give a figure by the name that thresholds and tables use; None where it was not measured."""
        if name in FIGURES:
            return None if self.round_trip is None else float(getattr(self.round_trip, FIGURES[name]))
        value = getattr(self, name)
        return None if value is None else float(value)

    def key(self) -> tuple[object, ...]:
        """Tell which rows of two runs can be compared."""
        return (self.pattern, self.engine, self.size, self.clients)

    def to_json(self) -> dict[str, Any]:
        return {
            **{name: value for name, value in self._asdict().items() if name not in ("round_trip", "uncorrected")},
            "bytes_per_s": None if self.rate is None else self.rate * self.size,
            "complete": self.error is None,
            "round_trip": _figures(self.round_trip),
            "uncorrected": _figures(self.uncorrected),
        }


class Outcome:
    """What was measured, as far as it got."""

    def __init__(self) -> None:
        self.server: dict[str, Any] | None = None
        self.meter_s: float | None = None  #: the median of a round trip to nowhere
        self.rows: list[Row] = []


def round_trips(pattern: str, engine: str, size: int, clients: int, tally: Tally) -> Row:
    """Make the row of a pattern whose messages are answered."""
    row = _row(pattern, engine, size, clients, tally)
    return row._replace(
        received=tally.answered,
        lost=tally.lost,
        rate=tally.answered / row.elapsed_s if row.elapsed_s else 0.0,
        round_trip=tally.round_trips.distribution(),
        uncorrected=None if tally.uncorrected is None else tally.uncorrected.distribution(),
        histogram=tally.round_trips.encoded(),
    )


def one_way(
    pattern: str, engine: str, size: int, clients: int, tally: Tally, reports: list[dict[str, float]] | None
) -> Row:
    """Make the row of a one-way pattern, from what the server says of each client's messages, if it does.

    The clock is the server's, from the first batch that it took to the last, and counts what came after the first.
    """
    row = _row(pattern, engine, size, clients, tally)
    if reports is None:
        return row

    def total(name: str) -> int:
        return sum(int(report[name]) for report in reports)

    received = total("received")
    came = [report for report in reports if report["received"]] or reports
    elapsed_s = max(report["last_at"] for report in came) - min(report["first_at"] for report in came)
    sent = max(tally.sent, received)  # a signal may come between sending and counting
    return row._replace(
        sent=sent,
        received=received,
        lost=sent - received,
        duplicates=total("duplicates"),
        gaps=total("gaps"),
        elapsed_s=elapsed_s,
        rate=total("timed") / elapsed_s if elapsed_s > 0 else None,
    )


def _row(pattern: str, engine: str, size: int, clients: int, tally: Tally) -> Row:
    """Make a row with what any client knows by itself."""
    return Row(
        pattern=pattern,
        engine=engine,
        size=size,
        clients=clients,
        sent=tally.sent,
        received=None,
        lost=None,
        retried=tally.retried,
        late=tally.late,
        duplicates=tally.duplicates,
        gaps=None,
        elapsed_s=max(0.0, tally.ended_at - tally.started_at),
        rate=None,
        round_trip=None,
        uncorrected=None,
        histogram=None,
        error=tally.error,
    )


def _figures(distribution: Distribution | None) -> dict[str, float] | None:
    """Give a distribution as JSON has it: seconds, by the names of the table."""
    if distribution is None:
        return None
    return {"count": distribution.count, **{name: getattr(distribution, key) for name, key in FIGURES.items()}}
