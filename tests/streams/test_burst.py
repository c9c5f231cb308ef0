"""No more comes up at once than the log keeps."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.streams.burst import GROUP, Burst
from gtool.streams.memory import MemoryLog


def came_up(log: MemoryLog, burst: Burst, sizes: list[int]) -> int:
    """How many of these messages may come up before readers are given them."""
    for number, size in enumerate(sizes):
        if not burst.has_room(size):
            return number
        log.append(b"x" * size)
    return len(sizes)


def test_a_burst_is_no_longer_than_the_log():
    log = MemoryLog(3, 1000)
    assert came_up(log, Burst(log), [1] * 10) == 3


def test_a_burst_is_bounded_however_long_the_log_is():
    log = MemoryLog(100_000, 1 << 30)
    assert came_up(log, Burst(log), [1] * (2 * GROUP)) == GROUP


def test_a_burst_has_no_more_bytes_than_the_log():
    log = MemoryLog(100, 1000)
    assert came_up(log, Burst(log), [400, 400, 400]) == 2


def test_one_message_has_room_however_large_it_is():
    log = MemoryLog(100, 10)
    assert came_up(log, Burst(log), [50, 1]) == 1


def test_when_readers_have_what_there_is_there_is_room_again():
    log = MemoryLog(2, 1000)
    burst = Burst(log)
    came_up(log, burst, [1, 1])
    burst.begin()
    assert came_up(log, burst, [1, 1, 1]) == 2


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 8), st.integers(1, 60))
def test_nothing_is_dropped_that_has_come_up_since_readers_had_all(sizes, most, most_bytes):
    log = MemoryLog(most, most_bytes)
    burst = Burst(log)
    had = 0
    for size in sizes:
        if not burst.has_room(size):
            had = log.newest
            burst.begin()
        log.append(b"x" * size)
        assert log.oldest <= had + 1
