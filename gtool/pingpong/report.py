"""What was measured, for people: lines and a table. Pure."""

from __future__ import annotations

from gtool.stats import Distribution

COLUMNS = ("min", "mean", "p50", "p90", "p99", "p999", "max", "stdev")
HEADINGS = {"p999": "p99.9"}


def duration(seconds: float) -> str:
    """Tell a duration with three digits, in the unit that suits it: `187us`, `1.25ms`, `2.50s`."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            return f"{seconds * factor:.3g}{unit}"
    raise AssertionError("us is the last")


def summary(rounds: int, lost: int, elapsed_s: float, round_trip: Distribution | None) -> str:
    """Lay out what was measured: counts and rate, then the distribution of round trips."""
    rate = rounds / elapsed_s if elapsed_s > 0 else 0.0
    lines = [f"rounds {rounds}   lost {lost}   {rate:,.0f} round trips/s"]
    if round_trip is not None:
        lines.append(" " * 10 + "".join(f"{HEADINGS.get(name, name):>9}" for name in COLUMNS))
        lines.append("round trip" + "".join(f"{duration(getattr(round_trip, name)):>9}" for name in COLUMNS))
    return "\n".join(lines) + "\n"
