"""What holds transfers up while stdout is behind. Pure: it calls those that it has held."""

from __future__ import annotations

from collections.abc import Callable


class Valve:
    """Holds transfers while it is closed, because stdout is behind."""

    def __init__(self) -> None:
        self.is_closed = False
        self._held: list[Callable[[], None]] = []

    def hold(self, resume: Callable[[], None]) -> None:
        """Call `resume` when it opens."""
        self._held.append(resume)

    def open(self) -> None:
        self.is_closed = False
        held, self._held = self._held, []
        for resume in held:
            resume()
