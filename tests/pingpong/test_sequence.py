"""Numbered messages: what comes of a stream is counted right, whatever the network does to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.pingpong.sequence import Counter, Numbering

fixed = settings(derandomize=True, deadline=None, max_examples=100)

SIZES = [1, 2, 4, 8, 100]
LONGEST_LOSS = {1: 200}  #: of a whole turn of the numbers there would be no trace
LONG = [4, 8, 100]  #: sizes whose numbers are long enough to tell a step back from a gap
RUBBISH = b"x"

each_size = pytest.mark.parametrize("size", SIZES)


def stretches(size: int) -> st.SearchStrategy[list[tuple[int, int, int]]]:
    """Stretches of a stream: how many messages are lost, how many come then, how many of these once more."""
    few = st.integers(0, 40)
    again = few if size in LONG else st.just(0)
    return st.lists(st.tuples(st.integers(0, LONGEST_LOSS.get(size, 30_000)), few, again), min_size=1, max_size=15)


def stream(size: int, found: list[tuple[int, int, int]]) -> list[bytes]:
    numbering, number, messages = Numbering(size), 0, []
    for lost, came, again in found:
        number += lost
        new = list(numbering.messages(number, came))
        number += came
        messages += [*new, *new[max(0, came - again) :]]
    return messages


def batches(messages: list[bytes], lengths: list[int]) -> Iterator[list[bytes]]:
    rest = iter(messages)
    for length in lengths:
        yield list(islice(rest, length))
    yield list(rest)


def counts(counter: Counter) -> dict[str, int]:
    return {name: getattr(counter, name) for name in ("received", "gaps", "duplicates", "rubbish")}


# Messages


@each_size
def test_a_message_has_its_size(size):
    assert {len(message) for message in Numbering(size).messages(0, 300)} == {size}


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (1, b"\x05"),
        (2, b"\x05\x00"),
        (3, b"\x05\x00\x00"),
        (7, b"\x05\x00\x00\x00\x00\x00\x00"),
        (10, b"\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
    ],
)
def test_a_message_is_its_number_and_zeros(size, message):
    assert list(Numbering(size).messages(5, 1)) == [message]


@pytest.mark.parametrize(("size", "width"), [(1, 1), (2, 2), (3, 2), (4, 4), (7, 4), (8, 8), (100, 8)])
def test_a_number_has_as_many_bytes_as_fit(size, width):
    assert Numbering(size).width == width


@each_size
def test_numbers_wrap_around_before_the_one_of_a_warmup(size):
    numbering = Numbering(size)
    last = numbering.modulus - 1
    assert list(numbering.messages(last, 2)) == [numbering.struct.pack(last), numbering.struct.pack(0)]


@each_size
def test_no_message_is_a_warmup(size):
    numbering = Numbering(size)
    assert numbering.warmup not in list(numbering.messages(numbering.modulus - 100, 300))


@each_size
def test_messages_go_on_where_the_last_ones_ended(size):
    numbering = Numbering(size)
    parts = [*numbering.messages(numbering.modulus - 7, 5), *numbering.messages(numbering.modulus - 2, 5)]
    assert parts == list(numbering.messages(numbering.modulus - 7, 10))


# What has come


@each_size
@fixed
@given(data=st.data())
def test_losses_and_duplicates_are_counted_right(size, data):
    found = data.draw(stretches(size))
    lengths = data.draw(st.lists(st.integers(0, 50), max_size=20))
    counter = Counter(size)
    new = sum(map(counter.take, batches(stream(size, found), lengths)))
    gap = expected_gaps(found)
    again = sum(min(came, again) for _, came, again in found)
    received = sum(came for _, came, _ in found)
    assert counts(counter) == {"received": received, "gaps": gap, "duplicates": again, "rubbish": 0}
    assert new == received


def expected_gaps(found: list[tuple[int, int, int]]) -> int:
    """Count the places where something is lost and something comes after."""
    gaps = lost = 0
    for missing, came, _ in found:
        lost += missing
        if came:
            gaps += lost > 0
            lost = 0
    return gaps


@each_size
@fixed
@given(data=st.data())
def test_a_batch_counts_as_its_messages_do_one_by_one(size, data):
    messages = stream(size, data.draw(stretches(size)))
    places = data.draw(st.lists(st.tuples(st.integers(0, len(messages)), st.integers(0, 2 * size)), max_size=5))
    for place, length in places:
        messages.insert(place, RUBBISH * length if length != size else Numbering(size).warmup)
    whole, single = Counter(size), Counter(size)
    assert whole.take(messages) == sum(single.take([message]) for message in messages)
    assert counts(whole) == counts(single)


@each_size
def test_a_whole_stream_has_no_gaps_over_its_wraps(size):
    counter = Counter(size)
    for start in range(0, 1000, 100):
        counter.take(list(Numbering(size).messages(start, 100)))
    assert counts(counter) == {"received": 1000, "gaps": 0, "duplicates": 0, "rubbish": 0}


@pytest.mark.parametrize("size", LONG)
def test_a_message_that_comes_late_is_a_duplicate_and_has_left_a_gap(size):
    first, second, third = Numbering(size).messages(0, 3)
    counter = Counter(size)
    counter.take([first, third, second])
    assert counts(counter) == {"received": 2, "gaps": 1, "duplicates": 1, "rubbish": 0}


@each_size
def test_a_warmup_is_not_counted(size):
    numbering, counter = Numbering(size), Counter(size)
    assert counter.take([numbering.warmup, *numbering.messages(0, 2), numbering.warmup]) == 2
    assert counts(counter) == {"received": 2, "gaps": 0, "duplicates": 0, "rubbish": 0}


@each_size
def test_a_message_of_another_size_is_rubbish(size):
    counter = Counter(size)
    assert counter.take([RUBBISH * (size + 1), b"", *Numbering(size).messages(0, 1)]) == 1
    assert counts(counter) == {"received": 1, "gaps": 0, "duplicates": 0, "rubbish": 2}


def test_messages_of_other_sizes_are_rubbish_even_if_they_make_up_the_right_bytes():
    counter = Counter(2)
    counter.take([b"\x00", b"\x00\x01\x00"])
    assert counts(counter) == {"received": 0, "gaps": 0, "duplicates": 0, "rubbish": 2}


@pytest.mark.parametrize("lost", [127, 128, 254])
def test_what_comes_after_a_long_gap_in_short_numbers_has_come(lost):
    counter = Counter(1)
    assert counter.take(list(Numbering(1).messages(lost, 1))) == 1
    assert counts(counter) == {"received": 1, "gaps": 1, "duplicates": 0, "rubbish": 0}


def test_nothing_is_no_message():
    counter = Counter(8)
    assert counter.take([]) == 0
    assert counts(counter) == dict.fromkeys(("received", "gaps", "duplicates", "rubbish"), 0)
