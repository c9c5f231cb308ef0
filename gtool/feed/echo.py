"""--echo: each client gets its own messages back; a target for tests of clients."""

from __future__ import annotations

from gtool.web.frames import Message
from gtool.web.peer import WebSocket


class Echo:
    """One client's. A client that does not read is not read from: see WebSocket."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    def message(self, message: Message) -> None:
        self._websocket.channel.connection.messages += 1
        self._websocket.send(message)

    def drained(self) -> None:
        pass

    def closed(self) -> None:
        pass
