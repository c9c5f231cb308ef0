"""--echo: each gets its own back, and is counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gtool.feed.echo import Echo
from gtool.web.frames import Message


class WebSocket:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.channel = SimpleNamespace(connection=SimpleNamespace(messages=0))

    def send(self, message: Message) -> None:
        self.sent.append(message)


@pytest.fixture
def websocket() -> WebSocket:
    return WebSocket()


@pytest.mark.parametrize("message", [Message(b"hello", True), Message(b"\xff\0", False), Message(b"", True)])
def test_a_message_comes_back_as_what_it_was(websocket, message):
    Echo(websocket).message(message)
    assert websocket.sent == [message]


def test_messages_are_counted(websocket):
    echo = Echo(websocket)
    for _ in range(3):
        echo.message(Message(b"x", True))
    assert websocket.channel.connection.messages == 3


def test_who_has_read_all_or_has_gone_is_sent_nothing(websocket):
    echo = Echo(websocket)
    echo.drained()
    echo.closed()
    assert websocket.sent == []
