"""The lines of requests are the same however they come, in time, and not too many."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtool.web.wire import MAX_HEAD, HeadTooLarge, Wire

fixed = settings(derandomize=True, deadline=None, max_examples=200)
pieces = st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"bcd", b"e" * 30])
chunkings = st.lists(st.lists(pieces, min_size=1, max_size=5).map(b"".join), max_size=8)


class Scripted:
    """A stream that reads what the test says, and then the end. It is its own socket, and knows its time-out."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.written = b""
        self.reads = 0
        self.timeouts: list[float | None] = []
        self.socket = self

    def settimeout(self, seconds: float | None) -> None:
        self.timeouts.append(seconds)

    def read(self) -> bytes:
        self.reads += 1
        return self.chunks.pop(0) if self.chunks else b""

    def write(self, data: bytes) -> None:
        self.written += data


def wire(*chunks: bytes, timeout_s: float | None = None) -> Wire:
    return Wire(Scripted(*chunks), timeout_s)


def lines_of(made: Wire) -> list[bytes]:
    lines = []
    while line := made.readline():
        lines.append(line)
    return lines


@given(chunkings)
@fixed
def test_lines_are_the_same_however_they_come(chunks):
    assert lines_of(wire(*chunks)) == [*b"".join(chunks).splitlines(True)] or b"\r" in b"".join(chunks)
    assert lines_of(wire(*chunks)) == lines_of(wire(*filter(None, [b"".join(chunks)])))


@given(chunkings)
@fixed
def test_each_line_ends_in_a_line_feed_but_the_last_and_none_is_lost(chunks):
    lines = lines_of(wire(*chunks))
    assert b"".join(lines) == b"".join(chunks)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines[:-1])


@given(chunkings, st.lists(st.one_of(st.just("line"), st.integers(0, 40)), max_size=8))
@example([b"a\nbcd", b"e"], ["line", 2, "line"])
@fixed
def test_lines_and_bytes_come_in_order(chunks, asks):
    whole = b"".join(chunks)
    made = wire(*chunks)
    for ask in asks:
        expected = (whole.partition(b"\n")[0] + whole.partition(b"\n")[1]) if ask == "line" else whole[:ask]
        assert (made.readline() if ask == "line" else made.read(ask)) == expected
        whole = whole[len(expected) :]
    assert made.let_go() + b"".join(made._stream.chunks) == whole


@given(chunkings, st.integers(1, 20))
@fixed
def test_a_line_is_no_longer_than_asked_for(chunks, most):
    made = wire(*chunks)
    line = made.readline(most)
    whole = b"".join(chunks)
    assert line == whole[: whole.find(b"\n") + 1 or len(whole)][:most]


def test_it_reads_no_more_than_it_needs():
    made = wire(b"one\n", b"two\n")
    made.readline()
    assert made._stream.reads == 1


def test_a_line_that_has_come_is_given_without_reading():
    made = wire(b"one\ntwo\n")
    made.readline()
    assert (made.readline(), made._stream.reads) == (b"two\n", 1)


def test_what_was_read_behind_a_head_is_given_once():
    made = wire(b"head\nbehind")
    made.readline()
    assert (made.let_go(), made.let_go()) == (b"behind", b"")


def test_a_socket_that_was_let_go_is_not_written_to():
    """pywsgi would end a request by it that goes on as a stream."""
    made = wire(b"head\n")
    made.let_go()
    with pytest.raises(BrokenPipeError):
        made.sendall(b"0\r\n\r\n")
    assert (made._stream.written, made._stream.timeouts, made.closed) == (b"", [], True)


def test_fewer_bytes_come_only_at_the_end():
    assert wire(b"abc", b"de").read(10) == b"abcde"


def test_a_head_may_have_so_many_bytes():
    lines = [b"x:" + b"x" * 1021 + b"\n"] * (MAX_HEAD // 1024)
    made = wire(*lines)
    made.begin_head()
    assert [made.readline() for _ in lines] == lines


def test_a_head_may_have_no_more():
    lines = [b"x:" + b"x" * 1021 + b"\n"] * (MAX_HEAD // 1024)
    made = wire(*lines, b"\n")
    made.begin_head()
    for _ in lines:
        made.readline()
    with pytest.raises(HeadTooLarge):
        made.readline()


def test_each_head_may_have_so_many():
    made = wire(b"x" * (MAX_HEAD - 1) + b"\n", b"x" * (MAX_HEAD - 1) + b"\n")
    for _ in range(2):
        made.begin_head()
        assert len(made.readline()) == MAX_HEAD
        made.end_head()


def test_a_body_may_be_longer_than_a_head():
    made = wire(b"head\n", bytes(2 * MAX_HEAD))
    made.begin_head()
    made.readline()
    made.end_head()
    assert len(made.read(2 * MAX_HEAD)) == 2 * MAX_HEAD


def test_a_line_without_end_is_not_read_for_ever():
    made = wire(*[b"x" * 1000] * 1000)
    made.begin_head()
    with pytest.raises(HeadTooLarge):
        made.readline(MAX_HEAD + 1)
    assert made._stream.reads <= MAX_HEAD // 1000 + 1


def test_all_of_a_request_has_one_deadline():
    made = wire(b"one\n", b"two:\n", b"body", timeout_s=100)
    made.begin_head()
    made.readline()
    made.readline()
    made.end_head()
    made._deadline -= 99
    made.read(4)
    first, second, third = made._stream.timeouts
    assert 99 < second <= first <= 100
    assert 0 < third <= 1


def test_a_deadline_that_has_passed_leaves_hardly_any_time_but_what_has_come_is_read():
    made = wire(b"one\n", timeout_s=1)
    made.begin_head()
    made._deadline = time.monotonic() - 10
    assert (made.readline(), made._stream.timeouts) == (b"one\n", [0.001])


def test_each_request_has_a_deadline_of_its_own():
    made = wire(b"one\n", b"two\n", timeout_s=100)
    made.begin_head()
    made.readline()
    made._deadline -= 99
    made.begin_head()
    made.readline()
    assert made._stream.timeouts[1] > 99


def test_without_a_time_out_there_is_no_deadline():
    made = wire(b"one\n")
    made.begin_head()
    made.readline()
    assert made._stream.timeouts == []


def test_an_answer_has_the_same_time():
    made = wire(timeout_s=7)
    made.sendall(b"hello")
    assert (made._stream.written, made._stream.timeouts) == (b"hello", [7])


def test_it_is_idle_until_a_request_begins():
    made = wire(b"G")
    before = made.is_idle
    made.begin_head()
    idle = made.is_idle
    made.read(1)
    assert (before, idle, made.is_idle) == (False, True, False)


def test_it_is_not_idle_if_the_next_request_is_there():
    made = wire(b"one\ntwo\n")
    made.begin_head()
    made.readline()
    made.end_head()
    made.begin_head()
    assert not made.is_idle


def test_it_is_idle_again_between_requests():
    made = wire(b"one\n")
    made.begin_head()
    made.readline()
    made.end_head()
    busy = made.is_idle
    made.begin_head()
    assert (busy, made.is_idle) == (False, True)


def test_it_is_socket_and_file_in_one_and_closes_neither():
    made = wire()
    file = made.makefile("rb", -1)
    file.close()
    assert (file is made, made.closed) == (True, True)
