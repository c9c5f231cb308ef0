"""The green engine: sockets of ZeroMQ on gevent's loop.

It does what zmq.green does, with fewer steps and with deadlines. libzmq's descriptor (ZMQ_FD) tells that something has
changed since it was last asked, no more, so each wait is for the descriptor, and each try comes first:

- recv(NOBLOCK) handles what has been signalled before it fails with EAGAIN, so that the next message signals anew;
- send(NOBLOCK) handles it once a millisecond at most (https://github.com/zeromq/libzmq/pull/3462), so that the sender
  stands still with room to send; asking for ZMQ_EVENTS handles it each time. The same goes for a PUB socket, which does
  not stand still then but drops.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import zmq

from gtool.pingpong.engine import BATCH, CORE, receive_frames, send_frames
from gtool.runtime.hub import READ, get_hub

name = "green"
sleep = gevent.sleep


class GreenLink:
    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self._watcher: Any = get_hub().loop.io(sock.getsockopt(zmq.FD), READ)

    def send(self, frames: list[bytes], timeout_s: float) -> bool:
        deadline = None
        while True:
            try:
                send_frames(self.sock, frames, zmq.NOBLOCK)
            except zmq.Again:
                deadline = deadline or time.monotonic() + timeout_s
                if not self._wait_until_writable(deadline):
                    return False
            else:
                return True

    def receive(self, timeout_s: float) -> list[bytes] | None:
        deadline = None
        while True:
            try:
                return receive_frames(self.sock, zmq.NOBLOCK)
            except zmq.Again:
                deadline = deadline or time.monotonic() + timeout_s
                if not self._wait(deadline):
                    return None

    def send_all(self, messages: Iterable[bytes], timeout_s: float) -> int:
        sock, send, count = self.sock, CORE.send, 0
        for message in messages:
            while True:
                try:
                    send(sock, message, zmq.NOBLOCK)
                    break
                except zmq.Again:
                    if not self._wait_until_writable(time.monotonic() + timeout_s):
                        return count
            count += 1
        sock.getsockopt(zmq.EVENTS)
        gevent.sleep(0)  # a PUB socket never waits, a PULL not always; but others have to live
        return count

    def receive_some(self, timeout_s: float, most: int = BATCH) -> list[bytes]:
        frames: list[bytes] = []
        sock, receive, append = self.sock, CORE.recv, frames.append
        deadline = None
        while not frames:
            try:
                for _ in range(most):
                    append(receive(sock, zmq.NOBLOCK))
            except zmq.Again:
                deadline = deadline or time.monotonic() + timeout_s
                if not frames and not self._wait(deadline):
                    break
        gevent.sleep(0)
        return frames

    def close(self) -> None:
        self._watcher.close()
        self.sock.close()

    def _wait_until_writable(self, deadline: float) -> bool:
        while not self.sock.getsockopt(zmq.EVENTS) & zmq.POLLOUT:
            if not self._wait(deadline):
                return False
        return True

    def _wait(self, deadline: float) -> bool:
        """Wait until libzmq has something new; False if the time is over. The last try is after the last wait."""
        rest_s = deadline - time.monotonic()
        if rest_s <= 0:
            return False
        with gevent.Timeout(rest_s, False):  # type: ignore[arg-type]  # False: it is not raised
            get_hub().wait(self._watcher)
        return True


def link(sock: Any) -> GreenLink:
    return GreenLink(sock)


def spawn(function: Callable[[], None]) -> None:
    gevent.spawn(function)
