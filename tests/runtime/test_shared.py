"""Counters and tickets that worker processes share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from gtool.runtime.shared import (
    ACCEPTED,
    DROPPED,
    MESSAGES,
    OPEN,
    RECEIVED,
    REFUSALS,
    REFUSED,
    SENT,
    WIDTH,
    Counters,
    Counts,
    Tickets,
)


def in_a_worker(work: Callable[[], object]) -> None:
    """Do it in a process of its own, and wait for that to end well."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def three() -> Iterator[Tickets]:
    with closing(Tickets(3)) as tickets:
        yield tickets


# Counters


def test_all_begin_at_zero():
    assert Counters(3).read() == Counts(0, 0, 0, 0, 0, 0, dict.fromkeys(REFUSALS, 0))


def test_each_number_has_its_own_place():
    counters = Counters()
    row = counters.row(0)
    for column, value in zip((OPEN, ACCEPTED, RECEIVED, SENT, MESSAGES, DROPPED), range(1, 7), strict=True):
        row[column] = value
    for value, reason in enumerate(REFUSALS, start=10):
        row[REFUSED[reason]] = value
    assert counters.read() == Counts(
        1, 2, 3, 4, 5, 6, {reason: value for value, reason in enumerate(REFUSALS, start=10)}
    )


def test_the_rows_of_workers_are_added_up():
    counters = Counters(3)
    for worker in range(3):
        row = counters.row(worker)
        for column in range(WIDTH):
            row[column] = 10**worker
    assert counters.read() == Counts(111, 111, 111, 111, 111, 111, dict.fromkeys(REFUSALS, 111))


def test_what_a_worker_counts_is_seen_by_the_others():
    counters = Counters(2)
    row = counters.row(1)
    in_a_worker(lambda: row.__setitem__(SENT, 7))
    assert counters.read().sent == 7


def test_refusals_are_those_for_all_reasons():
    counters = Counters()
    for reason in ("full", "tls", "tls"):
        counters.row(0)[REFUSED[reason]] += 1
    assert counters.read().refusals == 3


def test_the_connections_of_a_dead_worker_are_closed():
    counters = Counters(2)
    counters.row(0)[OPEN] = 5
    counters.row(1)[OPEN] = 3
    assert (counters.clear_open(0), counters.read().open) == (5, 3)


def test_a_count_may_pass_32_bits():
    counters = Counters()
    counters.row(0)[RECEIVED] = 1 << 40
    assert counters.read().received == 1 << 40


# Tickets


def test_there_are_as_many_as_were_made(three):
    assert [three.take() for _ in range(5)] == [True, True, True, False, False]


def test_one_that_is_given_back_can_be_taken_again(three):
    taken = [three.take() for _ in range(3)]
    three.give_back()
    assert [*taken, three.take(), three.take()] == [True, True, True, True, False]


def test_several_can_be_given_back_at_once(three):
    for _ in range(3):
        three.take()
    three.give_back(2)
    assert [three.take() for _ in range(3)] == [True, True, False]


def test_none_may_be_given_back(three):
    three.give_back(0)
    assert [three.take() for _ in range(4)] == [True, True, True, False]


def test_it_can_be_asked_whether_they_are_gone_and_that_takes_none(three):
    asked = []
    for _ in range(3):
        asked += [three.are_gone(), three.are_gone()]
        three.take()
    assert [*asked, three.are_gone()] == [False] * 6 + [True]


def test_workers_take_from_one_pile(three):
    in_a_worker(lambda: [three.take(), three.take()])
    assert [three.take(), three.take()] == [True, False]


def test_what_a_worker_gives_back_is_there_for_all(three):
    for _ in range(3):
        three.take()
    in_a_worker(three.give_back)
    assert three.take()


def test_a_closed_pile_holds_no_descriptor():
    before = os.listdir("/proc/self/fd")
    Tickets(1).close()
    assert os.listdir("/proc/self/fd") == before
