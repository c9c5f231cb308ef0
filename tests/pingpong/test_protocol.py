"""What client and server tell each other: two frames, and what is no such message."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.pingpong.protocol import MAGIC, data_endpoint, decode, encode, is_control

fixed = settings(derandomize=True, deadline=None, max_examples=100)

values = st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
messages = st.dictionaries(st.text(), st.recursive(values | st.text(), st.lists, max_leaves=5), max_size=5)


@fixed
@given(messages)
def test_what_is_encoded_is_decoded(message):
    assert decode(encode(message)) == message


@fixed
@given(messages)
def test_a_message_is_control_behind_any_envelope(message):
    assert is_control([b"routing id", b"", *encode(message)])


def test_an_envelope_is_no_part_of_the_message():
    assert decode([b"routing id", b"", *encode({"do": "bye"})]) == {"do": "bye"}


def test_what_is_no_number_is_none():
    assert decode(encode({"rate": float("nan")})) == {"rate": None}


@pytest.mark.parametrize("frames", [[b""], [b"x" * 32], [MAGIC], [b"", b"x"], [MAGIC, b"", b"{}"], [b"", MAGIC]])
def test_messages_that_are_measured_are_no_control(frames):
    assert not is_control(frames)


@pytest.mark.parametrize(
    "frames",
    [
        [b"{}"],
        [b"", b"{}"],
        [MAGIC, b""],
        [MAGIC, b"rubbish"],
        [MAGIC, b"\xff"],
        [MAGIC, b"[]"],
        [MAGIC, b"null"],
        [MAGIC, b"1"],
        [MAGIC, b'"text"'],
        [MAGIC, b"{} {}"],
        [MAGIC, b'{"a": NaN}'],
        [MAGIC, b"1" * 5000],
        [MAGIC, b"[" * 60_000],
        [MAGIC, b'{"a":' * 60_000],
    ],
)
def test_what_is_no_message_is_a_value_error(frames):
    with pytest.raises(ValueError):  # noqa: PT011
        decode(frames)


@fixed
@given(
    st.lists(st.binary(max_size=40), min_size=1, max_size=4) | st.binary(max_size=40).map(lambda text: [MAGIC, text])
)
def test_any_frames_are_a_message_or_a_value_error(frames):
    with suppress(ValueError):
        assert isinstance(decode(frames), dict)


@pytest.mark.parametrize(
    ("server", "told", "endpoint"),
    [
        ("tcp://127.0.0.1:5555", ":5556", "tcp://127.0.0.1:5556"),
        ("tcp://meter.example:5555", ":40000", "tcp://meter.example:40000"),
        ("tcp://[::1]:5555", ":5556", "tcp://[::1]:5556"),
        ("tcp://eth0;10.0.0.1:5555", ":5556", "tcp://eth0;10.0.0.1:5556"),
        ("ipc:///tmp/meter", ".1", "ipc:///tmp/meter.1"),
        ("ipc://@meter", ".1", "ipc://@meter.1"),
    ],
)
def test_a_session_is_on_the_host_where_the_server_was_found(server, told, endpoint):
    assert data_endpoint(server, told) == endpoint


@pytest.mark.parametrize(
    ("server", "told"),
    [
        ("tcp://127.0.0.1:5555", ""),
        ("tcp://127.0.0.1:5555", ":"),
        ("tcp://127.0.0.1:5555", ":*"),
        ("tcp://127.0.0.1:5555", ":123456"),
        ("tcp://127.0.0.1:5555", ":5556\n"),
        ("tcp://127.0.0.1:5555", r":\1"),
        ("tcp://127.0.0.1:5555", "tcp://10.0.0.1:22"),
        ("tcp://127.0.0.1:5555", "ipc:///run/other"),
        ("ipc:///tmp/meter", ":5556"),
        ("ipc:///tmp/meter", "tcp://10.0.0.1:22"),
    ],
)
def test_no_server_sends_a_client_elsewhere(server, told):
    with pytest.raises(ValueError):  # noqa: PT011
        data_endpoint(server, told)
