"""What the meter itself costs: round trips to nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gtool.errors import PeerGone
from gtool.pingpong.engine import Engine
from gtool.pingpong.job import Job
from gtool.pingpong.round_trips import RoundTrips
from gtool.pingpong.tally import Tally

EMPTY_ROUNDS = 10_000


def empty_loop(engine: Engine) -> float:
    """Measure the meter: the median of round trips to nowhere, in seconds."""
    tally = Tally()
    job = Job("", "dealer-router", 32, EMPTY_ROUNDS, None, 0, None, 0.0, 1, 1.0, 0, False, None)
    RoundTrips(engine, _Mirror(), job, tally, lambda: PeerGone("")).run()
    found = tally.round_trips.percentiles().p50
    assert found is not None
    return found


class _Mirror:
    """A link to nowhere: what is sent is what comes back."""

    sock: Any = None
    _frames: list[bytes] | None = None

    def send(self, frames: list[bytes], timeout_s: float) -> bool:
        self._frames = frames
        return True

    def receive(self, timeout_s: float) -> list[bytes] | None:
        return self._frames

    def send_all(self, messages: Iterable[bytes], timeout_s: float) -> int:
        raise NotImplementedError

    def receive_some(self, timeout_s: float, most: int = 0) -> list[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        pass
