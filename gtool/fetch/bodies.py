"""Where the bytes of a body go: checked, counted and hashed on the way, then kept by a store (gtool.fetch.stores).

libcurl calls `Body.write` with each piece; that must not raise, wait, or switch greenlets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import pycurl

from gtool.fetch.record import PARTIAL, TOO_LARGE, WRITE_ERROR, Headers
from gtool.fetch.stores import NOWHERE, CannotRestart, ResumePoint, Store
from gtool.fetch.valve import Valve

if TYPE_CHECKING:
    import hashlib


PARTIAL_CONTENT = 206  # HTTP status


class Checks(NamedTuple):
    """What every body is held against."""

    max_size: int | None = None
    with_sha256: bool = False
    fail: bool = True


def never(*_about: object) -> bool:
    """No: nothing is tried again."""
    return False


class Body:
    """One body on its way in: what libcurl's write function does, and what has come of it."""

    def __init__(self, store: Store, checks: Checks, valve: Valve | None) -> None:
        self.store = store
        self.error: tuple[int, str] | None = None  #: exit code and message, where it failed on our side
        self.size = 0  #: bytes, decoded
        self.is_held = False  #: paused, because stdout is behind
        self._checks = checks
        self._valve = valve
        self._point: ResumePoint | None = None
        self._will_retry: Callable[[int], bool] = never
        self._digest = _new_digest() if checks.with_sha256 else None
        self._is_kept = True
        self._has_begun = False
        self._lines: list[bytes] = []
        self._resume: Callable[[], None] = _nothing

    def start(
        self, header_lines: list[bytes], resume: Callable[[], None], will_retry: Callable[[int], bool] = never
    ) -> ResumePoint | None:
        """Make ready for an attempt whose headers will be in that list; `resume` lets a paused one go on.

        `will_retry` tells of a status whether another attempt follows: the answer's body is left out then.
        """
        self._lines, self._resume, self._will_retry = header_lines, resume, will_retry
        self._has_begun = False
        self._is_kept = True
        self.error = None
        point = self.store.start()
        self._point = point
        if point is None:
            self._reset(0, ())
        elif point.offset != self.size:  # else we have seen these bytes ourselves, in an earlier attempt
            self._reset(point.offset, self.store.prefix())
        return point

    def take_back(self) -> None:
        """Have nothing of a failed attempt go out before the next one starts. CannotRestart if there can be none."""
        self.store.take_back()

    def write(self, data: bytes) -> int | None:
        """Take a piece of the body (CURLOPT_WRITEFUNCTION): None is all of it, 0 an error."""
        if self._valve and self._valve.is_closed:
            self.is_held = True
            self._valve.hold(self._go_on)
            return pycurl.WRITEFUNC_PAUSE
        try:
            if not self._has_begun:
                self._begin()
            return self._take(data)
        except OSError as error:
            self.error = WRITE_ERROR, describe(error)
        except CannotRestart as error:
            self.error = PARTIAL, str(error)
        return 0

    def finish(self) -> dict[str, Any]:
        """The attempt has succeeded: give the record's fields for the body. May raise OSError."""
        if not self._has_begun:
            self._begin()
        sha256 = self.sha256
        fields = self.store.finish(sha256)
        return {"sha256": sha256, **fields} if sha256 else fields

    def discard(self) -> dict[str, Any]:
        """The input has failed: give the record's fields for what there is of the body."""
        return self.store.discard()

    @property
    def resumed_at(self) -> int:
        """Bytes that the current attempt did not ask for, since they are there."""
        return self._point.offset if self._point else 0

    @property
    def sha256(self) -> str | None:
        return self._digest.hexdigest() if self._digest else None

    def _go_on(self) -> None:
        self.is_held = False
        self._resume()

    def _begin(self) -> None:
        self._has_begun = True
        headers = Headers(self._lines)
        status = headers.status()
        is_left_out = status >= 400 and self.store.skips_failures and (self._checks.fail or self._will_retry(status))
        self._is_kept = not is_left_out
        if not self._is_kept:
            return
        if self._point and not _continues(status, headers, self._point):
            self.store.rewind()
            self._reset(0, ())
            if status == PARTIAL_CONTENT:
                raise CannotRestart("the server gave another part of the body than the rest that was asked for")
        self.store.begin(headers)

    def _take(self, data: bytes) -> int | None:
        self.size += len(data)
        limit = self._checks.max_size
        if limit is not None and self.size > limit:
            self.error = TOO_LARGE, f"body is larger than --max-size {limit} bytes"
            return 0
        if not self._is_kept:
            return None
        if self._digest:
            self._digest.update(data)
        self.store.append(data)
        return None

    def _reset(self, size: int, prefix: Iterable[bytes]) -> None:
        self.size = size
        if self._digest:
            self._digest = _new_digest()
            for piece in prefix:
                self._digest.update(piece)


def _new_digest() -> hashlib._Hash:
    import hashlib  # loads OpenSSL: only who wants digests waits for it

    return hashlib.sha256()


def describe(error: OSError) -> str:
    """Say what failed, on what."""
    where = f" {error.filename}" if error.filename else ""
    return f"cannot write{where}: {error.strerror or error}"


class UnwantedBody:
    """A body of which only libcurl's own count is wanted: no Python code runs for its bytes. One does for all."""

    error = None
    is_held = False
    sha256 = None
    resumed_at = 0
    write = staticmethod(len)  # "all of it", to libcurl

    def start(
        self, header_lines: list[bytes], resume: Callable[[], None], will_retry: Callable[[int], bool] = never
    ) -> None:
        pass

    def take_back(self) -> None:
        pass

    def finish(self) -> dict[str, Any]:
        return {}

    discard = finish


UNWANTED = UnwantedBody()


def body_for(store: Store, checks: Checks, valve: Valve | None) -> Body | UnwantedBody:
    """Make the Body of an input."""
    if store is NOWHERE and checks.max_size is None and not checks.with_sha256:
        return UNWANTED
    return Body(store, checks, valve)


def _continues(status: int, headers: Headers, point: ResumePoint) -> bool:
    """Whether an answer is the rest that was asked for: from that byte on, and of that same body."""
    content_range = headers.last("content-range") or ""  # bytes 500-999/1234
    validators = headers.last("etag"), headers.last("last-modified")
    is_same = point.validator in validators or validators == (None, None)
    return (
        status == PARTIAL_CONTENT
        and is_same
        and content_range.removeprefix("bytes ").partition("-")[0] == str(point.offset)
    )


def _nothing() -> None:
    pass
