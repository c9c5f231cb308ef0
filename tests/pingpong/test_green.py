"""Sockets on gevent's loop: deadlines are kept, no signal of libzmq is missed, and others live beside."""

from __future__ import annotations

import time

import gevent
import pytest
import zmq
from gevent.hub import get_hub

from gtool.errors import Interrupted
from gtool.pingpong import green
from gtool.pingpong.endpoints import bind, closing, connect
from gtool.pingpong.engine import BATCH

SOON_S = 0.05
LONG_S = 10.0  #: for what does come, however slow the machine
CHUNK = 256
ENDPOINTS = ["tcp://127.0.0.1:*", "ipc://{}/path", "inproc://here"]


@pytest.fixture
def linked(tmp_path):
    """Make two links that are connected: the first one binds."""
    with closing(zmq.Context()) as context:
        links = []

        def make(one, other, endpoint="inproc://here", hwm=1000):
            socks = [context.socket(kind) for kind in (one, other)]
            for sock in socks:
                sock.sndhwm = sock.rcvhwm = hwm
                if sock.type == zmq.SUB:
                    sock.subscribe(b"")
            connect(socks[1], bind(socks[0], endpoint.format(tmp_path)))
            made = [green.link(sock) for sock in socks]
            links.extend(made)
            return made

        yield make
        for link in links:
            link.close()


@pytest.fixture
def spawned():
    """Spawn a greenlet that has to end well; it is waited for, or killed."""
    greenlets = []

    def spawn(function, *args):
        greenlets.append(gevent.spawn(function, *args))
        return greenlets[-1]

    yield spawn
    gevent.killall(greenlets)


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


def test_no_time_to_wait_is_not_to_wait(linked, spawned):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    other = spawned(lambda: None)
    assert pull.receive(0) is None
    assert not other.ready()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_message_that_comes_ends_the_wait(linked, spawned, endpoint):
    pull, push = linked(zmq.PULL, zmq.PUSH, endpoint)
    spawned(push.send, [b"a", b"b"], LONG_S)
    assert pull.receive(LONG_S) == [b"a", b"b"]


def test_a_message_that_is_there_is_taken_without_a_wait(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    push.send([b"a"], 0)
    assert pull.receive(0) == [b"a"]


def test_one_that_waits_is_woken_for_each_message(linked, spawned):
    """libzmq's descriptor tells of a change once; what is missed is missed for ever."""
    router, dealer = linked(zmq.ROUTER, zmq.DEALER, "tcp://127.0.0.1:*")

    def echo():
        while (frames := router.receive(LONG_S)) is not None:
            router.send(frames, LONG_S)

    spawned(echo)
    for number in range(2000):
        dealer.send([b"%d" % number], LONG_S)
        assert dealer.receive(LONG_S) == [b"%d" % number]


def test_a_message_without_room_is_waited_with_until_the_deadline(linked):
    _, push = linked(zmq.PULL, zmq.PUSH, hwm=4)
    fill(push)
    started_at = time.monotonic()
    assert push.send([b"more"], SOON_S) is False
    assert SOON_S <= time.monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_message_without_room_goes_when_there_is_some(linked, spawned, endpoint):
    pull, push = linked(zmq.PULL, zmq.PUSH, endpoint, hwm=4)
    push.sock.sndbuf = pull.sock.rcvbuf = 4096
    before = fill(push)
    sending = spawned(lambda: [push.send([b"%d" % number], LONG_S) for number in range(before, before + 1000)])
    received = [pull.receive(LONG_S) for _ in range(before + 1000)]
    assert received == [[b"%d" % number] for number in range(before + 1000)]
    assert all(sending.get())


def test_nobody_to_send_to_is_waited_for_until_the_deadline():
    with closing(zmq.Context()) as context:
        link = green.link(context.socket(zmq.PUSH))
        started_at = time.monotonic()
        assert link.send([b"a"], SOON_S) is False
        assert SOON_S <= time.monotonic() - started_at < LONG_S / 2
        link.close()


def test_all_are_sent_and_counted(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    assert push.send_all(iter([b"a", b"b", b"c"]), LONG_S) == 3
    assert pull.receive_some(LONG_S) == [b"a", b"b", b"c"]


def test_all_is_given_up_where_no_room_comes_in_time_and_tells_how_many_went(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH, hwm=10)
    sent = push.send_all((b"%d" % number for number in range(1000)), SOON_S)
    assert pull.receive_some(LONG_S) == [b"%d" % number for number in range(sent)]
    assert sent == 20


def test_all_has_its_time_for_each_message_anew(linked, spawned):
    pull, push = linked(zmq.PULL, zmq.PUSH, hwm=1)

    def take_slowly():
        for _ in range(10):
            gevent.sleep(SOON_S)
            pull.receive(LONG_S)

    spawned(take_slowly)
    assert push.send_all([b"a"] * 10, 5 * SOON_S) == 10


def test_some_are_those_that_are_there(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    push.send_all([b"a"] * 3, LONG_S)
    assert pull.receive_some(LONG_S) == [b"a"] * 3


def test_some_are_no_more_than_a_batch_and_in_order(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    sent = [b"%d" % number for number in range(BATCH + 10)]
    push.send_all(sent, LONG_S)
    assert [pull.receive_some(LONG_S), pull.receive_some(LONG_S)] == [sent[:BATCH], sent[BATCH:]]


def test_some_are_none_after_the_deadline(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    started_at = time.monotonic()
    assert pull.receive_some(SOON_S) == []
    assert SOON_S <= time.monotonic() - started_at < LONG_S / 2


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "ipc://{}/path"])
def test_a_flood_in_one_process_does_not_stand_still(linked, spawned, endpoint):
    """send(NOBLOCK) sees that there is room once a millisecond at most, and the descriptor does not tell of it."""
    pull, push = linked(zmq.PULL, zmq.PUSH, endpoint)
    count = 200_000

    def send():
        return sum(push.send_all([b"%032d" % 0] * CHUNK, LONG_S) for _ in range(0, count, CHUNK))

    sending = spawned(send)
    received, longest_s = 0, 0.0
    while received < count:
        waited_from = time.monotonic()
        frames = pull.receive_some(LONG_S)
        longest_s = max(longest_s, time.monotonic() - waited_from)
        assert frames, f"it stands still after {received} messages"
        received += len(frames)
    assert longest_s < LONG_S / 2
    assert sending.get(timeout=LONG_S) >= count


def test_others_live_beside_one_that_sends_to_nobody(linked, spawned):
    """A PUB socket never waits."""
    pub, _ = linked(zmq.PUB, zmq.PULL, "tcp://127.0.0.1:*")
    rounds = []
    spawned(lambda: [pub.send_all([b"a"] * CHUNK, LONG_S) and rounds.append(1) for _ in range(1000)])
    while not rounds:
        gevent.sleep(0)
    assert len(rounds) < 1000


def test_others_live_beside_one_that_always_has_something_to_take(linked, spawned):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    push.send_all([b"a"] * (2 * BATCH), LONG_S)
    taken = []
    spawned(lambda: [taken.append(len(pull.receive_some(LONG_S))) for _ in range(2)])
    while not taken:
        gevent.sleep(0)
    assert taken == [BATCH]


def test_what_is_raised_in_a_wait_comes_through_and_the_link_goes_on(linked):
    pull, push = linked(zmq.PULL, zmq.PUSH)
    get_hub().loop.run_callback(gevent.getcurrent().throw, Interrupted(2))
    with pytest.raises(Interrupted):
        pull.receive(LONG_S)
    push.send([b"a"], 0)
    assert pull.receive(LONG_S) == [b"a"]


def test_a_deadline_of_somebody_else_is_not_taken_for_its_own(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    with pytest.raises(gevent.Timeout), gevent.Timeout(SOON_S):
        pull.receive(LONG_S)


def test_closing_a_link_closes_its_socket(linked):
    pull, _ = linked(zmq.PULL, zmq.PUSH)
    pull.close()
    assert pull.sock.closed


def test_what_is_spawned_runs_beside():
    calls = []
    green.spawn(lambda: calls.append(1))
    assert calls == []
    green.sleep(0)
    assert calls == [1]
