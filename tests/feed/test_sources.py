"""Where messages come from: the walk and the lines, put in order, without a wait that stalls others."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import ReadError
from gtool.feed import sources
from gtool.feed.sources import LineSource, Nothing, Walk
from gtool.runtime.stdio import Input, open_input
from tests.servers.looped import TIMEOUT_S

fixed = settings(derandomize=True, deadline=None, max_examples=60)


class Enough(Exception):
    """A test has all that it wants of a source that never ends."""


class Taken(list[bytes]):
    """Takes so many messages, and is the end of the source then."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, data: bytes) -> None:
        self.append(data)
        if len(self) == self._most:
            raise Enough


def walked(count: int, interval_s: float = 0.0, seed: int | None = 1) -> list[dict[str, int]]:
    taken = Taken(count)
    with pytest.raises(Enough):
        Walk(interval_s, seed).run(taken.put)
    return [json.loads(data) for data in taken]


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes by sleeping only."""
    now = [1000.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(sources, "monotonic", lambda: now[0])
    monkeypatch.setattr(sources.gevent, "sleep", sleep)
    slept_and_now: Any = slept
    return slept_and_now, now


@pytest.fixture
def warnings() -> Iterator[list[logging.LogRecord]]:
    """What is logged."""
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = seen.append  # type: ignore[method-assign]
    logger = logging.getLogger("gtool")
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


# The walk


def test_a_walk_counts_and_each_step_is_1_to_5():
    steps = walked(200)
    assert [step["x"] for step in steps] == list(range(200))
    assert {step["y"] for step in steps} == {1, 2, 3, 4, 5}


def test_a_step_has_nothing_else():
    assert walked(1)[0].keys() == {"x", "y"}


def test_the_same_seed_is_the_same_walk():
    assert walked(50, seed=7) == walked(50, seed=7) != walked(50, seed=8)


def test_a_seed_of_0_is_one():
    assert walked(50, seed=0) == walked(50, seed=0)


def test_without_a_seed_each_walk_is_another():
    assert walked(50, seed=None) != walked(50, seed=None)


def test_steps_are_an_interval_apart(clock):
    slept, _ = clock
    walked(4, interval_s=0.5)
    assert slept == pytest.approx([0.5, 0.5, 0.5])


def test_time_that_readers_have_taken_is_made_up_for(clock):
    slept, now = clock
    taken = Taken(4)

    def put(data: bytes) -> None:
        taken.put(data)
        now[0] += 0.2 if len(taken) < 3 else 0.9

    with pytest.raises(Enough):
        Walk(0.5, 1).run(put)
    assert slept == pytest.approx([0.3, 0.3, 0.0])


def test_closing_a_walk_is_nothing():
    Walk(1.0, None).close()


def test_nothing_comes_of_nothing():
    taken: list[bytes] = []
    source = Nothing()
    running = gevent.spawn(source.run, taken.append)
    gevent.idle()
    assert (taken, running.dead) == ([], False)
    running.kill()
    source.close()


# Lines


class Piped:
    """A source of what is written into a pipe."""

    def __init__(self, max_message: int) -> None:
        reader, self.writer = os.pipe()
        self.taken: list[bytes] = []
        self.source = LineSource(Input(reader, "a pipe"), "a pipe", max_message)
        self.running = gevent.spawn(self.source.run, self.taken.append)
        gevent.idle()

    def write(self, data: bytes) -> None:
        os.write(self.writer, data)
        gevent.idle()

    def end(self) -> list[bytes]:
        """End the pipe; all that came of it."""
        self.close_writer()
        self.running.get(timeout=TIMEOUT_S)
        return self.taken

    def close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self) -> None:
        self.close_writer()
        self.running.kill()
        self.source.close()


@pytest.fixture
def piped() -> Iterator[Any]:
    made: list[Piped] = []

    def make(max_message: int = 100) -> Piped:
        made.append(Piped(max_message))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_line_is_put_when_it_is_complete(piped):
    pipe = piped()
    pipe.write(b"one\ntw")
    assert pipe.taken == [b"one"]
    pipe.write(b"o\n")
    assert pipe.taken == [b"one", b"two"]


def test_the_end_of_the_input_is_the_end_of_the_last_line(piped):
    pipe = piped()
    pipe.write(b"one\ntwo")
    assert pipe.end() == [b"one", b"two"]


def test_waiting_for_a_line_stalls_nobody(piped):
    pipe, other = piped(), Event()
    gevent.spawn(other.set)
    assert other.wait(TIMEOUT_S)
    assert not pipe.running.dead


def test_what_can_not_be_utf_8_becomes_a_replacement_character(piped, warnings):
    pipe = piped()
    pipe.write(b"a\xffb\n\xc3\xa4\n")
    assert pipe.taken == ["a\ufffdb".encode(), "\u00e4".encode()]
    assert [record.getMessage() for record in warnings] == ["a line is not UTF-8: what can't be read became U+FFFD"]


def test_a_line_that_is_too_long_is_left_out_with_a_word(piped, warnings):
    pipe = piped(max_message=5)
    pipe.write(b"123456\n12345\n")
    assert pipe.taken == [b"12345"]
    assert [record.getMessage() for record in warnings] == ["a line is too long: left out"]
    assert vars(warnings[0])["fields"] == {"source": "a pipe", "max_message": 5, "left_out": None}


def test_many_bad_lines_are_told_of_once(piped, warnings):
    pipe = piped(max_message=5)
    pipe.write(b"123456\n" * 50 + b"\xff\n" * 50)
    assert (len(pipe.taken), len(warnings)) == (50, 2)


def test_closing_a_source_closes_its_input():
    reader, writer = os.pipe()
    source = LineSource(Input(reader, "a pipe"), "a pipe", 100)
    source.close()
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(writer)


@fixed
@given(st.lists(st.text(max_size=30).map(str.encode).filter(lambda line: b"\n" not in line), max_size=20), st.data())
def test_however_it_comes_the_same_lines_are_put(lines, data):
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    pipe = Piped(1000)
    for first, last in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        pipe.write(whole[first:last])
    taken = pipe.end()
    pipe.close()
    assert taken == [line.removesuffix(b"\r") for line in lines]


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"one\r\ntwo", [b"one", b"two"]), (b"", []), (b"x" * 200_000 + b"\n", [b"x" * 200_000])],
)
def test_a_file_is_read_to_its_end(tmp_path, data, lines):
    (tmp_path / "file").write_bytes(data)
    source = LineSource(open_input(str(tmp_path / "file")), "a file", 1 << 20)
    taken: list[bytes] = []
    source.run(taken.append)
    source.close()
    assert taken == lines


def test_what_can_not_be_read_is_told(tmp_path):
    source = LineSource(open_input(str(tmp_path)), "a directory", 100)
    with pytest.raises(ReadError, match="Is a directory"):
        source.run(lambda data: None)
    source.close()


# stdin


def test_the_lines_of_stdin_are_read_from_descriptor_0(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"one\n123456\ntwo\n")
    taken: list[bytes] = []
    with open(tmp_path / "file", "rb") as file:
        before = os.dup(0)
        os.dup2(file.fileno(), 0)
        monkeypatch.setattr(sys, "stdin", file)
        try:
            source = sources.stdin(5)
            source.run(taken.append)
            source.close()
        finally:
            os.dup2(before, 0)
            os.close(before)
    assert taken == [b"one", b"two"]


def test_a_closed_stdin_can_not_be_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ReadError, match="cannot read stdin: it is closed"):
        sources.stdin(5)
