"""One worker's counts: what it adds to the counters that all workers share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gtool.runtime.shared import ACCEPTED, DROPPED, MESSAGES, OPEN, RECEIVED, REFUSED, SENT


class Counted(Protocol):
    """Counts bytes and messages: a connection, or a listener for datagrams."""

    received: int
    sent: int
    messages: int


class Tally:
    """Keeps a row of Counters. Connections count their bytes and messages; these are summed up when asked for."""

    def __init__(self, row: memoryview[int], worker: int = 0, workers: int = 1) -> None:
        self._row = row
        self._worker = worker
        self._workers = workers
        # Of those that have ended; of a worker too that had this row before us, and was killed.
        self._received, self._sent, self._messages = row[RECEIVED], row[SENT], row[MESSAGES]

    def accept(self) -> int:
        """Count a connection; give it a number, from 1, that no other of any worker has."""
        self._row[ACCEPTED] += 1
        return (self._row[ACCEPTED] - 1) * self._workers + self._worker + 1

    def refuse(self, reason: str) -> None:
        """Count a refusal, for one of shared.REFUSALS."""
        self._row[REFUSED[reason]] += 1

    def drop(self, count: int) -> None:
        """Count messages that somebody was too slow for."""
        self._row[DROPPED] += count

    def set_open(self, count: int) -> None:
        self._row[OPEN] = count

    def end(self, counted: Counted) -> None:
        """Keep the counts of one that has ended."""
        self._received += counted.received
        self._sent += counted.sent
        self._messages += counted.messages

    def publish(self, going_on: Iterable[Counted]) -> None:
        """Bring the row up to date, with the counts of those that have not ended."""
        received, sent, messages = self._received, self._sent, self._messages
        for counted in going_on:
            received += counted.received
            sent += counted.sent
            messages += counted.messages
        self._row[RECEIVED], self._row[SENT], self._row[MESSAGES] = received, sent, messages
