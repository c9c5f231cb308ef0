"""A log in memory: in order, numbered without a gap, and bounded."""

from __future__ import annotations

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
