"""Where the messages come from: the random walk, the lines of stdin, the lines of a command."""

from __future__ import annotations

import itertools
import random
from time import monotonic
from typing import Protocol

import gevent
import simplejson
from gevent.event import Event

from gtool.feed.lines import LineSplitter
from gtool.log import EventLog, SeldomLog
from gtool.runtime.stdio import Input, open_input

log = EventLog("feed")

GROUP = 100  #: messages that come up at once before readers are given theirs


class Sink(Protocol):
    """What takes a source's messages."""

    def put(self, data: bytes, /) -> object:
        """Add a message; UTF-8."""

    def flush(self) -> None:
        """Wait until it is gone on its way, before more comes."""


class Source(Protocol):
    def run(self, sink: Sink) -> None:
        """Produce, in a greenlet, until there is no more."""

    def close(self) -> None:
        """Let go of what it holds; run() has ended, or its greenlet was killed."""


class Walk:
    """{"x": n, "y": 1..5} at an interval."""

    def __init__(self, interval_s: float, seed: int | None) -> None:
        """`interval_s` of 0 is as fast as it can be taken."""
        self._interval_s = interval_s
        self._random = random.Random(seed)

    def run(self, sink: Sink) -> None:
        begun_at = monotonic()
        for number in itertools.count():
            sink.put(simplejson.dumps({"x": number, "y": self._random.randint(1, 5)}).encode())
            if self._interval_s:
                sink.flush()
                gevent.sleep(max(0.0, begun_at + (number + 1) * self._interval_s - monotonic()))
            elif number % GROUP == GROUP - 1:
                sink.flush()

    def close(self) -> None:
        pass


class Nothing:
    """No message at all: --echo has no other than its clients'."""

    def run(self, sink: Sink) -> None:
        Event().wait()

    def close(self) -> None:
        pass


class Lines:
    """The lines of what can be read: stdin, a command's output."""

    def __init__(self, input_: Input, what: str, max_message: int) -> None:
        self._input = input_
        self._what = what
        self._splitter = LineSplitter(max_message)
        self._seldom = SeldomLog(log)
        self._max_message = max_message

    def run(self, sink: Sink) -> None:
        ready = Event()
        while data := self._read(ready):
            self._put(self._splitter.feed(data), sink)
        self._put(self._splitter.end(), sink)

    def close(self) -> None:
        self._input.close()

    def _read(self, ready: Event) -> bytes:
        while (data := self._input.read()) is None:
            ready.clear()
            self._input.when_ready(ready.set)
            ready.wait()
        return data

    def _put(self, lines: list[bytes | None], sink: Sink) -> None:
        for number, line in enumerate(lines, 1):
            if line is None:
                self._seldom.warning("a line is too long: left out", source=self._what, max_message=self._max_message)
                continue
            sink.put(self._as_text(line))
            if number % GROUP == 0:
                sink.flush()
        sink.flush()

    def _as_text(self, line: bytes) -> bytes:
        try:
            line.isascii() or line.decode()
        except UnicodeDecodeError:
            self._seldom.warning("a line is not UTF-8: what can't be read became U+FFFD", source=self._what)
            return line.decode(errors="replace").encode()
        return line


def stdin(max_message: int) -> Lines:
    """Make a source of stdin. ReadError if it can't be read."""
    return Lines(open_input("-"), "stdin", max_message)
