"""What a run must not be: thresholds that are read, and what is said of a run that does not meet them."""

from __future__ import annotations

import pytest

from gtool.pingpong.result import FIGURES, Row
from gtool.pingpong.thresholds import Threshold, parse
from gtool.stats import Distribution

DISTRIBUTION = Distribution(1000, *(number / 1000 for number in range(1, 9)))  #: p99 is 6 ms
ROW = Row(
    pattern="req-rep", engine="green", size=32, clients=1, sent=1000, received=998, lost=2, retried=1, late=0,
    duplicates=0, gaps=None, elapsed_s=0.1, rate=9980.0, round_trip=DISTRIBUTION, uncorrected=None, histogram=None,
    error=None,
)  # fmt: skip
UNKNOWN = ROW._replace(received=None, lost=None, rate=None, round_trip=None)


@pytest.mark.parametrize(
    ("text", "name", "comparison", "limit"),
    [
        ("p99>2ms", "p99", ">", 0.002),
        ("p99.9>=1s", "p99.9", ">=", 1.0),
        ("min<5us", "min", "<", 5e-6),
        ("stdev<=0.5", "stdev", "<=", 0.5),
        ("rate<10000/s", "rate", "<", 10_000),
        ("rate<10000", "rate", "<", 10_000),
        ("lost>0", "lost", ">", 0),
        ("received<1000000", "received", "<", 1_000_000),
        (" p99 > 2 ms ", "p99", ">", 0.002),
    ],
)
def test_a_threshold_is_a_name_a_comparison_and_a_value(text, name, comparison, limit):
    assert parse(text) == Threshold(text, name, comparison, pytest.approx(limit))


NO_THRESHOLD = "it wants a name, one of > >= < <=, and a value"
NAMES = "min, mean, p50, p90, p99, p99.9, max, stdev, rate, sent, received, lost, retried, late, duplicates, gaps"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", NO_THRESHOLD),
        ("p99", NO_THRESHOLD),
        ("p99>", NO_THRESHOLD),
        (">2ms", NO_THRESHOLD),
        ("p99=2ms", NO_THRESHOLD),
        ("p99==2ms", NO_THRESHOLD),
        ("p99!2ms", NO_THRESHOLD),
        ("P99>2ms", NO_THRESHOLD),
        ("p99>>2ms", ">2ms is not a duration such as 2ms"),
        ("p99>2/s", "2/s is not a duration such as 2ms"),
        ("p99>-1ms", "-1ms is not a duration such as 2ms"),
        ("rate<10ms", "10ms is not a rate such as 10000/s"),
        ("rate<0", "0 is not a rate such as 10000/s"),
        ("lost>few", "few is not a whole number"),
        ("lost>1%", "1% is not a whole number"),
        ("lost>nan", "nan is not a whole number"),
        ("p42>2ms", f"p42 is none of {NAMES}"),
        ("engine>1", f"engine is none of {NAMES}"),
    ],
)
def test_what_is_none_says_what_is_wrong(text, wrong):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(text)
    assert str(caught.value) == wrong


def test_a_number_beyond_all_bounds_is_none():
    with pytest.raises(ValueError, match="is not a whole number"):
        parse("lost>" + "9" * 400)


@pytest.mark.parametrize("text", ["p99>6ms", "p99<6ms", "p99>=7ms", "p99<=5ms", "lost>2", "rate<9980/s", "gaps<1"])
def test_a_run_that_is_not_what_it_must_not_be_is_good(text):
    assert parse(text).failure(ROW._replace(gaps=1)) is None


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("p99>5ms", "p99>5ms: it was 6ms (green, 32 B)"),
        ("p99>=6ms", "p99>=6ms: it was 6ms (green, 32 B)"),
        ("p99<7ms", "p99<7ms: it was 6ms (green, 32 B)"),
        ("p99<=6ms", "p99<=6ms: it was 6ms (green, 32 B)"),
        ("rate<10000/s", "rate<10000/s: it was 9,980/s (green, 32 B)"),
        ("lost>0", "lost>0: it was 2 (green, 32 B)"),
        ("received<1000", "received<1000: it was 998 (green, 32 B)"),
    ],
)
def test_a_failure_says_what_was_measured_and_of_which_run(text, failure):
    assert parse(text).failure(ROW) == failure


@pytest.mark.parametrize("text", ["p99>2ms", "p99<2ms", "rate<1", "rate>1", "lost>0", "received<1", "gaps>0"])
def test_what_was_not_measured_fails(text):
    assert parse(text).failure(UNKNOWN) == f"{text}: it was not measured (green, 32 B)"


@pytest.mark.parametrize(
    ("name", "of_round_trips", "of_one_way"),
    [
        *((name, True, False) for name in FIGURES),
        *((name, True, True) for name in ("rate", "sent", "received", "lost", "duplicates")),
        *((name, True, False) for name in ("retried", "late")),
        ("gaps", False, True),
    ],
)
def test_a_threshold_is_for_the_kinds_of_runs_that_measure_it(name, of_round_trips, of_one_way):
    threshold = parse(f"{name}>1")
    assert (threshold.is_for(is_one_way=False), threshold.is_for(is_one_way=True)) == (of_round_trips, of_one_way)
