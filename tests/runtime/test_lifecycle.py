"""Signals and unawaited failures end up in main: a script of its own for each."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import TIMEOUT_S, environment

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

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a script, to be talked to; it is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, *before: str) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-c", PRELUDE + script]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def output(script: str) -> list[str]:
    """Run a script to its end, which must be a good one: the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script], capture_output=True, text=True, timeout=TIMEOUT_S, env=environment()
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


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
