"""The transfers in flight: an easy handle for each, taken from those that idle, and all of them in one multi handle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pycurl

from gtool.fetch.handles import Handle, cookie_share
from gtool.fetch.job import Job
from gtool.fetch.multi import Multi
from gtool.fetch.record import TIMED_OUT, Measured
from gtool.fetch.settings import Network


class Flight:
    """Runs attempts at jobs, and says how each has ended. A job has its handle from begin() until that is said."""

    def __init__(
        self,
        network: Network,
        wants_headers: bool,
        on_end: Callable[[Job, int, str, Measured], None],
        on_round: Callable[[], None],
    ) -> None:
        """`on_end(job, code, message, measured)` has curl's exit code and message; `on_round` follows one or more.

        UsageError if libcurl can't do a setting.
        """
        self._network = network
        self._wants_headers = wants_headers
        self._on_end = on_end
        self._multi = Multi(self._ended, on_round)
        self._share = cookie_share(network)
        self._idle = [self._new_handle()]
        self._active: dict[pycurl.Curl, Job] = {}
        self._may_be_resolving = False

    def __len__(self) -> int:
        return len(self._active)

    @property
    def bytes_moved(self) -> int:
        """Bytes that all of them have moved so far."""
        return sum(job.handle.bytes_moved() for job in self._active.values() if job.handle)

    def begin(self, job: Job, now: float, will_retry: Callable[[Job, int], bool]) -> None:
        """Begin an attempt, as Job.begin_attempt() has it; its ValueError, OSError or pycurl.error end it at once."""
        handle = self._idle.pop() if self._idle else self._new_handle()
        try:
            job.begin_attempt(handle, now, self._resume, will_retry)
        except (ValueError, OSError, pycurl.error):
            self._release(job)
            raise
        self._active[handle.curl] = job
        self._multi.add(handle.curl)

    def end_stalled(self, timeout_s: float) -> None:
        """End those that stand, and have moved no byte for that long."""
        now = time.monotonic()
        for curl, job in list(self._active.items()):
            if job.has_stalled(now, timeout_s):
                self._multi.remove(curl)
                self._ended(curl, TIMED_OUT, f"stalled: no byte for {timeout_s:g} s (--stall-timeout)")

    def give_up(self) -> Iterator[Job]:
        """Take out one after the other: nothing of it moves any more. It has its handle until the next is taken."""
        for curl, job in list(self._active.items()):
            assert job.handle is not None
            if not job.handle.is_connected:
                self._may_be_resolving = True
            self._multi.remove(curl)
            del self._active[curl]
            yield job
            self._release(job)

    def close(self) -> None:
        """Close all handles, of which none may be in flight; write the cookies."""
        if self._share:
            self._idle[0].flush_cookies()
        for handle in self._idle:
            handle.close()
        self._multi.close(abandon=self._may_be_resolving)

    def _ended(self, curl: pycurl.Curl, code: int, message: str) -> None:
        """Take one that has ended, for whatever reason, and is out of the multi handle."""
        job = self._active.pop(curl)
        assert job.handle is not None
        measured = job.handle.measured()
        if code and not measured.time_namelookup:
            self._may_be_resolving = True
        self._on_end(job, code, message, measured)
        self._release(job)

    def _release(self, job: Job) -> None:
        assert job.handle is not None
        self._idle.append(job.handle)
        job.handle = None

    def _resume(self, curl: pycurl.Curl) -> None:
        """Let a paused transfer go on, if it has not been ended in the meantime."""
        if curl in self._active:
            self._multi.resume(curl)

    def _new_handle(self) -> Handle:
        return Handle(self._network, self._multi.on_new_socket, self._share, self._wants_headers)
