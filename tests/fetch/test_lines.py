"""Records to stdout: whole lines, in completion order or in input order, and no faster than they are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import OutputClosed
from gtool.fetch.lines import BACKLOG_BYTES, HELD_BYTES, RecordLines
from gtool.fetch.stores import NOWHERE, InlineStore


class SlowStdout:
    """Stands for Stdout: keeps what is written, as many writes as there is room for."""

    def __init__(self) -> None:
        self.data = b""
        self.writes = 0
        self.is_blocked = False
        self.is_closed = False
        self.error: Exception | None = None  #: what a write raises
        self._room = math.inf
        self._has_room = Event()

    def block(self) -> None:
        self._room = 0

    def let(self, writes: float) -> None:
        """Make room for some more writes, and wait until all is done that can be."""
        self._room += writes
        self._has_room.set()
        gevent.idle()

    def write(self, data: bytes) -> None:
        if self.error:
            raise self.error
        while not self._room:
            self.is_blocked = True
            self._has_room.clear()
            self._has_room.wait()
        self.is_blocked = False
        self._room -= 1
        self.writes += 1
        self.data += data

    def close(self) -> None:
        self.is_closed = True


Make = Callable[..., RecordLines]


@pytest.fixture
def stdout() -> SlowStdout:
    return SlowStdout()


@pytest.fixture
def room() -> list[str]:
    """Says "room" for each call of on_room."""
    return []


@pytest.fixture
def lines(stdout: SlowStdout, room: list[str]) -> Iterator[Make]:
    """Make RecordLines on `stdout`, whose line of an input is its text; closed at the end."""
    made: list[RecordLines] = []

    def make(lookahead: int | None = None, max_body: int | None = None) -> RecordLines:
        made.append(
            RecordLines(stdout, lambda record: record["text"], max_body, lookahead, lambda: room.append("room"))
        )
        return made[-1]

    yield make
    if stdout.error is None:
        stdout.let(math.inf)
        for one in made:
            one.close()


def report(lines: RecordLines, seq: int, text: str | None = None, on_written: Callable[[], None] | None = None) -> None:
    lines.report(seq, {"text": f"{seq}\n" if text is None else text}, on_written)


def spelled(seqs: list[int] | range) -> bytes:
    return "".join(f"{seq}\n" for seq in seqs).encode()


# Completion order


def test_lines_come_in_completion_order(lines, stdout):
    made = lines()
    for seq in (2, 0, 1):
        made.expect(seq)
        report(made, seq)
    made.close()
    assert stdout.data == spelled([2, 0, 1])


def test_a_line_is_out_in_the_next_turn_of_the_loop(lines, stdout):
    made = lines()
    gevent.idle()
    report(made, 0)
    gevent.idle()
    assert stdout.data == b"0\n"


def test_lines_of_one_turn_are_one_write(lines, stdout):
    made = lines()
    for seq in range(100):
        report(made, seq)
    gevent.idle()
    assert (stdout.writes, stdout.data) == (1, spelled(range(100)))


def test_lines_that_come_during_a_write_are_out_after_it(lines, stdout):
    made = lines()
    stdout.block()
    report(made, 0)
    gevent.idle()
    report(made, 1)
    stdout.let(math.inf)
    assert stdout.data == b"0\n1\n"


def test_lines_are_utf_8(lines, stdout):
    made = lines()
    report(made, 0, "é\n")
    made.close()
    assert stdout.data == "é\n".encode()


def test_there_is_always_room_for_inputs(lines):
    made = lines()
    for seq in range(10_000):
        made.expect(seq)
    assert made.has_room


# Input order


def test_lines_wait_for_earlier_ones_where_input_order_is_wanted(lines, stdout):
    made = lines(lookahead=10)
    for seq in (0, 1):
        made.expect(seq)
    report(made, 1)
    gevent.idle()
    before = stdout.data
    report(made, 0)
    gevent.idle()
    assert (before, stdout.data) == (b"", b"0\n1\n")


@settings(deadline=None, derandomize=True)
@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_input_order_does_not_depend_on_completion_order(order, pauses, skipped):
    """Inputs are numbered with gaps: those that a journal skips have no line."""
    stdout = SlowStdout()
    made = RecordLines(stdout, lambda record: record["text"], None, 100, lambda: None)
    wanted = [seq for seq in range(12) if seq not in skipped]
    for seq in wanted:
        made.expect(seq)
    for seq in order:
        if seq not in skipped:
            report(made, seq)
        if seq in pauses:
            gevent.idle()
    made.close()
    assert stdout.data == spelled(wanted)


def test_closing_it_writes_lines_that_wait_for_an_earlier_one(lines, stdout):
    made = lines(lookahead=10)
    for seq in range(4):
        made.expect(seq)
    for seq in (3, 1):
        report(made, seq)
    made.close()
    assert stdout.data == spelled([1, 3])


def test_no_further_input_is_read_beyond_the_lookahead(lines):
    made = lines(lookahead=2)
    made.expect(0)
    one = made.has_room
    made.expect(1)
    assert (one, made.has_room) == (True, False)


def test_room_in_the_lookahead_is_told_of(lines, room):
    made = lines(lookahead=2)
    for seq in (0, 1):
        made.expect(seq)
    report(made, 1)
    none_yet = list(room)
    report(made, 0)
    assert (none_yet, room, made.has_room) == ([], ["room"], True)


def test_no_further_input_is_read_while_much_is_held(lines, room):
    made = lines(lookahead=10)
    for seq in (0, 1):
        made.expect(seq)
    report(made, 1, "x" * HELD_BYTES)
    full = made.has_room
    report(made, 0)
    assert (full, made.has_room, room) == (False, True, ["room"])


# What is behind


def test_a_backlog_is_behind(lines, stdout):
    made = lines()
    stdout.block()
    report(made, 0, "x" * (BACKLOG_BYTES - 1))
    almost = made.is_behind
    report(made, 1, "x")
    assert (almost, made.is_behind) == (False, True)


def test_the_end_of_a_backlog_is_told_of(lines, stdout, room):
    made = lines()
    stdout.block()
    report(made, 0, "x" * BACKLOG_BYTES)
    gevent.idle()
    none_yet = list(room)
    stdout.let(1)
    assert (none_yet, room, made.is_behind) == ([], ["room"], False)


def test_the_end_of_a_backlog_that_grew_during_a_write_is_told_of(lines, stdout, room):
    """Else nobody would start the transfers that have waited for it."""
    made = lines()
    stdout.block()
    report(made, 0, "x" * (BACKLOG_BYTES - 1))
    gevent.idle()
    report(made, 1, "x")
    was_behind = made.is_behind
    stdout.let(math.inf)
    assert (was_behind, made.is_behind, room) == (True, False, ["room"])


def test_it_is_behind_until_enough_is_written(lines, stdout, room):
    made = lines()
    stdout.block()
    report(made, 0, "x")
    gevent.idle()
    report(made, 1, "x" * BACKLOG_BYTES)
    stdout.let(1)
    assert (made.is_behind, room) == (True, [])


def test_nobody_is_told_of_room_that_there_has_always_been(lines, room):
    made = lines()
    report(made, 0)
    gevent.idle()
    assert room == []


# What is noted


def test_a_line_is_noted_when_it_is_out_and_not_before(lines, stdout):
    made, noted = lines(), []
    stdout.block()
    report(made, 0, on_written=lambda: noted.append(bytes(stdout.data)))
    gevent.idle()
    none_yet = list(noted)
    stdout.let(1)
    assert (none_yet, noted) == ([], [b"0\n"])


def test_lines_that_waited_are_noted_too(lines):
    made, noted = lines(lookahead=10), []
    for seq in (0, 1):
        made.expect(seq)
    report(made, 1, on_written=lambda: noted.append(1))
    report(made, 0, on_written=lambda: noted.append(0))
    gevent.idle()
    assert noted == [0, 1]


def test_each_line_is_noted_once(lines):
    made, noted = lines(), []
    for seq in range(3):
        report(made, seq, on_written=lambda seq=seq: noted.append(seq))
        gevent.idle()
    made.close()
    assert noted == [0, 1, 2]


# The end


def test_closing_it_waits_for_stdout(lines, stdout):
    made = lines()
    stdout.block()
    report(made, 0)
    gevent.idle()
    closing = gevent.spawn(made.close)
    gevent.idle()
    early = closing.ready()
    stdout.let(1)
    closing.get()
    assert (early, stdout.data) == (False, b"0\n")


def test_closing_it_closes_stdout(lines, stdout):
    lines().close()
    assert stdout.is_closed


def test_a_failure_of_stdout_is_raised_by_close(lines, stdout):
    made = lines()
    stdout.error = OutputClosed()
    report(made, 0)
    with pytest.raises(OutputClosed):
        made.close()


# Bodies


def test_bodies_are_kept_inside_records_up_to_a_size(lines):
    store = lines(max_body=2).store(0)
    assert isinstance(store, InlineStore)
    store.append(b"data")
    assert store.finish(None) == {"body": "da", "truncated": True}


def test_bodies_are_left_out_where_that_is_wanted(lines):
    assert lines(max_body=None).store(0) is NOWHERE


def test_a_body_inside_a_record_holds_nothing_up(lines):
    assert lines(max_body=2).valve is None
