"""A worker's counts, in its row of what all workers share."""

from __future__ import annotations

from types import SimpleNamespace

from gtool.runtime.shared import REFUSALS, Counters
from gtool.runtime.tally import Tally


def counted(received: int, sent: int, messages: int) -> SimpleNamespace:
    return SimpleNamespace(received=received, sent=sent, messages=messages)


def test_those_that_have_ended_and_those_that_go_on_are_counted_together():
    counters = Counters()
    tally = Tally(counters.row(0))
    tally.end(counted(1, 2, 3))
    for _ in range(2):  # publishing twice is publishing once
        tally.publish([counted(10, 20, 30), counted(100, 200, 300)])
    counts = counters.read()
    assert (counts.received, counts.sent, counts.messages) == (111, 222, 333)


def test_a_worker_goes_on_with_the_counts_of_the_one_that_it_replaces():
    counters = Counters()
    killed = Tally(counters.row(0))
    killed.publish([counted(1, 2, 3)])
    Tally(counters.row(0)).publish([counted(10, 20, 30)])
    counts = counters.read()
    assert (counts.received, counts.sent, counts.messages) == (11, 22, 33)


def test_no_two_connections_have_the_same_number():
    counters = Counters(3)
    tallies = [Tally(counters.row(worker), worker, 3) for worker in range(3)]
    numbers = [tally.accept() for tally in tallies for _ in range(4)]
    numbers += [Tally(counters.row(1), 1, 3).accept()]  # one that was replaced
    assert len(set(numbers)) == len(numbers) == counters.read().accepted


def test_alone_connections_are_numbered_from_1():
    tally = Tally(Counters().row(0))
    assert [tally.accept() for _ in range(3)] == [1, 2, 3]


def test_refusals_are_counted_by_reason():
    counters = Counters()
    for reason in (*REFUSALS, "full"):
        Tally(counters.row(0)).refuse(reason)
    assert counters.read().refused == dict.fromkeys(REFUSALS, 1) | {"full": 2}


def test_open_connections_are_those_that_there_are_now():
    counters = Counters(2)
    for worker, count in ((0, 5), (1, 2), (0, 1)):
        Tally(counters.row(worker)).set_open(count)
    assert counters.read().open == 3


def test_what_was_dropped_is_counted_by_all_workers_together():
    counters = Counters(2)
    for worker, count in ((0, 5), (1, 2), (0, 1)):
        Tally(counters.row(worker), worker, 2).drop(count)
    assert counters.read().dropped == 8


def test_publishing_leaves_what_was_dropped_as_it_is():
    counters = Counters()
    tally = Tally(counters.row(0))
    tally.drop(3)
    tally.publish([])
    assert counters.read().dropped == 3
