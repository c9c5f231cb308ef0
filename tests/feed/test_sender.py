"""What is sent waits for a connection, and goes over the next one where the first takes no more."""

from __future__ import annotations

import os

import gevent
import pytest

from gtool.feed import sender as module
from gtool.feed.sender import Sender, send_lines
from gtool.runtime.stdio import Input
from gtool.web.frames import Message


class Client:
    """A connection that breaks after so many messages."""

    def __init__(self, most: int = 99):
        self.most = most
        self.sent: list[Message] = []

    def send(self, message):
        if len(self.sent) == self.most:
            raise BrokenPipeError
        self.sent.append(message)


ONE, TWO = Message(b"1", True), Message(b"2", True)


def test_a_message_goes_over_the_connection_there_is():
    sender, client = Sender(), Client()
    sender.use(client)
    sender.send(ONE)
    assert client.sent == [ONE]


def test_without_a_connection_it_waits_for_one():
    sender, client = Sender(), Client()
    sending = gevent.spawn(sender.send, ONE)
    gevent.sleep(0)
    assert not sending.dead
    sender.use(client)
    sending.get(timeout=5)
    assert client.sent == [ONE]


def test_what_a_broken_connection_does_not_take_goes_over_the_next():
    sender, first, second = Sender(), Client(most=1), Client()
    sender.use(first)
    sender.send(ONE)
    sending = gevent.spawn(sender.send, TWO)
    gevent.sleep(0)
    sender.use(None)
    sender.use(second)
    sending.get(timeout=5)
    assert (first.sent, second.sent) == ([ONE], [TWO])


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (b"one\ntwo\n", [(b"one", True), (b"two", True)]),
        (b"crlf\r\nlast", [(b"crlf", True), (b"last", True)]),
        ("grün\n".encode(), [("grün".encode(), True)]),
        (b"\xff\xfe\n", [(b"\xff\xfe", False)]),
        (b"\n", [(b"", True)]),
        (b"", []),
    ],
)
def test_each_line_is_a_message_and_binary_where_it_is_no_text(text, messages, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    monkeypatch.setattr(module, "open_input", lambda name: Input(reading, name))
    sender, client = Sender(), Client()
    sender.use(client)
    send_lines(sender)
    assert client.sent == [Message(*message) for message in messages]


def test_a_line_that_is_too_long_is_left_out(monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"much too long\nshort\n")
    os.close(writing)
    monkeypatch.setattr(module, "open_input", lambda name: Input(reading, name))
    monkeypatch.setattr(module, "LONGEST_LINE", 5)
    sender, client = Sender(), Client()
    sender.use(client)
    send_lines(sender)
    assert client.sent == [Message(b"short", True)]
