"""Numbered messages: made by the sender, and what has come of them counted by the receiver. Pure.

A message of `size` bytes is its number, little-endian, in the largest of 8, 4, 2, 1 bytes that fits, then zeros.
Numbers of 1 or 2 bytes wrap around so soon that a gap can't be told from a step back, so it is taken for a gap.
The highest number stands for a message that is not counted: a warm-up.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

FORMATS = {8: "Q", 4: "I", 2: "H", 1: "B"}


class Numbering:
    """How messages of one size are numbered."""

    def __init__(self, size: int) -> None:
        """`size` is in bytes, 1 at least."""
        self.width = next(width for width in FORMATS if width <= size)
        self.size = size
        self.struct = struct.Struct(f"<{FORMATS[self.width]}{size - self.width}x")
        self.modulus = (1 << 8 * self.width) - 1
        self.warmup = self.struct.pack(self.modulus)

    def messages(self, start: int, count: int) -> Iterator[bytes]:
        """Make the messages from number `start`."""
        first = start % self.modulus
        if first + count <= self.modulus:
            return map(self.struct.pack, range(first, first + count))
        return (self.struct.pack(number % self.modulus) for number in range(start, start + count))


class Counter:
    """Counts what has come of a numbered stream of one sender; all may be read at any time."""

    def __init__(self, size: int) -> None:
        self._numbering = Numbering(size)
        self._next = 0
        self.received = 0  #: each once
        self.gaps = 0  #: places where numbers were left out
        self.duplicates = 0  #: messages that came twice, or after a later one
        self.rubbish = 0  #: messages of another size

    def take(self, messages: list[bytes]) -> int:
        """Count messages in the order in which they came; give the number of those that are new.

        The usual case, one number after the other, is compared as a whole.
        """
        numbering = self._numbering
        if self._next + len(messages) <= numbering.modulus:
            end = self._next + len(messages)
            with suppress(struct.error):  # of another size
                if list(map(numbering.struct.unpack, messages)) == list(zip(range(self._next, end), strict=True)):
                    self._next = end % numbering.modulus
                    self.received += len(messages)
                    return len(messages)
        return sum(map(self._take_one, messages))

    def _take_one(self, message: bytes) -> bool:
        numbering = self._numbering
        if len(message) != numbering.size:
            self.rubbish += 1
            return False
        (number,) = numbering.struct.unpack(message)
        if number == numbering.modulus:
            return False
        step = (number - self._next) % numbering.modulus
        if step > numbering.modulus // 2 and numbering.width > 2:
            self.duplicates += 1
            return False
        self.received += 1
        self.gaps += step > 0
        self._next = (number + 1) % numbering.modulus
        return True
