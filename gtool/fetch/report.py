"""What a run says on stdout, an input at a time: nothing here; records in lines.py, bodies in stream.py."""

from __future__ import annotations

from collections.abc import Callable

from gtool.fetch.record import Record
from gtool.fetch.stores import NOWHERE, Store
from gtool.fetch.valve import Valve

Written = Callable[[], None]


class Report:
    """Is told of every input twice, and says nothing: bodies are in files, failures in the log."""

    valve: Valve | None = None

    @property
    def has_room(self) -> bool:
        """Whether a further input may be read."""
        return True

    @property
    def is_behind(self) -> bool:
        """Whether stdout is so far behind that no further transfer is to start."""
        return False

    def expect(self, seq: int) -> None:
        """An input was read; there will be a report of it."""

    def store(self, seq: int) -> Store:
        """Give what keeps the body of an input that goes to no file."""
        return NOWHERE

    def report(self, seq: int, record: Record, on_written: Written | None) -> None:
        """An input has ended, its store finished or discarded; `on_written` is called when its output is out."""
        if on_written:
            on_written()

    def close(self) -> None:
        """Write all that may be written, and wait until it is out. Closing again goes on with that."""
