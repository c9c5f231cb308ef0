"""Sockets that libzmq waits on: deadlines are kept, and signals come through."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest
import zmq

from gtool.pingpong import blocking
from gtool.pingpong.endpoints import bind, closing, connect
from gtool.pingpong.engine import BATCH

SOON_S = 0.05
LONG_S = 10.0  #: for what does come, however slow the machine
ENDPOINTS = ["tcp://127.0.0.1:*", "ipc://{}/path", "inproc://here"]
NUMBER = signal.SIGUSR1


@pytest.fixture
def linked(tmp_path):
    """Make two links that are connected: the first one binds."""
    with closing(zmq.Context()) as context:
        links = []

        def make(one, other, endpoint="inproc://here", hwm=1000):
            socks = [context.socket(kind) for kind in (one, other)]
            for sock in socks:
                sock.sndhwm = sock.rcvhwm = hwm
            connect(socks[1], bind(socks[0], endpoint.format(tmp_path)))
            made = [blocking.link(sock) for sock in socks]
            links.extend(made)
            return made

        yield make
        for link in links:
            link.close()


@contextmanager
def beside(function):
    """Run a function in a thread; give a list with what it gave, once it is over."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    try:
        yield results
    finally:
        thread.join(LONG_S)


@contextmanager
def signals(handler, period_s=0.02):
    """Have a signal come to this process again and again."""
    is_over = threading.Event()

    def send():
        while not is_over.wait(period_s):
            os.kill(os.getpid(), NUMBER)

    before = signal.signal(NUMBER, handler)
    try:
        with beside(send):
            try:
                yield
            finally:
                is_over.set()
    finally:
        signal.signal(NUMBER, before)


def fill(link):
    """Send until there is no room; give the number of messages."""
    count = 0
    while link.send([b"%d" % count], 0):
        count += 1
    return count


def test_a_message_that_does_not_come_is_waited_for_until_the_deadline(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    started_at = time.monotonic()
    assert pull.receive(SOON_S) is None
    assert SOON_S <= time.monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("timeout_s", [0, -0.001])
def test_no_time_to_wait_is_not_to_wait(linked, timeout_s):
    """-1 ms would be for ever."""
    pull, push = linked(zmq.PULL, zmq.PUSH, hwm=1)
    fill(push)
    pull.receive_some(LONG_S)
    started_at = time.monotonic()
    assert pull.receive(timeout_s) is None
    assert time.monotonic() - started_at < LONG_S / 2


def test_less_than_a_millisecond_is_waited_for_too(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    started_at = time.monotonic()
    assert pull.receive(0.0001) is None
    assert time.monotonic() - started_at >= 0.0001


def test_each_wait_has_its_own_deadline(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    started_at = time.monotonic()
    assert [pull.receive(0), pull.receive(SOON_S), pull.receive(0)] == [None] * 3
    assert SOON_S <= time.monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_message_that_comes_ends_the_wait(linked, endpoint):
    pull, push = linked(zmq.PULL, zmq.PUSH, endpoint)
    with beside(lambda: push.send([b"a", b"b"], LONG_S)):
        assert pull.receive(LONG_S) == [b"a", b"b"]


def test_a_message_without_room_is_waited_with_until_the_deadline(linked):
    _, push = linked(zmq.PULL, zmq.PUSH, hwm=4)
    fill(push)
    started_at = time.monotonic()
    assert push.send([b"more"], SOON_S) is False
    assert SOON_S <= time.monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_message_without_room_goes_when_there_is_some(linked, endpoint):
    pull, push = linked(zmq.PULL, zmq.PUSH, endpoint, hwm=4)
    before = fill(push)
    with beside(lambda: [push.send([b"%d" % number], LONG_S) for number in range(before, before + 1000)]) as sent:
        received = [pull.receive(LONG_S) for _ in range(before + 1000)]
    assert received == [[b"%d" % number] for number in range(before + 1000)]
    assert sent == [[True] * 1000]


def test_all_are_sent_and_counted(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    assert push.send_all(iter([b"a", b"b", b"c"]), LONG_S) == 3
    assert pull.receive_some(LONG_S) == [b"a", b"b", b"c"]


def test_all_is_given_up_where_no_room_comes_in_time_and_tells_how_many_went(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH, hwm=10)
    sent = push.send_all((b"%d" % number for number in range(1000)), SOON_S)
    assert pull.receive_some(LONG_S) == [b"%d" % number for number in range(sent)]
    assert sent == 20


def test_some_are_some_hundred_at_most_and_in_order(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    sent = [b"%d" % number for number in range(2 * BATCH)]
    push.send_all(sent, LONG_S)
    first = pull.receive_some(LONG_S)
    assert BATCH <= len(first) <= BATCH + 1
    assert first + pull.receive_some(LONG_S) == sent


def test_some_do_not_wait_for_more(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    push.send([b"a"], 0)
    started_at = time.monotonic()
    assert pull.receive_some(LONG_S) == [b"a"]
    assert time.monotonic() - started_at < LONG_S / 2


def test_some_are_none_after_the_deadline(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    started_at = time.monotonic()
    assert pull.receive_some(SOON_S) == []
    assert SOON_S <= time.monotonic() - started_at < LONG_S / 2


def test_a_flood_between_threads_arrives(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH, "tcp://127.0.0.1:*")
    received = 0
    with beside(lambda: push.send_all([b"%032d" % 0] * 200_000, LONG_S)) as sent:
        while received < 200_000 and (frames := pull.receive_some(LONG_S)):
            received += len(frames)
    assert (received, sent) == (200_000, [200_000])


WAITS = {
    "receive": lambda pull, push: pull.receive(LONG_S),
    "receive_some": lambda pull, push: pull.receive_some(LONG_S),
    "send": lambda pull, push: push.send([b"a"], LONG_S),
    "send_all": lambda pull, push: push.send_all([b"a"] * 10_000, LONG_S),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_what_the_handler_of_a_signal_raises_ends_a_wait(linked, wait):
    pull, push = linked(zmq.PULL, zmq.PUSH, hwm=4)
    if wait is WAITS["send"]:
        fill(push)
    came = []

    def handle(*_):
        came.append(1)
        if len(came) == 3:  # which is in the wait by then
            raise InterruptedError

    started_at = time.monotonic()
    with pytest.raises(InterruptedError), signals(handle):
        wait(pull, push)
    assert time.monotonic() - started_at < LONG_S / 2


def test_a_signal_does_not_end_a_wait_by_itself(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    came = []

    def handle(*_):
        came.append(1)
        if len(came) == 3:
            push.send([b"after all"], 0)

    with signals(handle):
        assert pull.receive(LONG_S) == [b"after all"]


def test_closing_a_link_closes_its_socket(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    pull.close()
    assert pull.sock.closed


def test_what_is_spawned_runs_beside_and_does_not_hold_up_the_end():
    threads = []
    has_run = threading.Event()

    def run():
        threads.append(threading.current_thread())
        has_run.set()

    blocking.spawn(run)
    assert has_run.wait(LONG_S)
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon


# --- one who may be told to stop


class Stop(Exception):
    pass


class Told:
    """Looks that raise Stop from the one of that number on."""

    def __init__(self, number):
        self._left = number

    def __call__(self):
        self._left -= 1
        if self._left <= 0:
            raise Stop


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "wait",
    [
        lambda link: link.receive(LONG_S),
        lambda link: link.receive_some(LONG_S),
        lambda link: link.send([b"a"], LONG_S),
        lambda link: link.send_all([b"a"], LONG_S),
    ],
    ids=["receive", "receive_some", "send", "send_all"],
)
def test_whoever_waits_is_told_to_stop(wait, number):
    with closing(zmq.Context()) as context, context.socket(zmq.DEALER) as sock:
        link = blocking.Stoppable(Told(number)).link(sock)
        started_at = time.monotonic()
        with pytest.raises(Stop):
            wait(link)
        assert time.monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("number", [1, 2])
def test_whoever_sleeps_is_told_to_stop(number):
    started_at = time.monotonic()
    with pytest.raises(Stop):
        blocking.Stoppable(Told(number)).sleep(LONG_S)
    assert time.monotonic() - started_at < LONG_S / 2


def test_a_sleep_is_as_long_as_it_is_to_be():
    started_at = time.monotonic()
    blocking.Stoppable(blocking.go_on).sleep(2.5 * blocking.LOOK_S)
    assert 2.5 * blocking.LOOK_S <= time.monotonic() - started_at < LONG_S / 2
