"""What one client sends one way is counted until all of it is there, or nothing more comes."""

from __future__ import annotations

import time

import pytest
import zmq

from gtool.pingpong import blocking, green
from gtool.pingpong.endpoints import bind, closing, connect
from gtool.pingpong.protocol import COUNTED
from gtool.pingpong.sequence import Numbering
from gtool.pingpong.session import QUIET_S, Session

LONG_S = 10.0
SIZE = 8


class Running:
    """A session beside the test, and a socket to send to it."""

    def __init__(self, engine, context, idle_s):
        pull, self.push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        connect(self.push, bind(pull, "tcp://127.0.0.1:*"))
        self._engine = engine
        self.link = engine.link(pull)
        self.session = Session(self.link, SIZE, idle_s)
        engine.spawn(self.session.run)

    def send(self, *numbers):
        for number in numbers:
            self.push.send(next(Numbering(SIZE).messages(number, 1)))

    def wait_for(self, received):
        self._wait_until(lambda: self.session.report()["received"] >= received)

    def end(self):
        """Wait for its end, and give its last report."""
        self._wait_until(lambda: self.session.is_over)
        return self.session.report()

    def _wait_until(self, is_so):
        deadline = time.monotonic() + LONG_S
        while not is_so():
            assert time.monotonic() < deadline
            self._engine.sleep(0.002)


@pytest.fixture(params=[green, blocking], ids=["green", "blocking"])
def start(request):
    started = []
    with closing(zmq.Context()) as context:

        def start(idle_s=LONG_S):
            started.append(Running(request.param, context, idle_s))
            return started[-1]

        yield start
        for running in started:
            running.session.stop()
            running.end()


def figures(report, *names):
    return tuple(report[name] for name in names)


def test_it_is_over_when_all_that_was_sent_has_come(start):
    running = start()
    running.send(*range(100))
    running.session.all_sent(100)
    assert figures(running.end(), "received", "lost", "gaps", "duplicates", "rubbish") == (100, 0, 0, 0, 0)


def test_what_comes_after_the_client_has_said_so_is_counted_too(start):
    running = start()
    running.session.all_sent(2)
    running.send(0, 1)
    assert running.end()["received"] == 2


def test_what_is_missing_when_nothing_more_comes_is_lost(start):
    running = start()
    running.send(0, 1, 4, 5, 7)
    running.wait_for(5)
    told_at = time.monotonic()
    running.session.all_sent(9)
    assert figures(running.end(), "received", "lost", "gaps") == (5, 4, 2)
    assert QUIET_S <= time.monotonic() - told_at < 5


def test_what_comes_again_or_is_something_else_is_counted_apart(start):
    running = start()
    running.send(0, 1, 1, 0)
    running.push.send(b"rubbish of another size")
    running.send(2)
    running.session.all_sent(3)
    assert figures(running.end(), "received", "duplicates", "rubbish", "lost") == (3, 2, 1, 0)


def test_warm_ups_do_not_count(start):
    running = start()
    for _ in range(10):
        running.push.send(Numbering(SIZE).warmup)
    running.send(0)
    running.session.all_sent(1)
    assert figures(running.end(), "received", "rubbish", "gaps") == (1, 0, 0)


def test_the_clock_runs_from_the_first_batch_and_counts_what_comes_after_it(start):
    running = start()
    running.send(0)
    running.wait_for(1)
    running.send(1, 2, 3)
    running.session.all_sent(4)
    report = running.end()
    assert report["timed"] == 3
    assert 0 < report["last_at"] - report["first_at"] < LONG_S


def test_one_that_is_silent_is_given_up(start):
    running = start(idle_s=0.05)
    assert figures(running.end(), "received", "is_over") == (0, True)


def test_one_that_goes_on_is_not_given_up(start):
    running = start(idle_s=1)
    for number in range(5):
        running.send(number)
        running.wait_for(number + 1)
        running._engine.sleep(0.25)
    running.session.all_sent(5)
    assert running.end()["received"] == 5


def test_it_stops_when_it_is_told(start):
    running = start()
    running.session.stop()
    started_at = time.monotonic()
    running.end()
    assert time.monotonic() - started_at < LONG_S / 2


def test_its_socket_is_closed_when_it_is_over(start):
    running = start(idle_s=0.01)
    running.end()
    assert running.link.sock.closed


def test_a_report_before_the_end_says_so(start):
    running = start()
    assert not running.session.report()["is_over"]


def test_a_report_has_what_was_agreed_on(start):
    assert start().session.report().keys() >= {*COUNTED, "first_at", "last_at", "is_over"}
