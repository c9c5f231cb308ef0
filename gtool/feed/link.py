"""One process feeds the workers: what it says to each of them, over a Unix socket that nobody else can reach.

A worker gets the log's epoch, all that is kept, and then what comes: its own log mirrors the feeder's, ids and all.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from typing import NamedTuple

from gtool.errors import BindError

HEAD = struct.Struct("!B16sdI")  #: kind, offset, time, size of the data that follow
HELLO, ENTRY, LOST, TROUBLE, READY, END = range(6)  #: kinds


class Said(NamedTuple):
    """One thing that the feeder says."""

    kind: int
    offset: int
    time: float
    data: bytes


def say(kind: int, offset: int = 0, time_s: float = 0.0, data: bytes = b"") -> bytes:
    """Give the bytes of it."""
    return HEAD.pack(kind, offset.to_bytes(16), time_s, len(data)) + data


class Link:
    """Where the feeder and the workers meet; made before the fork."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gtool-feed-")  # only we may enter it
        self.path = os.path.join(self._folder.name, "feed")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.listener.bind(self.path)
        except OSError as error:
            self.close()
            raise BindError(f"cannot make a socket at {self.path}: {error}", "TMPDIR may be another") from error
        self.listener.listen(1024)

    def close(self) -> None:
        self.listener.close()
        self._folder.cleanup()
