"""What a log is: messages in one order, each with an offset, some of the last of them kept.

Offsets grow from message to message. With the log's epoch, which names this very sequence, an offset is the message's
id: `epoch:offset`. Nothing is taken out when it is read: a reader has a cursor, the id of the last message that it has,
and the next thing it asks for is what comes after that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

CURSOR = re.compile(r"([0-9A-Za-z_-]{1,64}):(\d{1,30})", re.ASCII)


class Cursor(NamedTuple):
    """A place in a log: after the message of that offset; 0 is before the first."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


def parse_cursor(text: str) -> Cursor:
    """Read what str(cursor) has written. ValueError if it is none."""
    match = CURSOR.fullmatch(text)
    if not match:
        raise ValueError(f"{text[:80]!r} is no id, which is epoch:offset")
    return Cursor(match[1], int(match[2]))


class Unavailable(Exception):
    """What was to be written is not, or not for certain: it may be tried again later."""


class Entry(NamedTuple):
    number: int  #: of the messages that this process has had, from 1: without the gaps that offsets may have
    offset: int
    time: float  #: seconds since 1970
    data: bytes
    end: int  #: bytes of data from the first entry of the log up to the end of this one
    topic: str = ""  #: what it is about, where a log has more than one


Listener = Callable[[Entry], None]


class Log(Protocol):
    """Entries kept are those with the numbers `oldest` to `newest`; where none are, `oldest` is one more than `newest`.

    `floor` is the offset after which all are kept: a cursor before it has missed what nobody can give it any more.
    """

    @property
    def epoch(self) -> str: ...

    @property
    def is_mirror(self) -> bool:
        """Of a sequence that is kept elsewhere: somebody may have had more of it already."""

    @property
    def most(self) -> int:
        """Entries that are kept, or kept in memory."""

    @property
    def most_bytes(self) -> int:
        """Bytes that they may have together."""

    @property
    def end(self) -> int:
        """Bytes of all that ever came."""

    @property
    def oldest(self) -> int: ...

    @property
    def newest(self) -> int: ...

    @property
    def floor(self) -> int: ...

    @property
    def newest_offset(self) -> int: ...

    def read(self, after: int, most: int) -> Sequence[Entry]:
        """Give the entries after a number, in order, up to so many; of those that are not kept none."""

    def find(self, offset: int) -> int:
        """Give the number of the last entry of that offset or before it; of those that are kept."""

    def find_end(self, end: int) -> int:
        """Give the number of the first entry, of those kept, up to whose end so many bytes have come."""

    def listen(self, listener: Listener) -> None:
        """Have each further entry told, in order; a listener must not wait."""

    def forget(self, listener: Listener) -> None: ...


def oldest_cursor(log: Log) -> Cursor:
    """Give the cursor after which all is kept."""
    return Cursor(log.epoch, log.floor)
