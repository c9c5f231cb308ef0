"""What the two engines have in common: a socket of ZeroMQ with no wait without a deadline.

`green` waits on gevent's loop, beside other greenlets; `blocking` in libzmq itself, with the whole process. What is
measured and how (client.py, server.py) is written once, against these. One greenlet or thread uses a link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import zmq

DEFAULT_HWM = 1000  # libzmq's high-water mark, in messages
BATCH = DEFAULT_HWM // 2  #: messages taken at once: half of it is when libzmq lets the sender go on
SMALLEST_LIMIT = 1 << 16  #: of MAXMSGSIZE, which handshakes and rubbish have to fit too
#: Where `send` and `recv` do no more than that. zmq.Socket's look at their arguments first, and its multipart functions
#: ask for each part whether there is another: 7.3 us for four parts there and back, not 2.7.
CORE: Any = zmq.backend.Socket


class Link(Protocol):
    """A socket. Times to wait are seconds; 0 is not to wait at all."""

    sock: Any

    def send(self, frames: list[bytes], timeout_s: float) -> bool:
        """Send a message; tell whether it could be sent in time."""

    def receive(self, timeout_s: float) -> list[bytes] | None:
        """Give the frames of the next message; None if none came in time."""

    def send_all(self, messages: Iterable[bytes], timeout_s: float) -> int:
        """Send messages of one frame until one could not be sent in time; give the number of those that were."""

    def receive_some(self, timeout_s: float, most: int = BATCH) -> list[bytes]:
        """Give the frames that are there, up to so many; none if none came in time."""

    def close(self) -> None:
        """Close the socket; what is not sent yet is dropped after its LINGER."""


class Engine(Protocol):
    name: str

    def link(self, sock: Any) -> Link:
        """Take over a socket."""

    def sleep(self, seconds: float) -> None: ...

    def spawn(self, function: Callable[[], None]) -> None:
        """Run a function beside this one; that it ends is its own affair."""


def send_frames(sock: Any, frames: list[bytes], flags: int = 0) -> None:
    """Send a message. zmq.Again if there is no room for it; a message is sent as a whole, or not."""
    send = CORE.send
    for frame in frames[:-1]:
        send(sock, frame, flags | zmq.SNDMORE)
    send(sock, frames[-1], flags)


def receive_frames(sock: Any, flags: int = 0) -> list[bytes]:
    """Receive a message. zmq.Again if there is none."""
    frame = CORE.recv(sock, flags, False)
    frames: list[bytes] = [frame.bytes]
    while frame.more:
        frame = CORE.recv(sock, flags, False)
        frames.append(frame.bytes)
    return frames
