"""What was measured, as figures: rows of round trips, and of what goes one way."""

from __future__ import annotations

import pytest

from gtool.pingpong.result import COUNTS, FIGURES, Outcome, Row, one_way, round_trips
from gtool.pingpong.tally import Tally
from gtool.stats import NANOSECOND, LatencyHistogram

CLOCK = 1000.0  #: of the client; the server has another


def asked(**attributes) -> Tally:
    """The tally of a client that was answered 1000 times, in 1 ms to 1 s."""
    tally = Tally(sent=1003, answered=1000, lost=3, started_at=CLOCK, ended_at=CLOCK + 4, **attributes)
    for number in range(1, 1001):
        tally.round_trips.record(number / 1000)
    return tally


def report(**figures: float) -> dict[str, float]:
    """What a server tells of one client."""
    return {"received": 0, "timed": 0, "gaps": 0, "duplicates": 0, "first_at": 5.0, "last_at": 7.0, **figures}


def counted(tally: Tally, *reports: dict[str, float]) -> Row:
    return one_way("push-pull", "green", 100, len(reports), tally, list(reports))


# Round trips


def test_a_row_has_the_counts_of_its_tally():
    row = round_trips("req-rep", "green", 32, 1, asked(retried=2, late=1, duplicates=4))
    assert [getattr(row, name) for name in COUNTS] == [1003, 1000, 3, 2, 1, 4, None]


def test_the_rate_of_round_trips_is_that_of_answers():
    row = round_trips("req-rep", "green", 32, 1, asked())
    assert (row.elapsed_s, row.rate) == (4.0, 250.0)


def test_what_took_no_time_has_no_rate_to_speak_of():
    assert round_trips("req-rep", "green", 32, 1, Tally()).rate == 0.0


def test_where_nothing_was_answered_there_is_no_distribution():
    assert round_trips("req-rep", "green", 32, 1, Tally(sent=1)).round_trip is None


def test_without_a_rate_nothing_is_uncorrected():
    assert round_trips("req-rep", "green", 32, 1, asked()).uncorrected is None


def test_with_a_rate_there_are_two_distributions():
    uncorrected = LatencyHistogram(NANOSECOND)
    uncorrected.record(0.001)
    row = round_trips("req-rep", "green", 32, 1, asked(uncorrected=uncorrected))
    assert (row.round_trip.count, row.uncorrected.count) == (1000, 1)


def test_the_histogram_has_all_that_was_recorded():
    row = round_trips("req-rep", "green", 32, 1, asked())
    again = LatencyHistogram(NANOSECOND)
    again.add(row.histogram)
    assert again.distribution() == row.round_trip


# One way


def test_what_has_come_is_what_the_server_says():
    row = counted(Tally(sent=100), report(received=50, gaps=1, duplicates=3), report(received=40, gaps=2, duplicates=4))
    assert [getattr(row, name) for name in COUNTS] == [100, 90, 10, 0, 0, 7, 3]


def test_the_rate_one_way_is_by_the_clock_of_the_server():
    tally = Tally(sent=100, started_at=CLOCK, ended_at=CLOCK + 1)
    row = counted(tally, report(received=50, timed=40), report(received=50, timed=40, first_at=6.0, last_at=9.0))
    assert (row.elapsed_s, row.rate) == (4.0, 20.0)


def test_what_came_at_once_has_no_rate():
    assert counted(Tally(sent=5), report(received=5, first_at=5.0, last_at=5.0)).rate is None


def test_what_was_sent_and_not_noted_any_more_is_counted_when_it_has_come():
    row = counted(Tally(sent=9), report(received=10))
    assert (row.sent, row.received, row.lost) == (10, 10, 0)


def test_where_the_server_says_nothing_only_what_was_sent_is_known():
    row = one_way("push-pull", "green", 100, 2, Tally(sent=9, error="nobody there"), None)
    found = (row.sent, row.received, row.lost, row.gaps, row.rate, row.error)
    assert found == (9, None, None, None, None, "nobody there")


# Figures


@pytest.mark.parametrize(
    ("name", "value"), [("p99.9", 0.999), ("max", 1.0), ("stdev", 0.2887), ("rate", 250), ("sent", 1003), ("lost", 3)]
)
def test_a_figure_has_a_name(name, value):
    assert round_trips("req-rep", "green", 32, 1, asked()).figure(name) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize("name", [*FIGURES, "received", "lost", "gaps", "rate"])
def test_what_was_not_measured_is_no_figure(name):
    assert one_way("push-pull", "green", 100, 1, Tally(), None).figure(name) is None


# JSON


def test_a_row_in_json_has_figures_by_the_names_of_the_table():
    document = round_trips("req-rep", "green", 32, 1, asked()).to_json()
    assert list(document["round_trip"]) == ["count", *FIGURES]


@pytest.mark.parametrize(("error", "is_complete"), [(None, True), ("interrupted", False)])
def test_a_row_says_whether_it_is_complete(error, is_complete):
    document = round_trips("req-rep", "green", 32, 1, asked(error=error)).to_json()
    assert (document["complete"], document["error"]) == (is_complete, error)


def test_bytes_a_second_are_those_of_the_messages():
    assert round_trips("req-rep", "green", 32, 1, asked()).to_json()["bytes_per_s"] == 250 * 32


def test_what_was_not_measured_is_null():
    document = one_way("push-pull", "green", 100, 1, Tally(), None).to_json()
    names = ("received", "lost", "gaps", "rate", "bytes_per_s", "round_trip", "uncorrected", "histogram", "error")
    assert {name: document[name] for name in names} == dict.fromkeys(names)


def test_rows_of_one_pattern_engine_size_and_number_of_clients_can_be_compared():
    row = round_trips("req-rep", "green", 32, 3, asked())
    assert row.key() == ("req-rep", "green", 32, 3)


def test_an_outcome_holds_nothing_at_first():
    assert vars(Outcome()) == {"server": None, "meter_s": None, "rows": []}


def test_outcomes_have_rows_of_their_own():
    assert Outcome().rows is not Outcome().rows
