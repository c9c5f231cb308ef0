"""Where the messages come from: the random walk, the lines of stdin, the lines of a command."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import gevent
import simplejson
from gevent.event import Event

from gtool.log import EventLog, SeldomLog
from gtool.runtime.lines import LineSplitter
from gtool.runtime.stdio import Input, open_input

log = EventLog("feed")

#: Takes a message, UTF-8; waits where more can't be taken yet.
Put = Callable[[bytes], object]


class Source(Protocol):
    def run(self, put: Put) -> None:
        """Produce, in a greenlet, until there is no more."""

    def close(self) -> None:
        """Let go of what it holds; run() has ended, or its greenlet was killed."""


class Walk:
    """{"x": n, "y": 1..5} at an interval."""

    def __init__(self, interval_s: float, seed: int | None) -> None:
        """`interval_s` of 0 is as fast as it can be taken."""
        self._interval_s = interval_s
        self._random = random.Random(seed)

    def run(self, put: Put) -> None:
        begun_at = monotonic()
        for number in itertools.count():
            put(simplejson.dumps({"x": number, "y": self._random.randint(1, 5)}).encode())
            if self._interval_s:
                gevent.sleep(max(0.0, begun_at + (number + 1) * self._interval_s - monotonic()))

    def close(self) -> None:
        pass


class Nothing:
    """No message at all: --echo has no other than its clients'."""

    def run(self, put: Put) -> None:
        Event().wait()

    def close(self) -> None:
        pass


class LineSource:
    """The lines of what can be read: stdin, a command's output."""

    def __init__(self, input_: Input, what: str, max_message: int) -> None:
        self._input = input_
        self._what = what
        self._splitter = LineSplitter(max_message)
        self._seldom = SeldomLog(log)
        self._max_message = max_message

    def run(self, put: Put) -> None:
        while data := self._input.wait_and_read():
            self._put_all(self._splitter.feed(data), put)
        self._put_all(self._splitter.end(), put)

    def close(self) -> None:
        self._input.close()

    def _put_all(self, lines: list[bytes | None], put: Put) -> None:
        for line in lines:
            if line is None:
                self._seldom.warning("a line is too long: left out", source=self._what, max_message=self._max_message)
            else:
                put(self._as_text(line))

    def _as_text(self, line: bytes) -> bytes:
        try:
            line.isascii() or line.decode()
        except UnicodeDecodeError:
            self._seldom.warning("a line is not UTF-8: what can't be read became U+FFFD", source=self._what)
            return line.decode(errors="replace").encode()
        return line


def stdin(max_message: int) -> LineSource:
    """Make a source of stdin. ReadError if it can't be read."""
    return LineSource(open_input("-"), "stdin", max_message)
