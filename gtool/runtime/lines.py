"""Lines from chunks of bytes, with a bound on what is held. No I/O."""

from __future__ import annotations


class LineSplitter:
    """Parts what it is fed at line feeds; a carriage return before one belongs to it."""

    def __init__(self, longest: int) -> None:
        """A line of more than `longest` bytes is not held: None stands for it."""
        self._longest = longest
        self._rest = bytearray()
        self._is_skipping = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """Give the lines that are complete now, without their ends."""
        first, *others = data.split(b"\n")
        self._keep(first)
        if not others:
            return []
        lines = [self._take()]
        lines += [self._checked(line.removesuffix(b"\r")) for line in others[:-1]]
        self._keep(others[-1])
        return lines

    def end(self) -> list[bytes | None]:
        """Give the last line, which has no line feed, if there is one."""
        return [self._take()] if self._rest or self._is_skipping else []

    def _keep(self, piece: bytes) -> None:
        if self._is_skipping:
            return
        self._rest += piece
        if len(self._rest) > self._longest + 1:  # a carriage return may be the last
            self._rest.clear()
            self._is_skipping = True

    def _take(self) -> bytes | None:
        line = None if self._is_skipping else self._checked(bytes(self._rest).removesuffix(b"\r"))
        self._rest.clear()
        self._is_skipping = False
        return line

    def _checked(self, line: bytes) -> bytes | None:
        return line if len(line) <= self._longest else None
