"""Signals of a process without a loop are noted, and a second one ends it: a script of its own for each."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import TIMEOUT_S, environment

PRELUDE = """
import os, signal, threading
from gtool.errors import Interrupted
from gtool.runtime.interrupts import STOP_SIGNALS, noted

def say(*words):
    print(*words, flush=True)

def fail():
    raise ValueError("mine")

def fail_beside():
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
"""

WAITS = """
with noted() as is_stopped:
    say("ready", is_stopped())
    while not is_stopped():
        threading.Event().wait(0.01)
    say("noted")
    while True:  # a signal that comes just before a wait does not end it
        threading.Event().wait(0.01)
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
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_for_who_asks(start, number):
    process = start(WAITS)
    assert said(process) == "ready False"
    process.send_signal(number)
    assert said(process) == "noted"


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_second_signal_ends_the_process(start, first, second):
    process = start(WAITS)
    assert said(process) == "ready False"
    process.send_signal(first)
    assert said(process) == "noted"
    process.send_signal(second)
    assert process.wait(TIMEOUT_S) == 128 + second


def test_a_signal_that_was_ignored_stays_ignored(start):
    process = start(
        """
with noted():
    say([number.name for number in STOP_SIGNALS if signal.getsignal(number) == signal.SIG_IGN])
""",
        *("sh", "-c", 'trap "" INT HUP; exec "$@"', "sh"),
    )
    assert said(process) == "['SIGINT', 'SIGHUP']"


def test_a_thread_that_fails_is_raised_where_it_is_asked():
    script = """
with noted() as is_stopped:
    fail_beside()
    say("not yet")
    try:
        is_stopped()
    except ValueError as error:
        say("raised", error)
"""
    assert output(script) == ["not yet", "raised mine"]


def test_a_thread_that_fails_after_a_signal_is_raised_too():
    script = """
with noted() as is_stopped:
    os.kill(os.getpid(), signal.SIGTERM)
    say(is_stopped())
    fail_beside()
    try:
        is_stopped()
    except ValueError as error:
        say("raised", error)
"""
    assert output(script) == ["True", "raised mine"]


def test_handlers_of_signals_are_put_back():
    script = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: say("mine"))
before = [signal.getsignal(number) for number in STOP_SIGNALS]
with noted():
    pass
say([signal.getsignal(number) for number in STOP_SIGNALS] == before)
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert output(script) == ["True", "mine"]


def test_handlers_are_put_back_after_a_failure():
    script = """
before = signal.getsignal(signal.SIGINT)
try:
    with noted():
        fail()
except ValueError:
    say(signal.getsignal(signal.SIGINT) is before)
"""
    assert output(script) == ["True"]


def test_the_handler_of_threads_that_fail_is_put_back():
    script = """
threading.excepthook = lambda args: say("mine")
with noted():
    pass
fail_beside()
"""
    assert output(script) == ["mine"]
