"""Faults to be met: what happens to bytes on their way back, and when. Pure, and the same for the same seed.

Random numbers are drawn per connection, from the seed and the connection's number; corruption goes by a byte's place in
the stream. So a run can be had again, however the network cuts the stream into chunks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

PACES_PER_S = 10  #: bytes under a bandwidth limit leave this often
NEVER = math.inf


class After(NamedTuple):
    """A point in a connection's life: so many bytes sent back, or so many seconds after its start."""

    size: int | None = None
    seconds: float | None = None


class Faults(NamedTuple):
    """Times are seconds, sizes bytes, rates shares from 0 to 1; None is without."""

    latency: float = 0.0
    jitter: float = 0.0  #: added to the latency, or taken from it, evenly distributed
    bandwidth: int | None = None  #: bytes per second and connection
    slice: int | None = None
    corrupt_rate: float = 0.0  #: of bytes
    drop_rate: float = 0.0  #: of datagrams
    reset_after: After | None = None
    close_after: After | None = None
    toxicity: float = 1.0  #: the share of connections, or datagrams, that meet any of these

    def are_any(self) -> bool:
        return self != Faults(toxicity=self.toxicity)


class Transit:
    """The way back of one connection's bytes."""

    def __init__(self, faults: Faults, rng: random.Random) -> None:
        self._faults = faults
        self._rng = rng
        self._corruption = seeded(rng.getrandbits(64))  # of its own: it is drawn by bytes, the rest by chunks
        self._last_due = 0.0
        self._free_at = 0.0  # when the bandwidth has room again
        self._intact = self._gap()  # bytes until the next that is to be changed

    def pieces(self, data: bytes, at: float) -> Iterator[tuple[float, bytes]]:
        """Cut what was said at the time `at`; give each piece with the time at which it leaves, in order."""
        due = self._last_due = max(self._last_due, self.due(at))
        data = self._corrupted(data)
        size = self._piece_size(len(data))
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            yield self._paced(len(piece), due), piece

    def datagram(self, data: bytes, at: float) -> tuple[float, bytes] | None:
        """Give one datagram, whole, with the time at which it leaves; None if it is lost. They may overtake each other.

        Toxicity is drawn for each of them: they are connections of one datagram.
        """
        if self._rng.random() >= self._faults.toxicity:
            return at, data
        if self._rng.random() < self._faults.drop_rate:
            return None
        return self._paced(len(data), self.due(at)), self._corrupted(data)

    def due(self, at: float) -> float:
        """When something said at `at` leaves, as far as latency goes."""
        jitter = self._rng.uniform(-self._faults.jitter, self._faults.jitter) if self._faults.jitter else 0.0
        return at + max(0.0, self._faults.latency + jitter)

    def _piece_size(self, length: int) -> int:
        sizes = [length, self._faults.slice or length]
        if self._faults.bandwidth:
            sizes.append(self._faults.bandwidth // PACES_PER_S)
        return max(1, min(sizes))

    def _paced(self, length: int, due: float) -> float:
        if not self._faults.bandwidth:
            return due
        leaves = max(due, self._free_at)
        self._free_at = leaves + length / self._faults.bandwidth
        return leaves

    def _gap(self) -> float:
        """How many bytes stay intact before the next change: a geometric distribution."""
        rate = self._faults.corrupt_rate
        if rate <= 0:
            return NEVER
        return 0 if rate >= 1 else int(math.log(1 - self._corruption.random()) / math.log1p(-rate))

    def _corrupted(self, data: bytes) -> bytes:
        if self._intact >= len(data):
            self._intact -= len(data)
            return data
        changed = bytearray(data)
        while self._intact < len(data):
            changed[int(self._intact)] ^= self._corruption.randrange(1, 256)
            self._intact += 1 + self._gap()
        self._intact -= len(data)
        return bytes(changed)


def transit_for(faults: Faults, seed: int, connection: int) -> Transit | None:
    """Give the way back of a connection, by its number; None if it meets no faults."""
    if not faults.are_any():
        return None
    rng = seeded(f"{seed}/{connection}")
    return Transit(faults, rng) if rng.random() < faults.toxicity else None


def seeded(seed: int | str) -> random.Random:
    """Give random numbers that are the same for the same seed."""
    import random  # 1 ms of a start

    return random.Random(seed)
