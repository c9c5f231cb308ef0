"""A command as a source: its lines as it writes them, again if it is to be, and nothing of it left afterwards."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.queue import Queue

from gtool.errors import GtoolError
from gtool.feed import command
from gtool.feed.command import Command
from tests.conftest import TIMEOUT_S
from tests.runtime.scripts import said, starting

PYTHON = sys.executable


class Run:
    """A command that runs, and what it says."""

    def __init__(self, text: str, restarts: bool = False, max_message: int = 1000) -> None:
        self.source = Command(text, restarts, max_message)
        self.lines: Queue[bytes] = Queue()
        self._is_closed = False
        self.running = gevent.spawn(self.source.run, self.lines.put)

    def line(self) -> bytes:
        return self.lines.get(timeout=TIMEOUT_S)

    def end(self) -> list[bytes]:
        """Wait for its own end; all that it has said since the last line that was asked for."""
        self.running.get(timeout=TIMEOUT_S)
        return [self.lines.get() for _ in range(len(self.lines))]

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.running.kill()
            self.source.close()


@pytest.fixture
def start() -> Iterator[Any]:
    made: list[Run] = []

    def run(*args: Any, **options: Any) -> Run:
        made.append(Run(*args, **options))
        return made[-1]

    yield run
    for one in made:
        one.close()


@pytest.fixture
def events() -> Iterator[list[tuple[int, str, dict[str, Any]]]]:
    """What is logged: level, event, fields."""
    seen: list[tuple[int, str, dict[str, Any]]] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(  # type: ignore[method-assign]
        (record.levelno, record.getMessage(), vars(record)["fields"])
    )
    logger = logging.getLogger("gtool")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)
    logger.setLevel(before)


def is_gone(pid: int, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether a process has ended, in time; one that nobody has waited for yet has, too."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        gevent.sleep(0.01)
    return False


def end_by_force(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def test_the_lines_of_a_command_are_put(start):
    assert start("echo one; echo two").end() == [b"one", b"two"]


def test_a_shell_reads_it(start):
    assert start("for n in 1 2; do echo $n$n; done | tac").end() == [b"22", b"11"]


def test_what_it_writes_is_not_changed(start):
    assert start(r"printf 'a\tb\\n\303\244\n'; printf 'x\r\n'").end() == ["a\tb\\n\u00e4".encode(), b"x"]


def test_the_last_line_needs_no_line_feed(start):
    assert start("printf one").end() == [b"one"]


def test_a_line_that_is_too_long_is_left_out(start):
    assert start("echo 123456; echo 12345", max_message=5).end() == [b"12345"]


def test_a_program_that_writes_to_a_terminal_does_not_hold_its_lines_back(start):
    run = start(f"""exec {PYTHON} -c 'import time; print("now"); time.sleep(600)'""")
    assert run.line() == b"now"


def test_its_stdout_is_a_terminal_and_its_stdin_is_empty(start):
    assert start("test -t 1 && echo terminal; wc -c").end() == [b"terminal", b"0"]


def test_its_stderr_is_ours(start, capfd):
    assert start("echo wrong >&2; echo right").end() == [b"right"]
    assert capfd.readouterr().err == "wrong\n"


def test_it_is_in_a_session_of_its_own(start):
    assert start("ps -o sid= -p $$ | tr -d ' '; echo $$").end()[0] not in (b"", str(os.getsid(0)).encode())


def test_waiting_for_it_stalls_nobody(start):
    run = start("sleep 600")
    other = Event()
    gevent.spawn(other.set)
    assert other.wait(TIMEOUT_S)
    assert not run.running.dead


def test_waiting_for_the_end_of_one_that_has_closed_its_stdout_stalls_nobody(start):
    run = start("trap '' HUP; echo one; exec >/dev/null; sleep 600")
    run.line()
    gevent.sleep(0.05)
    assert not run.running.dead


def test_much_output_comes_whole(start):
    assert start("seq 100000").end() == [b"%d" % number for number in range(1, 100_001)]


# How it ends


@pytest.mark.parametrize(
    ("text", "code", "level"),
    [
        ("true", 0, "NOTICE"),
        ("exit 7", 7, "WARNING"),
        ("kill -9 $$", -9, "WARNING"),
        ("/no/such/program 2>/dev/null", 127, "WARNING"),
    ],
)
def test_its_exit_code_is_told(start, events, text, code, level):
    start(text).end()
    ((number, _, fields),) = [one for one in events if one[1] == "the command has ended"]
    assert (logging.getLevelName(number), fields) == (level, {"exit_code": code})


def test_without_restart_it_runs_once(start, tmp_path):
    start(f"echo x >> {tmp_path}/runs; exit 1").end()
    assert (tmp_path / "runs").read_text() == "x\n"


def test_a_shell_that_is_not_there_is_an_error(start, monkeypatch):
    def fail(*args: Any, **options: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory", "/bin/sh")

    monkeypatch.setattr(command.subprocess, "Popen", fail)
    source = Command("true", False, 100)
    with pytest.raises(GtoolError, match="cannot start the command: No such file or directory"):
        source.run(lambda data: None)
    source.close()


# Again


@pytest.fixture
def pauses(monkeypatch):
    """Pauses take no time, and are told."""
    seen: Queue[float] = Queue()
    real = gevent.sleep

    def sleep(seconds: float) -> None:
        seen.put(seconds)
        real(0)

    monkeypatch.setattr(command.gevent, "sleep", sleep)
    return seen


def take(pauses: Queue[float], count: int) -> list[float]:
    return [pauses.get(timeout=TIMEOUT_S) for _ in range(count)]


def test_it_runs_again_and_again_if_it_is_to(start, pauses):
    run = start("echo $$", restarts=True)
    assert len({run.line() for _ in range(3)}) == 3


def test_each_time_it_fails_soon_it_is_started_later_up_to_a_bound(start, pauses, monkeypatch):
    monkeypatch.setattr(command, "FIRST_PAUSE_S", 1.0)
    monkeypatch.setattr(command, "LONGEST_PAUSE_S", 5.0)
    start("false", restarts=True)
    assert take(pauses, 5) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_one_that_has_run_for_long_is_started_soon_again(start, pauses, monkeypatch):
    monkeypatch.setattr(command, "FIRST_PAUSE_S", 1.0)
    monkeypatch.setattr(command, "STABLE_S", -1.0)
    start("true", restarts=True)
    assert take(pauses, 3) == [1.0, 1.0, 1.0]


def test_that_it_is_started_again_is_told(start, pauses, events):
    run = start("true", restarts=True)
    (pause_s,) = take(pauses, 1)
    run.close()
    assert (25, "the command is started again", {"after_s": pause_s}) in events


def test_closing_it_between_two_runs_leaves_nothing(start):
    run = start("echo $$", restarts=True)
    pid = int(run.line())
    assert is_gone(pid)
    run.close()
    assert len(run.lines) == 0


# Its end at our hands


def test_closing_ends_it(start):
    run = start("echo $$; sleep 600")
    pid = int(run.line())
    run.close()
    assert is_gone(pid)


def test_closing_ends_what_it_has_started(start):
    run = start("trap '' HUP; sleep 600 & echo $!; wait")
    pid = int(run.line())
    run.close()
    assert is_gone(pid)


def test_closing_asks_it_to_end_first(start, tmp_path):
    run = start(f"trap '' HUP; trap 'echo asked > {tmp_path}/asked; exit' TERM; echo up; while :; do sleep 0.01; done")
    run.line()
    run.close()
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_closing_kills_one_that_does_not_end_when_it_is_asked_to(start, monkeypatch):
    monkeypatch.setattr(command, "KILL_S", 0.05)
    run = start("trap '' TERM HUP; echo $$; while :; do sleep 0.01; done")
    pid = int(run.line())
    run.close()
    assert is_gone(pid)


def test_closing_kills_what_it_has_started_that_does_not_end_when_it_is_asked_to(start):
    run = start("(trap '' TERM HUP; exec sleep 600) & echo $!; wait")
    pid = int(run.line())
    while not Path(f"/proc/{pid}/cmdline").read_text().startswith("sleep"):  # the trap is set by then
        gevent.sleep(0.01)
    run.close()
    is_alive = not is_gone(pid, 1.0)
    end_by_force(pid)
    assert not is_alive


def test_closing_one_that_has_ended_is_nothing(start):
    run = start("true")
    run.end()
    run.source.close()
    run.source.close()


def test_closing_one_that_was_never_started_is_nothing():
    Command("true", True, 100).close()


FOLLOW = """
import gevent, signal, sys
from gtool.feed.command import Command
{before}
Command("echo $$; exec sleep 600", False, 100).run(lambda line: print(line.decode(), flush=True))
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as in what reads the source for workers",
    ],
)
def test_a_command_does_not_outlive_one_that_was_killed(before):
    with starting("") as start:
        process = start(FOLLOW.format(before=before))
        pid = int(said(process))
        process.kill()
        process.wait()
        is_alive = not is_gone(pid, 3.0)
        end_by_force(pid)
    assert not is_alive
