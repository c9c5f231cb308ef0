"""One WebSocket of a server's on a channel: one writer, kept alive, closed with a handshake. Waits for nothing."""

from __future__ import annotations

from typing import Protocol

from gtool.web.channel import Channel
from gtool.web.frames import GOING_AWAY, Conversation, Message, Pong

PING_S = 25.0  #: of silence after which a peer is asked whether it is there
PONG_S = 8.0  #: that it has to say so
CLOSE_S = 2.0  #: that it has to answer a close frame
MOST_WAITING = 1 << 18  #: bytes that wait for a peer to read, above which nothing is read from it


class Listener(Protocol):
    """What an application does with a WebSocket."""

    def message(self, message: Message) -> None: ...

    def drained(self) -> None:
        """Take note that all that waited is sent."""

    def closed(self) -> None:
        """Forget the connection: nothing can be sent any more."""


class WebSocket:
    """A conversation on a channel, kept alive. Never waits; a peer that does not read is not read from."""

    __slots__ = ("_closing_at", "_conversation", "_pinged_at", "_unsent", "channel", "is_open", "listener")

    def __init__(self, conversation: Conversation) -> None:
        """`channel` and `listener` are to be set before anything comes."""
        self._conversation = conversation
        self._pinged_at: float | None = None
        self._closing_at: float | None = None
        self._unsent = 0  # of the kernel's, when closing was looked at last
        self.is_open = True  #: messages can be sent
        self.channel: Channel
        self.listener: Listener

    @property
    def window_bits(self) -> int:
        """What broadcast_frame() is to be told for this peer."""
        return self._conversation.window_bits

    def send(self, message: Message) -> None:
        self.write(self._conversation.encode(message))

    def write(self, frames: bytes) -> None:
        """Send frames that are encoded already; nothing once the close frame was sent."""
        if self.is_open:
            self.channel.write(frames)

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake; the channel ends with it, or when the peer does not answer."""
        self._conversation.close(code, reason)
        self._answer()

    def tick(self, now: float) -> None:
        """See whether the peer is alive."""
        channel = self.channel
        silence = now - channel.heard_at
        if not self.is_open:
            unsent, self._unsent = self._unsent, channel.unsent
            # A peer can't answer what it has not come to.
            is_reading = self._unsent < unsent or (channel.waiting and silence <= PING_S + PONG_S)
            if self._closing_at is None or is_reading:
                self._closing_at = now
            elif now - self._closing_at > CLOSE_S:
                channel.finish("no answer to close")
        elif channel.waiting:
            if silence > PING_S + PONG_S:
                channel.close("does not read")
        elif self._pinged_at is not None and silence > now - self._pinged_at:
            if now - self._pinged_at > PONG_S:
                channel.close("no pong")
        else:
            self._pinged_at = None
            if silence > PING_S:
                self._pinged_at = now
                self._conversation.ping()
                self._answer()

    def received(self, data: bytes) -> None:
        for found in self._conversation.receive(data):
            if isinstance(found, Pong):
                self.write(found.frame)
            else:
                self.listener.message(found)
        self._answer()
        if self.channel.waiting > MOST_WAITING:
            self.channel.pause()

    def received_all(self) -> None:
        self._conversation.receive_end()
        self.is_open = False

    def drained(self) -> None:
        self.channel.resume()
        if self.is_open:
            self.listener.drained()

    def asked_to_close(self, reason: str) -> None:
        self.close(GOING_AWAY, reason)

    def ended(self) -> None:
        self.is_open = False
        self._conversation.release()
        self.listener.closed()

    def _answer(self) -> None:
        data, is_all = self._conversation.output()
        if data and self.is_open:
            self.channel.write(data)
        self.is_open = self.is_open and self._conversation.is_open
        if is_all:
            code = self._conversation.close_code
            self.channel.finish(f"closed {code}" if code else "closed")
