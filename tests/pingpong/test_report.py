"""What was measured, in words."""

from __future__ import annotations

import pytest

from gtool.pingpong.report import duration, summary
from gtool.stats import Distribution


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0us"),
        (250e-9, "0.25us"),
        (187.4e-6, "187us"),
        (92.84e-6, "92.8us"),
        (1.254e-3, "1.25ms"),
        (0.5, "500ms"),
        (1.0, "1s"),
        (2.5, "2.5s"),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text


def test_the_summary_has_counts_a_rate_and_each_figure_under_its_name():
    figures = Distribution(1000, *(n / 1000 for n in range(1, 9)))
    assert summary(1000, 2, 0.5, figures) == (
        "rounds 1000   lost 2   2,000 round trips/s\n"
        "                min     mean      p50      p90      p99    p99.9      max    stdev\n"
        "round trip      1ms      2ms      4ms      5ms      6ms      7ms      8ms      3ms\n"
    )


def test_where_nothing_came_back_there_are_no_figures():
    assert summary(0, 3, 0.0, None) == "rounds 0   lost 3   0 round trips/s\n"
