"""What the services say: one object per connection, and a function for datagrams. Pure; no sockets, no waiting.

echo (RFC 862), discard (863), chargen (864), daytime (867), time (868).
"""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_1900_TO_1970 = 2_208_988_800
PRINTABLE = bytes(range(0x20, 0x7F))
CHARGEN_LINE = 72
CHARGEN_DATAGRAM = 512
CHARGEN_CHUNK_LINES = 220  #: some 16 KiB at a time


class LineTooLong(Exception):
    """The peer has sent a line that is longer than it may be. What of earlier lines is to be sent is `answer`."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("line too long")
        self.answer = answer


class Session:
    """One connection's side of a conversation; this one discards what it is sent."""

    __slots__ = ()
    closes_after_greeting = False

    def greet(self) -> bytes:
        """Speak first."""
        return b""

    def receive(self, data: bytes) -> bytes:
        """Answer what has come."""
        return b""

    def end(self) -> bytes:
        """Say the last, when the peer has shut down its side."""
        return b""

    def more(self) -> bytes:
        """Go on, when all that was said is sent; empty to wait for the peer."""
        return b""


class Echo(Session):
    __slots__ = ()

    def receive(self, data: bytes) -> bytes:
        return data


class LineEcho(Session):
    """Echoes a line when it is complete, the last one even if it is not. Holds `max_line` bytes at most."""

    __slots__ = ("_begun", "_max_line")

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._begun = b""  # of a line that is not complete

    def receive(self, data: bytes) -> bytes:
        """Give the lines that are complete; LineTooLong for one over `max_line` bytes, its end not counted."""
        lines, newline, rest = data.rpartition(b"\n")
        complete = self._begun + lines + newline if newline else b""
        self._begun = rest if newline else self._begun + rest
        if len(complete) > self._max_line:
            self._check(complete)
        if len(self._begun) > self._max_line:
            raise LineTooLong(complete)
        return complete

    def end(self) -> bytes:
        rest, self._begun = self._begun, b""
        return rest

    def _check(self, complete: bytes) -> None:
        start = 0
        while start < len(complete):
            end = complete.index(b"\n", start)
            if end - start > self._max_line:
                raise LineTooLong(complete[:start])
            start = end + 1


class Chargen(Session):
    """Seventy-two printable characters a line, each line beginning one further; for ever."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        self._line = 0

    def more(self) -> bytes:
        lines = b"".join(chargen_line(self._line + number) for number in range(CHARGEN_CHUNK_LINES))
        self._line = (self._line + CHARGEN_CHUNK_LINES) % len(PRINTABLE)
        return lines


class Daytime(Session):
    __slots__ = ()
    closes_after_greeting = True

    def greet(self) -> bytes:
        return daytime()


class Time(Session):
    __slots__ = ()
    closes_after_greeting = True

    def greet(self) -> bytes:
        return seconds_since_1900()


def chargen_line(number: int) -> bytes:
    start = number % len(PRINTABLE)
    return (PRINTABLE + PRINTABLE)[start : start + CHARGEN_LINE] + b"\r\n"


def daytime() -> bytes:
    """The time in words, one line, in UTC: RFC 867 has no set format."""
    return time.strftime("%A, %B %d, %Y %H:%M:%S-UTC\r\n", time.gmtime()).encode()


def seconds_since_1900() -> bytes:
    """32 bits, big-endian, which last until 2036 (RFC 868)."""
    return ((int(time.time()) + SECONDS_1900_TO_1970) & 0xFFFF_FFFF).to_bytes(4, "big")


def _some_characters() -> Callable[[bytes], bytes]:
    """RFC 864: a datagram of 0 to 512 characters, at random."""
    from random import randint  # 1 ms of a start

    return lambda data: (PRINTABLE * 6)[: randint(0, CHARGEN_DATAGRAM)]


def session_factory(name: str, max_line: int | None) -> Callable[[], Session]:
    """Give what makes a session of a service; `max_line` is for echo by lines, None for bytes."""
    if name == "echo" and max_line is not None:
        return lambda: LineEcho(max_line)
    return {"echo": Echo, "discard": Session, "chargen": Chargen, "daytime": Daytime, "time": Time}[name]


def datagram_answer(name: str) -> Callable[[bytes], bytes | None]:
    """Give the function from a datagram to its answer, None for none."""
    if name == "chargen":
        return _some_characters()
    return {
        "echo": lambda data: data,
        "discard": lambda data: None,
        "daytime": lambda data: daytime(),
        "time": lambda data: seconds_since_1900(),
    }[name]
