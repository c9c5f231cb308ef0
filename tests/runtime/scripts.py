"""Scripts that a test runs in a process of their own, to be talked to over stdout and signals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.conftest import TIMEOUT_S, environment

Start = Callable[..., "subprocess.Popen[str]"]


@contextmanager
def starting(prelude: str) -> Iterator[Start]:
    """Give the function that starts a script, after `prelude`; all are killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, *before: str) -> subprocess.Popen[str]:
        command = [*before, sys.executable, "-c", prelude + script]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    """Give the next line that a script says."""
    assert process.stdout
    return process.stdout.readline().rstrip("\n")


def output_of(script: str) -> list[str]:
    """Run a script to its end, which must be a good one: the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()
