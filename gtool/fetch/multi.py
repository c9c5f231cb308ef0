"""libcurl's multi interface on the gevent loop: watchers and timers in, finished handles out.

The rule of libcurl's callbacks (curl_multi_socket_action(3)): they must not call back into the multi handle, nor switch
greenlets. So `_on_socket` and `_on_timer` only set watchers and note a time; all else happens in loop callbacks.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pycurl
from gevent.hub import get_hub

from gtool.runtime.alarm import NEVER, Alarm

#: multi handles that nobody waits for any more; kept, since to drop the last reference would be to wait
ABANDONED: list[pycurl.CurlMulti] = []


class Multi:
    """Runs easy handles; says of each that ends: the handle, curl's exit code, its message.

    It works in rounds, one per turn of the loop: first libcurl sees to all sockets that are ready, then all handles
    that have ended are handed over, then the caller adds new ones, and these are sent off together. A server on this
    machine is woken once per round then, not once per request: a sixth of the time of a small request.
    """

    def __init__(self, on_done: Callable[[pycurl.Curl, int, str], None], on_round: Callable[[], None]) -> None:
        """Both are called on the loop, outside libcurl: `on_done` per ended handle, `on_round` after them."""
        self._on_done = on_done
        self._on_round = on_round
        self._loop: Any = get_hub().loop
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        #: Watchers are kept while their socket lives, stopped or not. libcurl drops a socket between two requests on
        #: one connection; a new watcher for the next would cost an epoll_ctl(2) and an fcntl(2) each time.
        self._watchers: dict[int, tuple[Any, Callable[[int], None]]] = {}
        self._alarm = Alarm(self._on_timeout)
        self._is_closed = False
        self._is_round_due = False
        self._has_ended_early = False  #: some handle has, while those of a round were being started

    def add(self, handle: pycurl.Curl) -> None:
        """Start a handle. Its SOCKOPTFUNCTION must be `on_new_socket`."""
        self._multi.add_handle(handle)
        self._plan_round()

    def remove(self, handle: pycurl.Curl) -> None:
        """Take out a handle, finished or not; its connection is closed if it was in use."""
        self._multi.remove_handle(handle)

    def resume(self, handle: pycurl.Curl) -> None:
        """Let a handle go on whose write function has returned WRITEFUNC_PAUSE."""
        with contextlib.suppress(pycurl.error):  # one that fails at once says so when it is handed over
            handle.pause(pycurl.PAUSE_CONT)
        self._plan_round()

    def close(self, *, abandon: bool = False) -> None:
        """Close all connections; the handles must have been removed.

        `abandon` leaves them to the end of the process: libcurl would wait here for threads that resolve names, as
        long as the resolver takes.
        """
        self._is_closed = True
        self._alarm.close()
        if abandon:
            ABANDONED.append(self._multi)
        else:
            self._multi.close()
        for watcher, _ in self._watchers.values():
            watcher.close()
        self._watchers.clear()

    def on_new_socket(self, descriptor: int, _purpose: int) -> int:
        """Forget the watcher of a socket that had this number before (CURLOPT_SOCKOPTFUNCTION)."""
        old = self._watchers.pop(descriptor, None)
        if old:
            old[0].close()
        return 0

    def _on_socket(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        known = self._watchers.get(descriptor)
        if what == pycurl.POLL_REMOVE or what == pycurl.POLL_NONE:
            if known:
                known[0].stop()
            return
        # POLL_IN, POLL_OUT and POLL_INOUT are libev's READ, WRITE and both.
        if known is None:
            known = self._watchers[descriptor] = self._loop.io(descriptor, what), partial(self._on_ready, descriptor)
        watcher, callback = known
        if watcher.events != what:
            watcher.stop()
            watcher.events = what
        if not watcher.active:
            watcher.start(callback, pass_events=True)

    def _on_timer(self, timeout_ms: int) -> None:
        self._alarm.at = NEVER if timeout_ms < 0 else time.monotonic() + timeout_ms / 1000

    def _on_ready(self, descriptor: int, events: int) -> None:
        self._multi.socket_action(descriptor, events & 3)
        if not self._is_round_due:
            self._plan_round()

    def _on_timeout(self) -> None:
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._plan_round()

    def _plan_round(self) -> None:
        if not self._is_round_due:
            self._is_round_due = True
            self._loop.run_callback(self._round)

    def _round(self) -> None:
        if self._is_closed:
            return
        if self._hand_over() or self._has_ended_early:
            self._has_ended_early = False
            self._on_round()
        self._is_round_due = False
        if self._alarm.at <= time.monotonic():  # as it is whenever handles were added
            self._alarm.at = NEVER
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._has_ended_early = self._hand_over()
            if self._has_ended_early:
                self._plan_round()
        self._alarm.arm()

    def _hand_over(self) -> bool:
        """Give away the handles that have ended; whether there were any."""
        ended = False
        queued = 1
        while queued:
            queued, done, failed = self._multi.info_read()
            for handle in done:
                self._multi.remove_handle(handle)
                self._on_done(handle, 0, "")
            for handle, code, message in failed:
                self._multi.remove_handle(handle)
                self._on_done(handle, code, message)
            ended = ended or bool(done or failed)
        return ended
