"""Lines from chunks of bytes, with a bound on what is held. No I/O."""

from __future__ import annotations


class LineSplitter:
    """Parts what it is fed at a separator; a carriage return before a line feed belongs to it."""

    def __init__(self, longest: int, separator: bytes = b"\n") -> None:
        """A line of more than `longest` bytes is not held: None stands for it, as soon as it is that long."""
        self._longest = longest
        self._separator = separator
        self._return = b"\r" if separator == b"\n" else b""
        self._rest = bytearray()
        self._is_skipping = False  # to the end of a line that has been told of

    def feed(self, data: bytes) -> list[bytes | None]:
        """Give the lines that are complete now, without their ends."""
        first, *others = data.split(self._separator)
        lines = self._keep(first)
        if not others:
            return lines
        lines += self._take()
        lines += [self._checked(line) for line in others[:-1]]
        lines += self._keep(others[-1])
        return lines

    def end(self) -> list[bytes | None]:
        """Give the last line, which has no separator, if there is one."""
        return self._take() if self._rest else []

    def _keep(self, piece: bytes) -> list[bytes | None]:
        if self._is_skipping:
            return []
        self._rest += piece
        if len(self._rest) <= self._longest + len(self._return):  # a carriage return may be the last
            return []
        self._rest.clear()
        self._is_skipping = True
        return [None]

    def _take(self) -> list[bytes | None]:
        lines = [] if self._is_skipping else [self._checked(bytes(self._rest))]
        self._rest.clear()
        self._is_skipping = False
        return lines

    def _checked(self, line: bytes) -> bytes | None:
        line = line.removesuffix(self._return)
        return line if len(line) <= self._longest else None
