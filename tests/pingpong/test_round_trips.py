"""Questions and answers, over a link that is told what to answer; what real peers do is in test_client.py."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from gtool.errors import PeerGone
from gtool.pingpong import blocking
from gtool.pingpong.job import Job
from gtool.pingpong.round_trips import RoundTrips
from gtool.pingpong.tally import Tally

JOB = Job("tcp://h:1", "dealer-router", 8, 10, None, 0, None, 0.0, 1, 5.0, 0, False, None)


class Peer:
    """A link whose peer answers by a function, from a question to the answers that it gives."""

    sock = None

    def __init__(self, answer=lambda frames: [frames]):
        self._answer = answer
        self._answers: deque[list[bytes]] = deque()
        self.questions: list[list[bytes]] = []
        self.most_open = 0

    def send(self, frames, timeout_s):
        self.questions.append(frames)
        self._answers.extend(self._answer(frames))
        self.most_open = max(self.most_open, len(self._answers))
        return True

    def receive(self, timeout_s):
        return self._answers.popleft() if self._answers else None


def asked(peer: Peer, job: Job = JOB, first_number: int = 0) -> tuple[int, Tally]:
    tally = Tally()
    next_number = RoundTrips(blocking, peer, job, tally, lambda: PeerGone("silence"), first_number).run()
    return next_number, tally


def test_as_many_are_asked_as_were_ordered_and_each_answer_is_timed():
    peer = Peer()
    number, tally = asked(peer)
    assert (number, tally.sent, tally.answered, len(peer.questions)) == (10, 10, 10, 10)
    assert tally.round_trips.distribution().count == 10


def test_numbers_go_on_where_the_warmup_has_ended():
    peer = Peer()
    number, _ = asked(peer, first_number=100)
    assert (number, peer.questions[0]) == (110, [(100).to_bytes(8, "little")])


def test_no_more_are_open_than_may_be():
    peer = Peer()
    asked(peer, replace(JOB, count=100, pipeline=7))
    assert peer.most_open == 7


def test_a_plain_server_gets_the_empty_frame_that_a_rep_socket_wants():
    peer = Peer()
    asked(peer, replace(JOB, is_plain=True))
    assert all(frames[0] == b"" and len(frames) == 2 for frames in peer.questions)


def test_answers_may_come_in_any_order():
    held: list[list[bytes]] = []

    def answer(frames):
        held.append(frames)
        if len(held) < 5:
            return []
        answers = held[::-1]
        held.clear()
        return answers

    _, tally = asked(Peer(answer), replace(JOB, pipeline=5))
    assert (tally.answered, tally.duplicates) == (10, 0)


def test_an_answer_that_comes_twice_is_counted_as_such():
    _, tally = asked(Peer(lambda frames: [frames, frames]))
    assert tally.answered == 10
    assert tally.duplicates == 9  # nobody waits for what the last one has sent too much


@pytest.mark.parametrize("answer", [[b"x"], [b""], [b"x" * 8], [b"\x63" + bytes(7)], [b"more", b"frames"]])
def test_rubbish_ends_it_and_is_shown(answer):
    with pytest.raises(PeerGone, match="answers rubbish"):
        asked(Peer(lambda frames: [answer]))


def test_what_could_not_be_sent_is_not_counted():
    peer = Peer()
    peer.send = lambda frames, timeout_s: False
    tally = Tally()
    with pytest.raises(PeerGone, match="silence"):
        RoundTrips(blocking, peer, JOB, tally, lambda: PeerGone("silence")).run()
    assert tally.sent == 0


def test_a_socket_that_takes_any_answer_for_the_next_takes_no_second_one():
    strict = replace(JOB, pattern="req-rep")
    with pytest.raises(PeerGone, match="answers rubbish"):
        asked(Peer(lambda frames: [frames, frames]), strict)
