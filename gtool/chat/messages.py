"""What is said in a room: its text, how it is kept, and how it looks to a reader. No I/O."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import simplejson

from gtool.chat.letters import is_seen
from gtool.streams.log import Cursor, Entry

SUBPROTOCOL = "gtool.chat"  #: of WebSockets: who agrees on it speaks of messages with ids, and of notes
UNSHOWN = "\N{REPLACEMENT CHARACTER}"  #: stands for a control character


class TooLong(ValueError):
    """A text has more bytes than one may have."""


class Message(NamedTuple):
    """As it is told: `id` is epoch:offset, `time` seconds since 1970."""

    id: str
    time: float
    room: str
    user: str
    text: str


def check_text(text: str, most_bytes: int) -> str:
    """Give a text as it is kept: without blanks around it, or control characters. ValueError for none; TooLong."""
    _check_size(text, most_bytes)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not any(map(is_seen, lines)):
        raise ValueError("a message is wanted: this one is blank")
    kept = "".join(map(_shown, lines))
    _check_size(kept, most_bytes)  # what stands for a control character is longer
    return kept


def _check_size(text: str, most_bytes: int) -> None:
    if len(text.encode(errors="replace")) > most_bytes:
        raise TooLong(f"a message has up to {most_bytes} bytes")


def pack(room: str, user: str, text: str) -> bytes:
    """Write a message as it is kept; its id and time are the log's to tell."""
    return simplejson.dumps({"room": room, "user": user, "text": text}, ensure_ascii=False).encode()


def is_message(data: bytes, room: str) -> bool:
    """Whether something is what pack() has written."""
    try:
        fields = simplejson.loads(data)
        texts = [fields.pop(name) for name in ("room", "user", "text")]
        "".join(texts).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return not fields and texts[0] == room and data.startswith(b'{"')


def render(epoch: str, entry: Entry) -> str:
    """Write a message as JSON, as it is told."""
    return f'{{"id": "{epoch}:{entry.offset}", "time": {entry.time:.6f}, {entry.data[1:].decode()}'


def render_all(epoch: str, entries: list[Entry]) -> str:
    return f"[{', '.join(render(epoch, entry) for entry in entries)}]"


def unpack(epoch: str, entry: Entry) -> Message:
    fields = simplejson.loads(entry.data)
    cursor = str(Cursor(epoch, entry.offset))
    return Message(cursor, entry.time, fields["room"], fields["user"], fields["text"])


def _shown(character: str) -> str:
    """Leave out what a terminal would take for a command, and what is half a character."""
    category = unicodedata.category(character)
    return UNSHOWN if category in ("Cc", "Cs") and character not in "\n\t" else character
