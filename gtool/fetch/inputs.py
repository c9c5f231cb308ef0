"""Requests read lazily from arguments, files and stdin: one at a time, and never waiting for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

from gtool.errors import GtoolError, ReadError
from gtool.fetch.request import Rejected, Request, parse_line
from gtool.fetch.urls import URL_MALFORMED, shown
from gtool.log import EventLog
from gtool.runtime.lines import LineSplitter
from gtool.runtime.stdio import Input, open_input

log = EventLog("fetch")

LONGEST_LINE_BYTES = 1 << 20


#: shows nothing of the line, since where it is cut there may be half a password
TOO_LONG = Rejected("…", URL_MALFORMED, f"the line is longer than {LONGEST_LINE_BYTES} bytes")


class Later(Enum):
    """Stands for no input."""

    NOT_YET = auto()  #: there may be more when `on_ready` calls
    END = auto()


class Inputs:
    """The requests of a run, in order: those of the arguments first, then file by file."""

    def __init__(
        self, urls: Sequence[str], files: Sequence[str], separator: bytes, on_ready: Callable[[], None]
    ) -> None:
        """Open all files; where one can't be, that is the `error`, and the others are read all the same.

        `on_ready` is called on the loop after a NOT_YET.
        """
        self._urls = urls
        self._separator = separator
        self._on_ready = on_ready
        self.error: GtoolError | None = None  #: of the first file that could not be read to its end
        self._broken: Input | None = None  #: the last such file, whose last line may be cut off
        self._files = [file for name in files if (file := self._open(name))]
        self._requests = self._read()
        self._reading: Input | None = None
        self.count = 0  #: inputs given so far
        self.is_at_end = False

    def next(self) -> Request | Rejected | Later:
        """Give the next input, or say that there is none yet, or none any more."""
        item = next(self._requests, Later.END)
        if not isinstance(item, Later):
            self.count += 1
        elif item is Later.END:
            self.is_at_end = True
        return item

    @property
    def is_live(self) -> bool:
        """Whether what is being read may go on for ever: a pipe or a terminal."""
        return self._reading is not None and self._reading.is_live

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _read(self) -> Iterator[Request | Rejected | Later]:
        for url in self._urls:
            parsed = parse_line(url.encode(errors="surrogateescape"))
            yield parsed or Rejected(shown(url), URL_MALFORMED, "malformed URL")
        for file in self._files:
            self._reading = file
            splitter = LineSplitter(LONGEST_LINE_BYTES, self._separator)
            for chunk in self._chunks(file):
                if chunk is None:
                    yield Later.NOT_YET
                else:
                    yield from _parsed(splitter.feed(chunk))
            if self._broken is not file:
                yield from _parsed(splitter.end())

    def _chunks(self, file: Input) -> Iterator[bytes | None]:
        """Read to the end; None each time that there is nothing yet."""
        try:
            while (chunk := file.read()) != b"":
                if chunk is None:
                    file.when_ready(self._on_ready)
                yield chunk
        except ReadError as error:
            self._note(error)
            self._broken = file

    def _open(self, name: str) -> Input | None:
        try:
            return open_input(name)
        except ReadError as error:
            self._note(error)
            return None

    def _note(self, error: ReadError) -> None:
        log.error(str(error))
        self.error = self.error or error


def _parsed(lines: list[bytes | None]) -> Iterator[Request | Rejected]:
    for line in lines:
        parsed = TOO_LONG if line is None else parse_line(line)
        if parsed is not None:
            yield parsed
