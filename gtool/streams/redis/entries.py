"""What is in an entry of a stream: its place in the sequence, its message, and who has written it."""

from __future__ import annotations

from collections.abc import Mapping

import simplejson

DATA, TOPIC, FROM, NUMBER = b"data", b"topic", b"gtool-from", b"gtool-n"  #: fields of an entry
MOST_DIGITS = 18  #: of a message's number
PER_MS = 10**9  #: entries of one millisecond that ids can tell apart; a clock that was put back makes many

Fields = Mapping[bytes, bytes]


def offset_of(entry_id: bytes | str) -> int:
    """Make of an id of Redis's, MS-SEQ, a number that grows as it does."""
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, _, number = text.partition("-")
    return int(ms) * PER_MS + int(number)


def payload(fields: Fields) -> bytes:
    """Give the message of an entry: its field `data`, or, of one that others have written, all fields as JSON."""
    data = fields.get(DATA)
    if data is None:
        text = {_text(name): _text(value) for name, value in fields.items()}
        return simplejson.dumps(text, ensure_ascii=False).encode()
    return data if data.isascii() else _text(data).encode()


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def topic_of(fields: Fields) -> str:
    """Give what an entry is about; empty where that is not said."""
    return _text(fields.get(TOPIC, b""))


def number_of(fields: Fields) -> int:
    """Give the number that a publisher of ours has written with a message; 0 where there is none."""
    text = fields.get(NUMBER, b"")
    return int(text) if text.isdigit() and len(text) <= MOST_DIGITS else 0


def size_of(entry: tuple[bytes, Fields]) -> int:
    return sum(map(len, entry[1].values()))
