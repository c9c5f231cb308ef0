"""Prefork as real processes: a script whose workers say what they are told, and a test that does the killing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.conftest import ROOT, TIMEOUT_S, environment

PRELUDE = """
import os, signal, sys, time
import gevent
from gevent.event import Event
from gtool.errors import ReadError
from gtool.log import configure
from gtool.runtime import workers
from gtool.runtime.workers import Master, obey

configure("text", "info")

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

class Obedient:
    def __init__(self, number):
        self.number = number
        self.over = Event()

    def stop(self):
        say("stop", self.number)
        self.over.set()

    def publish(self):
        pass

    def finish(self):
        say("finish", self.number)
        self.over.set()

class Stubborn(Obedient):
    def stop(self):
        say("stop", self.number)

def work(number, control, last_call, kind=Obedient):
    server = kind(number)
    watcher = obey(control, server)
    say("up", number, os.getpid())
    server.over.wait(600)
    watcher.close()
    control.close()

def be_stubborn(number, control, last_call):
    work(number, control, last_call, Stubborn)

def run(work=work, count=2, drain_timeout=5.0, duration=None, stats=None):
    master = Master(count, work, lambda number: say("buried", number), drain_timeout)
    master.start()
    say("code", master.run(duration, stats, lambda: say("report"), lambda: say("stopping")))
"""


class Script:
    """A master, its workers, and what they say."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )
        self.pids: dict[str, int] = {}  #: of workers, by their numbers

    def line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().rstrip("\n")
        if line.startswith("up"):
            _, number, pid = line.split()
            self.pids[number] = int(pid)
            return f"up {number}"
        return line

    def lines(self, count: int) -> list[str]:
        """So many lines, sorted: who of several processes is the first to speak is chance."""
        return sorted(self.line() for _ in range(count))

    def up(self, count: int = 2) -> None:
        assert self.lines(count) == [f"up {number}" for number in range(count)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def rest(self) -> list[str]:
        """What is said until all of them have gone."""
        assert self.process.stdout
        return sorted(self.process.stdout.read().splitlines())

    def log(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[[str], Script]]:
    """Start a script; it and its workers are killed at the end."""
    started: list[Script] = []

    def run(script: str = "run()") -> Script:
        started.append(Script(script))
        return started[-1]

    yield run
    for script in started:
        script.end()


def test_each_worker_is_a_process_with_a_number_of_its_own(start):
    script = start("run(count=3)")
    script.up(3)
    assert len({*script.pids.values(), script.process.pid}) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_workers_and_then_the_master(start, number):
    script = start()
    script.up()
    script.signal(number)
    assert script.rest() == ["buried 0", "buried 1", "code 0", "stop 0", "stop 1", "stopping"]
    assert script.process.wait(TIMEOUT_S) == 0


def test_the_master_leaves_after_its_workers(start):
    script = start()
    script.up()
    script.signal(signal.SIGTERM)
    lines = [script.line() for _ in range(6)]
    assert lines[-1] == "code 0"


def test_a_killed_worker_is_replaced_by_one_with_its_number(start):
    script = start("workers.STABLE_S = 0.05; run()")
    script.up()
    before = script.pids["0"]
    os.kill(before, signal.SIGKILL)
    assert (script.line(), script.line()) == ("buried 0", "up 0")
    assert script.pids["0"] != before
    script.signal(signal.SIGTERM)
    assert script.rest() == ["buried 0", "buried 1", "code 0", "stop 0", "stop 1", "stopping"]
    assert "a worker has ended worker=0" in (log := script.log())
    assert 'how="killed by SIGKILL" replaced=True' in log


def test_workers_killed_at_once_are_all_replaced(start):
    """One SIGCHLD may stand for many."""
    script = start("workers.STABLE_S = 0.05; run(count=4)")
    script.up(4)
    for pid in script.pids.values():
        os.kill(pid, signal.SIGKILL)
    assert script.lines(8) == [f"{what} {number}" for what in ("buried", "up") for number in range(4)]


def test_a_worker_that_dies_early_is_replaced_but_not_early(start):
    script = start("""
def die(number, control, last_call):
    say(time.monotonic())
    os._exit(3)
workers.STABLE_S = 1.0
run(die, count=1)
""")
    first = float(script.line())
    assert script.line() == "buried 0"
    assert float(script.line()) - first >= 0.5  # it has taken its time to be up, which is of the 1.0


def test_a_worker_that_dies_while_all_stop_is_not_replaced(start):
    script = start("workers.STABLE_S = 0.0; run(be_stubborn)")
    script.up()
    script.signal(signal.SIGTERM)
    assert script.lines(3) == ["stop 0", "stop 1", "stopping"]
    for pid in script.pids.values():
        os.kill(pid, signal.SIGKILL)
    assert script.rest() == ["buried 0", "buried 1", "code 0"]
    assert "replaced=False" in script.log()


def test_a_worker_that_is_to_be_replaced_when_all_stop_is_not(start):
    script = start("workers.STABLE_S = 600.0; run()")
    script.up()
    os.kill(script.pids["0"], signal.SIGKILL)
    assert script.line() == "buried 0"
    script.signal(signal.SIGTERM)
    assert script.rest() == ["buried 1", "code 0", "stop 1", "stopping"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_kills(start, number):
    script = start("run(be_stubborn, drain_timeout=600.0)")
    script.up()
    script.signal(signal.SIGTERM)
    assert script.lines(3) == ["stop 0", "stop 1", "stopping"]
    script.signal(number)
    assert script.rest() == [f"code {128 + number}"]  # and nobody has stdout any more


def test_workers_that_do_not_stop_in_time_are_killed(start):
    script = start("workers.GRACE_S = 0.05; run(be_stubborn, drain_timeout=0.0)")
    script.up()
    script.signal(signal.SIGTERM)
    assert script.rest() == ["buried 0", "buried 1", "code 0", "stop 0", "stop 1", "stopping"]
    assert "killed by SIGKILL" in script.log()


def test_workers_stop_when_the_master_has_been_killed(start):
    script = start()
    script.up()
    script.signal(signal.SIGKILL)
    assert script.rest() == ["stop 0", "stop 1"]


def test_each_worker_learns_at_once_that_the_master_has_been_killed(start):
    """Not when those have ended that were forked after it: they must not hold the master's end of its socket."""
    script = start("run(be_stubborn)")
    script.up()
    script.signal(signal.SIGKILL)
    assert script.lines(2) == ["stop 0", "stop 1"]


def test_workers_that_were_told_to_stop_leave_at_once_when_the_master_is_killed(start):
    script = start("run(be_stubborn, drain_timeout=600.0)")
    script.up()
    script.signal(signal.SIGTERM)
    assert script.lines(3) == ["stop 0", "stop 1", "stopping"]
    script.signal(signal.SIGKILL)
    assert script.rest() == []


def test_a_replaced_worker_stops_too_when_the_master_has_been_killed(start):
    """It must not hold, from the fork, what tells the others that the master is gone."""
    script = start("workers.STABLE_S = 0.0; run()")
    script.up()
    os.kill(script.pids["0"], signal.SIGKILL)
    assert script.lines(2) == ["buried 0", "up 0"]
    script.signal(signal.SIGKILL)
    assert script.rest() == ["stop 0", "stop 1"]


def test_when_one_has_finished_the_others_finish_too(start):
    script = start("""
def work_once(number, control, last_call):
    if number == 0:
        last_call()
    work(number, control, last_call)
run(work_once)
""")
    assert script.lines(8) == ["buried 0", "buried 1", "code 0", "finish 0", "finish 1", "stopping", "up 0", "up 1"]
    assert script.process.wait(TIMEOUT_S) == 0


def test_a_last_call_that_nobody_has_waited_for_is_no_end_by_a_signal(start):
    """It came between the last wait and the end of the worker that has sent it."""
    script = start("""
run(duration=0.0, count=1)
os.kill(os.getpid(), workers.LAST_CALL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
""")
    assert "code 0" in script.rest()
    assert script.process.wait(TIMEOUT_S) == 0


def test_the_last_call_of_a_stranger_is_none(start):
    script = start()
    script.up()
    script.signal(signal.SIGUSR2)
    script.signal(signal.SIGUSR1)
    assert script.line() == "report"  # and not that it is stopping
    script.signal(signal.SIGTERM)
    assert "code 0" in script.rest()


def test_a_worker_that_does_not_listen_holds_up_nobody(start):
    script = start("run(stats=0.001)")  # which has the master talk a lot
    while len(script.pids) < 2:
        assert script.line() in ("report", "up 0", "up 1")
    os.kill(script.pids["0"], signal.SIGSTOP)
    said = [script.line() for _ in range(1000)]
    assert said == ["report"] * 1000
    os.kill(script.pids["0"], signal.SIGCONT)


def test_a_fork_that_fails_is_tried_again(start):
    script = start("""
fork, failures = os.fork, [OSError(11, "Resource temporarily unavailable")]
os.fork = lambda: fork() if not failures else (_ for _ in ()).throw(failures.pop())
workers.STABLE_S = 0.01
run(count=1)
""")
    assert script.line() == "up 0"
    script.signal(signal.SIGTERM)
    assert script.rest()[:2] == ["buried 0", "code 0"]
    assert "cannot start a worker yet" in script.log()


def test_a_duration_stops_all(start):
    script = start("run(duration=0.05)")
    assert script.rest()[:6] == ["buried 0", "buried 1", "code 0", "stop 0", "stop 1", "stopping"]


def test_no_duration_at_all_stops_all_at_once(start):
    assert "code 0" in start("run(duration=0.0)").rest()


def test_a_report_is_made_every_period(start):
    script = start("run(stats=0.02)")
    assert [line for line in (script.line() for _ in range(5)) if line == "report"] == ["report"] * 3


def test_a_report_is_made_on_request(start):
    script = start()
    script.up()
    for _ in range(2):
        script.signal(signal.SIGUSR1)
        assert script.line() == "report"
    script.signal(signal.SIGTERM)
    assert "code 0" in script.rest()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_what_a_terminal_sends_to_all_is_the_masters_to_obey(start, number):
    script = start()
    script.up()
    for pid in script.pids.values():
        os.kill(pid, number)
    script.signal(signal.SIGTERM)
    assert script.rest() == ["buried 0", "buried 1", "code 0", "stop 0", "stop 1", "stopping"]
    assert "died" not in script.log()


def test_a_bug_in_a_worker_is_told_and_it_is_replaced(start):
    script = start("""
def fail(number, control, last_call):
    if first.take():
        raise ValueError("mine")
    work(number, control, last_call)
from gtool.runtime.shared import Tickets
first = Tickets(1)
workers.STABLE_S = 0.0
run(fail, count=1)
""")
    assert (script.line(), script.line()) == ("buried 0", "up 0")
    script.signal(signal.SIGTERM)
    script.rest()
    assert 'how="ended with 70" replaced=True' in (log := script.log())
    assert "a bug in gtool" in log
    assert "ValueError: mine" in log


def test_an_error_in_a_worker_is_told_in_a_line(start):
    script = start("""
def fail(number, control, last_call):
    raise ReadError("cannot read that")
workers.STABLE_S = 600.0
run(fail, count=1)
""")
    assert script.line() == "buried 0"
    script.signal(signal.SIGTERM)
    assert script.rest() == ["code 0", "stopping"]
    assert "ERROR   cannot read that\n" in (log := script.log())
    assert 'how="ended with 26"' in log
    assert "Traceback" not in log


def test_what_was_written_before_the_fork_is_written_once(start):
    script = start("""
sys.stdout = os.fdopen(1, "w")  # with a buffer, whatever the environment says
print("before")
run(lambda number, control, last_call: (print("in a worker", flush=True), last_call()), count=1)
""")
    assert script.rest() == ["before", "buried 0", "code 0", "in a worker", "stopping"]


def test_a_worker_takes_the_masters_cleaning_up_for_none_of_its_business(start):
    script = start("""
try:
    run(duration=0.0)
finally:
    say("cleaned up")
""")
    assert script.rest().count("cleaned up") == 1


def test_each_is_told_to_publish_before_a_report_is_made(start):
    script = start("""
class Publishing(Obedient):
    def publish(self):
        say("publish", self.number)

workers.PUBLISHED_S = 0.5
run(lambda *args: work(*args, Publishing))
""")
    script.up()
    script.signal(signal.SIGUSR1)
    assert script.lines(2) == ["publish 0", "publish 1"]
    assert script.line() == "report"
