"""ws-tail: a feed in the shell, of ws-feed or of any WebSocket server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gevent

from gtool.feed.received import Received, open_envelope
from gtool.feed.sender import Sender, send_lines
from gtool.feed.view import SUBPROTOCOL
from gtool.live import tail
from gtool.live.terms import Output, Settings
from gtool.web.frames import Message


class Tail:
    """One run."""

    def __init__(self, settings: Settings, output: Output[Received], sends: bool = False) -> None:
        """`sends`: the lines of stdin go to the server."""
        self._sender = Sender()
        self._sends = sends
        self._tail = tail.Tail(settings, output, _Feed(), self._sender.use)

    def run(self) -> None:
        """Hand on messages; see gtool.live.tail.Tail.run()."""
        sending = gevent.spawn(send_lines, self._sender) if self._sends else None
        try:
            self._tail.run()
        finally:
            if sending:
                sending.kill()


class _Feed:
    subprotocol = SUBPROTOCOL

    def open(self, data: bytes) -> tuple[Received | None, Mapping[str, Any]]:
        return open_envelope(data)

    def bare(self, message: Message) -> Received:
        return Received(message.data, message.is_text)
