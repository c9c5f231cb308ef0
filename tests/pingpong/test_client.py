"""Jobs are done against peers that answer, and that do not: what was measured until then is kept."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import zmq

from gtool.pingpong import blocking, green
from gtool.pingpong.client import measure
from gtool.pingpong.endpoints import closing
from gtool.pingpong.job import Job
from gtool.pingpong.sequence import Numbering

LONG_S = 10.0
RETRY_S = 0.3  #: to connect in, and to wait for each answer
TICK_MS = 5


@pytest.fixture(params=[green, blocking], ids=["green", "blocking"])
def engine(request):
    return request.param


@contextmanager
def peer(treat, kind=zmq.ROUTER, **options):
    """A socket in a thread that gives each message to `treat`; give its endpoint."""
    is_over = threading.Event()
    with closing(zmq.Context()) as context, context.socket(kind) as sock:
        for name, value in {"linger": 0, **options}.items():
            setattr(sock, name, value)
        sock.bind("tcp://127.0.0.1:*")
        endpoint = sock.getsockopt_string(zmq.LAST_ENDPOINT)

        def run():
            while not is_over.is_set():
                if sock.poll(TICK_MS):
                    treat(sock, sock.recv_multipart())

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield endpoint
        finally:
            is_over.set()
            thread.join(LONG_S)


def echo(sock, frames):
    sock.send_multipart(frames)


def ignore(sock, frames):
    pass


class Misbehaving:
    """Echoes, but for some of the messages that come, which are counted from 1."""

    def __init__(self, is_bad, treat=ignore):
        self.count = 0
        self._is_bad = is_bad
        self._treat = treat

    def __call__(self, sock, frames):
        self.count += 1
        (self._treat if self._is_bad(self.count) else echo)(sock, frames)


class Orders:
    def __init__(self, on_start=lambda: None, on_finish=lambda: None):
        self.wait_for_start = on_start
        self._on_finish = on_finish
        self.tally = None

    def finish(self, tally):
        self.tally = tally
        self._on_finish()


def job(endpoint, **changes):
    usual = {
        "pattern": "dealer-router", "size": 32, "count": 20, "duration": None, "warmup": 0, "rate": None, "phase": 0.0,
        "pipeline": 1, "timeout": LONG_S, "retries": 0, "is_plain": False, "keys": None,
    }  # fmt: skip
    return Job(endpoint, **{**usual, **changes})


def measured(engine, endpoint, orders=None, **changes):
    """Do a job, and give the tally; a socket that it leaves open would hold up the end of the context."""
    orders = orders or Orders()
    with zmq.Context() as context:
        measure(engine, context, job(endpoint, **changes), orders)
    return orders.tally


def over(histogram, bound_s):
    """The number of durations over that many seconds."""
    return histogram.buckets([bound_s, LONG_S])[1]


@pytest.mark.parametrize("pattern", ["req-rep", "dealer-router"])
def test_each_question_that_is_answered_is_counted_and_timed(engine, pattern):
    with peer(echo) as endpoint:
        tally = measured(engine, endpoint, pattern=pattern)
    assert (tally.sent, tally.answered, tally.lost, tally.error, tally.exit_code) == (20, 20, 0, None, 0)
    assert tally.round_trips.distribution().count == 20


@pytest.mark.parametrize("pattern", ["req-rep", "dealer-router"])
def test_a_rep_of_somebody_else_is_measured_plainly(engine, pattern):
    with peer(echo, zmq.REP) as endpoint:
        tally = measured(engine, endpoint, pattern=pattern, is_plain=True)
    assert (tally.answered, tally.error) == (20, None)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 70_000])
def test_messages_have_the_size_and_more_may_be_asked_than_can_be_numbered(engine, size):
    sizes = set()

    def note(sock, frames):
        sizes.add(len(frames[-1]))
        echo(sock, frames)

    with peer(note) as endpoint:
        tally = measured(engine, endpoint, size=size, count=300)
    assert (tally.answered, tally.duplicates, sizes) == (300, 0, {size})


def test_warm_up_comes_before_the_start_and_is_not_counted(engine):
    counting = Misbehaving(lambda _: False)
    seen = []
    with peer(counting) as endpoint:
        tally = measured(engine, endpoint, Orders(lambda: seen.append(counting.count)), warmup=7)
    assert (seen, counting.count, tally.sent) == ([7], 27, 20)


def test_a_duration_ends_it_with_nothing_lost(engine):
    with peer(echo) as endpoint:
        tally = measured(engine, endpoint, count=None, duration=0.2)
    assert 0.2 <= tally.ended_at - tally.started_at < 5
    assert (tally.error, tally.lost, tally.answered) == (None, 0, tally.sent)


def test_a_count_ends_it_before_its_duration(engine):
    with peer(echo) as endpoint:
        tally = measured(engine, endpoint, count=5, duration=LONG_S)
    assert tally.answered == 5


def test_a_rate_is_kept(engine):
    with peer(echo) as endpoint:
        tally = measured(engine, endpoint, count=40, rate=200.0)
    assert 39 / 200 <= tally.ended_at - tally.started_at < 5
    assert tally.answered == 40


def test_a_phase_is_waited_for_before_the_first_of_a_rate(engine):
    with peer(echo) as endpoint:
        tally = measured(engine, endpoint, count=2, rate=100.0, phase=0.1)
    assert tally.ended_at - tally.started_at >= 0.11


def test_no_more_questions_are_open_than_the_pipeline_has(engine):
    """The peer answers none until it has as many as there may be, and then looks whether one more comes."""
    held, too_many = [], []

    def hold(sock, frames):
        held.append(frames)
        if len(held) == 8:
            too_many.append(sock.poll(20))
            for each in held:
                echo(sock, each)
            held.clear()

    with peer(hold) as endpoint:
        tally = measured(engine, endpoint, count=80, pipeline=8)
    assert (tally.answered, tally.error) == (80, None)
    assert too_many == [0] * 10


def test_a_stall_makes_all_late_that_were_due_meanwhile_and_one_only_without_correction(engine):
    """That is coordinated omission: 0.3 s at 200/s are 60 messages, of which 40 would have waited 0.1 s and more."""

    def stall(sock, frames):
        threading.Event().wait(0.3)
        echo(sock, frames)

    with peer(Misbehaving(lambda count: count == 20, stall)) as endpoint:
        tally = measured(engine, endpoint, count=100, rate=200.0)
    assert over(tally.uncorrected, 0.2) == 1
    assert over(tally.round_trips, 0.1) >= 30


def test_without_a_rate_there_is_nothing_to_correct(engine):
    with peer(echo) as endpoint:
        assert measured(engine, endpoint).uncorrected is None


def rubbish(sock, frames):
    sock.send_multipart([*frames[:-1], b"rubbish"])


def never_asked(sock, frames):
    sock.send_multipart([*frames[:-1], next(Numbering(32).messages(1000, 1))])


def longer(sock, frames):
    sock.send_multipart([*frames[:-1], frames[-1] + b"\0"])


def more_frames(sock, frames):
    sock.send_multipart([*frames, b""])


@pytest.mark.parametrize("answer", [rubbish, never_asked, longer, more_frames])
def test_rubbish_ends_it_and_what_was_measured_is_kept(engine, answer):
    with peer(Misbehaving(lambda count: count == 6, answer)) as endpoint:
        tally = measured(engine, endpoint)
    assert f"{endpoint} answers rubbish" in tally.error
    assert (tally.exit_code, tally.answered, tally.round_trips.distribution().count) == (4, 5, 5)


def test_rubbish_while_it_warms_up_ends_it_before_the_start(engine):
    started = []
    with peer(rubbish) as endpoint:
        tally = measured(engine, endpoint, Orders(lambda: started.append(1)), warmup=1)
    assert ("answers rubbish" in tally.error, started, tally.sent) == (True, [], 0)


def test_what_is_answered_twice_is_counted_once(engine):
    def twice(sock, frames):
        echo(sock, frames)
        echo(sock, frames)

    with peer(twice) as endpoint:
        tally = measured(engine, endpoint)
    assert (tally.answered, tally.duplicates, tally.late, tally.error) == (20, 19, 0, None)


@pytest.mark.parametrize(("pattern", "late"), [("dealer-router", 1), ("req-rep", 0)])
def test_an_answer_that_comes_late_is_not_taken_for_the_next(engine, pattern, late):
    """A REQ does not even get it."""
    held = []

    def one_behind(sock, frames):
        held.append(frames)
        if len(held) == 2:
            echo(sock, held[0])
            echo(sock, held[1])

    with peer(one_behind) as endpoint:
        tally = measured(engine, endpoint, pattern=pattern, count=1, timeout=RETRY_S, retries=1)
    assert (tally.sent, tally.answered, tally.lost, tally.retried, tally.late) == (2, 1, 1, 1, late)
    assert (tally.duplicates, tally.error) == (0, None)
    assert tally.round_trips.distribution().max < RETRY_S


@pytest.mark.parametrize("pattern", ["req-rep", "dealer-router"])
def test_no_answer_ends_it_in_time(engine, pattern):
    with peer(ignore) as endpoint:
        tally = measured(engine, endpoint, pattern=pattern, timeout=RETRY_S)
    assert f"no answer from {endpoint} within 0.3 s" in tally.error
    assert (tally.exit_code, tally.sent, tally.answered, tally.lost) == (4, 1, 0, 1)
    assert RETRY_S <= tally.ended_at - tally.started_at < 5


@pytest.mark.parametrize("pattern", ["req-rep", "dealer-router"])
def test_no_answer_is_asked_for_anew_so_often(engine, pattern):
    with peer(counting := Misbehaving(lambda _: True)) as endpoint:
        tally = measured(engine, endpoint, pattern=pattern, timeout=RETRY_S, retries=2)
    assert (tally.sent, counting.count, tally.lost, tally.retried) == (3, 3, 3, 2)
    assert "no answer" in tally.error


@pytest.mark.parametrize("pattern", ["req-rep", "dealer-router"])
def test_each_tenth_that_is_not_answered_is_asked_anew(engine, pattern):
    with peer(Misbehaving(lambda count: count % 10 == 0)) as endpoint:
        tally = measured(engine, endpoint, pattern=pattern, count=20, timeout=RETRY_S, retries=1)
    assert (tally.sent, tally.answered, tally.lost, tally.retried, tally.error) == (22, 20, 2, 2, None)


def test_one_of_many_open_questions_that_is_not_answered_is_asked_anew(engine):
    with peer(Misbehaving(lambda count: count % 10 == 0)) as endpoint:
        tally = measured(engine, endpoint, count=20, pipeline=8, timeout=RETRY_S, retries=1)
    assert (tally.sent, tally.answered, tally.lost, tally.retried, tally.error) == (22, 20, 2, 2, None)


def test_the_first_that_is_not_answered_ends_it_where_none_is_asked_anew(engine):
    with peer(Misbehaving(lambda count: count == 10)) as endpoint:
        tally = measured(engine, endpoint, timeout=RETRY_S)
    assert (tally.answered, tally.lost, tally.exit_code) == (9, 1, 4)


def test_nobody_there_is_told_and_nothing_started(engine, refused_port):
    started = []
    tally = measured(engine, f"tcp://127.0.0.1:{refused_port}", Orders(lambda: started.append(1)), timeout=RETRY_S)
    assert f"nobody at tcp://127.0.0.1:{refused_port}" in tally.error
    assert (tally.exit_code, started) == (4, [])


def test_an_endpoint_that_is_none_is_told(engine):
    tally = measured(engine, "rubbish")
    assert ("'rubbish'" in tally.error, tally.exit_code) == (True, 2)


class Taking:
    """Keeps what comes, and says when there is enough."""

    def __init__(self, count):
        self.messages = []
        self.has_all = threading.Event()
        self._count = count

    def __call__(self, sock, frames):
        self.messages += frames
        if len(self.messages) >= self._count:
            self.has_all.set()


@pytest.mark.parametrize(
    ("pattern", "kind", "options"), [("push-pull", zmq.PULL, {}), ("pub-sub", zmq.SUB, {"subscribe": b""})]
)
def test_one_way_messages_come_numbered_after_their_warm_up_until_the_connection_may_be_closed(
    engine, pattern, kind, options
):
    numbering = Numbering(16)
    taking = Taking(510)
    with peer(taking, kind, **options) as endpoint:
        orders = Orders(on_finish=lambda: taking.has_all.wait(LONG_S))
        tally = measured(engine, endpoint, orders, pattern=pattern, size=16, count=500, warmup=10)
    assert (tally.sent, tally.error) == (500, None)
    assert taking.messages == [numbering.warmup] * 10 + list(numbering.messages(0, 500))


def test_one_way_messages_keep_their_rate(engine):
    with peer(ignore, zmq.PULL) as endpoint:
        tally = measured(engine, endpoint, pattern="push-pull", count=40, rate=200.0)
    assert 39 / 200 <= tally.ended_at - tally.started_at < 5
    assert tally.sent == 40


def test_one_way_messages_end_with_their_duration(engine):
    with peer(ignore, zmq.PULL) as endpoint:
        tally = measured(engine, endpoint, pattern="push-pull", count=None, duration=0.1)
    assert 0.1 <= tally.ended_at - tally.started_at < 5
    assert tally.error is None


@pytest.mark.parametrize("warmup", [0, 1_000_000])
def test_a_peer_that_takes_nothing_ends_it_in_time(engine, warmup):
    def stop(sock, frames):
        is_over.wait(LONG_S)

    is_over = threading.Event()
    with peer(stop, zmq.PULL, rcvhwm=1) as endpoint:
        changes = {"size": 10_000, "count": 1_000_000, "warmup": warmup, "timeout": RETRY_S}
        tally = measured(engine, endpoint, Orders(on_finish=is_over.set), pattern="push-pull", **changes)
    assert f"{endpoint} has taken nothing for 0.3 s" in tally.error
    assert (tally.exit_code, tally.sent > 0) == (4, warmup == 0)


def test_a_peer_that_does_not_subscribe_ends_it_in_time(engine):
    with peer(ignore, zmq.SUB) as endpoint:
        tally = measured(engine, endpoint, pattern="pub-sub", timeout=RETRY_S)
    assert ("does not subscribe within 0.3 s" in tally.error, tally.exit_code, tally.sent) == (True, 4, 0)
