"""Take connections from a listening socket, and keep serving when there are no descriptors for more."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from gtool.runtime.hub import READ, get_hub
from gtool.runtime.listen import Listener

ACCEPTS_PER_TURN = 64  #: the other sockets have to have their turn, and other workers their share
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_S = 0.1


class Acceptor:
    """Calls `take(listener, socket, address)` for each connection; `exhausted()` when no descriptor is left."""

    def __init__(
        self,
        listener: Listener,
        take: Callable[[Listener, socket.socket, Any], None],
        exhausted: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._take = take
        self._exhausted = exhausted
        self._loop: Any = get_hub().loop
        self._spare = _spare()
        self._pause: Any = None
        self._watcher: Any = self._loop.io(listener.socket.fileno(), READ)
        self._watcher.start(self._ready)

    def close(self) -> None:
        """Close the listener too: who connects from now on is refused by the kernel."""
        for watcher in (self._watcher, self._pause):
            if watcher:
                watcher.close()
        self._pause = None
        self._listener.close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _ready(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._listener.socket.fileno() < 0:
                return  # what was taken has closed us
            try:
                sock, address = self._listener.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in OUT_OF_RESOURCES:
                    continue  # that connection is dead already (accept(2) passes its errors on)
                self._refuse_one()
                return
            sock.setblocking(False)
            self._take(self._listener, sock, address)

    def _refuse_one(self) -> None:
        """Close the connection that has no descriptor, by lending it our spare one: else its client would hang.

        The trick is libev's (ev(3), "The special problem of accept()ing when you can't").
        """
        if self._spare is None:
            self._exhausted()
            self._wait()
            return
        os.close(self._spare)
        try:
            self._listener.socket.accept()[0].close()
        except OSError:
            pass  # nobody was waiting: EMFILE comes before that is looked at
        else:
            self._exhausted()
        self._spare = _spare()

    def _wait(self) -> None:
        self._watcher.stop()
        self._pause = self._loop.timer(PAUSE_S)
        self._pause.start(self._resume)

    def _resume(self) -> None:
        self._pause.close()
        self._pause = None
        self._spare = _spare()
        self._watcher.start(self._ready)


def _spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
