"""A job and its tally travel as JSON, and are the same when they arrive; tallies add up."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import chain

import pytest
import simplejson
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import Interrupted, PeerGone
from gtool.pingpong.job import COUNTS, Job, Keys, Tally
from gtool.stats import NANOSECOND, LatencyHistogram

fixed = settings(derandomize=True, deadline=None, max_examples=50)
few = settings(fixed, max_examples=15)  #: a histogram takes its time to travel

seconds = st.floats(0, 1e6)
jobs = st.builds(
    Job,
    endpoint=st.text(),
    pattern=st.text(),
    size=st.integers(1, 1 << 26),
    count=st.none() | st.integers(1),
    duration=st.none() | seconds,
    warmup=st.integers(0),
    rate=st.none() | seconds,
    phase=seconds,
    pipeline=st.integers(1, 100_000),
    timeout=seconds,
    retries=st.integers(0),
    is_plain=st.booleans(),
    keys=st.none() | st.builds(Keys, st.text(), st.text(), st.text()),
)
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


def travelled(document: object) -> dict[str, object]:
    return simplejson.loads(simplejson.dumps(document))


def total(*tallies: Tally) -> Tally:
    found = Tally()
    for each in tallies:
        found.add(travelled(each.to_json()))
    return found


# Jobs


@fixed
@given(jobs)
def test_a_job_arrives_as_it_was_sent(job):
    assert Job.from_json(travelled(job.to_json())) == job


# Tallies


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


@pytest.mark.parametrize(
    ("changes", "is_strict"),
    [
        ({"pattern": "req-rep", "retries": 0, "is_plain": False}, True),
        ({"pattern": "req-rep", "retries": 1, "is_plain": False}, False),
        ({"pattern": "req-rep", "retries": 0, "is_plain": True}, False),
        ({"pattern": "dealer-router", "retries": 0, "is_plain": False}, False),
    ],
)
def test_answers_are_told_apart_where_one_may_be_late_or_the_server_anybody(changes, is_strict):
    job = Job("tcp://h:1", "req-rep", 8, 10, None, 0, None, 0.0, 1, 5.0, 0, False, None)
    assert replace(job, **changes).is_strict is is_strict
