"""A client agrees with a server; one that answers something else is told from one that says no."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager

import pytest
import zmq

from gtool.errors import PeerGone
from gtool.pingpong import green, protocol
from gtool.pingpong.connection import connected
from gtool.pingpong.control import Control
from gtool.pingpong.endpoints import closing, destroy

LONG_S = 10.0
SOON_S = 0.1
TICK_MS = 5
SERVER = {"protocol": protocol.VERSION, "engine": "green", "versions": {"gtool": "1"}}
REPORT = {**dict.fromkeys(protocol.COUNTED, 1), "first_at": 1.5, "last_at": 2.5, "is_over": True}


class Peer:
    """A ROUTER in a thread: `answers` gives the frames to answer each question with."""

    def __init__(self, answers):
        self._answers = answers
        self._is_over = threading.Event()
        self.questions = []
        self._context = zmq.Context()
        self._sock = self._context.socket(zmq.ROUTER)
        self._sock.linger = 0
        self._sock.bind("tcp://127.0.0.1:*")
        self.endpoint = self._sock.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self):
        self._is_over.set()
        self._thread.join(LONG_S)
        self._sock.close()
        destroy(self._context)

    def _run(self):
        while not self._is_over.is_set():
            if self._sock.poll(TICK_MS):
                identity, *frames = self._sock.recv_multipart()
                question = protocol.decode(frames)
                self.questions.append(question)
                for answer in self._answers(question, frames):
                    self._sock.send_multipart([identity, *answer])


@contextmanager
def agreeing_with(answers, timeout_s=LONG_S):
    """Give a Control, and the peer that it asks."""
    peer = Peer(answers)
    try:
        with closing(zmq.Context()) as context:
            sock = context.socket(zmq.DEALER)
            with connected(green, sock, peer.endpoint, None, timeout_s, linger_ms=1000) as connection:
                yield Control(connection, peer.endpoint, timeout_s), peer
    finally:
        peer.close()


def saying(**answer):
    """Answer each question with that."""
    return lambda question, frames: [[b"", *protocol.encode({"id": question["id"], **answer})]]


def in_turn(*answers):
    """Answer one question after the other."""
    rest = iter(answers)
    return lambda question, frames: next(rest)(question, frames)


def echo(question, frames):
    return [frames]


def rubbish(question, frames):
    return [[b"", b"rubbish"]]


def no_json(question, frames):
    return [[b"", protocol.MAGIC, b"rubbish"]]


def endless(question, frames):
    return [[b"", protocol.MAGIC, b"[" * 50_000]]


def silence(question, frames):
    return []


ASKING = {
    "hello": lambda control: control.hello("req-rep", [8], 1),
    "open": lambda control: control.open("push-pull", 8, 1.0),
    "report": lambda control: control.reports({1: 1}, LONG_S),
}


def test_hello_gives_what_the_server_is():
    with agreeing_with(saying(**SERVER, more="is ignored")) as (control, _):
        assert control.hello("req-rep", [8, 16], 3) == {"engine": "green", "versions": {"gtool": "1"}}


def test_hello_says_what_is_to_be_measured_and_in_which_protocol():
    with agreeing_with(saying(**SERVER)) as (control, peer):
        control.hello("req-rep", [8, 16], 3)
        (question,) = peer.questions
    assert (question["do"], question["protocol"]) == ("hello", protocol.VERSION)
    assert (question["pattern"], question["sizes"], question["pipeline"]) == ("req-rep", [8, 16], 3)


def test_all_questions_of_a_run_carry_its_name_and_a_number_of_their_own():
    with agreeing_with(in_turn(saying(**SERVER), saying(session=1, endpoint=":1"), saying(**REPORT))) as (
        control,
        peer,
    ):
        for ask in ASKING.values():
            ask(control)
    assert [question["id"] for question in peer.questions] == [1, 2, 3]
    assert len({question["run"] for question in peer.questions}) == 1


def test_runs_have_different_names():
    names = set()
    for _ in range(2):
        with agreeing_with(saying(**SERVER)) as (control, peer):
            control.hello("req-rep", [8], 1)
            names.add(peer.questions[0]["run"])
    assert len(names) == 2


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_server_of_another_protocol_is_told(version):
    expected = "speaks another protocol: .*both sides want the same gtool"
    with (
        agreeing_with(saying(**{**SERVER, "protocol": version})) as (control, _),
        pytest.raises(PeerGone, match=expected),
    ):
        control.hello("req-rep", [8], 1)


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_a_server_that_says_no_is_told_with_its_reason(ask):
    with agreeing_with(saying(error="I will not")) as (control, peer):
        with pytest.raises(PeerGone) as raised:
            ask(control)
        assert str(raised.value) == f"{peer.endpoint} does not agree: I will not"


def test_a_server_that_did_not_understand_knows_no_number():
    answer = [b"", *protocol.encode({"error": "what?"})]
    with agreeing_with(lambda *_: [answer]) as (control, _), pytest.raises(PeerGone, match="does not agree: what"):
        control.hello("req-rep", [8], 1)


def test_a_reason_is_harmless_and_short():
    with agreeing_with(saying(error="\x1b[2J" + "x" * 10_000)) as (control, _), pytest.raises(PeerGone) as raised:
        control.hello("req-rep", [8], 1)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500


def test_what_a_server_says_of_itself_is_harmless():
    with agreeing_with(saying(**{**SERVER, "engine": "\x1b[2J", "versions": {"gtool": "\x1b"}})) as (control, _):
        assert control.hello("req-rep", [8], 1) == {"engine": r"\x1b[2J", "versions": {"gtool": r"\x1b"}}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_one_that_sends_back_what_comes_is_no_gtool_and_can_be_measured_plainly(ask):
    expected = "is no gtool server: it sends back our own question .--plain"
    with agreeing_with(echo) as (control, _), pytest.raises(PeerGone, match=expected):
        ask(control)


@pytest.mark.parametrize("answer", [rubbish, no_json, endless])
@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_one_that_answers_rubbish_is_no_gtool(ask, answer):
    expected = "is no gtool server: it answers .*--plain"
    with agreeing_with(answer) as (control, _), pytest.raises(PeerGone, match=expected):
        ask(control)


@pytest.mark.parametrize(
    "answer",
    [{}, {"session": 1}, {"session": "1", "endpoint": ":1"}, {"session": 1, "endpoint": 1},
     {"session": 1, "endpoint": "tcp://192.0.2.1:1"}, {"session": 1, "endpoint": "ipc:///somewhere"},
     {"session": 1, "endpoint": ":rubbish"}],
    ids=str,
)  # fmt: skip
def test_a_session_that_is_none_is_rubbish(answer):
    with agreeing_with(saying(**answer)) as (control, _), pytest.raises(PeerGone, match="no gtool server"):
        control.open("push-pull", 8, 1.0)


def test_versions_that_are_none_are_rubbish():
    with agreeing_with(saying(**{**SERVER, "versions": 1})) as (control, _), pytest.raises(PeerGone, match="no gtool"):
        control.hello("req-rep", [8], 1)


def test_a_session_is_found_on_the_host_of_the_server():
    with agreeing_with(saying(session=7, endpoint=":1234")) as (control, peer):
        assert control.open("pub-sub", 8, 1.5) == (7, "tcp://127.0.0.1:1234")
    question = peer.questions[0]
    assert (question["pattern"], question["size"], question["idle_s"]) == ("pub-sub", 8, 1.5)


def test_silence_is_told_in_time():
    with agreeing_with(silence, SOON_S) as (control, peer):
        started_at = time.monotonic()
        with pytest.raises(PeerGone, match=f"no answer from {peer.endpoint} within 0.1 s"):
            control.hello("req-rep", [8], 1)
        assert SOON_S <= time.monotonic() - started_at < 5


def test_an_answer_to_another_question_is_not_taken():
    def late(question, frames):
        other = {**REPORT, "received": 99, "id": question["id"] - 1}
        return [[b"", *protocol.encode(other)], *saying(**REPORT)(question, frames)]

    with agreeing_with(late) as (control, _):
        assert control.reports({1: 1}, LONG_S)[0]["received"] == 1


def test_answers_to_other_questions_do_not_put_the_deadline_off():
    def flood(question, frames):
        return [[b"", *protocol.encode({"id": 99})]] * 1000

    with agreeing_with(flood, SOON_S) as (control, _), pytest.raises(PeerGone, match="no answer"):
        control.hello("req-rep", [8], 1)


def test_a_report_is_asked_for_until_it_is_over():
    not_yet = saying(**{**REPORT, "is_over": False})
    with agreeing_with(in_turn(not_yet, not_yet, saying(**{**REPORT, "received": 5}))) as (control, peer):
        assert control.reports({7: 9}, LONG_S)[0]["received"] == 5
    assert [(each["session"], each["sent"]) for each in peer.questions] == [(7, 9)] * 3


def test_a_report_that_is_not_over_in_time_is_taken_as_it_is():
    counts = itertools.count(1)
    with agreeing_with(
        lambda question, frames: saying(**{**REPORT, "is_over": False, "received": next(counts)})(question, frames)
    ) as (control, peer):
        assert control.reports({7: 9}, 5 * SOON_S)[0]["received"] == len(peer.questions) > 1


def test_reports_of_several_sessions_come_in_their_order_when_all_are_over():
    def report(question, frames):
        is_over = question["session"] == 1 or len(peer.questions) > 2
        return saying(**{**REPORT, "received": question["session"], "is_over": is_over})(question, frames)

    with agreeing_with(report) as (control, peer):
        assert [report["received"] for report in control.reports({1: 10, 2: 20}, LONG_S)] == [1, 2]
    assert [(each["session"], each["sent"]) for each in peer.questions] == [(1, 10), (2, 20)] * 2


@pytest.mark.parametrize("value", [None, "1", [], "inf", -1, 10**30, True])
@pytest.mark.parametrize("name", [*protocol.COUNTED, "first_at", "last_at"])
def test_a_report_without_its_numbers_is_not_believed(name, value):
    expected = "reports what can't be of 1 messages"
    with agreeing_with(saying(**{**REPORT, name: value})) as (control, _), pytest.raises(PeerGone, match=expected):
        control.reports({1: 1}, LONG_S)


def test_a_report_that_ends_before_it_begins_is_not_believed():
    answer = saying(**{**REPORT, "first_at": 3.0})
    with agreeing_with(answer) as (control, _), pytest.raises(PeerGone, match="reports what can't be"):
        control.reports({1: 1}, LONG_S)


def test_bye_waits_for_nobody_and_is_said():
    said = threading.Event()

    def note(question, frames):
        said.set()
        return []

    with agreeing_with(note) as (control, peer):
        control.bye()
        assert said.wait(LONG_S)
    assert peer.questions[0]["do"] == "bye"
