"""When messages are due, and from when on each counts: a peer that stalls is late with all that it has held up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.pingpong.pace import NOW, Pace

fixed = settings(derandomize=True, deadline=None, max_examples=100)

START = 1000.0


def played(rate: float, answered_after_s: list[float], pipeline: int = 1) -> list[tuple[float, float | None]]:
    """Ask as a client does, each answered after its time: when each question was due, and from when on it counts."""
    pace, now, asked, open_until = Pace(rate, 0.0), 0.0, [], []
    for takes_s in answered_after_s:
        now = max(now, pace.due_at)
        while open_until and (open_until[0] <= now or len(open_until) == pipeline):
            now = answered(pace, now, open_until, pipeline)
        now = max(now, pace.due_at)
        due_at = pace.due_at
        asked.append((due_at, pace.take()))
        open_until = sorted([*open_until, now + takes_s])
        if len(open_until) == pipeline:
            pace.is_full(now)
    return asked


def answered(pace: Pace, now: float, open_until: list[float], pipeline: int) -> float:
    at = open_until.pop(0)
    if len(open_until) == pipeline - 1:
        pace.has_room(at)
    return max(now, at)


def test_without_a_rate_each_is_due_at_once():
    pace = Pace(None, START)
    pace.take()
    assert pace.due_at == NOW


def test_without_a_rate_each_counts_from_when_it_is_sent():
    pace = Pace(None, START)
    pace.is_full(START)
    pace.has_room(START + 1)
    assert pace.take() is None


@fixed
@given(st.floats(0.01, 1e6), st.integers(1, 1000))
def test_a_message_is_due_by_its_number_however_late_those_before_it_were(rate, count):
    pace = Pace(rate, START)
    for _ in range(count):
        pace.take()
    assert pace.due_at == START + count / rate


def test_the_first_is_due_at_the_start():
    assert Pace(10.0, START).due_at == START


def test_with_room_a_message_counts_from_when_it_is_sent():
    """Be it late: that was our timer."""
    pace = Pace(10.0, START)
    assert [pace.take() for _ in range(3)] == [None, None, None]


def test_what_is_due_while_there_is_no_room_counts_from_when_it_was_due():
    pace = Pace(10.0, START)
    pace.take()
    pace.is_full(START)
    pace.has_room(START + 1)
    assert pace.take() == pytest.approx(START + 0.1)


def test_what_is_due_when_there_is_room_again_counts_from_when_it_is_sent():
    pace = Pace(1.0, START)
    pace.take()
    pace.is_full(START)
    pace.has_room(START + 0.5)
    assert pace.take() is None


def test_what_was_due_before_there_was_no_room_counts_from_when_it_is_sent():
    pace = Pace(10.0, START)
    pace.is_full(START + 1)
    pace.has_room(START + 2)
    assert pace.take() is None


@pytest.mark.parametrize("pipeline", [1, 2, 5])
def test_where_each_is_answered_in_time_all_count_from_when_they_are_sent(pipeline):
    assert [counts_from for _, counts_from in played(10.0, [0.01] * 50, pipeline)] == [None] * 50


@pytest.mark.parametrize("pipeline", [1, 2, 3])
def test_all_that_a_stall_has_held_up_counts_from_when_it_was_due(pipeline):
    """Ten a second are due; the first `pipeline` of them are answered after a second, the others at once."""
    stall = [1.0 - number / 10 for number in range(pipeline)]
    held_up = played(10.0, [*stall, *[0.001] * 20], pipeline)[pipeline:10]
    assert [counts_from for _, counts_from in held_up] == [due_at for due_at, _ in held_up]
