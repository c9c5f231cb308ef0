"""Messages go and come as a whole, or not at all."""

from __future__ import annotations

import pytest
import zmq

from gtool.pingpong.endpoints import closing
from gtool.pingpong.engine import receive_frames, send_frames

HWM = 4  #: of either side: so many messages, twice, are under way at most


@pytest.fixture
def pair():
    """Two sockets that are connected, and take few messages."""
    with closing(zmq.Context()) as context:
        one, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        for sock in (one, other):
            sock.sndhwm = sock.rcvhwm = HWM
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        yield one, other


@pytest.mark.parametrize(
    "frames",
    [[b""], [b"a"], [b"", b"a"], [b"a", b""], [b"", b"", b""], [b"\x00\xff"] * 50, [b"large" * 200_000, b"small"]],
    ids=["empty", "one", "delimited", "empty last", "all empty", "many", "large"],
)
def test_frames_arrive_as_they_were_sent(pair, frames):
    one, other = pair
    send_frames(one, frames)
    assert other.poll(5000)
    assert receive_frames(other) == frames


def test_messages_are_told_apart(pair):
    one, other = pair
    send_frames(one, [b"first", b"of two"])
    send_frames(one, [b"second"])
    assert [receive_frames(other), receive_frames(other)] == [[b"first", b"of two"], [b"second"]]


def test_frames_are_bytes(pair):
    one, other = pair
    send_frames(one, [b"a", b"b"])
    assert [type(frame) for frame in receive_frames(other)] == [bytes, bytes]


def test_that_there_is_no_message_is_told_at_once(pair):
    with pytest.raises(zmq.Again):
        receive_frames(pair[0], zmq.NOBLOCK)


def test_a_message_without_room_is_not_sent_by_half(pair):
    one, other = pair
    message = [b"first", b"second", b"third"]
    for _ in range(2 * HWM):
        send_frames(one, message, zmq.NOBLOCK)
    with pytest.raises(zmq.Again):
        send_frames(one, message, zmq.NOBLOCK)
    assert [receive_frames(other, zmq.NOBLOCK) for _ in range(2 * HWM)] == [message] * (2 * HWM)
    with pytest.raises(zmq.Again):
        receive_frames(other, zmq.NOBLOCK)
