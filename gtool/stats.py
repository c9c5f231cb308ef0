"""Latency histograms: values in, percentiles out."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

LONGEST_S = 24 * 3600
SIGNIFICANT_DIGITS = 3
MICROSECOND, NANOSECOND = 1e-6, 1e-9


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Seconds; None where nothing was recorded."""

    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds; of `count` values, at least one."""

    count: int
    min: float
    mean: float
    stdev: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class LatencyHistogram:
    """Durations from one unit, a microsecond, to a day, to three digits, in constant memory. Source: HdrHistogram."""

    def __init__(self, unit_s: float = MICROSECOND) -> None:
        self._unit_s = unit_s
        self._longest = round(LONGEST_S / unit_s)
        self._histogram = HdrHistogram(1, self._longest, SIGNIFICANT_DIGITS)

    def record(self, seconds: float) -> None:
        self._histogram.record_value(min(self._longest, max(1, round(seconds / self._unit_s))))

    def add(self, encoded: str) -> None:
        """Add what another histogram of the same unit has encoded. Source: HdrHistogram's V2 encoding, base64."""
        other = HdrHistogram.decode(encoded)
        if other.get_total_count():  # the minimum of none is 0, and would be that of both
            self._histogram.add(other)

    def encoded(self) -> str:
        """Give all that was recorded, to be added to another one; values are in units."""
        text: str = self._histogram.encode().decode()
        return text

    def buckets(self, bounds_s: Sequence[float]) -> list[int]:
        """Count the values up to each bound, in seconds, and over the one before; the last takes what is over it."""
        counts = [0] * len(bounds_s)
        for item in self._histogram.get_recorded_iterator():
            place = bisect_left(bounds_s, item.value_iterated_to * self._unit_s)
            counts[min(place, len(counts) - 1)] += item.count_added_in_this_iter_step
        return counts

    def percentiles(self) -> Percentiles:
        if not self._histogram.get_total_count():
            return Percentiles(None, None, None, None)
        return Percentiles(*(self._at(percentile) for percentile in (50, 90, 99, 100)))

    def distribution(self) -> Distribution | None:
        """Give all figures; None where nothing was recorded."""
        histogram = self._histogram
        count = histogram.get_total_count()
        if not count:
            return None
        mean, stdev = self._mean_and_stdev()
        return Distribution(
            count,
            histogram.get_min_value() * self._unit_s,
            mean * self._unit_s,
            stdev * self._unit_s,
            *(self._at(percentile) for percentile in (50, 90, 99, 99.9, 100)),
        )

    def _mean_and_stdev(self) -> tuple[float, float]:
        """Compute both in one pass; HdrHistogram's own functions take one and two, of 40 ms each."""
        histogram = self._histogram
        recorded = [
            ((histogram.get_lowest_equivalent_value(value) + value) / 2, item.count_added_in_this_iter_step)
            for item in histogram.get_recorded_iterator()
            for value in (item.value_iterated_to,)
        ]
        count = histogram.get_total_count()
        mean = sum(value * times for value, times in recorded) / count
        return mean, math.sqrt(sum((value - mean) ** 2 * times for value, times in recorded) / count)

    def _at(self, percentile: float) -> float:
        return float(self._histogram.get_value_at_percentile(percentile)) * self._unit_s
