"""Signals and unawaited failures end up in main: a script of its own for each."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import TIMEOUT_S, environment
from tests.runtime.scripts import Start, output_of, said, starting

PRELUDE = """
import os, signal, gevent
from gevent.hub import get_hub
from gtool.errors import Interrupted
from gtool.runtime import lifecycle

def say(*words):
    print(*words, flush=True)

def wait(ready="ready"):
    say(ready)
    gevent.sleep(600)

def fail():
    raise ValueError("mine")

def caught(main):
    try:
        say("returned", main())
    except BaseException as error:
        say("raised", type(error).__name__, error)
"""

STOPPED_BY_A_SIGNAL = """
def main():
    try:
        wait()
    except Interrupted as error:
        say("interrupted", error.exit_code)
        wait("clearing up")
lifecycle.run(main)
"""

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def start() -> Iterator[Start]:
    with starting(PRELUDE) as run:
        yield run


def output(script: str) -> list[str]:
    return output_of(PRELUDE + script)


def test_it_gives_what_main_returns():
    assert output("say(lifecycle.run(lambda: 7))") == ["7"]


def test_an_exception_of_main_is_its_own():
    assert output("caught(lambda: lifecycle.run(fail))") == ["raised ValueError mine"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_interrupted_where_main_waits(start, number):
    process = start(STOPPED_BY_A_SIGNAL)
    assert said(process) == "ready"
    process.send_signal(number)
    assert said(process) == f"interrupted {128 + number}"


@pytest.mark.parametrize("number", SIGNALS)
def test_the_same_signal_again_ends_the_process_at_once(start, number):
    process = start(STOPPED_BY_A_SIGNAL)
    assert said(process) == "ready"
    process.send_signal(number)
    assert (said(process), said(process)) == (f"interrupted {128 + number}", "clearing up")
    process.send_signal(number)
    assert process.wait(TIMEOUT_S) == 128 + number


def test_another_signal_after_the_first_ends_the_process_at_once_too(start):
    process = start(STOPPED_BY_A_SIGNAL)
    assert said(process) == "ready"
    process.send_signal(signal.SIGINT)
    assert (said(process), said(process)) == ("interrupted 130", "clearing up")
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 128 + signal.SIGTERM


def test_a_signal_that_was_ignored_stays_ignored(start):
    process = start(
        """
def main():
    with open("/proc/self/status") as status:
        ignored, = [line.split()[1] for line in status if line.startswith("SigIgn")]
    say([number.name for number in lifecycle.STOP_SIGNALS if int(ignored, 16) >> number - 1 & 1])
lifecycle.run(main)
""",
        *("sh", "-c", 'trap "" INT HUP; exec "$@"', "sh"),
    )
    assert said(process) == "['SIGINT', 'SIGHUP']"


def test_a_failing_greenlet_is_raised_in_main():
    script = "caught(lambda: lifecycle.run(lambda: (gevent.spawn(fail), wait())))"
    assert output(script) == ["ready", "raised ValueError mine"]


def test_a_failing_loop_callback_is_raised_in_main():
    script = "caught(lambda: lifecycle.run(lambda: (get_hub().loop.run_callback(fail), wait())))"
    assert output(script) == ["ready", "raised ValueError mine"]


def test_what_fails_together_with_main_is_not_raised_afterwards():
    script = """
def both():
    gevent.spawn(fail)
    gevent.sleep(0)  # it has failed by now, and is to be raised at the next turn of the loop
    return "returned"
caught(lambda: lifecycle.run(both))
caught(lambda: gevent.sleep(0.01))
"""
    assert "mine" not in output(script)[-1]


def test_an_exit_in_a_greenlet_is_raised_in_main():
    script = "import sys\ncaught(lambda: lifecycle.run(lambda: (gevent.spawn(sys.exit, 3), gevent.sleep(5))))"
    assert output(script) == ["raised SystemExit 3"]


def test_a_failing_greenlet_leaves_nothing_on_stderr():
    script = "caught(lambda: lifecycle.run(lambda: (gevent.spawn(fail), wait())))"
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, timeout=TIMEOUT_S, env=environment()
    )
    assert done.stderr == b""


def test_a_greenlet_killed_on_purpose_is_no_failure():
    assert output(
        """
def main():
    victim = gevent.spawn(gevent.sleep, 600)
    gevent.sleep(0)
    victim.kill()
    gevent.sleep(0)
    return "well"
caught(lambda: lifecycle.run(main))
"""
    ) == ["returned well"]


def test_an_exit_on_purpose_in_a_loop_callback_is_no_failure():
    assert output(
        """
def leave():
    raise gevent.GreenletExit
def main():
    get_hub().loop.run_callback(leave)
    gevent.sleep(0)
    gevent.sleep(0)
    return "well"
caught(lambda: lifecycle.run(main))
"""
    ) == ["returned well"]


def test_a_failure_that_main_awaits_is_raised_once():
    assert output(
        """
def main():
    failing = gevent.spawn(fail)
    try:
        failing.get()
    except ValueError:
        say("awaited")
    gevent.sleep(0)
    return "well"
caught(lambda: lifecycle.run(main))
"""
    ) == ["awaited", "returned well"]


def test_it_leaves_the_hub_as_it_was():
    assert output(
        """
before = dict(vars(get_hub()))
lifecycle.run(lambda: None)
say(sorted(set(vars(get_hub())) ^ set(before)))
"""
    ) == ["[]"]


def test_every_period_calls_back_until_its_block_ends():
    assert output(
        """
from gevent.event import Event
calls, third = [], Event()
def call():
    calls.append(1)
    if len(calls) == 3:
        third.set()
with lifecycle.every(0.01, call):
    third.wait(10)
number = len(calls)
gevent.sleep(0.05)
say(number, len(calls))
"""
    ) == ["3 3"]


def test_every_period_is_at_least_that_long():
    script = """
import time
from gevent.event import Event
second, times = Event(), []
def call():
    times.append(time.monotonic())
    if len(times) == 2:
        second.set()
before = time.monotonic()
with lifecycle.every(0.03, call):
    second.wait(10)
say(times[0] - before >= 0.029, times[1] - before >= 0.059)
"""
    assert output(script) == ["True True"]


def test_without_a_period_nothing_is_called():
    assert output("with lifecycle.every(None, fail):\n    gevent.sleep(0.01)\nsay('well')") == ["well"]


def test_a_failure_of_what_is_called_every_period_is_raised_in_main():
    script = """
def main():
    with lifecycle.every(0.01, fail):
        wait()
caught(lambda: lifecycle.run(main))
"""
    assert output(script) == ["ready", "raised ValueError mine"]


def test_a_period_does_not_keep_the_loop_alive():
    script = """
from gevent.exceptions import LoopExit
from gevent.event import Event
with lifecycle.every(600, fail):
    try:
        Event().wait()
    except LoopExit:
        say("nothing else to wait for")
"""
    assert output(script) == ["nothing else to wait for"]


WAITS_FOR_USR1 = """
from gevent.event import Event
def main():
    came = Event()
    with lifecycle.on_signal(signal.SIGUSR1, came.set):
        for _ in range(2):
            say("ready")
            came.wait(20)
            came.clear()
    say("over")
    wait()
lifecycle.run(main)
"""


def test_a_signal_calls_back_each_time_until_its_block_ends(start):
    process = start(WAITS_FOR_USR1)
    for _ in range(2):
        assert said(process) == "ready"
        process.send_signal(signal.SIGUSR1)
    assert (said(process), said(process)) == ("over", "ready")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(TIMEOUT_S) == -signal.SIGUSR1


def test_a_signal_that_calls_back_stops_nothing(start):
    process = start(
        """
def main():
    with lifecycle.on_signal(signal.SIGUSR1, lambda: say("called")):
        wait()
try:
    lifecycle.run(main)
except Interrupted as error:
    say("interrupted", error.exit_code)
"""
    )
    assert said(process) == "ready"
    process.send_signal(signal.SIGUSR1)
    assert said(process) == "called"
    process.send_signal(signal.SIGTERM)
    assert said(process) == "interrupted 143"


def test_it_may_have_as_many_descriptors_as_the_hard_limit_says():
    script = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))
lifecycle.run(lambda: say(*resource.getrlimit(resource.RLIMIT_NOFILE)))
"""
    assert output(script) == ["200 200"]
