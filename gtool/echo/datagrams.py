"""Datagrams with faults: lost, late, out of order, changed."""

from __future__ import annotations

import heapq
from time import monotonic

from gtool.echo.faults import Transit
from gtool.runtime.alarm import NEVER, Alarm
from gtool.runtime.datagrams import Answer, Client, Datagrams
from gtool.runtime.listen import Listener
from gtool.runtime.server import Server

MAX_LATE = 4096  #: datagrams on their way; those beyond are lost, as on a network
MAX_LATE_BYTES = 1 << 24


class FaultyDatagrams(Datagrams):
    """Keeps answers until they are due. What happens to one goes by its place in the order of arrival."""

    def __init__(
        self,
        server: Server,
        listener: Listener,
        answer: Answer,
        any_source: bool,
        transit: Transit,
    ) -> None:
        super().__init__(server, listener, answer, any_source)
        self._transit = transit
        self._number = 0
        self._late: list[tuple[float, int, bytes, Client]] = []
        self._late_bytes = 0
        self._alarm = Alarm(self._send_late)

    def close(self) -> None:
        self._alarm.close()
        super().close()

    def is_done(self) -> bool:
        return not self._late and super().is_done()

    def send(self, data: bytes, client: Client) -> bool:
        self._number += 1
        if len(self._late) >= MAX_LATE or self._late_bytes + len(data) > MAX_LATE_BYTES:
            return True
        fate = self._transit.datagram(data, monotonic())
        if fate:
            heapq.heappush(self._late, (fate[0], self._number, fate[1], client))
            self._late_bytes += len(data)
            self._alarm.set(self._late[0][0])
        return True

    def _send_late(self) -> None:
        while self._late and self._late[0][0] <= monotonic():
            _, _, data, client = heapq.heappop(self._late)
            self._late_bytes -= len(data)
            if not self.is_blocked:  # else the kernel's buffer is full, and this one is lost
                self.transmit(data, client)
        self._alarm.set(self._late[0][0] if self._late else NEVER)
        self.close_if_done()
