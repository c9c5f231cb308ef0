"""Signals of a process without a loop are noted, and a second one ends it: a script of its own for each."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.conftest import TIMEOUT_S
from tests.runtime.scripts import Start, output_of, said, starting

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


@pytest.fixture
def start() -> Iterator[Start]:
    with starting(PRELUDE) as run:
        yield run


def output(script: str) -> list[str]:
    return output_of(PRELUDE + script)


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
