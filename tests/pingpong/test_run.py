"""A whole run: its rows are said as they come, its end once, and thresholds are held against them."""

from __future__ import annotations

import pytest

from gtool.errors import PeerGone, ThresholdMissed
from gtool.pingpong.run import run
from gtool.pingpong.settings import Settings
from gtool.pingpong.thresholds import parse


class Said:
    """An output that keeps what it is told."""

    def __init__(self):
        self.rows = []
        self.ends = []

    def row(self, row, outcome):
        self.rows.append(row)

    def end(self, outcome, missed, error):
        self.ends.append((outcome, missed, error))


@pytest.fixture
def endpoint(start_gtool):
    process = start_gtool("zmq-pingpong", "serve", "--bind", "tcp://127.0.0.1:*")
    return process.stdout.readline().decode().strip()


def settings(endpoint, **changes):
    return Settings(endpoint, **{"count": 20, "warmup": 1, "sizes": (8, 16), "timeout": 10.0, **changes})


def test_a_row_is_said_for_each_then_the_end(endpoint):
    said = Said()
    run(settings(endpoint), said, ())
    assert [row.size for row in said.rows] == [8, 16]
    ((outcome, missed, error),) = said.ends
    assert (outcome.rows, missed, error) == (said.rows, [], None)


def test_thresholds_that_are_met_are_not_worth_a_word(endpoint):
    said = Said()
    run(settings(endpoint), said, (parse("p99>10s"), parse("lost>0"), parse("rate<1/s")))
    assert said.ends[0][1:] == ([], None)


def test_all_thresholds_that_are_missed_are_named_for_each_row(endpoint):
    said = Said()
    with pytest.raises(ThresholdMissed) as raised:
        run(settings(endpoint), said, (parse("p50>0us"), parse("lost>0"), parse("received<100")))
    (_, missed, error) = said.ends[0]
    assert [failure.partition(":")[0] for failure in missed] == ["p50>0us", "received<100"] * 2
    assert error is raised.value
    assert all(failure in str(error) for failure in missed)


def test_what_ends_it_early_comes_before_thresholds(refused_port):
    said = Said()
    with pytest.raises(PeerGone) as raised:
        run(settings(f"tcp://127.0.0.1:{refused_port}", timeout=0.2), said, (parse("rate<1/s"),))
    ((_, missed, error),) = said.ends
    assert (missed, error) == ([], raised.value)


def test_an_output_that_fails_is_told_of_the_end_all_the_same(endpoint):
    class Full(Said):
        def row(self, row, outcome):
            raise PeerGone("nobody reads it")

    said = Full()
    with pytest.raises(PeerGone, match="nobody reads it"):
        run(settings(endpoint), said, ())
    assert len(said.ends) == 1
