"""The blocking engine: libzmq waits, and the process with it. Nothing of gevent is here.

Signals still come through: pyzmq lets Python's handlers run when one interrupts a wait. They must not raise: what comes
out of a handler that runs while pyzmq drops a message is printed, and lost (Frame.__dealloc__ checks for signals). So
who may be told to stop is looked to between the parts of a wait.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import zmq

from gtool.pingpong.engine import BATCH, CORE, receive_frames, send_frames

LOOK_S = 0.05  #: the longest that is waited without a look

name = "blocking"
sleep = time.sleep
clock = time.monotonic


def go_on() -> None:
    """Let it wait on: nobody is to be looked to."""


class BlockingLink:
    def __init__(self, sock: Any, look: Callable[[], None] = go_on) -> None:
        """`look` is called before each wait, and all the while; what it raises ends the wait."""
        self.sock = sock
        self._look = look
        self._timeouts: dict[int, int] = {}

    def send(self, frames: list[bytes], timeout_s: float) -> bool:
        for _ in self._waits(zmq.SNDTIMEO, timeout_s):
            try:
                send_frames(self.sock, frames)
            except zmq.Again:
                continue
            return True
        return False

    def receive(self, timeout_s: float) -> list[bytes] | None:
        for _ in self._waits(zmq.RCVTIMEO, timeout_s):
            try:
                return receive_frames(self.sock)
            except zmq.Again:
                continue
        return None

    def send_all(self, messages: Iterable[bytes], timeout_s: float) -> int:
        self._look()
        sock, send, count = self.sock, CORE.send, 0
        for message in messages:
            try:
                send(sock, message, zmq.NOBLOCK)
            except zmq.Again:
                if not self.send([message], timeout_s):
                    break
            count += 1
        sock.getsockopt(zmq.EVENTS)  # see green
        return count

    def receive_some(self, timeout_s: float, most: int = BATCH) -> list[bytes]:
        frames: list[bytes] = []
        sock, receive, append = self.sock, CORE.recv, frames.append
        for _ in self._waits(zmq.RCVTIMEO, timeout_s):
            with suppress(zmq.Again):
                append(receive(sock))
                for _ in range(most - 1):
                    append(receive(sock, zmq.NOBLOCK))
            if frames:
                break
        return frames

    def close(self) -> None:
        self.sock.close()

    def _waits(self, option: int, timeout_s: float) -> Iterator[None]:
        """Part a wait, so that there is a look before each part; the time-out is that of the part."""
        ends_at = clock() + timeout_s
        while True:
            self._look()
            self._set_timeout(option, min(timeout_s, LOOK_S))
            yield
            timeout_s = ends_at - clock()
            if timeout_s <= 0:
                return

    def _set_timeout(self, option: int, timeout_s: float) -> None:
        """Set it where it has changed; libzmq counts milliseconds."""
        timeout_ms = max(0, math.ceil(timeout_s * 1000))
        if self._timeouts.get(option) != timeout_ms:
            self.sock.setsockopt(option, timeout_ms)
            self._timeouts[option] = timeout_ms


def link(sock: Any) -> BlockingLink:
    return BlockingLink(sock)


def spawn(function: Callable[[], None]) -> None:
    threading.Thread(target=function, daemon=True).start()


class Stoppable:
    """The same, for one who may be told to stop: `look` is asked at least every LOOK_S, and raises what ends it."""

    name = name
    spawn = staticmethod(spawn)

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def link(self, sock: Any) -> BlockingLink:
        return BlockingLink(sock, self._look)

    def sleep(self, seconds: float) -> None:
        ends_at = clock() + seconds
        while True:
            self._look()
            rest_s = ends_at - clock()
            if rest_s <= 0:
                return
            time.sleep(min(rest_s, LOOK_S))
