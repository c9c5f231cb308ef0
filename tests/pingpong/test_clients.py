"""Clients start together, end together, and leave no greenlet and no process behind."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import gevent
import pytest
import zmq

from gtool.errors import Interrupted
from gtool.pingpong.clients import LAST_WORD_S, GreenClient, ProcessClient, close, run_together
from gtool.pingpong.endpoints import closing, destroy
from gtool.pingpong.job import Job
from gtool.pingpong.tally import Tally

LONG_S = 10.0
TICK_MS = 5


class Echo:
    """A ROUTER in a thread that sends back what comes, and counts it."""

    def __init__(self):
        self.count = 0
        self._is_over = threading.Event()
        self._context = zmq.Context()
        self._sock = self._context.socket(zmq.ROUTER)
        self._sock.linger = 0
        self._sock.bind("tcp://127.0.0.1:*")
        self.endpoint = self._sock.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, count):
        with gevent.Timeout(LONG_S):
            while self.count < count:
                gevent.sleep(0.001)

    def close(self):
        self._is_over.set()
        self._thread.join(LONG_S)
        self._sock.close()
        destroy(self._context)

    def _run(self):
        while not self._is_over.is_set():
            if self._sock.poll(TICK_MS):
                frames = self._sock.recv_multipart()
                self.count += 1
                self._sock.send_multipart(frames)


@pytest.fixture
def echo():
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture(params=["green", "process"])
def make(request):
    """Make clients that do a job; they are killed at the end."""
    made = []
    with closing(zmq.Context()) as context:

        def make(endpoint, **changes):
            job = doing(endpoint, **changes)
            made.append(GreenClient(context, job) if request.param == "green" else ProcessClient(job))
            return made[-1]

        yield make
        for client in made:
            client.kill()


@pytest.fixture
def process():
    """Make a client in a process of its own, and give its process too."""
    made = []

    def make(endpoint, **changes):
        before = children()
        made.append(ProcessClient(doing(endpoint, **changes)))
        (pid,) = children() - before
        return made[-1], pid

    yield make
    for client in made:
        client.kill()


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = children()
    yield
    assert children() == before


def children():
    """The processes that this one has started and not buried yet."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(int(path.parent.name))
    return found


def doing(endpoint, **changes):
    usual = {
        "pattern": "dealer-router", "size": 32, "count": 20, "duration": None, "warmup": 3, "rate": None, "phase": 0.0,
        "pipeline": 1, "timeout": LONG_S, "retries": 0, "is_plain": False, "keys": None,
    }  # fmt: skip
    return Job(endpoint, **{**usual, **changes})


def ends(client, within_s=LONG_S):
    """Whether it ends by itself."""
    with gevent.Timeout(within_s, False):
        client.wait()
        return True
    return False


def test_a_client_is_ready_when_it_is_warmed_up_and_measures_when_it_is_started(make, echo):
    client = make(echo.endpoint)
    assert client.wait_until_ready()
    assert echo.count == 3
    client.start()
    assert client.result()["answered"] == 20
    assert echo.count == 23


def test_a_client_that_nobody_answers_is_not_ready_and_tells_why(make, refused_port):
    client = make(f"tcp://127.0.0.1:{refused_port}", timeout=0.1)
    assert not client.wait_until_ready()
    result = client.result()
    assert f"nobody at tcp://127.0.0.1:{refused_port} within 0.1 s" in result["error"]
    assert result["exit_code"] == 4


def test_a_client_that_is_stopped_gives_what_it_has_measured(make, echo):
    client = make(echo.endpoint, count=None)
    assert client.wait_until_ready()
    client.start()
    echo.wait_for(100)
    client.stop()
    result = client.result()
    assert (result["error"], result["exit_code"], result["answered"] > 50) == ("interrupted", 130, True)


def test_a_client_that_is_stopped_before_its_start_has_measured_nothing(make, echo):
    client = make(echo.endpoint)
    assert client.wait_until_ready()
    client.stop()
    result = client.result()
    assert (result["error"], result["sent"]) == ("interrupted", 0)


def test_a_client_that_is_stopped_while_it_connects_ends(make, refused_port):
    client = make(f"tcp://127.0.0.1:{refused_port}")
    gevent.sleep(0)
    client.stop()
    assert not client.wait_until_ready()
    assert client.result()["error"] == "interrupted"


def test_a_client_that_is_done_can_be_stopped_all_the_same(make, echo):
    client = make(echo.endpoint)
    client.wait_until_ready()
    client.start()
    result = client.result()
    client.stop()
    assert (result["answered"], result["error"]) == (20, None)


def test_a_client_holds_its_connection_until_it_is_released(make, echo):
    client = make(echo.endpoint)
    client.wait_until_ready()
    client.start()
    client.result()
    assert not ends(client, 0.2)
    client.release()
    with gevent.Timeout(LONG_S):
        client.wait()


@pytest.mark.parametrize("has_started", [False, True])
def test_a_client_that_is_killed_ends_at_once(make, echo, has_started):
    client = make(echo.endpoint, count=None)
    client.wait_until_ready()
    if has_started:
        client.start()
        echo.wait_for(10)
    client.kill()
    assert ends(client)


def test_a_client_can_be_killed_twice(make, echo):
    client = make(echo.endpoint)
    client.kill()
    client.kill()
    assert ends(client)


def test_a_bug_in_a_greenlet_is_raised_where_it_is_waited_for():
    client = GreenClient(None, doing("", pattern="none"))
    with pytest.raises(KeyError, match="none"):
        client.wait_until_ready()


def test_a_client_in_a_process_has_one_of_its_own(process, echo):
    _, pid = process(echo.endpoint)
    assert b"gtool.pingpong.process" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_client_whose_process_has_died_is_not_ready(process, echo):
    client, pid = process(echo.endpoint)
    os.kill(pid, signal.SIGKILL)
    assert not client.wait_until_ready()


def test_a_client_whose_process_has_died_has_no_result_and_tells_how_it_died(process, echo):
    client, pid = process(echo.endpoint, count=None)
    client.wait_until_ready()
    client.start()
    os.kill(pid, signal.SIGKILL)
    result = client.result()
    assert (result["error"], result["exit_code"]) == ("a client's process has ended with -9, and no result", 1)


@pytest.mark.parametrize("last_word", [ProcessClient.stop, ProcessClient.release, ProcessClient.kill])
def test_a_client_whose_process_has_died_is_cleared_away_all_the_same(echo, last_word):
    before = children()
    client = ProcessClient(doing(echo.endpoint))
    try:
        client.wait_until_ready()
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        client.wait()
        client.start()
        last_word(client)
    finally:
        client.kill()


def test_what_several_clients_have_measured_is_added_up(make, echo):
    tally = Tally()
    run_together([make(echo.endpoint, count=count) for count in (10, 20, 30)], tally)
    assert (tally.answered, tally.sent_by_each, tally.error) == (60, [10, 20, 30], None)
    assert tally.round_trips.distribution().count == 60


def test_all_are_stopped_where_one_does_not_get_ready(make, echo, refused_port):
    tally = Tally()
    clients = [make(f"tcp://127.0.0.1:{refused_port}", timeout=0.1), make(echo.endpoint, count=None)]
    with gevent.Timeout(LONG_S):
        run_together(clients, tally)
    assert ("nobody at" in tally.error, tally.exit_code, tally.sent) == (True, 4, 0)


def test_what_is_told_is_why_one_did_not_get_ready_and_not_that_the_others_were_stopped(make, echo, refused_port):
    tally = Tally()
    clients = [make(echo.endpoint), make(f"tcp://127.0.0.1:{refused_port}", timeout=0.1)]
    run_together(clients, tally)
    assert ("nobody at" in tally.error, tally.exit_code) == (True, 4)


def test_a_signal_ends_all_with_what_they_have_measured(make, echo):
    tally = Tally()
    clients = [make(echo.endpoint, count=None) for _ in range(2)]
    running = gevent.spawn(run_together, clients, tally)
    echo.wait_for(100)
    running.kill(Interrupted(signal.SIGTERM), block=False)
    with pytest.raises(Interrupted):
        running.get(timeout=LONG_S)
    assert (len(tally.sent_by_each), tally.answered > 50) == (2, True)


def test_clients_that_are_released_together_end_by_themselves(make, echo):
    clients = [make(echo.endpoint) for _ in range(2)]
    run_together(clients, Tally())
    close(clients)
    assert all(map(ends, clients))


class Stubborn:
    """Does as it is told, and says so; it never ends by itself."""

    def __init__(self, name, said):
        self._name = name
        self._said = said

    def __getattr__(self, what):
        return lambda: self._said.append(f"{what} {self._name}") or True

    def result(self):
        gevent.sleep(600)

    def wait(self):
        gevent.sleep(600)


def test_none_is_started_before_all_are_ready():
    said = []
    with gevent.Timeout(0.05, False):
        run_together([Stubborn("a", said), Stubborn("b", said)], Tally())
    assert said == ["wait_until_ready a", "wait_until_ready b", "start a", "start b"]


def test_the_last_word_of_one_that_was_stopped_is_not_waited_for_long():
    said = []
    running = gevent.spawn(run_together, [Stubborn("a", said), Stubborn("b", said)], Tally())
    gevent.sleep(0)
    running.kill(Interrupted(signal.SIGINT), block=False)
    with pytest.raises(Interrupted):
        running.get(timeout=2 * LAST_WORD_S)
    assert said[-2:] == ["stop a", "stop b"]


def test_those_that_do_not_end_when_they_are_released_are_killed_together():
    said = []
    with gevent.Timeout(2 * LAST_WORD_S):
        close([Stubborn(name, said) for name in "abc"])
    assert said == ["release a", "release b", "release c", "kill a", "kill b", "kill c"]
