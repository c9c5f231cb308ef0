"""The blocking engine: libzmq waits, and the process with it. Nothing of gevent is here.

Signals still come through: pyzmq lets Python's handlers run when one interrupts a wait.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import zmq

from gtool.pingpong.engine import BATCH, CORE, receive_frames, send_frames

LONGEST_MS = (1 << 31) - 1  # what an int of C holds

name = "blocking"
sleep = time.sleep


class BlockingLink:
    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self._timeouts: dict[int, int] = {}

    def send(self, frames: list[bytes], timeout_s: float) -> bool:
        self._set_timeout(zmq.SNDTIMEO, timeout_s)
        try:
            send_frames(self.sock, frames)
        except zmq.Again:
            return False
        return True

    def receive(self, timeout_s: float) -> list[bytes] | None:
        self._set_timeout(zmq.RCVTIMEO, timeout_s)
        try:
            return receive_frames(self.sock)
        except zmq.Again:
            return None

    def send_all(self, messages: Iterable[bytes], timeout_s: float) -> int:
        self._set_timeout(zmq.SNDTIMEO, timeout_s)
        sock, send, count = self.sock, CORE.send, 0
        try:
            for message in messages:
                send(sock, message)
                count += 1
        except zmq.Again:
            pass
        sock.getsockopt(zmq.EVENTS)  # see green
        return count

    def receive_some(self, timeout_s: float, most: int = BATCH) -> list[bytes]:
        self._set_timeout(zmq.RCVTIMEO, timeout_s)
        frames: list[bytes] = []
        sock, receive, append = self.sock, CORE.recv, frames.append
        try:
            append(receive(sock))
            for _ in range(most - 1):
                append(receive(sock, zmq.NOBLOCK))
        except zmq.Again:
            pass
        return frames

    def close(self) -> None:
        self.sock.close()

    def _set_timeout(self, option: int, timeout_s: float) -> None:
        """Set it where it has changed; libzmq counts milliseconds, and waits for ever with -1."""
        timeout_ms = min(max(0, math.ceil(timeout_s * 1000)), LONGEST_MS)
        if self._timeouts.get(option) != timeout_ms:
            self.sock.setsockopt(option, timeout_ms)
            self._timeouts[option] = timeout_ms


def link(sock: Any) -> BlockingLink:
    return BlockingLink(sock)


def spawn(function: Callable[[], None]) -> None:
    threading.Thread(target=function, daemon=True).start()
