"""A timer on the loop that is cheap to set, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gevent.hub import get_hub

NEVER = float("inf")


class Alarm:
    """Calls back on the loop at the time it was last set to. Times are time.monotonic()'s."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._loop: Any = get_hub().loop
        self._timer: Any = None
        self._rings_at = NEVER
        self.at = NEVER  #: when it calls; may be changed directly, to a later time or where arm() follows

    def set(self, at: float) -> None:
        self.at = at
        self.arm()

    def arm(self) -> None:
        """See to it that the timer rings in time. One that rings too early is left: it arms itself anew then."""
        if self._rings_at <= self.at:
            return
        self.close()
        self._rings_at = self.at
        self._timer = self._loop.timer(max(0.0, self.at - time.monotonic()))
        self._timer.start(self._ring)

    def close(self) -> None:
        if self._timer:
            self._timer.close()
            self._timer = None
        self._rings_at = NEVER

    def _ring(self) -> None:
        self.close()
        if time.monotonic() < self.at:
            self.arm()
            return
        self.at = NEVER
        self._callback()
