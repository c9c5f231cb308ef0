"""Latencies in, percentiles out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.stats import NANOSECOND, LatencyHistogram, Percentiles

fixed = settings(derandomize=True, deadline=None, max_examples=50)
few = settings(fixed, max_examples=15)  #: percentiles of nanoseconds take their time

A_DAY_S = 24 * 3600


def percentiles_of(*seconds: float) -> Percentiles:
    histogram = LatencyHistogram()
    for value in seconds:
        histogram.record(value)
    return histogram.percentiles()


def test_nothing_recorded_has_no_percentiles():
    assert percentiles_of() == Percentiles(None, None, None, None)


def test_percentiles_are_those_of_the_values():
    found = percentiles_of(*(n / 1000 for n in range(1, 101)))
    assert found.p50 == pytest.approx(0.050, rel=1e-3)
    assert found.p90 == pytest.approx(0.090, rel=1e-3)
    assert found.p99 == pytest.approx(0.099, rel=1e-3)
    assert found.max == pytest.approx(0.100, rel=1e-3)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9])
def test_what_is_too_short_counts_as_a_microsecond(seconds):
    assert percentiles_of(seconds).max == pytest.approx(1e-6)


def test_what_is_too_long_counts_as_a_day():
    assert percentiles_of(10.0 * A_DAY_S).max == pytest.approx(A_DAY_S, rel=1e-3)


@fixed
@given(st.floats(1e-6, A_DAY_S))
def test_a_value_is_kept_to_three_digits(seconds):
    assert percentiles_of(seconds).p50 == pytest.approx(seconds, rel=1.1e-3, abs=0.51e-6)


@fixed
@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_percentiles_are_in_order(values):
    found = percentiles_of(*values)
    assert found.p50 <= found.p90 <= found.p99 <= found.max


def test_nothing_recorded_has_no_distribution():
    assert LatencyHistogram().distribution() is None


@pytest.mark.parametrize("unit_s", [1e-6, NANOSECOND])
def test_a_distribution_has_all_figures(unit_s):
    histogram = LatencyHistogram(unit_s)
    for n in range(1, 1001):
        histogram.record(n / 1000)
    found = histogram.distribution()
    assert found is not None
    assert found.count == 1000
    figures = (found.min, found.p50, found.p90, found.p99, found.p999, found.max, found.mean, found.stdev)
    assert figures == pytest.approx((0.001, 0.5, 0.9, 0.99, 0.999, 1.0, 0.5005, 0.2887), rel=2e-3)


def test_a_finer_unit_tells_shorter_durations_apart():
    histogram = LatencyHistogram(NANOSECOND)
    histogram.record(250e-9)
    found = histogram.distribution()
    assert found is not None
    assert found.max == pytest.approx(250e-9)


# Histograms that travel

durations = st.lists(st.floats(1e-9, 1e4), min_size=1, max_size=20)


def recorded(values: list[float], unit_s: float = NANOSECOND) -> LatencyHistogram:
    histogram = LatencyHistogram(unit_s)
    for value in values:
        histogram.record(value)
    return histogram


@few
@given(durations, durations)
def test_two_histograms_added_are_as_if_one_had_recorded_all(some, others):
    together = recorded(some)
    together.add(recorded(others).encoded())
    assert together.distribution() == recorded(some + others).distribution()


@pytest.mark.parametrize("unit_s", [1e-6, NANOSECOND])
def test_what_was_encoded_is_the_same_when_it_is_added_to_nothing(unit_s):
    values = [1e-6, 0.001, 0.001, 2.5, A_DAY_S]
    again = LatencyHistogram(unit_s)
    again.add(recorded(values, unit_s).encoded())
    assert again.distribution() == recorded(values, unit_s).distribution()


def test_to_add_nothing_changes_nothing():
    histogram = recorded([0.001])
    histogram.add(LatencyHistogram(NANOSECOND).encoded())
    assert histogram.distribution() == recorded([0.001]).distribution()


def test_nothing_added_to_nothing_has_no_distribution():
    histogram = LatencyHistogram(NANOSECOND)
    histogram.add(LatencyHistogram(NANOSECOND).encoded())
    assert histogram.distribution() is None


def test_what_is_encoded_is_text_of_one_line():
    text = recorded([n / 1000 for n in range(1, 1000)]).encoded()
    assert text.isascii()
    assert text.split() == [text]


# Buckets


def test_values_are_counted_up_to_each_bound_and_over_the_one_before():
    histogram = recorded([0.0005, 0.0015, 0.0016, 0.0025, 0.0095])
    assert histogram.buckets([0.001, 0.002, 0.004, 0.008, 0.016]) == [1, 2, 1, 0, 1]


def test_nothing_recorded_is_in_no_bucket():
    assert LatencyHistogram().buckets([0.001, 0.002]) == [0, 0]


@few
@given(durations, st.lists(st.floats(1e-9, 1e4), max_size=10))
def test_every_value_is_in_one_bucket(values, bounds):
    assert sum(recorded(values).buckets([*sorted(bounds), 2e4])) == len(values)
