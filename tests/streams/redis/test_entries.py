"""What is in an entry of a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtool.streams.log import parse_cursor
from gtool.streams.redis.entries import PER_MS, offset_of, payload

IDS = st.tuples(st.integers(0, 10**13), st.integers(0, PER_MS - 1))


@given(IDS, IDS)
def test_offsets_grow_as_ids_do(one, other):
    first, second = (offset_of(f"{ms}-{number}") for ms, number in (one, other))
    assert (first < second) == (one < other)


def test_offsets_grow_when_the_clock_of_redis_was_put_back():
    """Then Redis stays at its last millisecond, and counts on, for as long as that takes."""
    assert offset_of("1795000000000-100001") < offset_of("1795000000001-0")


def test_an_offset_of_ids_in_microseconds_is_good_for_a_cursor():
    """As others may write them: XADD takes any ID that grows."""
    offset = offset_of("1795000000000000-0")
    assert parse_cursor(f"r:{offset}").offset == offset


def test_an_id_may_be_bytes():
    assert offset_of(b"7-3") == offset_of("7-3") == 7_000_000_003


def test_an_offset_of_today_is_good_for_a_cursor():
    offset = offset_of("1795000000000-99999")
    assert parse_cursor(f"r:{offset}").offset == offset


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({b"data": b"x"}, b"x"),
        ({b"data": b""}, b""),
        ({b"data": b"x", b"gtool-from": b"p", b"gtool-n": b"1"}, b"x"),
        ({b"data": "ä".encode()}, "ä".encode()),
        ({b"data": b"\xff"}, "\ufffd".encode()),
        ({b"temperature": b"21", b"room": "Küche".encode()}, '{"temperature": "21", "room": "Küche"}'.encode()),
        ({b"\xff": b"\xfe"}, '{"\ufffd": "\ufffd"}'.encode()),
    ],
)
def test_a_message_is_the_data_or_all_fields_as_json(fields, message):
    assert payload(fields) == message
