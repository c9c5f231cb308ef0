"""How often somebody may do something: a bucket of tokens for each. No I/O: the caller brings the clock."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

MOST = 10_000  #: buckets that are remembered; the one that was not used for longest is forgotten, and full again


class Buckets:
    """`rate` tokens a second flow into each bucket, up to `burst`; it begins full."""

    def __init__(self, rate: float, burst: float) -> None:
        """A rate of 0 sets no limit."""
        self._rate = rate
        self._burst = max(1.0, burst)
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens, and when

    def take(self, key: Hashable, now: float) -> float:
        """Take a token and give 0.0; or give the seconds after which there is one."""
        if not self._rate:
            return 0.0
        tokens, at = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[key] = (tokens if wait_s else tokens - 1, now)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return wait_s
