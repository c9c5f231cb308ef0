"""How a message of a feed looks to a reader: bare or in an envelope, as a WebSocket frame or as an event. No I/O."""

from __future__ import annotations

from typing import NamedTuple

import simplejson

from gtool.live.encoder import Note, frame_or_event, note_as
from gtool.streams.log import Cursor, Entry

#: A client that offers this gets envelopes, and is known to know what they are; any other server ignores the offer.
SUBPROTOCOL = "gtool.envelope"


class View(NamedTuple):
    """What a reader has asked for. `window_bits` is the deflate window its WebSocket has agreed on, 0 for none."""

    is_websocket: bool
    has_envelope: bool = False
    window_bits: int = 0
    topics: frozenset[str] | None = None

    @property
    def look(self) -> View:
        return self

    def encode(self, epoch: str, entry: Entry) -> bytes:
        data = envelope(epoch, entry) if self.has_envelope else entry.data.decode()
        return frame_or_event(self.is_websocket, self.window_bits, data, str(Cursor(epoch, entry.offset)))

    def note(self, note: Note) -> bytes:
        """Encode what is said about the feed, beside its messages; nothing for one who sees bare messages only."""
        return b"" if self.is_websocket and not self.has_envelope else note_as(self.is_websocket, note)


def envelope(epoch: str, entry: Entry) -> str:
    """Write a message as JSON with its id, its time in seconds since 1970, and its data."""
    fields = {"id": str(Cursor(epoch, entry.offset)), "time": round(entry.time, 6), "data": entry.data.decode()}
    return simplejson.dumps(fields, ensure_ascii=False)
