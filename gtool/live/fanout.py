"""One message to many connections: passes over all readers, in slices, so that everything else has its turn.

A reader pulls what there is for it when a pass comes by; one whose peer does not take what it has is passed over, and
pulls when that has drained. So nobody waits for anybody, and what comes up during a pass goes out together in the next.
"""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import Any, Protocol

from gevent.event import Event
from gevent.hub import get_hub

TURN_S = 0.004  #: that a slice of a pass may keep the loop for


class Puller(Protocol):
    def pull(self) -> None:
        """Write what there is to be read, as far as the connection takes it; not if it is over."""


class Fanout:
    """Has all readers pull after each wake()."""

    def __init__(self) -> None:
        self._readers: dict[Puller, None] = {}
        self._pass: list[Puller] = []  # those whose turn is still to come
        self._behind: OrderedDict[Puller, None] = OrderedDict()  # those who have more to be given than one turn's
        self._is_wanted = False  # another pass
        self._is_running = False
        self._is_idle = Event()
        self._is_idle.set()
        # A timer, not run_callback(): that would run again before the loop has looked at its sockets.
        self._timer: Any = get_hub().loop.timer(0)

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: Puller) -> None:
        self._readers[reader] = None

    def remove(self, reader: Puller) -> None:
        self._readers.pop(reader, None)
        self._behind.pop(reader, None)

    def wake(self) -> None:
        """Have everybody pull soon."""
        self._is_wanted = True
        self._is_idle.clear()
        self._run()

    def again(self, reader: Puller) -> None:
        """Have one reader pull again, after the others; wait() does not wait for that."""
        self._behind[reader] = None
        self._run()

    def wait(self) -> None:
        """Wait until everybody has pulled, or is waiting for its peer, or is behind."""
        self._is_idle.wait()

    def close(self) -> None:
        """Have nobody pull any more; it may be one who is pulling that says so."""
        self._is_running = True  # nothing starts the timer again
        self._is_idle.set()
        self._timer.close()

    def _run(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._timer.start(self._turn)

    def _turn(self) -> None:
        self._is_running = False
        end = monotonic() + TURN_S
        try:
            while self._pull_next() and monotonic() < end:
                pass
            if self._behind:
                self._behind.popitem(last=False)[0].pull()
        finally:
            if self._behind or not self._is_idle.is_set():
                self._run()

    def _pull_next(self) -> bool:
        """Have the next reader of a pass pull; False if all have."""
        if not self._pass:
            if not self._is_wanted:
                self._is_idle.set()
                return False
            self._is_wanted = False
            self._pass = list(self._readers)
        if self._pass:
            self._pass.pop().pull()
        return True
