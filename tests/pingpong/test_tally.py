"""Tallies travel as JSON, are the same when they arrive, and add up."""

from __future__ import annotations

from dataclasses import fields
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import Interrupted, PeerGone
from gtool.pingpong.tally import COUNTS, Tally
from gtool.stats import NANOSECOND, LatencyHistogram
from tests.pingpong.test_job import travelled

few = settings(derandomize=True, deadline=None, max_examples=15)  #: a histogram takes its time to travel

some_durations = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=20)


def histogram(durations: list[float]) -> LatencyHistogram:
    made = LatencyHistogram(NANOSECOND)
    for duration in durations:
        made.record(duration)
    return made


def tally(round_trips: list[float] = [], uncorrected: list[float] | None = None, **attributes) -> Tally:  # noqa: B006
    found = Tally(**attributes, round_trips=histogram(round_trips))
    found.uncorrected = None if uncorrected is None else histogram(uncorrected)
    return found


def total(*tallies: Tally) -> Tally:
    found = Tally()
    for each in tallies:
        found.add(travelled(each.to_json()))
    return found


@few
@given(st.fixed_dictionaries(dict.fromkeys(COUNTS, st.integers(0))))
def test_counts_arrive_as_they_were_sent(counts):
    arrived = total(tally(**counts))
    assert {name: getattr(arrived, name) for name in COUNTS} == counts


@few
@given(some_durations, some_durations)
def test_round_trips_arrive_as_they_were_sent(corrected, uncorrected):
    arrived = total(tally(corrected, uncorrected))
    assert arrived.round_trips.distribution() == histogram(corrected).distribution()
    assert arrived.uncorrected.distribution() == histogram(uncorrected).distribution()


def test_all_that_a_tally_has_travels():
    """But for the counts by client, which are of those that have come."""
    assert {field.name for field in fields(Tally)} - Tally().to_json().keys() == {"sent_by_each"}


@few
@given(st.lists(some_durations, min_size=1, max_size=4))
def test_round_trips_of_several_clients_are_as_if_one_had_measured_all(parts):
    together = total(*map(tally, parts))
    assert together.round_trips.distribution() == histogram([*chain(*parts)]).distribution()


def test_a_client_that_has_measured_nothing_changes_no_figure():
    assert total(tally([0.001]), tally([])).round_trips.distribution() == histogram([0.001]).distribution()


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_several_clients_add_up(name):
    assert getattr(total(tally(**{name: 2}), tally(**{name: 3})), name) == 5


def test_what_each_client_has_sent_is_kept():
    assert total(tally(sent=2), tally(sent=0), tally(sent=3)).sent_by_each == [2, 0, 3]


def test_the_time_of_several_clients_is_from_the_first_start_to_the_last_end():
    found = total(tally(started_at=5.0, ended_at=8.0), tally(started_at=4.0, ended_at=7.0))
    assert (found.started_at, found.ended_at) == (4.0, 8.0)


@pytest.mark.parametrize("order", [1, -1])
def test_a_client_that_has_not_started_has_no_time(order):
    found = total(*[tally(started_at=5.0, ended_at=8.0), tally()][::order])
    assert (found.started_at, found.ended_at) == (5.0, 8.0)


def test_where_no_client_has_a_rate_nothing_is_uncorrected():
    assert total(tally([0.001]), tally([0.001])).uncorrected is None


def test_a_failure_is_noted_with_what_to_do_and_its_exit_code():
    found = Tally()
    found.fail(PeerGone("nobody there", "is it started?"))
    assert (found.error, found.exit_code) == ("nobody there (is it started?)", 4)


def test_of_several_failures_of_a_client_the_first_is_noted():
    found = Tally()
    found.fail(PeerGone("nobody there"))
    found.fail(Interrupted(2))
    assert (found.error, found.exit_code) == ("nobody there", 4)


def test_of_several_clients_failures_the_first_is_noted():
    found = total(tally(), tally(error="nobody there", exit_code=4), tally(error="interrupted", exit_code=130))
    assert (found.error, found.exit_code) == ("nobody there", 4)
