"""What was measured, for people: lines, tables and a drawing. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gtool.pingpong.compare import Changes
from gtool.pingpong.result import FIGURES, Row
from gtool.stats import NANOSECOND, Distribution, LatencyHistogram
from gtool.units import spell_duration

LABEL = 11
ROUND_TRIPS = {"bytes": 10, "rounds": 10, "lost": 6, "rate": 11, **dict.fromkeys(FIGURES, 9)}  #: columns, and widths
ONE_WAY = {"bytes": 10, "sent": 13, "received": 13, "lost": 13, "gaps": 9, "rate": 14, "MB/s": 9}
BAR_WIDTH = 50
STEP = 2 ** (1 / 4)  #: the bounds of the bars of a histogram: four to each doubling
MOST_BARS = 32


def summary(rounds: int, lost: int, elapsed_s: float, round_trip: Distribution | None) -> str:
    """Lay out what was measured: counts and rate, then the distribution of round trips."""
    rate = rounds / elapsed_s if elapsed_s > 0 else 0.0
    lines = [f"rounds {rounds}   lost {lost}   {rate:,.0f} round trips/s"]
    if round_trip is not None:
        lines.append(" " * 10 + "".join(f"{name:>9}" for name in FIGURES))
        lines.append("round trip" + "".join(f"{cell:>9}" for cell in _figures(round_trip).values()))
    return "\n".join(lines) + "\n"


def header(is_one_way: bool) -> str:
    """Name the columns of row(), the figures as what they are: round trips, not halves of them."""
    columns = ONE_WAY if is_one_way else ROUND_TRIPS
    names = _line(columns, {"engine": "engine", **{name: name for name in columns}})
    if is_one_way:
        return names
    figures = sum(width for name, width in columns.items() if name in FIGURES) - 3
    return f"{' round trip ':-^{figures}}".rjust(len(names) - 1) + f"\n{names}"


def row(found: Row, is_one_way: bool, changes: Changes | None) -> str:
    """Lay out a row; under it the round trips from when each was sent, the change, and what is out of the ordinary."""
    columns = ONE_WAY if is_one_way else ROUND_TRIPS
    text = _line(columns, _cells(found))
    if found.uncorrected is not None:
        text += _line(columns, {"engine": "uncorrected", **_figures(found.uncorrected)})
    if changes:
        text += _line(columns, {"engine": "change", **{name: f"{change:+.1%}" for name, change in changes.items()}})
    twice = "came twice" if is_one_way else "answered twice"
    others = {"retried": found.retried, "late": found.late, twice: found.duplicates}
    said = ["change: the other run has no such row"] if changes == {} else []
    said += [f"{name}: {count:,}" for name, count in others.items() if count]
    said += [] if found.error is None else [f"partial: {found.error}"]
    return text + "".join(f"{'':<{LABEL}}  {line}\n" for line in said)


def histogram(encoded: str) -> str:
    """Draw a distribution: a bar for each range of durations, each range 19 % wider than the one before."""
    recorded = LatencyHistogram(NANOSECOND)
    recorded.add(encoded)
    found = recorded.distribution()
    if found is None:
        return ""
    bounds = _bounds(found.min, found.max)
    counts = recorded.buckets(bounds)
    most = max(counts)
    lines = []
    for bound, count in zip(bounds, counts, strict=True):
        bar = "#" * round(count * BAR_WIDTH / most) or ("." if count else "")
        lines.append(
            f"{'up to ' + spell_duration(bound):>14} {bar:<{BAR_WIDTH}} {count:>10,} {count / found.count:>6.1%}\n"
        )
    return "".join(lines)


def _bounds(least: float, greatest: float) -> Sequence[float]:
    """Give the upper bounds; the last is open where a few stragglers would make the drawing too long."""
    bounds = [least * STEP]
    while bounds[-1] < greatest and len(bounds) < MOST_BARS:
        bounds.append(bounds[-1] * STEP)
    bounds[-1] = max(bounds[-1], greatest * 1.001)
    return bounds


def _cells(found: Row) -> dict[str, str]:
    def counted(count: int | None) -> str:
        return "-" if count is None else f"{count:,}"

    return {
        "engine": found.engine,
        "bytes": f"{found.size:,}",
        "sent": counted(found.sent),
        "received": counted(found.received),
        "rounds": counted(found.received),
        "lost": counted(found.lost),
        "gaps": counted(found.gaps),
        "rate": "-" if found.rate is None else f"{found.rate:,.0f}/s",
        "MB/s": "-" if found.rate is None else f"{found.rate * found.size / 1e6:,.1f}",
        **({} if found.round_trip is None else _figures(found.round_trip)),
    }


def _figures(distribution: Distribution) -> dict[str, str]:
    return {name: spell_duration(getattr(distribution, field)) for name, field in FIGURES.items()}


def _line(columns: Mapping[str, int], cells: Mapping[str, str]) -> str:
    label = cells["engine"]
    line = f"{label:<{LABEL}}" + "".join(f" {cells.get(name, ''):>{width - 1}}" for name, width in columns.items())
    return line.rstrip() + "\n"
