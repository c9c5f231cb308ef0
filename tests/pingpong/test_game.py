"""The game: nine rounds, each with the turns of both and its time."""

from __future__ import annotations

import re
import time

import gevent
import pytest
import zmq
import zmq.green

from gtool.errors import PeerGone
from gtool.pingpong.endpoints import bind, closing
from gtool.pingpong.game import Settings, receive, run, wait_for_peer

ROUND = re.compile(r"Switched to Server for (\d+)\nSwitched to Client for \1   round trip [\d.]+(us|ms|s)\n")


def played(**settings) -> str:
    said: list[str] = []
    run(Settings(**settings), said.append)
    return "".join(said)


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "inproc://game", "ipc://{}/game"])
def test_each_round_is_a_turn_of_the_server_and_one_of_the_client(endpoint, tmp_path):
    text = played(endpoint=endpoint.format(tmp_path))
    assert [int(number) for number, _ in ROUND.findall(text)] == list(range(1, 10))
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_libzmq_chooses_is_gone_at_the_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("TMPDIR", "TEMPDIR", "TMP"):
        monkeypatch.delenv(name, raising=False)
    played(endpoint="ipc://*")
    assert list(tmp_path.iterdir()) == []


def test_the_summary_comes_last():
    text = played(rounds=3, endpoint="inproc://game")
    assert re.search(r"\n\nrounds 3   lost 0   [\d,]+ round trips/s\n +min .*\nround trip .*\n$", text)


def test_rounds_are_as_far_apart_as_they_are_told_to_be():
    text = played(rounds=3, interval=0.05, endpoint="inproc://game")
    rate = float(re.search(r"([\d,]+) round trips/s", text)[1])
    assert rate <= 3 / 0.1


def test_an_answer_that_was_not_agreed_on_ends_the_game(tmp_path):
    """Somebody else connects to the same endpoint, and is asked in turn."""
    with closing(zmq.Context()) as other, other.socket(zmq.REP) as stranger:
        stranger.setsockopt(zmq.LINGER, 0)
        stranger.setsockopt(zmq.RECONNECT_IVL, 1)
        stranger.connect(f"ipc://{tmp_path}/game")

        def answer_wrongly(_: str) -> None:
            if stranger.poll(0):
                stranger.recv()
                stranger.send(b"rubbish")

        with pytest.raises(PeerGone, match=r"no answer|was answered by b'rubbish'"):
            run(Settings(rounds=100_000, timeout=2, endpoint=f"ipc://{tmp_path}/game"), answer_wrongly)


def test_a_reader_that_takes_its_time_is_no_peer_that_has_gone():
    run(Settings(rounds=2, timeout=0.1, endpoint="inproc://game"), lambda _: gevent.sleep(0.3))


@pytest.fixture
def made():
    with closing(zmq.green.Context()) as made:
        yield made


def test_a_message_that_does_not_come_is_waited_for_no_longer_than_agreed(made):
    with made.socket(zmq.REP) as sock:
        bind(sock, "inproc://nobody")
        started_at = time.monotonic()
        with pytest.raises(PeerGone, match=r"no answer within 0\.05 s"):
            receive(sock, 0.05)
    assert 0.05 <= time.monotonic() - started_at < 5


def test_a_peer_that_does_not_connect_is_waited_for_no_longer_than_agreed(made):
    with made.socket(zmq.REQ) as sock:
        bind(sock, "tcp://127.0.0.1:*")
        with pytest.raises(PeerGone, match=r"nobody has connected within 0\.05 s"):
            wait_for_peer(sock, 0.05)
