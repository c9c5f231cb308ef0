"""Attempts in flight: begun, ended, given up; and where their handles go."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
import pycurl
import pytest
from gevent.event import Event

from gtool.fetch import multi
from gtool.fetch.bodies import UNWANTED, never
from gtool.fetch.flight import Flight
from gtool.fetch.job import Job
from gtool.fetch.record import Measured
from gtool.fetch.request import Request
from gtool.fetch.settings import Network
from tests.conftest import TIMEOUT_S, answer


class Run:
    """A Flight, and what it has said."""

    def __init__(self) -> None:
        self.ended: list[tuple[Job, int, str, int]] = []
        self.had_handle: list[bool] = []
        self.rounds = Event()
        self.flight = Flight(Network(), False, self._on_end, self.rounds.set)

    def begin(self, url: str, **fields) -> Job:
        job = Job(0, Request(url, url, "", **fields), UNWANTED, None)
        self.flight.begin(job, 0.0, never)
        return job

    def wait(self) -> None:
        assert self.rounds.wait(TIMEOUT_S)
        self.rounds.clear()

    def _on_end(self, job: Job, code: int, message: str, measured: Measured) -> None:
        self.had_handle.append(job.handle is not None)
        self.ended.append((job, code, message, measured.response_code))


@pytest.fixture
def abandoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[pycurl.CurlMulti]]:
    abandoned: list[pycurl.CurlMulti] = []
    monkeypatch.setattr(multi, "ABANDONED", abandoned)
    yield abandoned
    for one in abandoned:
        one.close()


@pytest.fixture
def run(abandoned: list) -> Iterator[Run]:
    run = Run()
    yield run
    give_all_up(run)
    run.flight.close()


def give_all_up(run: Run) -> list[Job]:
    return list(run.flight.give_up())


@pytest.fixture
def silent(peer: Callable) -> str:
    return peer(lambda connection, head: connection.recv(1)).url


def test_an_attempt_ends_with_what_was_measured(run: Run, peer: Callable):
    job = run.begin(peer(lambda connection, head: connection.sendall(answer(b"x"))).url)
    assert len(run.flight) == 1
    run.wait()
    assert run.ended == [(job, 0, "", 200)]
    assert (len(run.flight), run.had_handle, job.handle) == (0, [True], None)


def test_one_that_can_not_be_sent_leaves_its_handle(run: Run, silent: str):
    with pytest.raises(ValueError, match="null byte"):
        run.begin("http://\0/")
    assert (len(run.flight), run.flight.bytes_moved) == (0, 0)
    assert run.begin(silent).handle


def test_a_handle_is_used_again(run: Run, silent: str):
    first = run.begin(silent).handle
    give_all_up(run)
    assert run.begin(silent).handle is first


def test_one_that_stands_still_is_ended(run: Run, silent: str):
    job = run.begin(silent)
    while not (job.handle and job.handle.is_connected and run.flight.bytes_moved == 0):
        gevent.sleep(0.001)
    run.flight.end_stalled(0.0)  # of the monotonic clock: it has begun at 0
    ((ended, code, message, _),) = run.ended
    assert (ended, code, message.startswith("stalled: no byte for 0 s")) == (job, 28, True)
    assert len(run.flight) == 0


def test_what_is_given_up_says_nothing_more(run: Run, silent: str):
    jobs = [run.begin(silent) for _ in range(3)]
    assert [(job, job.handle is not None) for job in run.flight.give_up()] == [(job, True) for job in jobs]
    gevent.sleep(0.01)
    assert (len(run.flight), run.ended) == (0, [])


@pytest.mark.parametrize("is_connected", [False, True])
def test_nobody_waits_for_a_name_that_may_still_be_looked_up(abandoned: list, silent: str, is_connected: bool):
    run = Run()
    job = run.begin(silent)
    while is_connected and not (job.handle and job.handle.is_connected):
        gevent.sleep(0.001)
    give_all_up(run)
    run.flight.close()
    assert len(abandoned) == (not is_connected)
