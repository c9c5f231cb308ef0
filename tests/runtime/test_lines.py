"""Lines from chunks: the same lines however they are cut, and no more held than may be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.runtime.lines import LineSplitter

fixed = settings(derandomize=True, deadline=None, max_examples=400)

#: few different bytes, so that line ends meet each other, and the end of what is too long
texts = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"\xc3\xa4"]), max_size=40).map(b"".join)


def lines_of(*chunks: bytes, longest: int = 100, separator: bytes = b"\n") -> list[bytes | None]:
    splitter = LineSplitter(longest, separator)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.end()


def cut(data: bytes, at: set[int]) -> list[bytes]:
    cuts = sorted(place for place in at if place <= len(data))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_lines_are_parted_at_line_feeds():
    assert lines_of(b"one\ntwo\n") == [b"one", b"two"]


def test_a_line_is_given_as_soon_as_it_is_complete():
    splitter = LineSplitter(100)
    assert [splitter.feed(chunk) for chunk in (b"on", b"e\ntw", b"o\n")] == [[], [b"one"], [b"two"]]


def test_the_last_line_needs_no_line_feed():
    assert lines_of(b"one\ntwo") == [b"one", b"two"]


@pytest.mark.parametrize("data", [b"", b"one\n"])
def test_after_a_line_feed_there_is_no_further_line(data):
    splitter = LineSplitter(100)
    splitter.feed(data)
    assert splitter.end() == []


def test_an_empty_line_is_one():
    assert lines_of(b"\n\n") == [b"", b""]


@pytest.mark.parametrize("chunks", [(b"one\r\ntwo\r\n",), (b"one\r", b"\ntwo", b"\r", b"\n")])
def test_a_carriage_return_before_the_line_feed_belongs_to_it(chunks):
    assert lines_of(*chunks) == [b"one", b"two"]


def test_a_carriage_return_within_a_line_is_kept():
    assert lines_of(b"one\rtwo\n") == [b"one\rtwo"]


def test_only_one_carriage_return_belongs_to_the_line_feed():
    assert lines_of(b"one\r\r\n") == [b"one\r"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(("size", "is_held"), [(4, True), (5, True), (6, False), (7, False), (50, False)])
def test_a_line_may_have_so_many_bytes_without_its_end(size, is_held, end):
    assert lines_of(b"x" * size + end, longest=5) == [b"x" * size if is_held else None]


def test_after_a_line_that_is_too_long_it_goes_on():
    assert lines_of(b"12345678\n1\n", longest=5) == [None, b"1"]


def test_a_last_line_that_is_too_long_is_told_as_well():
    assert lines_of(b"1\n", b"1234", b"5678", longest=5) == [b"1", None]


def test_a_line_that_is_too_long_is_told_once_before_it_ends():
    splitter = LineSplitter(5)
    assert [splitter.feed(chunk) for chunk in (b"1234", b"567", b"89", b"0\n1\n")] == [[], [None], [], [b"1"]]


def test_of_a_line_that_is_too_long_nothing_is_held():
    splitter = LineSplitter(1000)
    for _ in range(100):
        splitter.feed(b"x" * 900)
    assert len(splitter._rest) <= 1001


@fixed
@given(texts, st.sets(st.integers(0, 80), max_size=20), st.integers(0, 6))
def test_wherever_it_is_cut_the_lines_are_the_same(data, cuts, longest):
    assert lines_of(*cut(data, cuts), longest=longest) == lines_of(data, longest=longest)


@fixed
@given(st.binary(max_size=50), st.integers(1, 10))
def test_nul_separates_lines_that_hold_line_feeds_and_carriage_returns(data, size):
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    whole = data.split(b"\0")
    assert lines_of(*chunks, separator=b"\0") == (whole if whole[-1] else whole[:-1])


@pytest.mark.parametrize(("size", "is_held"), [(5, True), (6, False)])
def test_a_line_that_nul_ends_may_have_so_many_bytes(size, is_held):
    assert lines_of(b"\r" * size, b"\0", longest=5, separator=b"\0") == [b"\r" * size if is_held else None]


@fixed
@given(texts, st.integers(0, 6))
def test_lines_are_those_that_stand_between_line_feeds_and_none_is_longer_than_it_may_be(data, longest):
    pieces = data.split(b"\n")
    wanted = [piece.removesuffix(b"\r") for piece in (pieces if pieces[-1] else pieces[:-1])]
    assert lines_of(data, longest=longest) == [line if len(line) <= longest else None for line in wanted]
