"""The progress line, on something that says it is a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import gevent
import pytest

from gtool.fetch.progress import ProgressLine
from gtool.fetch.record import NOTHING, build
from gtool.fetch.tally import Tally

CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        """What is written, without colours and movements of the cursor."""
        return CONTROLS.sub("", self.getvalue())


@pytest.fixture
def terminal() -> Terminal:
    """What stderr is while progress is shown."""
    return Terminal()


def tally(done: int = 0, failed: int = 0, size_bytes: int = 0, skipped: int = 0) -> Tally:
    made = Tally()
    made.skipped = skipped
    for seq in range(done):
        measured = NOTHING._replace(size_download=size_bytes if seq == 0 else 0)
        made.note(build(seq, None, "", None, measured, {}, 0, 0.0, 7 if seq < failed else 0, None))
    return made


Show = Callable[..., ProgressLine]


@pytest.fixture
def show(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Show]:
    """Show a run's progress, once; it is taken away at the end."""
    shown: list[ProgressLine] = []

    def make(tally: Tally, in_flight: int = 0, total: int | None = None, bytes_in_flight: int = 0) -> ProgressLine:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "200")
        shown.append(
            ProgressLine(SimpleNamespace(in_flight=in_flight, total=total, bytes_in_flight=bytes_in_flight), tally)
        )
        gevent.sleep(0)  # its greenlet's first turn
        return shown[-1]

    yield make
    for line in shown:
        line.close()


def test_it_shows_what_is_done_failed_and_in_flight(show, terminal):
    show(tally(done=3, failed=1), in_flight=2)
    assert "3 done, 1 failed, 2 in flight" in terminal.text


def test_it_shows_the_total_once_that_is_known(show, terminal):
    show(tally(done=3), total=10)
    assert "3 done of 10, 0 failed" in terminal.text


def test_what_was_skipped_is_done(show, terminal):
    show(tally(done=3, skipped=4))
    assert "7 done" in terminal.text


@pytest.mark.parametrize(
    ("size_bytes", "speed"),
    [(0, "0 B/s"), (200, "1000 B/s"), (2048, "10 KiB/s"), (2 << 20, "10 MiB/s"), (2 << 30, "10.0 GiB/s")],
)
def test_it_shows_bytes_per_second(show, terminal, size_bytes, speed):
    show(tally(done=1, size_bytes=size_bytes))
    assert f", {speed} " in terminal.text


def wait_for(terminal: Terminal, text: str) -> None:
    """Let the line be shown anew until it has that text."""
    with gevent.Timeout(10):
        while text not in terminal.text:
            gevent.sleep(0.01)


def test_it_shows_what_changes(show, terminal):
    counts = tally(done=1)
    show(counts)
    counts.skipped = 4
    wait_for(terminal, "5 done")


def test_bytes_count_in_the_moment_in_which_they_come(show, terminal):
    show(tally(done=1, size_bytes=2048))
    assert ", 0 B/s " not in terminal.text
    wait_for(terminal, ", 0 B/s ")


def test_it_is_gone_when_it_is_closed(show, terminal):
    show(tally(done=3)).close()
    assert terminal.getvalue().endswith("\x1b[2K")


def test_it_gives_stderr_back(show, terminal):
    show(tally()).close()
    assert sys.stderr is terminal


def test_a_log_line_stands_above_it(show, terminal):
    line = show(tally(done=3))
    print("a line of the log", file=sys.stderr)
    line.close()
    assert "a line of the log\n" in terminal.text.replace("\r", "")


def test_it_leaves_stdout_alone(show, capsys):
    before = sys.stdout
    line = show(tally(done=3))
    during = sys.stdout
    line.close()
    assert (during is before, capsys.readouterr().out) == (True, "")


def test_nothing_is_shown_where_there_is_no_terminal(monkeypatch):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    line = ProgressLine(SimpleNamespace(in_flight=0, total=None, bytes_in_flight=0), tally(done=3))
    gevent.sleep(0)
    line.close()
    assert stderr.getvalue().strip() == ""


def test_bytes_of_transfers_in_flight_count_as_they_come(show, terminal):
    show(tally(done=0), bytes_in_flight=2048)
    assert "10 KiB/s" in terminal.text
