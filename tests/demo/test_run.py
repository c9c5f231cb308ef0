"""Demonstrations in turn: one that fails or hangs leaves the others their time."""

from __future__ import annotations

import signal

import gevent
import pytest

from gtool.demo.run import run
from gtool.demo.stage import Stage
from gtool.demo.tools import Demonstration, Found
from gtool.errors import Interrupted, PeerGone

FOUND = Found("fine", 1, "things/s")


def works(stage: Stage) -> Found:
    return FOUND


def hangs(stage: Stage) -> Found:
    gevent.sleep(60)
    return FOUND


def fails(stage: Stage) -> Found:
    raise PeerGone("nobody is there")


def finds_no_file(stage: Stage) -> Found:
    raise FileNotFoundError(2, "no such thing")


def play(*plays, timeout_s: float = 1.0):
    begun, shown = [], []
    demonstrations = [Demonstration(one.__name__, "what", "next", one) for one in plays]
    assert run(demonstrations, timeout_s, begun.append, shown.append) == shown
    assert begun == [f"{one.__name__}: what" for one in plays]
    return shown


def test_each_is_played_and_what_was_found_is_shown():
    assert [outcome.found for outcome in play(works, works)] == [FOUND, FOUND]


@pytest.mark.parametrize(("one", "reason"), [(fails, "nobody is there"), (finds_no_file, "no such thing")])
def test_a_failure_has_its_reason_and_the_next_is_played(one, reason: str):
    failed, fine = play(one, works)
    assert failed.found is None
    assert reason in failed.reason
    assert fine.found == FOUND


def test_one_that_hangs_takes_half_of_the_time_that_is_left():
    first, second, third = play(hangs, hangs, works, timeout_s=0.8)
    assert first.reason == "it was not done within 0.4 s"
    assert second.reason == "it was not done within 0.2 s"
    assert third.found == FOUND


def test_the_last_one_has_all_that_is_left():
    (only,) = play(hangs, timeout_s=0.2)
    assert only.reason == "it was not done within 0.2 s"


def test_a_bug_is_no_reason():
    def is_broken(stage: Stage) -> Found:
        raise KeyError("rate")

    with pytest.raises(KeyError):
        play(is_broken)


def test_a_signal_ends_all():
    def is_interrupted(stage: Stage) -> Found:
        raise Interrupted(signal.SIGINT)

    with pytest.raises(Interrupted):
        play(is_interrupted, works)
