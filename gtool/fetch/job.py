"""One input on its way, and the verdict on each attempt at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pycurl

from gtool.fetch.bodies import UNWANTED, Body, UnwantedBody, describe, never
from gtool.fetch.handles import Handle
from gtool.fetch.record import (
    CHECKSUM_MISMATCH,
    COULD_NOT_CONNECT,
    HTTP_ERROR,
    NOTHING,
    PARTIAL,
    WRITE_ERROR,
    Headers,
    Measured,
    Record,
    build,
)
from gtool.fetch.request import Request
from gtool.fetch.retry_policy import RetryPolicy, parse_retry_after
from gtool.fetch.stores import CannotRestart
from gtool.fetch.urls import redacted, redacted_message

Verdict = tuple[int, str | None]  #: curl's exit code and what to say of it
SUCCESS: Verdict = (0, None)
UNPLANNED = -1.0  #: whether there is another attempt has not been decided
RANGE_NOT_SATISFIABLE = 416  # HTTP status

#: libcurl has no words of its own for these, at times
MESSAGES = {23: "the body could not be decoded", 28: "timed out", 100: "a header is too large"}
#: what to do about a failure of libcurl whose message does not tell
HINTS = {47: " (see --max-redirs)", 60: " (--cacert FILE trusts its authority)"}


class Job:
    """An input that is waiting, being transferred, or waiting for its next attempt."""

    __slots__ = (
        "attempts",
        "body",
        "handle",
        "host",
        "max_time_s",
        "moved",
        "moved_at",
        "request",
        "retry_in",
        "seq",
        "started",
        "started_at",
    )

    def __init__(self, seq: int, request: Request, body: Body | UnwantedBody, max_time_s: float | None) -> None:
        self.seq = seq
        self.request = request
        self.host = request.host
        self.body = body
        self.max_time_s = max_time_s  #: for all attempts together
        self.attempts = 0
        self.started = 0.0  #: the first attempt, monotonic
        self.started_at = 0.0  #: the same, since the epoch
        self.handle: Handle | None = None
        self.retry_in: float | None = UNPLANNED  #: seconds to the next attempt after this one, None if it is the last
        self.moved = 0  #: bytes, at the last look for stalled transfers
        self.moved_at = 0.0  #: when they were fewer

    def begin_attempt(
        self,
        handle: Handle,
        now: float,
        resume: Callable[[pycurl.Curl], None],
        will_retry: Callable[[Job, int], bool] = never,
    ) -> None:
        """Set up a handle for the next attempt. `resume` lets a paused one go on, `will_retry` is asked of a status.

        Raises ValueError or pycurl.error for a request that libcurl does not take, OSError for an unreadable part.
        """
        self.handle = handle
        self.attempts += 1
        self.moved, self.moved_at = 0, now
        self.retry_in = UNPLANNED
        if self.attempts == 1:
            self.started, self.started_at = now, time.time()
        body = self.body
        point = None
        if body is not UNWANTED:
            point = body.start(handle.header_lines, partial(resume, handle.curl), partial(will_retry, self))
        handle.prepare(self.request, body.write, self.time_left(now), point)

    def time_left(self, now: float) -> float | None:
        return None if self.max_time_s is None else self.started + self.max_time_s - now

    def has_stalled(self, now: float, timeout_s: float) -> bool:
        """Whether no byte has moved for that long, on a connection that stands and is not paused by us."""
        assert self.handle is not None
        moved = self.handle.bytes_moved()
        if moved != self.moved or self.body.is_held or not self.handle.is_connected:
            self.moved, self.moved_at = moved, now
        return now - self.moved_at >= timeout_s

    def judge(self, code: int, message: str, measured: Measured, fail: bool) -> Verdict:
        """Say how an attempt has ended, all considered: libcurl's word, the status, our own side, the checksum."""
        if self.body.error:
            return self.body.error
        if code:
            assert self.handle is not None
            if self.handle.refused and code == COULD_NOT_CONNECT:
                message = f"--deny-private does not let it connect to {', '.join(self.handle.refused)}"
            message = message or MESSAGES.get(code) or f"libcurl error {code}"
            return code, redacted_message(message) + HINTS.get(code, "")
        if measured.response_code == RANGE_NOT_SATISFIABLE and self.body.resumed_at:
            return self._judge_no_rest()
        if fail and measured.response_code >= 400:
            return HTTP_ERROR, f"the server answered {measured.response_code}"
        wanted, got = self.request.sha256, self.body.sha256
        if wanted and wanted != got:
            return CHECKSUM_MISMATCH, f"sha256 is {got}, not {wanted}"
        return SUCCESS

    def _judge_no_rest(self) -> Verdict:
        """The server has no bytes after those that we have: all well, if it means that these are all."""
        assert self.handle is not None
        content_range = Headers(self.handle.header_lines).last("content-range")
        if content_range == f"bytes */{self.body.resumed_at}":
            return SUCCESS
        return PARTIAL, "the server does not give the rest of the body"

    def may_retry(self, policy: RetryPolicy, exitcode: int, status: int, at: float) -> bool:
        """Whether a failed attempt may be made again at that time."""
        if self.body.error or not policy.wants_another(self.attempts, exitcode, status):
            return False
        left = self.time_left(at)
        return at - self.started <= policy.retry_max_time and (left is None or left > 0)

    def take_back(self) -> Verdict | None:
        """Take back what an attempt has left; the verdict if that can't be done, because part of it is on stdout."""
        try:
            self.body.take_back()
        except CannotRestart as error:
            return PARTIAL, str(error)
        return None

    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait, if it does."""
        assert self.handle is not None
        value = Headers(self.handle.header_lines).last("retry-after")
        return parse_retry_after(value) if value else None

    def conclude(self, measured: Measured, verdict: Verdict, with_headers: bool) -> Record:
        """Finish or discard the body, and build the record."""
        exitcode, errormsg = verdict
        fields: dict[str, Any] = {}
        if with_headers and self.handle:
            headers = Headers(self.handle.header_lines).as_dict()
            if "location" in headers:
                headers["location"] = [redacted(url) for url in headers["location"]]
            fields["headers"] = headers
        if exitcode == 0:
            try:
                fields |= self.body.finish()
            except OSError as error:
                exitcode, errormsg = WRITE_ERROR, describe(error)
            except CannotRestart as error:
                exitcode, errormsg = PARTIAL, str(error)
        if exitcode:
            fields |= self.body.discard()
        retries = max(0, self.attempts - 1)
        request = self.request
        effective = None if measured is NOTHING else redacted(measured.redirected_to or request.url)
        return build(
            self.seq,
            request.id,
            request.shown,
            effective,
            measured,
            fields,
            retries,
            self.started_at if self.attempts else time.time(),
            exitcode,
            errormsg,
        )
