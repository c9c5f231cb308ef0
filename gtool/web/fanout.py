"""One message to many connections: passes over all readers, in slices, so that everything else has its turn.

A reader pulls what there is for it when a pass comes by; one whose peer does not take what it has is passed over, and
pulls when that has drained. So nobody waits for anybody, and what comes up during a pass goes out together in the next.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Protocol

from gevent.event import Event
from gevent.hub import get_hub

TURN_S = 0.004  #: that a slice of a pass may keep the loop for


class Reader(Protocol):
    def pull(self) -> None:
        """Write what there is to be read, as far as the connection takes it; not if it is over."""


class Fanout:
    """Has all readers pull after each wake()."""

    def __init__(self) -> None:
        self._readers: dict[Reader, None] = {}
        self._pass: list[Reader] = []  # those whose turn is still to come
        self._is_wanted = False  # another pass
        self._is_idle = Event()
        self._is_idle.set()
        # A timer, not run_callback(): that would run again before the loop has looked at its sockets.
        self._timer: Any = get_hub().loop.timer(0)

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: Reader) -> None:
        self._readers[reader] = None

    def remove(self, reader: Reader) -> None:
        self._readers.pop(reader, None)

    def wake(self) -> None:
        """Have everybody pull soon."""
        self._is_wanted = True
        if self._is_idle.is_set():
            self._is_idle.clear()
            self._timer.start(self._turn)

    def again(self, reader: Reader) -> None:
        """Have one reader pull again, after the others."""
        self._pass.insert(0, reader)
        if self._is_idle.is_set():
            self._is_idle.clear()
            self._timer.start(self._turn)

    def wait(self) -> None:
        """Wait until everybody has pulled, or is waiting for its peer."""
        self._is_idle.wait()

    def close(self) -> None:
        self._timer.close()

    def _turn(self) -> None:
        try:
            self._pull_some()
        except BaseException:
            self._timer.start(self._turn)  # one that fails is a bug; the others are owed theirs
            raise

    def _pull_some(self) -> None:
        end = monotonic() + TURN_S
        while self._pass or self._is_wanted:
            if not self._pass:
                self._is_wanted = False
                self._pass = list(self._readers)
            while self._pass:
                self._pass.pop().pull()
                if monotonic() > end:
                    self._timer.start(self._turn)
                    return
        self._is_idle.set()
