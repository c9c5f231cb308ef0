"""Rows are measured against a real server, one for each size and engine; what ends it early keeps what there is."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import gevent
import pytest
import zmq

from gtool.errors import GtoolError, Interrupted, PeerGone, UsageError
from gtool.pingpong.endpoints import closing
from gtool.pingpong.ping import ping
from gtool.pingpong.result import Outcome
from gtool.pingpong.settings import Settings

LONG_S = 10.0
BUSY_S = 0.1
ENGINES = ("green", "blocking")
PATTERNS = ("req-rep", "dealer-router", "push-pull", "pub-sub")


@pytest.fixture
def serve(start_gtool):
    """Start a server, and give its process and its endpoint."""

    def start(*args, bind="tcp://127.0.0.1:*"):
        process = start_gtool("zmq-pingpong", "serve", "--bind", bind, *args)
        endpoint = process.stdout.readline().decode().strip()
        assert endpoint, process.stderr.read()
        return process, endpoint

    return start


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert clients() == []


def clients():
    """The clients that this process has in processes of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and b"gtool.pingpong.process" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def measured(endpoint, **changes):
    """Measure; give the outcome."""
    outcome = Outcome()
    ping(settings(endpoint, **changes), outcome, lambda row: None)
    return outcome


def settings(endpoint, **changes):
    return Settings(endpoint, **{"count": 50, "warmup": 5, "timeout": LONG_S, **changes})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:*", "ipc://{}/path"])
def test_all_that_was_sent_is_received(serve, tmp_path, bind, pattern, engine):
    _, endpoint = serve(bind=bind.format(tmp_path))
    (row,) = measured(endpoint, pattern=pattern, engines=(engine,)).rows
    assert (row.sent, row.received, row.lost, row.duplicates, row.error) == (50, 50, 0, 0, None)
    assert (row.pattern, row.engine, row.size, row.clients) == (pattern, engine, 32, 1)


def test_there_is_a_row_for_each_size_on_each_engine(serve):
    _, endpoint = serve()
    said = []
    outcome = Outcome()
    ping(settings(endpoint, sizes=(8, 16), engines=ENGINES), outcome, said.append)
    assert [(row.size, row.engine) for row in outcome.rows] == [
        (8, "green"),
        (8, "blocking"),
        (16, "green"),
        (16, "blocking"),
    ]
    assert said == outcome.rows


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ["dealer-router", "push-pull"])
def test_clients_share_the_count(serve, pattern, engine):
    _, endpoint = serve()
    (row,) = measured(endpoint, pattern=pattern, engines=(engine,), clients=3, count=50).rows
    assert (row.sent, row.received, row.clients) == (50, 50, 3)


def test_clients_share_the_rate(serve):
    _, endpoint = serve()
    (row,) = measured(endpoint, clients=4, count=40, rate=200.0).rows
    assert 0.15 <= row.elapsed_s < 0.15 + LONG_S / 2
    assert row.uncorrected.count == 40


def test_round_trips_have_figures(serve):
    _, endpoint = serve()
    (row,) = measured(endpoint).rows
    assert row.round_trip.count == 50
    assert 0 < row.round_trip.min <= row.round_trip.p50 <= row.round_trip.max < LONG_S


def test_what_the_server_is_and_what_the_meter_costs_is_in_the_outcome(serve):
    _, endpoint = serve("--engine", "blocking")
    outcome = measured(endpoint)
    assert outcome.server["engine"] == "blocking"
    assert 0 < outcome.meter_s < 1e-3


def test_one_server_serves_one_ping_after_the_other(serve):
    process, endpoint = serve("--once")
    measured(endpoint)
    assert process.wait(LONG_S) == 0


def test_any_peer_is_measured_plainly():
    with replying() as endpoint:
        outcome = measured(endpoint, is_plain=True)
    assert (outcome.server, outcome.rows[0].received) == (None, 50)


@contextmanager
def replying():
    """A REP of somebody else, in a thread."""
    is_over = threading.Event()
    with closing(zmq.Context()) as context, context.socket(zmq.REP) as sock:
        sock.linger = 0
        sock.bind("tcp://127.0.0.1:*")

        def run():
            while not is_over.is_set():
                if sock.poll(5):
                    sock.send_multipart(sock.recv_multipart())

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield sock.getsockopt_string(zmq.LAST_ENDPOINT)
        finally:
            is_over.set()
            thread.join(LONG_S)


def failed(kind, endpoint, **changes):
    """Measure what ends early; give the error and the outcome."""
    outcome = Outcome()
    with pytest.raises(kind) as raised:
        ping(settings(endpoint, **changes), outcome, lambda row: None)
    return raised.value, outcome


def test_nobody_there_is_told_and_no_row_is_made(refused_port):
    error, outcome = failed(PeerGone, f"tcp://127.0.0.1:{refused_port}", timeout=0.2)
    assert (f"nobody at tcp://127.0.0.1:{refused_port}" in str(error), outcome.rows) == (True, [])


def test_an_endpoint_that_is_none_is_told():
    assert "'rubbish'" in str(failed(UsageError, "rubbish")[0])


def test_a_server_that_does_not_agree_is_told(serve):
    _, endpoint = serve("--max-size", "100")
    error, outcome = failed(PeerGone, endpoint, sizes=(8, 1000))
    assert ("does not agree: the server takes 1 to 100 bytes" in str(error), outcome.rows) == (True, [])


def test_ports_of_a_server_that_are_used_up_are_told(serve):
    with closing(zmq.Context()) as context, context.socket(zmq.PULL) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        _, endpoint = serve("--data-ports", f"{port}-{port}")
        error, _ = failed(PeerGone, endpoint, pattern="push-pull")
    assert f"can bind no socket for it: cannot bind to tcp://127.0.0.1:{port}" in str(error)


def test_one_that_is_no_gtool_is_told():
    with replying() as endpoint:
        error, _ = failed(PeerGone, endpoint)
    assert "is no gtool server: it sends back our own question (--plain" in str(error)


def when_busy(server, act):
    """Do it when a server has worked more than an agreement takes: it is measured."""

    def worked_s():
        fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # proc_pid_stat(5): utime, stime

    before = worked_s()
    with gevent.Timeout(LONG_S, False):
        while worked_s() - before < BUSY_S:
            gevent.sleep(0.01)
    act()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ["req-rep", "push-pull"])
def test_what_was_measured_before_the_server_died_is_kept(serve, engine, pattern):
    process, endpoint = serve()
    killing = gevent.spawn(when_busy, process.pid, process.kill)
    changes = {"pattern": pattern, "engines": (engine,), "count": None, "duration": 60.0}
    error, outcome = failed(GtoolError, endpoint, timeout=0.5, sizes=(1000,), **changes)
    killing.join()
    (row,) = outcome.rows
    assert (error.exit_code, row.error, row.sent > 0) == (4, str(error), True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ["req-rep", "push-pull"])
def test_a_signal_ends_it_with_what_was_measured(serve, engine, pattern):
    process, endpoint = serve()
    signalling = gevent.spawn(when_busy, process.pid, lambda: os.kill(os.getpid(), signal.SIGTERM))
    error, outcome = failed(Interrupted, endpoint, pattern=pattern, engines=(engine,), count=None, duration=60.0)
    signalling.join()
    (row,) = outcome.rows
    assert (error.exit_code, row.error, row.sent > 0, row.received > 0) == (143, "interrupted", True, True)
