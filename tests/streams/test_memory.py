"""A log in memory: in order, numbered without a gap, and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.streams.memory import MemoryLog

fixed = settings(derandomize=True, deadline=None, max_examples=100)


def log_of(*messages: bytes, most: int = 100, most_bytes: int = 10_000) -> MemoryLog:
    log = MemoryLog(most, most_bytes)
    for message in messages:
        log.append(message)
    return log


def test_offsets_begin_at_1_and_leave_none_out():
    assert [entry.offset for entry in log_of(b"a", b"b", b"c").read(0, 10)] == [1, 2, 3]


def test_an_empty_log_has_nothing_before_its_first():
    log = log_of()
    assert (log.oldest, log.newest, list(log.read(0, 10))) == (1, 0, [])


def test_two_logs_are_two_sequences():
    assert log_of().epoch != log_of().epoch


def test_what_comes_after_an_offset_is_read_and_no_more_than_asked_for():
    log = log_of(b"a", b"b", b"c", b"d")
    assert [entry.data for entry in log.read(1, 2)] == [b"b", b"c"]


def test_after_the_newest_there_is_nothing():
    log = log_of(b"a")
    assert list(log.read(1, 10)) == list(log.read(99, 10)) == []


def test_the_oldest_go_when_there_are_too_many():
    log = log_of(b"a", b"b", b"c", most=2)
    assert (log.oldest, [entry.data for entry in log.read(0, 10)]) == (2, [b"b", b"c"])


def test_the_oldest_go_when_they_are_too_large():
    log = log_of(b"aaaa", b"bbb", b"cc", most_bytes=5)
    assert [entry.data for entry in log.read(0, 10)] == [b"bbb", b"cc"]


def test_the_newest_is_kept_however_large_it_is():
    log = log_of(b"a", b"b" * 100, most_bytes=5)
    assert [entry.offset for entry in log.read(0, 10)] == [2]


def test_listeners_are_told_of_each_in_order_until_they_are_forgotten():
    log, told = MemoryLog(10, 100), []
    log.listen(told.append)
    first, second = log.append(b"a"), log.append(b"b")
    log.forget(told.append)
    log.append(b"c")
    assert told == [first, second]


def test_a_listener_may_forget_itself_while_it_is_told():
    log, told = MemoryLog(10, 100), []

    def once(entry):
        told.append(entry.data)
        log.forget(once)

    log.listen(once)
    log.listen(lambda entry: told.append(entry.data * 2))
    log.append(b"a")
    log.append(b"b")
    assert told == [b"a", b"aa", b"bb"]


@fixed
@given(st.lists(st.binary(max_size=20)), st.integers(1, 10), st.integers(0, 60))
def test_it_keeps_no_more_than_it_may_and_what_it_keeps_is_the_end(messages, most, most_bytes):
    log = log_of(*messages, most=most, most_bytes=most_bytes)
    kept = [entry.data for entry in log.read(0, 1000)]
    assert kept == messages[len(messages) - len(kept) :]
    assert len(kept) <= most
    assert len(kept) <= 1 or sum(map(len, kept)) <= most_bytes
    assert log.newest - log.oldest + 1 == len(kept)


@fixed
@given(st.lists(st.binary(max_size=20)))
def test_the_end_of_an_entry_is_the_size_of_all_up_to_it(messages):
    ends = [entry.end for entry in log_of(*messages, most=1000).read(0, 1000)]
    assert ends == [sum(map(len, messages[: n + 1])) for n in range(len(messages))]


# Sequences that are kept elsewhere


def mirror_of(*offsets: int, most: int = 100) -> MemoryLog:
    log = MemoryLog(most, 10_000)
    for offset in offsets:
        log.mirror(offset, 1.5, b"%d" % offset)
    return log


def test_a_sequence_that_is_kept_elsewhere_keeps_its_epoch_offsets_and_times():
    log = MemoryLog(10, 100, "elsewhere")
    log.mirror(900, 1.5, b"a")
    (entry,) = log.read(0, 10)
    assert (log.epoch, log.newest_offset, entry.number, entry.offset, entry.time) == ("elsewhere", 900, 1, 900, 1.5)


def test_numbers_have_no_gaps_where_offsets_have():
    assert [entry.number for entry in mirror_of(5, 6, 90).read(0, 10)] == [1, 2, 3]


def test_what_is_appended_comes_after_what_was_mirrored():
    log = mirror_of(5, 90)
    assert log.append(b"x").offset == 91


def test_the_floor_is_the_last_offset_that_was_dropped():
    log = mirror_of(5, 6, 90, 91, most=2)
    assert (log.floor, log.newest_offset) == (6, 91)


def test_a_log_that_begins_somewhere_has_nothing_before_that():
    log = MemoryLog(10, 100)
    log.begin_after(40)
    assert (log.floor, log.newest_offset, log.newest, list(log.read(0, 10))) == (40, 40, 0, [])
    assert log.append(b"x").offset == 41


def test_what_is_lost_takes_all_before_it_along():
    log = mirror_of(5, 6)
    log.lose(90)
    assert (list(log.read(0, 10)), log.floor, log.newest_offset) == ([], 90, 90)


def test_what_is_lost_counts_as_one_and_it_goes_on_behind_it():
    log = mirror_of(5, 6)
    log.lose(90)
    log.mirror(91, 1.5, b"x")
    assert [(entry.number, entry.offset) for entry in log.read(0, 10)] == [(4, 91)]


def test_what_is_lost_may_count_as_more():
    log = mirror_of(5, 6)
    log.lose(90, 7)
    log.mirror(91, 1.5, b"x")
    assert (log.oldest, log.newest, [(entry.number, entry.offset) for entry in log.read(0, 10)]) == (10, 10, [(10, 91)])


def test_a_log_tells_what_it_may_keep_and_how_much_ever_came():
    log = log_of(b"aaaa", b"bbb", b"cc", most=7, most_bytes=5)
    log.lose(7)
    assert (log.most, log.most_bytes, log.end) == (7, 5, 9)


def test_what_was_lost_takes_no_room():
    log = MemoryLog(10, 10)
    log.append(b"12345678")
    log.lose(7)
    for data in (b"1234", b"5678"):
        log.append(data)
    assert len(log.read(0, 10)) == 2


def test_losing_twice_is_no_worse():
    log = mirror_of(5)
    log.lose(7)
    log.lose(9)
    assert (log.oldest, log.newest, log.floor) == (4, 3, 9)


def test_listeners_are_not_told_of_what_is_lost():
    log, told = mirror_of(5), []
    log.listen(told.append)
    log.lose(7)
    assert told == []


@pytest.mark.parametrize(("offset", "number"), [(4, 0), (5, 1), (6, 2), (7, 2), (89, 2), (90, 3), (1000, 3)])
def test_the_last_entry_up_to_an_offset_is_found(offset, number):
    assert mirror_of(5, 6, 90).find(offset) == number


@pytest.mark.parametrize(("offset", "number"), [(0, 2), (6, 2), (90, 3), (91, 4), (1000, 4)])
def test_what_is_found_is_kept_or_just_before_it(offset, number):
    assert mirror_of(5, 6, 90, 91, most=2).find(offset) == number


def test_in_an_empty_log_the_place_before_its_first_is_found():
    log = MemoryLog(10, 100)
    log.begin_after(40)
    assert (log.find(40), mirror_of().find(7)) == (0, 0)


@fixed
@given(st.lists(st.integers(1, 5), max_size=40), st.integers(1, 10), st.integers(0, 200))
def test_what_comes_after_the_entry_found_is_what_comes_after_the_offset(gaps, most, offset):
    offsets = [sum(gaps[: count + 1]) for count in range(len(gaps))]
    log = mirror_of(*offsets, most=most)
    assert [entry.offset for entry in log.read(log.find(offset), 1000)] == [
        one for one in offsets[-most:] if one > offset
    ]


# What begins later, and what is too old


@pytest.mark.parametrize("number", [0, 7, 40])
def test_a_log_that_begins_somewhere_has_its_numbers_go_on_from_there(number):
    log = MemoryLog(10, 100, "elsewhere")
    log.begin_after(40, number)
    log.mirror(41, 1.5, b"a")
    log.mirror(42, 1.5, b"b")
    assert [(entry.number, entry.offset) for entry in log.read(0, 10)] == [(number + 1, 41), (number + 2, 42)]
    assert (log.oldest, log.newest, log.find(41), log.find(40)) == (number + 1, number + 2, number + 1, number)


def test_an_empty_log_that_begins_somewhere_has_nothing_before_its_first():
    log = MemoryLog(10, 100, "elsewhere")
    log.begin_after(40, 7)
    assert (log.oldest, log.newest, log.floor, log.newest_offset, list(log.read(0, 10))) == (8, 7, 40, 40, [])


def timed(*times: float) -> MemoryLog:
    log = MemoryLog(10, 1000, "elsewhere")
    for offset, time_s in enumerate(times, 1):
        log.mirror(offset, time_s, b"%d" % offset)
    return log


@pytest.mark.parametrize(
    ("before_s", "kept"),
    [(0, [1, 2, 3]), (10, [1, 2, 3]), (10.5, [2, 3]), (20, [2, 3]), (30, [3]), (30.5, []), (99, [])],
)
def test_what_is_older_than_a_time_is_dropped(before_s, kept):
    log = timed(10, 20, 30)
    log.drop_before(before_s)
    assert [entry.offset for entry in log.read(0, 10)] == kept
    assert (log.oldest, log.floor, log.newest) == (4 - len(kept), 3 - len(kept), 3)


def test_when_all_is_dropped_it_goes_on_behind_that():
    log = timed(10, 20)
    log.drop_before(99)
    log.mirror(3, 100.0, b"x")
    assert [(entry.number, entry.offset) for entry in log.read(0, 10)] == [(3, 3)]


def test_to_drop_from_an_empty_log_is_no_error():
    log = timed()
    log.drop_before(99)
    assert (log.oldest, log.newest) == (1, 0)


def test_what_is_older_behind_what_is_not_stays():
    """A clock was put back: nothing is left out in the middle."""
    log = timed(10, 50, 20, 60)
    log.drop_before(30)
    assert [entry.offset for entry in log.read(0, 10)] == [2, 3, 4]


def test_what_was_dropped_takes_no_room():
    log = MemoryLog(10, 4, "elsewhere")
    for offset in (1, 2):
        log.mirror(offset, float(offset), b"xx")
    log.drop_before(99)
    for offset in (3, 4):
        log.mirror(offset, float(offset), b"xx")
    assert [entry.offset for entry in log.read(0, 10)] == [3, 4]


def test_what_was_dropped_is_not_told():
    log, told = timed(10, 20), []
    log.listen(told.append)
    log.drop_before(99)
    assert told == []


@fixed
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 10), st.integers(1, 12))
def test_what_is_kept_is_the_end_and_none_before_it_is_young(times, before_s, most):
    log = MemoryLog(most, 1000, "elsewhere")
    for offset, time_s in enumerate(times, 1):
        log.mirror(offset, float(time_s), b"x")
    here = [entry.offset for entry in log.read(0, 100)]
    log.drop_before(before_s)
    kept = [entry.offset for entry in log.read(0, 100)]
    gone = here[: len(here) - len(kept)]
    assert gone + kept == here
    assert all(times[offset - 1] < before_s for offset in gone)
    assert not kept or times[kept[0] - 1] >= before_s
