"""How often somebody may do something."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.chat import limits
from gtool.chat.limits import Buckets

fixed = settings(derandomize=True, deadline=None, max_examples=200)


def test_as_many_as_the_bucket_holds_come_at_once_and_no_more():
    buckets = Buckets(5, 20)
    assert [buckets.take("a", 0.0) for _ in range(21)] == [0.0] * 20 + [0.2]


def test_after_the_time_told_there_is_one_again():
    buckets = Buckets(5, 1)
    buckets.take("a", 0.0)
    wait_s = buckets.take("a", 0.0)
    assert buckets.take("a", wait_s) == 0.0


def test_asking_too_early_takes_nothing_away():
    buckets = Buckets(1, 1)
    buckets.take("a", 0.0)
    assert [buckets.take("a", at) for at in (0.25, 0.5, 0.75, 1.0)] == [0.75, 0.5, 0.25, 0.0]


def test_a_bucket_gets_no_fuller_than_full():
    buckets = Buckets(5, 2)
    buckets.take("a", 0.0)
    assert [bool(buckets.take("a", 1e6)) for _ in range(3)] == [False, False, True]


def test_everybody_has_a_bucket():
    buckets = Buckets(1, 1)
    assert [buckets.take(key, 0.0) for key in ("a", "b", ("a", "b"))] == [0.0] * 3


def test_a_rate_of_0_sets_no_limit():
    buckets = Buckets(0, 1)
    assert [buckets.take("a", 0.0) for _ in range(1000)] == [0.0] * 1000


@pytest.mark.parametrize("burst", [0, 0.5, -1])
def test_a_bucket_holds_one_at_least(burst):
    buckets = Buckets(1, burst)
    assert [buckets.take("a", 0.0), buckets.take("a", 0.0)] == [0.0, 1.0]


def test_no_more_buckets_are_remembered_than_may_be(monkeypatch):
    monkeypatch.setattr(limits, "MOST", 10)
    buckets = Buckets(1, 1)
    for number in range(1000):
        buckets.take(number, 0.0)
    assert len(buckets._buckets) == 10


def test_what_is_forgotten_is_what_was_not_used_for_the_longest_time(monkeypatch):
    monkeypatch.setattr(limits, "MOST", 3)
    buckets = Buckets(1, 1)
    for key in "abcad":
        buckets.take(key, 0.0)
    assert [bool(buckets.take(key, 0.0)) for key in "acd"] == [True] * 3


@fixed
@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.1, 20), st.integers(1, 20))
def test_in_no_time_come_more_than_the_burst_and_what_flows_in(gaps, rate, burst):
    buckets = Buckets(rate, burst)
    now, taken = 0.0, []
    for gap in gaps:
        now += gap
        wait_s = buckets.take("a", now)
        assert 0 <= wait_s <= 1 / rate + 1e-9
        if not wait_s:
            taken.append(now)
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - begin) * rate + 1e-6


@fixed
@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.1, 20))
def test_who_waits_as_long_as_it_is_told_is_let_go_on(gaps, rate):
    buckets = Buckets(rate, 1)
    now = 0.0
    for gap in gaps:
        now += gap
        if wait_s := buckets.take("a", now):
            now += wait_s
            assert buckets.take("a", now + 1e-9) == pytest.approx(0, abs=1e-9)
