"""Server-sent events (WHATWG HTML, section 9.2): their text, and a stream of them on a channel."""

from __future__ import annotations

from typing import Any

from gtool.web import guard
from gtool.web.channel import Channel

CONTENT_TYPE = "text/event-stream; charset=utf-8"
#: nginx would hold events back until its buffer is full; a cache has no use for any
HEADERS = (("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"), *guard.HEADERS)
HEARTBEAT_S = 15.0  #: of silence, after which a comment shows proxies, and us, that the connection stands
DEAD_S = 33.0  #: that a peer may read nothing for


def event(data: str, event_id: str | None = None, kind: str | None = None) -> bytes:
    """Encode an event. A line break of any kind in `data` becomes one between data fields, as a line feed."""
    lines = []
    if kind is not None:
        lines.append(f"event: {kind}\n")
    if event_id is not None:
        lines.append(f"id: {event_id}\n")
    text = data.replace("\r\n", "\n").replace("\r", "\n")
    lines += [f"data: {line}\n" for line in text.split("\n")]
    return ("".join(lines) + "\n").encode()


class EventStream:
    """One reader's stream. `channel` and `listener` are set before anything is written."""

    __slots__ = ("_written_at", "channel", "listener")

    def __init__(self) -> None:
        self._written_at: float | None = None
        self.channel: Channel
        self.listener: Any

    @property
    def is_open(self) -> bool:
        return self.channel.is_open

    def write(self, events: bytes) -> None:
        if self.channel.is_open:
            self.channel.write(events)
            self._written_at = None

    def close(self, _code: int = 0, reason: str = "") -> None:
        self.channel.finish(reason or "closed")

    def tick(self, now: float) -> None:
        if self.channel.waiting:
            if now - self.channel.heard_at > DEAD_S:
                self.channel.close("does not read")
        elif self._written_at is None:
            self._written_at = now
        elif now - self._written_at > HEARTBEAT_S:
            self.write(b":\n\n")

    def received(self, data: bytes) -> None:
        pass  # the request is over: nothing more is wanted

    def received_all(self) -> None:
        pass

    def drained(self) -> None:
        self.listener.drained()

    def asked_to_close(self, reason: str) -> None:
        pass

    def ended(self) -> None:
        self.listener.closed()
