"""A WebSocket's life: asked whether it is there, closed with a handshake by either side, stopped if it does not read.

Times are made up, and told by tick(); the peer is the protocol of `websockets` on a real socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER
from websockets.protocol import Protocol as FrameProtocol

from gtool.web import channel as channel_module
from gtool.web import peer as peer_module
from gtool.web.frames import Conversation, InOrder, Message
from gtool.web.peer import CLOSE_S, PING_S, PONG_S, WebSocket
from tests.servers.looped import end_input, reset
from tests.web.test_channel import SMALL_BUFFER, Talker, Wired, wired

NOW = 1000.0
LONG = b"x" * 200_000


class Listener:
    """Notes what it is told, and does what the test has it do."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.on_message: Callable[[Message], object] = lambda message: None

    def message(self, message: Message) -> None:
        self.calls.append(message)
        self.on_message(message)

    def drained(self) -> None:
        self.calls.append("drained")

    def closed(self) -> None:
        self.calls.append("closed")


class Talking(Talker):
    """Hands on to the WebSocket what the channel says, and notes it for the test."""

    def __init__(self, websocket: WebSocket) -> None:
        super().__init__()
        self.websocket = websocket

    def received(self, data: bytes) -> None:
        self.websocket.received(data)
        super().received(data)

    def received_all(self) -> None:
        self.websocket.received_all()
        super().received_all()

    def drained(self) -> None:
        self.websocket.drained()
        super().drained()

    def asked_to_close(self, reason: str) -> None:
        self.websocket.asked_to_close(reason)
        super().asked_to_close(reason)

    def ended(self) -> None:
        self.websocket.ended()
        super().ended()


class Life:
    """A WebSocket, its listener, and its peer, whose time the test tells."""

    def __init__(self, made: Wired) -> None:
        protocol = InOrder(SERVER, max_size=1 << 20)
        self.websocket = WebSocket(Conversation(protocol))
        self.websocket.channel = self.channel = made.channel
        self.websocket.listener = self.listener = Listener()
        self.talker = made.channel.owner = made.talker = Talking(self.websocket)
        self.wired = made
        self.peer = made.peer
        self.theirs = FrameProtocol(CLIENT)
        self.channel.heard_at = NOW

    def send(self) -> None:
        """Send what the peer has to say, and wait until we have taken it."""
        data = b"".join(self.theirs.data_to_send())
        count = len(self.talker.data) + len(data)
        self.peer.sendall(data)
        self.talker.wait(lambda: len(self.talker.data) >= count or "ended" in self.talker.calls)

    def say(self, data: bytes) -> None:
        self.theirs.send_text(data)
        self.send()

    def read(self, opcode: Opcode) -> bytes:
        """Read up to a frame of that kind."""
        while True:
            frames = self.theirs.events_received()
            if frames:
                assert [frame.opcode for frame in frames] == [opcode]
                return bytes(frames[0].data)
            data = self.peer.recv(1 << 16)
            assert data, "the stream ended"
            self.theirs.receive_data(data)

    def pass_silently(self, seconds: float) -> float:
        """Have a tick come after so much silence; give its time."""
        self.websocket.tick(NOW + seconds)
        return NOW + seconds

    def fill(self) -> None:
        while not self.channel.waiting:
            self.websocket.send(Message(LONG, True))


@pytest.fixture
def life() -> Iterator[Life]:
    with wired(buffer_bytes=SMALL_BUFFER) as made:
        yield Life(made)


def test_messages_go_to_the_listener(life):
    life.say(b"hello")
    assert life.listener.calls == [Message(b"hello", True)]


def test_what_is_sent_comes(life):
    life.websocket.send(Message(b"hello", True))
    assert life.read(Opcode.TEXT) == b"hello"


def test_a_ping_is_answered(life):
    life.theirs.send_ping(b"there?")
    life.send()
    assert life.read(Opcode.PONG) == b"there?"


def test_a_ping_between_two_messages_is_answered_between_their_answers(life):
    life.listener.on_message = life.websocket.send
    life.theirs.send_text(b"one")
    life.theirs.send_ping(b"?")
    life.theirs.send_text(b"two")
    life.send()
    life.websocket.close(1000)
    life.theirs.receive_data(life.peer.recv(1 << 16))
    assert [bytes(frame.data) for frame in life.theirs.events_received()[:3]] == [b"one", b"?", b"two"]


def test_a_peer_that_is_silent_is_asked_whether_it_is_there(life):
    life.pass_silently(PING_S + 0.1)
    assert life.read(Opcode.PING) == b""


def test_a_peer_that_is_not_silent_for_long_is_not_asked(life):
    life.pass_silently(PING_S)
    life.websocket.close(1000)
    assert life.read(Opcode.CLOSE)


def test_a_peer_is_asked_once(life):
    asked_at = life.pass_silently(PING_S + 0.1)
    life.websocket.tick(asked_at + 1)
    life.websocket.tick(asked_at + PONG_S)
    life.read(Opcode.PING)
    life.websocket.close(1000)
    life.read(Opcode.CLOSE)


def test_a_peer_that_does_not_answer_is_left(life):
    asked_at = life.pass_silently(PING_S + 0.1)
    life.websocket.tick(asked_at + PONG_S + 0.1)
    assert life.wired.reasons == ["no pong"]


def test_what_is_sent_to_a_peer_is_no_sign_of_its_life(life):
    asked_at = life.pass_silently(PING_S + 0.1)
    life.websocket.send(Message(b"hello", True))
    life.channel.connection.active_at = asked_at + PONG_S
    life.websocket.tick(asked_at + PONG_S + 0.1)
    assert life.wired.reasons == ["no pong"]


def test_a_peer_that_only_listens_is_asked_though_it_is_talked_to(life):
    life.websocket.send(Message(b"hello", True))
    life.read(Opcode.TEXT)
    life.channel.connection.active_at = NOW + PING_S
    life.pass_silently(PING_S + 0.1)
    assert life.read(Opcode.PING) == b""


def test_a_peer_has_some_time_to_answer(life):
    asked_at = life.pass_silently(PING_S + 0.1)
    life.websocket.tick(asked_at + PONG_S)
    assert life.channel.is_open


@pytest.mark.parametrize("answer", ["send_pong", "send_text"])
def test_whatever_a_peer_says_is_an_answer(life, answer):
    asked_at = life.pass_silently(PING_S + 0.1)
    getattr(life.theirs, answer)(b"")
    life.send()
    life.channel.heard_at = asked_at + 1
    life.websocket.tick(asked_at + PONG_S + 0.1)
    assert life.channel.is_open


def test_what_was_said_before_the_ping_is_no_answer(life):
    life.say(b"hello")
    life.channel.heard_at = NOW
    asked_at = life.pass_silently(PING_S + 0.1)
    life.websocket.tick(asked_at + PONG_S + 0.1)
    assert life.wired.reasons == ["no pong"]


def test_a_peer_that_has_answered_is_asked_again_after_the_next_silence(life):
    asked_at = life.pass_silently(PING_S + 0.1)
    life.read(Opcode.PING)
    life.channel.heard_at = asked_at + 1
    life.websocket.tick(asked_at + 2)
    life.websocket.tick(asked_at + 1 + PING_S + 0.1)
    life.read(Opcode.PING)
    life.websocket.tick(asked_at + 1 + PING_S + 0.1 + PONG_S + 0.1)
    assert life.wired.reasons == ["no pong"]


def test_a_peer_that_answers_at_once_is_there(life):
    """Its answer and our ping have the same time, as the loop's turns are counted."""
    asked_at = life.pass_silently(PING_S + 0.1)
    life.channel.heard_at = asked_at
    life.websocket.tick(asked_at + PONG_S + 0.1)
    assert life.channel.is_open


def test_a_peer_that_does_not_read_is_left(life):
    life.fill()
    life.pass_silently(PING_S + PONG_S + 0.1)
    assert life.wired.reasons == ["does not read"]


def test_a_peer_that_does_not_read_has_some_time(life):
    life.fill()
    life.pass_silently(PING_S + PONG_S)
    assert life.channel.is_open


def test_no_ping_waits_behind_what_waits_already(life):
    life.fill()
    waiting = life.channel.waiting
    life.pass_silently(PING_S + 0.1)
    assert life.channel.waiting == waiting


def test_a_peer_that_does_not_read_is_not_read_from(monkeypatch, life):
    monkeypatch.setattr(peer_module, "MOST_WAITING", 0)
    life.fill()
    life.say(b"first")
    life.theirs.send_text(b"second")
    life.peer.sendall(b"".join(life.theirs.data_to_send()))
    life.wired.pass_turns()
    assert life.listener.calls == [Message(b"first", True)]


def test_a_peer_that_reads_again_is_read_from_again(monkeypatch, life):
    monkeypatch.setattr(peer_module, "MOST_WAITING", 0)
    life.fill()
    life.say(b"first")
    life.theirs.send_text(b"second")
    life.peer.sendall(b"".join(life.theirs.data_to_send()))
    reader = gevent.spawn(read_on, life.peer)
    life.talker.wait(lambda: Message(b"second", True) in life.listener.calls)
    reader.kill()


def test_a_peer_for_which_little_waits_is_read_from(life):
    life.fill()
    assert 0 < life.channel.waiting <= peer_module.MOST_WAITING
    life.say(b"first")
    life.say(b"second")
    assert life.listener.calls == [Message(b"first", True), Message(b"second", True)]


def test_the_listener_learns_that_all_is_sent(life):
    life.fill()
    reader = gevent.spawn(read_on, life.peer)
    life.talker.wait_for("drained")
    reader.kill()
    assert life.listener.calls == ["drained"]


def test_the_listener_does_not_hear_of_what_is_sent_after_the_close(life):
    life.fill()
    life.websocket.close(1000)
    reader = gevent.spawn(read_on, life.peer)
    life.talker.wait_for("drained")
    reader.kill()
    assert life.listener.calls == []


def test_closing_says_why(life):
    life.websocket.close(4000, "enough")
    life.read(Opcode.CLOSE)
    assert (life.theirs.close_rcvd.code, life.theirs.close_rcvd.reason) == (4000, "enough")


def test_closing_waits_for_the_answer_and_then_for_the_end(life):
    life.websocket.close(1000)
    life.read(Opcode.CLOSE)
    assert life.channel.is_open
    life.send()
    assert (life.channel.is_open, life.channel.is_closed, life.peer.recv(1)) == (False, False, b"")
    end_input(life.peer)
    assert life.wired.reason() == "closed 1000"


def test_closing_does_not_wait_for_ever_for_the_answer(life):
    life.websocket.close(1000)
    life.websocket.tick(NOW)
    life.websocket.tick(NOW + CLOSE_S)
    still = life.channel.is_open
    life.websocket.tick(NOW + CLOSE_S + 0.1)
    end_input(life.peer)
    assert (still, life.wired.reason()) == (True, "no answer to close")


def test_a_peer_that_has_much_to_read_first_has_time_to_answer_a_close(life):
    life.fill()
    life.websocket.close(1000)
    life.websocket.tick(NOW + 1)
    life.websocket.tick(NOW + 1 + CLOSE_S + 0.1)
    assert life.channel.is_open


def test_a_peer_that_does_not_come_to_a_close_is_left(monkeypatch, life):
    monkeypatch.setattr(channel_module, "SEND_S", 0.01)
    life.fill()
    life.websocket.close(1000)
    last = life.pass_silently(PING_S + PONG_S)
    life.websocket.tick(last + CLOSE_S)
    still = life.channel.is_open
    life.websocket.tick(last + CLOSE_S + 0.1)
    assert (still, life.wired.reason()) == (True, "no answer to close")


def test_nothing_is_sent_after_closing(life):
    life.websocket.close(1000)
    life.websocket.send(Message(b"late", True))
    life.websocket.close(1001)
    life.read(Opcode.CLOSE)
    life.send()
    assert life.peer.recv(1 << 16) == b""


def test_what_a_peer_says_before_it_answers_is_heard(life):
    life.websocket.close(1000)
    life.theirs.send_text(b"on its way")
    life.send()
    assert life.listener.calls == [Message(b"on its way", True)]


def test_a_websocket_that_closes_is_not_open(life):
    before = life.websocket.is_open
    life.websocket.close(1000)
    assert (before, life.websocket.is_open) == (True, False)


def test_a_close_of_the_peers_is_answered_and_we_end_first(life):
    life.theirs.send_close(1000, "bye")
    life.send()
    assert life.read(Opcode.CLOSE) == b"\x03\xe8bye"
    assert life.peer.recv(1) == b""
    end_input(life.peer)
    assert life.wired.reason() == "closed 1000"


def test_a_message_that_comes_with_a_close_is_answered_before_the_close(life):
    life.listener.on_message = life.websocket.send
    life.theirs.send_text(b"last")
    life.theirs.send_close(1000)
    life.send()
    assert life.peer.recv(1 << 16) == b"\x81\x04last\x88\x02\x03\xe8"


def test_a_listener_may_close_when_it_has_a_message(life):
    life.listener.on_message = lambda message: life.websocket.close(4001, "no")
    life.say(b"hello")
    life.read(Opcode.CLOSE)
    assert life.theirs.close_rcvd.code == 4001


def test_a_listener_may_have_the_channel_closed_when_it_has_a_message(life):
    life.listener.on_message = lambda message: life.channel.close("idle")
    life.theirs.send_text(b"hello")
    life.theirs.send_ping(b"?")
    life.send()
    assert (life.wired.reason(), life.listener.calls) == ("idle", [Message(b"hello", True), "closed"])


def test_a_peer_that_breaks_the_protocol_is_told_and_left(life):
    life.peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
    life.read(Opcode.CLOSE)
    assert life.theirs.close_rcvd.code == 1002
    end_input(life.peer)
    assert life.wired.reason() == "closed 1002"


def test_a_peer_that_ends_without_a_close_has_closed(life):
    end_input(life.peer)
    assert life.wired.reason() == "closed"
    assert life.listener.calls == ["closed"]


def test_a_peer_that_resets_is_gone(life):
    life.say(b"hello")
    reset(life.peer)
    assert life.wired.reason() == "reset"
    assert life.listener.calls == [Message(b"hello", True), "closed"]


def test_the_server_that_closes_says_that_it_goes_away(life):
    life.channel.close("idle")
    life.read(Opcode.CLOSE)
    assert (life.theirs.close_rcvd.code, life.theirs.close_rcvd.reason) == (1001, "idle")
    assert life.wired.reasons == ["idle"]


def test_the_server_that_closes_after_a_close_says_nothing_more(life):
    life.websocket.close(4000)
    life.channel.close("drained")
    life.read(Opcode.CLOSE)
    assert (life.theirs.close_rcvd.code, life.wired.reasons) == (4000, ["drained"])


def test_a_websocket_that_has_ended_can_be_told_anything(life):
    life.channel.close("gone")
    life.websocket.send(Message(b"late", True))
    life.websocket.close(1000)
    life.pass_silently(1)
    life.pass_silently(1000)
    assert life.listener.calls == ["closed"]


def test_the_window_is_that_of_the_conversation(life):
    assert life.websocket.window_bits == 0


def read_on(sock: Any) -> None:
    while sock.recv(1 << 16):
        pass
