"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from collections.abc import Iterator


def doubling(first_s: float, longest_s: float) -> Iterator[float]:
    """Give pauses in seconds, each twice the one before, up to the longest; begin anew by a new one."""
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, longest_s)
