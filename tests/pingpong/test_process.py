"""A client as a process: it speaks its protocol, and the end of its stdin ends it, whatever it waits for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict

import pytest
import zmq

from gtool.pingpong.endpoints import closing
from gtool.pingpong.job import Job
from tests.conftest import TIMEOUT_S, environment

TICK_MS = 5
MOST_S = 10.0  #: that it may take to stop; the job's own limit is twice that


class Client:
    def __init__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "gtool.pingpong.process"]
        self.process = subprocess.Popen(command, text=True, env=environment(), **pipes)

    def give(self, endpoint, **changes):
        usual = {
            "pattern": "dealer-router", "size": 32, "count": 5, "duration": None, "warmup": 2, "rate": None,
            "phase": 0.0, "pipeline": 1, "timeout": 20.0, "retries": 0, "is_plain": False, "keys": None,
        }  # fmt: skip
        self.say(json.dumps(asdict(Job(endpoint, **{**usual, **changes}))))

    def say(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def line(self):
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line.rstrip("\n")

    def tally(self):
        return json.loads(self.line())

    def end(self):
        """Close its stdin; give its exit code."""
        self.process.stdin.close()
        return self.process.wait(TIMEOUT_S)

    def complaints(self):
        return self.process.stderr.read()


@pytest.fixture
def client():
    client = Client()
    yield client
    client.process.kill()
    client.process.wait()
    for pipe in (client.process.stdin, client.process.stdout, client.process.stderr):
        pipe.close()


@contextmanager
def peer(kind=zmq.ROUTER, answers=sys.maxsize, **options):
    """A socket in a thread that sends back what comes, so often; give its endpoint, and what has come."""
    came, is_over = [], threading.Event()
    with closing(zmq.Context()) as context, context.socket(kind) as sock:
        for name, value in {"linger": 0, **options}.items():
            setattr(sock, name, value)
        sock.bind("tcp://127.0.0.1:*")

        def run():
            while not is_over.is_set():
                if kind != zmq.ROUTER:
                    is_over.wait()  # it takes nothing
                elif sock.poll(TICK_MS):
                    came.append(sock.recv_multipart())
                    if len(came) <= answers:
                        sock.send_multipart(came[-1])

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield sock.getsockopt_string(zmq.LAST_ENDPOINT), came
        finally:
            is_over.set()
            thread.join(TIMEOUT_S)


def wait_for(came, count):
    deadline = time.monotonic() + TIMEOUT_S
    while len(came) < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def test_it_says_that_it_is_ready_then_what_it_has_measured(client):
    with peer() as (endpoint, came):
        client.give(endpoint)
        assert client.line() == ""
        assert len(came) == 2
        client.say("start")
        tally = client.tally()
        assert (tally["sent"], tally["answered"], tally["error"], len(came)) == (5, 5, None, 7)
        assert client.end() == 0


def test_a_failure_before_it_is_ready_is_its_tally(client, refused_port):
    client.give(f"tcp://127.0.0.1:{refused_port}", timeout=0.1)
    tally = client.tally()
    assert (f"nobody at tcp://127.0.0.1:{refused_port}" in tally["error"], tally["exit_code"]) == (True, 4)
    assert client.end() == 0


def test_it_holds_its_connection_until_stdin_ends(client):
    with peer() as (endpoint, _):
        client.give(endpoint)
        client.line()
        client.say("start")
        client.tally()
        with pytest.raises(subprocess.TimeoutExpired):
            client.process.wait(0.1)
        assert client.end() == 0


def test_the_end_of_stdin_stops_a_wait_for_an_answer(client):
    with peer(answers=4) as (endpoint, came):
        client.give(endpoint)
        client.line()
        client.say("start")
        wait_for(came, 5)
        started_at = time.monotonic()
        client.process.stdin.close()
        tally = client.tally()
        assert time.monotonic() - started_at < MOST_S
        assert (tally["error"], tally["exit_code"], tally["sent"], tally["answered"]) == ("interrupted", 130, 3, 2)
        assert client.process.wait(TIMEOUT_S) == 0


def test_the_end_of_stdin_stops_a_wait_for_a_connection(client, refused_port):
    client.give(f"tcp://127.0.0.1:{refused_port}")
    client.process.stdin.close()
    assert client.tally()["error"] == "interrupted"
    assert client.process.wait(MOST_S) == 0


def test_the_end_of_stdin_stops_a_wait_for_the_start(client):
    with peer() as (endpoint, came):
        client.give(endpoint)
        client.line()
        client.process.stdin.close()
        tally = client.tally()
        assert (tally["error"], tally["sent"], len(came)) == ("interrupted", 0, 2)
        assert client.process.wait(MOST_S) == 0


def test_the_end_of_stdin_stops_a_wait_for_room(client):
    with peer(zmq.PULL, rcvhwm=1) as (endpoint, _):
        client.give(endpoint, pattern="push-pull", size=100_000, count=100_000)
        client.line()
        client.say("start")
        with pytest.raises(subprocess.TimeoutExpired):
            client.process.wait(0.2)  # when it has sent what there is room for
        client.process.stdin.close()
        tally = client.tally()
        assert (tally["error"], tally["sent"] > 0) == ("interrupted", True)
        assert client.process.wait(MOST_S) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_of_the_terminal_is_left_to_who_has_started_it(client, number):
    with peer() as (endpoint, _):
        client.give(endpoint)
        client.line()
        client.process.send_signal(number)
        client.say("start")
        assert client.tally()["answered"] == 5
        assert client.end() == 0


def test_to_be_terminated_is_to_be_stopped(client):
    with peer(answers=2) as (endpoint, came):
        client.give(endpoint)
        client.line()
        client.say("start")
        wait_for(came, 3)
        client.process.send_signal(signal.SIGTERM)
        assert client.tally()["error"] == "interrupted"
        assert client.end() == 0


def test_it_ends_without_a_word_where_nobody_reads(client):
    with peer() as (endpoint, _):
        client.process.stdout.close()
        client.give(endpoint)
        assert client.process.wait(TIMEOUT_S) == 1
        assert client.complaints() == ""


def test_it_has_no_loop_of_gevent():
    script = "import sys, gtool.pingpong.process; print('gevent' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert done.stdout == "False\n"


def test_it_ends_without_a_word_where_it_gets_no_job(client):
    client.end()
    assert client.complaints() == ""


def test_it_leaves_nothing_open(client):
    with peer() as (endpoint, _):
        client.give(endpoint)
        client.line()
        client.say("start")
        client.tally()
        assert client.end() == 0
    assert client.complaints() == ""
