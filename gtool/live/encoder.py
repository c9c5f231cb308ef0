"""What a log's entries look like to its readers: encoded once, whatever the number of readers. No I/O."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, Protocol

import simplejson

from gtool.streams.log import Entry, Log
from gtool.web import sse
from gtool.web.frames import broadcast_frame

BATCH_BYTES = 1 << 16  #: that are written at once, and wait for a slow reader at most, but for one larger message
BATCH_ENTRIES = 512
BATCHES = 16  #: that are remembered: most readers are at the same place
MOST_REMEMBERED = 16 << 20  #: bytes of pieces

Note = Mapping[str, Any]


class View(Hashable, Protocol):
    """What a reader has asked for; readers with equal views share what is encoded."""

    @property
    def topics(self) -> frozenset[str] | None:
        """Of these topics only; None for all."""

    @property
    def look(self) -> Hashable:
        """What is the same for views that encode an entry to the same bytes."""

    def encode(self, epoch: str, entry: Entry) -> bytes: ...

    def note(self, note: Note) -> bytes:
        """Encode what is said beside the messages; nothing for one who would take it for a message."""


def frame_or_event(is_websocket: bool, window_bits: int, data: str, event_id: str | None) -> bytes:
    """Encode a message for a WebSocket, whose deflate window has so many bits (0 for none), or as an event."""
    return broadcast_frame(data.encode(), True, window_bits) if is_websocket else sse.event(data, event_id)


def note_as(is_websocket: bool, note: Note) -> bytes:
    """Encode a note: as a WebSocket's message, or an event whose kind is the note's first key.

    One with a `cursor` tells where to go on, as a message with an id does.
    """
    text = simplejson.dumps(note, ensure_ascii=False)
    return (
        broadcast_frame(text.encode(), True) if is_websocket else sse.event(text, note.get("cursor"), next(iter(note)))
    )


class Pieces:
    """Entries that are encoded, by number, for all views that differ in their topics alone."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytes] = {}
        self._size = 0

    def get(self, number: int) -> bytes | None:
        return self._pieces.get(number)

    def remember(self, number: int, piece: bytes, oldest: int) -> None:
        """Keep a piece; no longer those before `oldest`, nor more than MOST_REMEMBERED."""
        self._pieces[number] = piece
        self._size += len(piece)
        while self._pieces and (self._size > MOST_REMEMBERED or next(iter(self._pieces)) < oldest):
            self._size -= len(self._pieces.pop(next(iter(self._pieces))))


class Batch(NamedTuple):
    data: bytes
    position: int  #: of the reader that has been given it


class Encoder:
    """Encodes a log's entries for one view; remembers what the readers that are up to date ask for next."""

    def __init__(self, log: Log, view: View, pieces: Pieces | None = None) -> None:
        """`pieces` are those of views that look the same."""
        self._log = log
        self.view = view
        self._topics = view.topics
        self._epoch = log.epoch
        self._batches: dict[int, Batch] = {}  # by the position that it is the next for, since the last append
        self._pieces = pieces or Pieces()
        self._newest = 0

    def next(self, position: int) -> Batch:
        """Give what comes after a position, which is kept; the same position if there is nothing.

        There may be no bytes for many entries, where they are of other topics.
        """
        if self._newest != self._log.newest:
            self._newest = self._log.newest
            self._batches.clear()
        batch = self._batches.get(position)
        if batch is None:
            batch = self._join(position)
            if len(self._batches) < BATCHES:
                self._batches[position] = batch
        return batch

    def _join(self, position: int) -> Batch:
        pieces: list[bytes] = []
        size = 0
        for entry in self._log.read(position, BATCH_ENTRIES):
            if self._topics is None or entry.topic in self._topics:
                piece = self._pieces.get(entry.number) or self._encode(entry)
                size += len(piece)
                if pieces and size > BATCH_BYTES:
                    break
                pieces.append(piece)
            position = entry.number
        return Batch(b"".join(pieces), position)

    def _encode(self, entry: Entry) -> bytes:
        piece = self.view.encode(self._epoch, entry)
        oldest = max(self._log.oldest, self._log.newest - self._log.most + 1)
        if entry.number >= oldest:  # else from long ago: for one who comes back
            self._pieces.remember(entry.number, piece, oldest)
        return piece
