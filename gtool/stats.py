"""Latency histograms: values in, percentiles out."""

from __future__ import annotations

from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

LONGEST_US = 24 * 3600 * 1_000_000
SIGNIFICANT_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; None where nothing was recorded."""

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class LatencyHistogram:
    """Durations from 1 us to a day, to three digits, in constant memory. Source: HdrHistogram."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, LONGEST_US, SIGNIFICANT_DIGITS)

    def record(self, seconds: float) -> None:
        self._histogram.record_value(min(LONGEST_US, max(1, round(seconds * 1e6))))

    def percentiles(self) -> Percentiles:
        histogram = self._histogram
        if not histogram.get_total_count():
            return Percentiles(None, None, None, None)
        values = [histogram.get_value_at_percentile(p) / 1e6 for p in (50, 90, 99, 100)]
        return Percentiles(*values)
