"""How a message looks to a reader: bare or in an envelope, as a WebSocket frame or as a server-sent event. No I/O.

Each format has its encoder once, whatever the number of readers: a message is encoded, and compressed, once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import simplejson

from gtool.streams.log import Cursor, Entry, Log
from gtool.web import sse
from gtool.web.websocket import broadcast_frame

BATCH_BYTES = 1 << 16  #: that are written at once, and wait for a slow reader at most, but for one larger message
BATCH_ENTRIES = 512
BATCHES = 16  #: that are remembered: most readers are at the same place

#: A client that offers this gets envelopes, and is known to know what they are; any other server ignores the offer.
SUBPROTOCOL = "gtool.envelope"
#: Header of an answer that begins a stream: the id after which it begins.
CURSOR_HEADER = "Gtool-Cursor"

Note = Mapping[str, object]


class Format(NamedTuple):
    """What a reader has asked for. `window_bits` is the deflate window its WebSocket has agreed on, 0 for none."""

    is_websocket: bool
    has_envelope: bool = False
    window_bits: int = 0


class Batch(NamedTuple):
    data: bytes
    position: int  #: of the reader that has been given it


class Encoder:
    """Encodes a log's entries in one format; remembers what the readers that are up to date ask for next."""

    def __init__(self, log: Log, format_: Format) -> None:
        self._log = log
        self._format = format_
        self._encode = _encoding(log.epoch, format_)
        self._batches: dict[int, Batch] = {}  # by the position that it is the next for, since the last append
        self._encoded: dict[int, bytes] = {}  # by number
        self._newest = 0

    def next(self, position: int) -> Batch:
        """Give what comes after a position, which is kept; no bytes if there is nothing."""
        if self._newest != self._log.newest:
            self._newest = self._log.newest
            self._batches.clear()
        batch = self._batches.get(position)
        if batch is None:
            batch = self._join(position)
            if len(self._batches) < BATCHES:
                self._batches[position] = batch
        return batch

    def note(self, note: Note) -> bytes:
        """Encode what is said about the feed, beside its messages; nothing for one who sees bare messages only."""
        if not self._format.is_websocket:
            kind = next(iter(note))
            return sse.event(simplejson.dumps(note), kind=kind)
        if not self._format.has_envelope:
            return b""
        return broadcast_frame(simplejson.dumps(note).encode(), True)

    def _join(self, position: int) -> Batch:
        pieces: list[bytes] = []
        size = 0
        for entry in self._log.read(position, BATCH_ENTRIES):
            piece = self._encoded.get(entry.number) or self._remember(entry)
            size += len(piece)
            if pieces and size > BATCH_BYTES:
                break
            pieces.append(piece)
        return Batch(b"".join(pieces), position + len(pieces))

    def _remember(self, entry: Entry) -> bytes:
        piece = self._encoded[entry.number] = self._encode(entry)
        oldest = self._log.oldest
        while (first := next(iter(self._encoded))) < oldest:
            del self._encoded[first]
        return piece


def envelope(epoch: str, entry: Entry) -> str:
    """Write a message as JSON with its id, its time in seconds since 1970, and its data."""
    fields = {"id": str(Cursor(epoch, entry.offset)), "time": round(entry.time, 6), "data": entry.data.decode()}
    return simplejson.dumps(fields, ensure_ascii=False)


def _encoding(epoch: str, format_: Format) -> Callable[[Entry], bytes]:
    def websocket(entry: Entry) -> bytes:
        data = envelope(epoch, entry).encode() if format_.has_envelope else entry.data
        return broadcast_frame(data, True, format_.window_bits)

    def event(entry: Entry) -> bytes:
        data = envelope(epoch, entry) if format_.has_envelope else entry.data.decode()
        return sse.event(data, str(Cursor(epoch, entry.offset)))

    return websocket if format_.is_websocket else event
