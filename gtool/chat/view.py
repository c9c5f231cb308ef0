"""How messages look to a reader that has asked for some rooms, or for all."""

from __future__ import annotations

from typing import NamedTuple

from gtool.chat.messages import render
from gtool.live.encoder import Note, frame_or_event, note_as
from gtool.streams.log import Cursor, Entry


class View(NamedTuple):
    """What a reader has asked for: some rooms or all, as WebSocket messages or as events."""

    is_websocket: bool
    topics: frozenset[str] | None = None
    window_bits: int = 0

    @property
    def look(self) -> View:
        return self._replace(topics=None)

    def encode(self, epoch: str, entry: Entry) -> bytes:
        text = render(epoch, entry)
        return frame_or_event(self.is_websocket, self.window_bits, text, str(Cursor(epoch, entry.offset)))

    def note(self, note: Note) -> bytes:
        return note_as(self.is_websocket, note)
