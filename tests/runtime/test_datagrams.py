"""Datagrams are answered to clients, never to services, and whatever one brings the others go on."""

from __future__ import annotations

import socket

import gevent
import pytest

from gtool.runtime import datagrams as datagrams_module
from gtool.runtime import server as runtime_server
from gtool.runtime.datagrams import Datagrams
from tests.servers.looped import Looped, looped

UDP = "udp://127.0.0.1:0"
UDP6 = "udp://[::1]:0"
SOON_S = 0.02


def answering(answer=lambda data: data, any_source=False, kind=Datagrams):
    """A service of datagrams only."""

    class Service(runtime_server.Service):
        def __init__(self, server):
            self.server = server

        def datagrams(self, listener):
            return kind(self.server, listener, lambda data, _address: answer(data), any_source)

    return Service


def ask(server: Looped, *questions: bytes, number: int = 0) -> list[bytes]:
    """Send them all, then give as many answers."""
    with server.connect(number) as client:
        for question in questions:
            client.send(question)
        return [client.recv(1 << 17) for _ in questions]


def refused(server: Looped) -> int:
    return server.counts.refused["datagram"]


@pytest.mark.parametrize("address", [UDP, UDP6])
def test_a_datagram_is_answered(address):
    with looped(answering(bytes.upper), address) as server:
        assert ask(server, b"hello", b"again") == [b"HELLO", b"AGAIN"]


def test_each_sender_has_its_own_answer():
    with looped(answering(), UDP) as server, server.connect() as one, server.connect() as other:
        one.send(b"one")
        other.send(b"other")
        assert (other.recv(10), one.recv(10)) == (b"other", b"one")


@pytest.mark.parametrize("size_bytes", [0, 1, 65_507])
def test_a_datagram_of_any_size_is_answered_whole(size_bytes):
    with looped(answering(), UDP) as server:
        assert ask(server, bytes(size_bytes)) == [bytes(size_bytes)]


def test_more_than_a_turns_are_answered():
    with looped(answering(), UDP) as server:
        questions = [b"%d" % number for number in range(2 * datagrams_module.PER_TURN)]
        assert ask(server, *questions) == questions


def test_no_answer_is_none():
    with looped(answering(lambda data: None), UDP) as server, server.connect() as client:
        client.send(b"hello")
        gevent.idle()
        counts = server.counts
        assert (counts.received, counts.sent, counts.messages) == (5, 0, 0)


def test_an_empty_answer_is_one():
    with looped(answering(lambda data: b""), UDP) as server:
        assert ask(server, b"hello") == [b""]
        assert server.counts.messages == 1


def test_it_counts_bytes_and_answers():
    with looped(answering(lambda data: 2 * data), UDP) as server:
        ask(server, b"abc", b"de")
        counts = server.counts
        assert (counts.received, counts.sent, counts.messages) == (5, 10, 2)


@pytest.mark.parametrize("address", ["udp://0.0.0.0:0", "udp://[::]:0"])
def test_an_answer_comes_from_the_address_that_was_asked(address):
    """Else who is asked at one of many addresses answers from another, and no client takes that."""
    target = "::1" if "[" in address else "127.0.0.3"
    with looped(answering(), address) as server, server.socket() as client:
        client.connect((target, server.target()[1]))
        client.send(b"hello")
        assert client.recv(10) == b"hello"


def test_a_datagram_from_our_own_port_is_not_answered():
    """It is of another server like us: the two would answer each other for ever."""
    with looped(answering(), UDP) as server, server.socket() as other:
        other.bind(("127.0.0.2", server.target()[1]))
        other.sendto(b"hello", server.target())
        gevent.idle()
        assert (refused(server), server.counts.messages, server.counts.received) == (1, 0, 0)


def test_a_datagram_from_a_well_known_port_is_not_answered():
    with looped(answering(), UDP) as server:
        (datagrams,) = server.server._datagrams
        assert [datagrams.is_client(("127.0.0.1", port)) for port in (7, 19, 1023, 1024, 65535)] == [
            False,
            False,
            False,
            True,
            True,
        ]


def test_what_is_not_answered_holds_up_no_other():
    with looped(answering(), UDP) as server, server.socket() as other:
        other.bind(("127.0.0.2", server.target()[1]))
        for _ in range(2 * datagrams_module.PER_TURN):
            other.sendto(b"hello", server.target())
        assert ask(server, b"hello") == [b"hello"]


def test_a_datagram_from_anywhere_is_answered_on_request():
    with looped(answering(any_source=True), UDP) as server, server.socket() as other:
        other.bind(("127.0.0.2", server.target()[1]))
        other.sendto(b"hello", server.target())
        assert other.recv(10) == b"hello"


def test_an_answer_to_a_client_that_has_gone_harms_no_other():
    """The kernel reports it (ICMP port unreachable), if at all, as an error of a later call."""
    with looped(answering(), UDP) as server:
        for _ in range(3):
            with server.connect() as client:
                client.send(b"hello")
        gevent.idle()
        assert ask(server, b"still here?") == [b"still here?"]


def test_an_answer_that_is_too_large_harms_no_other():
    answers = {b"large": bytes(70_000)}
    with looped(answering(lambda data: answers.get(data, data)), UDP) as server:
        with server.connect() as client:
            client.send(b"large")
            gevent.idle()
        assert ask(server, b"still here?") == [b"still here?"]
        assert server.counts.messages == 1


class Full(socket.socket):
    """A socket whose buffer is full, as far as its user sees, as often as is said: on loopback it never is."""

    times = 0

    def sendmsg(self, *args):
        if self.times:
            self.times -= 1
            raise BlockingIOError
        return super().sendmsg(*args)


@pytest.fixture
def full_socket(monkeypatch):
    monkeypatch.setattr(socket, "socket", Full)


@pytest.mark.usefixtures("full_socket")
@pytest.mark.parametrize("times", [1, 3])
def test_an_answer_that_the_kernel_does_not_take_is_sent_when_it_does(times):
    with looped(answering(), UDP) as server:
        server.listeners[0].socket.times = times
        assert ask(server, b"one", b"two", b"three") == [b"one", b"two", b"three"]
        assert server.counts.messages == 3


@pytest.fixture
def turns(monkeypatch):
    """How much had been received at the end of each turn."""
    seen = []
    ready = Datagrams.ready

    def note(self, now):
        ready(self, now)
        seen.append(self.received)

    monkeypatch.setattr(Datagrams, "ready", note)
    return seen


@pytest.mark.usefixtures("full_socket")
def test_while_an_answer_waits_nothing_is_read(turns):
    with looped(answering(), UDP) as server, server.connect() as client:
        server.listeners[0].socket.times = 3
        for _ in range(3):
            client.send(b"x")
        assert [client.recv(10) for _ in range(3)] == [b"x"] * 3
        assert turns[:3] == [1, 1, 1]


@pytest.mark.usefixtures("full_socket")
def test_when_no_answer_waits_any_more_the_loop_is_left_asleep(turns):
    with looped(answering(), UDP) as server:
        server.listeners[0].socket.times = 1
        ask(server, b"hello")
        number = len(turns)
        gevent.sleep(SOON_S)
        assert len(turns) == number


def test_it_is_closed_with_the_server():
    with looped(answering(), UDP) as server:
        server.stop()
        assert server.listeners[0].socket.fileno() == -1
