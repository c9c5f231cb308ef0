"""The frame of all benchmarks: contenders run in turn, round by round, whole process against whole process.

A machine's speed drifts; the ratio of two runs that follow each other does not. So the ratio is taken per round, and
its median is what counts.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Unavailable(Exception):
    """A program that the benchmark needs is not installed."""


@dataclass(frozen=True)
class Contender:
    """A command to be measured; stdout goes to `stdout`, as a shell would send it there.

    `empties` is a folder whose files are removed before each run, outside of its time.
    """

    name: str
    argv: Sequence[str]
    stdout: str = os.devnull
    stdin: str = os.devnull
    empties: Path | None = None


@dataclass(frozen=True)
class Run:
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Figure:
    """A line of the table: a contender's median, and the median over the rounds of ours / theirs."""

    contender: str
    value: float
    ratio: float | None


@dataclass(frozen=True)
class Comparison:
    """What one benchmark has found, and the target for the ratio to the first peer."""

    name: str
    unit: str
    target: str
    figures: tuple[Figure, ...]

    def table(self) -> str:
        lines = [f"{self.name}   (target: {self.target})"]
        for figure in self.figures:
            ratio = "" if figure.ratio is None else f"   gtool is {figure.ratio:.2f} x this"
            lines.append(f"  {figure.contender:<40} {figure.value:>12,.1f} {self.unit}{ratio}")
        return "\n".join(lines)

    def json_line(self) -> str:
        figures = [vars(figure) for figure in self.figures]
        return json.dumps({"name": self.name, "unit": self.unit, "target": self.target, "figures": figures})


def gtool(*args: str) -> list[str]:
    """Command line of gtool, installed in this environment."""
    return [str(Path(sys.executable).with_name("gtool")), *args]


def need(program: str) -> str:
    """Path of a program; Unavailable if it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"this benchmark needs {program}")
    return path


def free_port() -> int:
    """Give a port that is free now, for servers that can't choose one and tell it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server listens; Unavailable if it does not."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    raise Unavailable("a server does not start")


def run(contender: Contender) -> Run:
    """Run it once. time(1) starts it, since a child's peak is never reported below its parent's size."""
    for file in contender.empties.iterdir() if contender.empties else ():
        file.unlink()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with (
        tempfile.NamedTemporaryFile("r") as report,
        open(contender.stdin, "rb") as stdin,
        open(contender.stdout, "wb") as stdout,
    ):
        argv = [need("/usr/bin/time"), "-f", "%M", "-o", report.name, *contender.argv]
        started = time.perf_counter()
        done = subprocess.run(argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment, cwd=ROOT)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{contender.name} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        peak_kib = report.read().split()[-1]
    return Run(seconds, int(peak_kib) / 1024)


def in_turn(contenders: Sequence[Contender], rounds: int) -> list[list[Run]]:
    """Run all in turn, `rounds` times after one round that does not count; runs per contender."""
    runs: list[list[Run]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        for contender, kept in zip(contenders, runs, strict=True):
            result = run(contender)
            if number:
                kept.append(result)
    return runs


def compare(
    name: str, unit: str, target: str, contenders: Sequence[Contender], values: Sequence[Sequence[float]]
) -> Comparison:
    """Make the table of a benchmark whose first contender is gtool, given a value per contender and round."""
    ours = values[0]
    figures = [Figure(contenders[0].name, statistics.median(ours), None)]
    for contender, theirs in zip(contenders[1:], values[1:], strict=True):
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        figures.append(Figure(contender.name, statistics.median(theirs), ratio))
    return Comparison(name, unit, target, tuple(figures))
