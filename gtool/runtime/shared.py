"""What the worker processes of a server share: counters, and tickets for what is scarce.

Both are made before the fork. No locks: each worker writes to its own row of the counters only, and a ticket is taken
by a read(2) that the kernel makes atomic.
"""

from __future__ import annotations

import mmap
import os
import select
from typing import NamedTuple

REFUSALS = ("full", "full_for_ip", "rate", "denied", "descriptors", "proxy", "tls", "datagram", "total")


class Counts(NamedTuple):
    """A server's counts: of connections, bytes, and messages. All but `open` only grow."""

    open: int
    accepted: int
    received: int
    sent: int
    messages: int  #: answered, or delivered
    dropped: int  #: not delivered to those who were too slow
    refused: dict[str, int]  #: by reason

    @property
    def refusals(self) -> int:
        return sum(self.refused.values())


OPEN, ACCEPTED, RECEIVED, SENT, MESSAGES, DROPPED = range(6)
FIRST_REFUSAL = 6
WIDTH = FIRST_REFUSAL + len(REFUSALS)
REFUSED = {reason: FIRST_REFUSAL + number for number, reason in enumerate(REFUSALS)}


MOST = 1 << 31  #: that an eventfd is made with; nobody has more connections


class Counters:
    """A row of numbers per worker. Reading them all is not a snapshot: rows are read one after the other."""

    def __init__(self, workers: int = 1) -> None:
        self._memory = mmap.mmap(-1, 8 * WIDTH * workers)  # anonymous and shared
        self._cells = memoryview(self._memory).cast("Q")
        self._workers = workers

    def row(self, worker: int) -> memoryview[int]:
        return self._cells[worker * WIDTH : (worker + 1) * WIDTH]

    def clear_open(self, worker: int) -> int:
        """Take the open connections of a worker that has died as closed; give how many there were."""
        row = self.row(worker)
        count, row[OPEN] = row[OPEN], 0
        return count

    def read(self) -> Counts:
        sums = [sum(self._cells[column::WIDTH]) for column in range(WIDTH)]
        refused = dict(zip(REFUSALS, sums[FIRST_REFUSAL:], strict=True))
        return Counts(sums[OPEN], sums[ACCEPTED], sums[RECEIVED], sums[SENT], sums[MESSAGES], sums[DROPPED], refused)


class Tickets:
    """So many of something, for all workers: an eventfd(2) that counts down."""

    def __init__(self, count: int) -> None:
        self._descriptor = os.eventfd(min(count, MOST), os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def take(self) -> bool:
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return False
        return True

    def give_back(self, count: int = 1) -> None:
        if count:
            os.eventfd_write(self._descriptor, count)

    def are_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        os.close(self._descriptor)


class Shared(NamedTuple):
    """What the workers of a server share, made before the fork."""

    counters: Counters
    free: Tickets | None = None  #: places for connections
    left: Tickets | None = None  #: connections or datagrams until the server ends
    workers: int = 1
