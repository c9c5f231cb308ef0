"""The sessions of a server: a socket for each, gone when it is over, and nobody's but the run's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from gtool.pingpong import blocking, sessions
from gtool.pingpong.endpoints import closing
from gtool.pingpong.protocol import Refused
from gtool.pingpong.sessions import Sessions

IDLE_S = 30.0


@contextmanager
def opened(server: str = "tcp://127.0.0.1:1", ports: tuple[int, int] | None = None) -> Iterator[Sessions]:
    with closing(zmq.Context()) as context:
        found = Sessions(blocking, context, server, ports, lambda sock: None)
        try:
            yield found
        finally:
            found.close()


def test_each_has_a_number_and_a_port_of_its_own():
    with opened() as found:
        first, second = (found.open("run", "push-pull", 8, IDLE_S) for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert first[1].startswith(":")


def test_beside_an_ipc_server_it_has_a_path_that_is_removed_at_the_end(tmp_path):
    with opened(f"ipc://{tmp_path}/server") as found:
        number, end = found.open("run", "pub-sub", 8, IDLE_S)
        assert (os.listdir(tmp_path), end) == ([f"server.{number}"], f".{number}")
    assert os.listdir(tmp_path) == []


def test_a_report_is_for_the_run_that_has_opened_it():
    with opened() as found:
        number, _ = found.open("mine", "push-pull", 8, IDLE_S)
        with pytest.raises(Refused, match="no such session"):
            found.report("yours", number, 0)
        assert found.report("mine", number, 5)["received"] == 0


def test_one_that_is_over_is_kept_until_its_run_has_asked():
    with opened() as found:
        number, _ = found.open("mine", "push-pull", 8, IDLE_S)
        while not found.report("mine", number, 0)["is_over"]:
            pass
        found.open("yours", "push-pull", 8, IDLE_S)
        assert found.report("mine", number, 0)["is_over"]


def test_the_end_of_a_run_ends_its_sessions_only():
    with opened() as found:
        mine, _ = found.open("mine", "push-pull", 8, IDLE_S)
        yours, _ = found.open("yours", "push-pull", 8, IDLE_S)
        found.end("mine")
        with pytest.raises(Refused):
            found.report("mine", mine, 0)
        assert not found.report("yours", yours, 1)["is_over"]


def test_a_server_that_has_as_many_as_it_may_refuses_one_more(monkeypatch):
    monkeypatch.setattr(sessions, "MOST", 2)
    with opened() as found:
        numbers = [found.open("run", "push-pull", 8, IDLE_S)[0] for _ in range(2)]
        with pytest.raises(Refused, match="too many"):
            found.open("run", "push-pull", 8, IDLE_S)
        while not found.report("run", numbers[0], 0)["is_over"]:
            pass
        found.open("run", "push-pull", 8, IDLE_S)  # the one that is over has made room


def test_runs_that_are_over_leave_nothing_behind():
    with opened() as found:
        for number in range(5):
            session, _ = found.open(str(number), "push-pull", 8, IDLE_S)
            while not found.report(str(number), session, 0)["is_over"]:
                pass
            found.end(str(number))
        assert len(found._ending) == 1


def test_where_no_port_comes_free_it_is_refused():
    with opened() as found, closing(zmq.Context()) as context, context.socket(zmq.PULL) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        found._ports = (port, port)
        with pytest.raises(Refused, match="Address already in use"):
            found.open("run", "push-pull", 8, IDLE_S)
