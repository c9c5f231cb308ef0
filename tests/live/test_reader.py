"""One stream's way through the log. What many readers have in common is in tests/live/test_delivery.py."""

from __future__ import annotations

from gtool.live.reader import oldest_id
from gtool.streams.memory import MemoryLog


def test_the_oldest_id_is_that_of_the_first_message_that_is_kept():
    log = MemoryLog(2, 1000, "e")
    for data in (b"a", b"b", b"c"):
        log.append(data)
    assert oldest_id(log) == "e:2"


def test_where_nothing_is_kept_it_is_the_place_after_which_the_next_one_comes():
    log = MemoryLog(2, 1000, "e")
    log.begin_after(7)
    assert oldest_id(log) == "e:7"
