"""What was measured, in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.pingpong.report import MOST_BARS, header, histogram, row, summary
from gtool.pingpong.result import Row
from gtool.stats import NANOSECOND, Distribution, LatencyHistogram

fixed = settings(derandomize=True, deadline=None, max_examples=25)

FIGURES = Distribution(1000, *(n / 1000 for n in range(1, 9)))
ROUND_TRIPS = Row(
    pattern="req-rep", engine="green", size=32, clients=1, sent=1_000_003, received=1_000_000, lost=3, retried=0,
    late=0, duplicates=0, gaps=None, elapsed_s=50.0, rate=20_000.0, round_trip=FIGURES, uncorrected=None,
    histogram=None, error=None,
)  # fmt: skip
ONE_WAY = Row(
    pattern="push-pull", engine="blocking", size=1000, clients=2, sent=1_000_000, received=999_000, lost=1000,
    retried=0, late=0, duplicates=0, gaps=2, elapsed_s=1.0, rate=999_000.0, round_trip=None, uncorrected=None,
    histogram=None, error=None,
)  # fmt: skip
UNKNOWN = ONE_WAY._replace(received=None, lost=None, gaps=None, rate=None)
TABLE = """\
                                                   ---------------------------- round trip -----------------------------
engine          bytes    rounds  lost       rate      min     mean      p50      p90      p99    p99.9      max    stdev
green              32 1,000,000     3   20,000/s      1ms      2ms      4ms      5ms      6ms      7ms      8ms      3ms
"""
UNCORRECTED = """\
uncorrected                                           1ms      2ms      4ms      5ms      6ms      7ms      8ms      3ms
"""
CHANGE = """\
change                                    -10.0%    +0.0%            +12.3%                                     +1200.0%
"""
A_LOT = 12_000_000  #: a minute of dealer-router with a pipeline


def test_the_summary_has_counts_a_rate_and_each_figure_under_its_name():
    figures = Distribution(1000, *(n / 1000 for n in range(1, 9)))
    assert summary(1000, 2, 0.5, figures) == (
        "rounds 1000   lost 2   2,000 round trips/s\n"
        "                min     mean      p50      p90      p99    p99.9      max    stdev\n"
        "round trip      1ms      2ms      4ms      5ms      6ms      7ms      8ms      3ms\n"
    )


def test_where_nothing_came_back_there_are_no_figures():
    assert summary(0, 3, 0.0, None) == "rounds 0   lost 3   0 round trips/s\n"


# The table


def test_a_table_of_round_trips_has_each_figure_under_its_name():
    assert header(is_one_way=False) + row(ROUND_TRIPS, is_one_way=False, changes=None) == TABLE


def test_a_table_one_way_has_what_was_sent_and_what_has_come():
    assert header(is_one_way=True) + row(ONE_WAY, is_one_way=True, changes=None) == (
        "engine          bytes         sent     received         lost     gaps          rate     MB/s\n"
        "blocking        1,000    1,000,000      999,000        1,000        2     999,000/s    999.0\n"
    )


def test_what_was_not_measured_is_a_dash():
    assert row(UNKNOWN, is_one_way=True, changes=None) == (
        "blocking        1,000    1,000,000            -            -        -             -        -\n"
    )


def test_where_nothing_was_answered_no_figures_are_in_the_row():
    nothing = ROUND_TRIPS._replace(received=0, lost=1, rate=0.0, round_trip=None)
    assert row(nothing, is_one_way=False, changes=None) == "green              32         0     1        0/s\n"


def test_uncorrected_round_trips_stand_under_the_row():
    text = row(ROUND_TRIPS._replace(uncorrected=FIGURES), is_one_way=False, changes=None)
    assert text.partition("\n")[2] == UNCORRECTED


def test_changes_stand_under_what_has_changed():
    changes = {"rate": -0.1, "min": 0.0, "p50": 0.1234, "stdev": 12.0}
    text = row(ROUND_TRIPS, is_one_way=False, changes=changes)
    assert text.partition("\n")[2] == CHANGE


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"retried": 1200}, "retried: 1,200"),
        ({"late": 2}, "late: 2"),
        ({"duplicates": 3}, "answered twice: 3"),
        ({"error": "nobody there"}, "partial: nobody there"),
    ],
)
def test_what_is_out_of_the_ordinary_stands_under_the_row(found, line):
    assert row(ROUND_TRIPS._replace(**found), is_one_way=False, changes=None).splitlines()[1:] == [" " * 13 + line]


def test_what_stands_under_a_row_is_in_one_order():
    found = ROUND_TRIPS._replace(uncorrected=FIGURES, retried=1, late=2, duplicates=3, error="gone")
    lines = row(found, is_one_way=False, changes={"rate": 0.1}).splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["uncorrected", "change", "retried:", "late:", "answered", "partial:"]


@pytest.mark.parametrize(
    ("found", "is_one_way"),
    [
        (ROUND_TRIPS._replace(sent=A_LOT, received=A_LOT), False),
        (ROUND_TRIPS._replace(lost=100_000), False),
        (ROUND_TRIPS._replace(rate=1_000_000.0), False),
        (ONE_WAY._replace(lost=A_LOT, gaps=1_000_000), True),
    ],
)
def test_columns_stay_apart(found, is_one_way):
    names = header(is_one_way).splitlines()[-1].split()
    assert len(row(found, is_one_way, None).split()) == len(names)


# The drawing


def drawn(*durations: float) -> str:
    recorded = LatencyHistogram(NANOSECOND)
    for seconds in durations:
        recorded.record(seconds)
    return histogram(recorded.encoded())


def test_a_bar_is_as_long_as_its_share_of_the_longest():
    assert drawn(*[1e-3] * 100, *[1.25e-3] * 50, 1.9e-3) == (
        "  up to 1.19ms ##################################################        100  66.2%\n"
        "  up to 1.41ms #########################                                  50  33.1%\n"
        "  up to 1.68ms                                                             0   0.0%\n"
        "     up to 2ms .                                                           1   0.7%\n"
    )


def test_durations_that_are_all_the_same_are_one_bar():
    assert drawn(*[1e-3] * 1000) == f"  up to 1.19ms {'#' * 50}      1,000 100.0%\n"


def test_nothing_is_drawn_of_nothing():
    assert drawn() == ""


def test_stragglers_are_in_the_last_bar_and_do_not_make_it_long():
    lines = drawn(*[1e-5] * 10, 1000.5e-3, 2.5).splitlines()
    assert len(lines) == MOST_BARS
    assert lines[-1].split() == ["up", "to", "2.5s", "##########", "2", "16.7%"]


@fixed
@given(st.lists(st.floats(1e-9, 3600), min_size=1, max_size=20))
def test_each_duration_is_in_one_bar(durations):
    lines = drawn(*durations).splitlines()
    assert sum(int(line.split()[-2].replace(",", "")) for line in lines) == len(durations)


def test_a_row_that_the_other_run_has_not_says_so():
    assert (
        row(ROUND_TRIPS, is_one_way=False, changes={}).splitlines()[1].strip()
        == "change: the other run has no such row"
    )
