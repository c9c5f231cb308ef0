"""Sockets are reported to their handlers on the loop, for as long as they are ready."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import gevent
import pytest
from gevent.event import Event
from gevent.hub import get_hub

from gtool.runtime import poller as poller_module
from gtool.runtime.poller import READABLE, WRITABLE, Poller
from tests.servers.looped import failures_raise

TIMEOUT_S = 10


class Pair(NamedTuple):
    ours: socket.socket
    theirs: socket.socket


class Handler:
    """Notes when it is called, and does what it is told."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.calls: list[float] = []
        self.called = Event()
        self.act = act

    def ready(self, now: float) -> None:
        self.calls.append(now)
        self.act()
        self.called.set()

    def wait(self) -> None:
        assert self.called.wait(TIMEOUT_S), "it is not called"


@pytest.fixture
def poller() -> Iterator[Poller]:
    with failures_raise():
        made = Poller()
        yield made
        made.close()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Five pairs of connected sockets."""
    made = [Pair(*socket.socketpair()) for _ in range(5)]
    for pair in made:
        pair.ours.setblocking(False)
    yield made
    for pair in made:
        pair.ours.close()
        pair.theirs.close()


def reading(sock: socket.socket) -> Handler:
    return Handler(lambda: sock.recv(100))


def test_a_socket_with_something_to_read_is_reported(poller, pairs):
    handler = reading(pairs[0].ours)
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    pairs[0].theirs.send(b"x")
    handler.wait()
    assert len(handler.calls) == 1


def test_a_socket_with_nothing_to_read_is_not(poller, pairs):
    quiet, loud = reading(pairs[0].ours), reading(pairs[1].ours)
    poller.add(pairs[0].ours.fileno(), READABLE, quiet)
    poller.add(pairs[1].ours.fileno(), READABLE, loud)
    pairs[1].theirs.send(b"x")
    loud.wait()
    assert quiet.calls == []


def test_it_is_reported_again_and_again_while_something_is_left(poller, pairs):
    handler = Handler(lambda: pairs[0].ours.recv(1))
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    pairs[0].theirs.send(b"abc")
    gevent.idle()
    assert len(handler.calls) == 3


def test_each_of_many_is_reported_to_its_own_handler(poller, pairs):
    handlers = [reading(pair.ours) for pair in pairs]
    for pair, handler in zip(pairs, handlers, strict=True):
        poller.add(pair.ours.fileno(), READABLE, handler)
        pair.theirs.send(b"x")
    gevent.idle()
    assert [len(handler.calls) for handler in handlers] == [1] * len(pairs)


def test_more_than_one_batch_is_reported(poller, pairs, monkeypatch):
    monkeypatch.setattr(poller_module, "BATCH", 2)
    test_each_of_many_is_reported_to_its_own_handler(poller, pairs)


def test_a_handler_is_told_the_time(poller, pairs):
    handler = reading(pairs[0].ours)
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    before = time.monotonic()
    pairs[0].theirs.send(b"x")
    handler.wait()
    assert before <= handler.calls[0] <= time.monotonic()


def test_a_change_waits_for_the_other_event(poller, pairs):
    handler = Handler(lambda: poller.change(pairs[0].ours.fileno(), READABLE))
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    gevent.idle()
    assert handler.calls == []
    poller.change(pairs[0].ours.fileno(), WRITABLE)
    handler.wait()
    assert len(handler.calls) == 1


def test_one_that_waits_for_nothing_is_reported_when_its_peer_breaks_it(poller, pairs):
    handler = Handler(lambda: poller.remove(pairs[0].ours.fileno()))
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    poller.change(pairs[0].ours.fileno(), 0)
    pairs[0].theirs.send(b"x")
    gevent.idle()
    assert handler.calls == []
    pairs[0].theirs.close()
    handler.wait()


def test_a_removed_one_is_not_reported(poller, pairs):
    handler = reading(pairs[0].ours)
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    pairs[0].theirs.send(b"x")
    poller.remove(pairs[0].ours.fileno())
    gevent.idle()
    assert handler.calls == []


def test_one_that_another_removes_in_the_same_round_is_not_reported(poller, pairs):
    """A handler may close other connections; what is gone has nobody to be reported to."""
    numbers = [pair.ours.fileno() for pair in pairs]
    handler = Handler(lambda: [poller.remove(number) for number in numbers])
    for pair in pairs:
        poller.add(pair.ours.fileno(), READABLE, handler)
        pair.theirs.send(b"x")
    gevent.idle()
    assert len(handler.calls) == 1


def test_a_number_can_be_added_again(poller, pairs):
    first, second = reading(pairs[0].ours), reading(pairs[0].ours)
    poller.add(pairs[0].ours.fileno(), READABLE, first)
    poller.remove(pairs[0].ours.fileno())
    poller.add(pairs[0].ours.fileno(), READABLE, second)
    pairs[0].theirs.send(b"x")
    second.wait()
    assert first.calls == []


def test_one_that_is_always_ready_lets_others_of_the_loop_have_their_turn(poller, pairs):
    busy = Handler()
    poller.add(pairs[0].ours.fileno(), WRITABLE, busy)
    busy.wait()
    for _ in range(3):
        gevent.sleep(0)
    rung = Event()
    timer = get_hub().loop.timer(0.001)
    timer.start(rung.set)
    assert rung.wait(TIMEOUT_S)
    timer.close()
    assert len(busy.calls) > 1


def test_an_idle_poller_leaves_the_loop_asleep(poller, pairs):
    poller.add(pairs[0].ours.fileno(), READABLE, Handler())
    turns = []
    watcher = get_hub().loop.check(ref=False)
    watcher.start(lambda: turns.append(1))
    gevent.sleep(0.02)
    watcher.close()
    assert len(turns) < 10


def test_a_closed_poller_reports_nothing(pairs):
    poller, handler = Poller(), reading(pairs[0].ours)
    poller.add(pairs[0].ours.fileno(), READABLE, handler)
    pairs[0].theirs.send(b"x")
    poller.close()
    gevent.idle()
    assert handler.calls == []
