"""What libcurl's write function makes of a body: checked, counted, hashed, held."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from itertools import cycle
from typing import Any

import pycurl
import pytest
from gevent.event import Event
from gevent.hub import get_hub

from gtool.fetch.bodies import UNWANTED, Body, Checks, body_for, describe
from gtool.fetch.handles import Handle
from gtool.fetch.multi import Multi
from gtool.fetch.record import Headers
from gtool.fetch.request import parse_url
from gtool.fetch.settings import Network
from gtool.fetch.stores import NOWHERE, CannotRestart, ResumePoint, Store
from gtool.fetch.valve import Valve
from tests.conftest import TIMEOUT_S, answer

OK = [b"HTTP/1.1 200 OK\r\n", b"\r\n"]
NOT_FOUND = [b"HTTP/1.1 404 Not Found\r\n", b"\r\n"]
BUSY = [b"HTTP/1.1 503 Service Unavailable\r\n", b"\r\n"]
UNCHECKED = Checks()
ALL = None  #: what a write function returns for "all of it"


class Kept(Store):
    """Keeps the bytes, and what it was asked to do."""

    def __init__(self, point: ResumePoint | None = None, data: bytes = b"", skips_failures: bool = True) -> None:
        self.point = point
        self.data = data
        self.skips_failures = skips_failures
        self.calls: list[str] = []

    def start(self) -> ResumePoint | None:
        if not self.point:
            self.data = b""
        return self.point

    def rewind(self) -> None:
        self.calls.append("rewind")
        self.data = b""

    def begin(self, headers: Headers) -> None:
        self.calls.append("begin")

    def append(self, data: bytes) -> None:
        self.data += data

    def prefix(self) -> Iterable[bytes]:
        self.calls.append("prefix")
        return [self.data]

    def finish(self, sha256: str | None) -> dict[str, Any]:
        self.calls.append("finish")
        return {"kept": len(self.data)}

    def discard(self) -> dict[str, Any]:
        self.calls.append("discard")
        return {"left": len(self.data)}


class Broken(Store):
    def append(self, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/some/file")


def started(store: Store, checks: Checks = UNCHECKED, lines: list[bytes] = OK, valve: Valve | None = None) -> Body:
    body = Body(store, checks, valve)
    body.start(lines, lambda: None)
    return body


def rest_from(offset: int, *lines: bytes) -> list[bytes]:
    return [b"HTTP/1.1 206 Partial Content\r\n", b"Content-Range: bytes %d-9/10\r\n" % offset, *lines]


# Pieces


def test_all_pieces_go_to_the_store():
    body = started(store := Kept())
    assert [body.write(b"one "), body.write(b"two")] == [ALL, ALL]
    assert store.data == b"one two"


def test_the_answer_is_announced_once_before_its_first_byte():
    body = started(store := Kept())
    body.write(b"one")
    body.write(b"two")
    assert store.calls == ["begin"]


def test_an_answer_without_a_body_is_announced_at_its_end():
    body = started(store := Kept())
    body.finish()
    assert store.calls == ["begin", "finish"]


def test_finish_gives_the_fields_of_the_store():
    body = started(Kept())
    body.write(b"data")
    assert body.finish() == {"kept": 4}


def test_discard_gives_the_fields_of_the_store():
    body = started(Kept())
    body.write(b"data")
    assert body.discard() == {"left": 4}


def test_a_store_that_cannot_write_is_a_write_error_that_names_the_file():
    body = started(Broken())
    assert body.write(b"data") == 0
    assert body.error == (23, "cannot write /some/file: No space left on device")


def test_a_new_attempt_forgets_the_error_of_the_last():
    body = started(Broken())
    body.write(b"data")
    body.start(OK, lambda: None)
    assert body.error is None


def test_what_failed_is_told_without_a_file_too():
    assert describe(OSError(errno.EIO, "Input/output error")) == "cannot write: Input/output error"


# Size


def test_a_body_of_just_the_largest_size_is_taken():
    body = started(Kept(), Checks(max_size=4))
    assert [body.write(b"12"), body.write(b"34"), body.error] == [ALL, ALL, None]


def test_a_body_over_the_largest_size_is_stopped():
    body = started(Kept(), Checks(max_size=4))
    assert [body.write(b"12"), body.write(b"345")] == [ALL, 0]
    assert body.error == (63, "body is larger than --max-size 4 bytes")


def test_the_size_starts_at_nothing_with_each_attempt():
    body = started(Kept(), Checks(max_size=4))
    body.write(b"123")
    body.start(OK, lambda: None)
    assert body.write(b"4567") is ALL


# Failing answers


def test_the_body_of_a_failing_answer_is_left_out():
    body = started(store := Kept(), lines=NOT_FOUND)
    assert body.write(b"oops") is ALL
    assert (store.data, store.calls) == (b"", [])


def test_the_body_of_a_failing_answer_is_kept_where_that_is_no_failure():
    body = started(store := Kept(), Checks(fail=False), NOT_FOUND)
    body.write(b"oops")
    assert store.data == b"oops"


def test_the_body_of_a_failing_answer_is_kept_by_a_store_that_wants_it():
    body = started(store := Kept(skips_failures=False), lines=NOT_FOUND)
    body.write(b"oops")
    assert store.data == b"oops"


def test_a_body_left_out_is_stopped_over_the_largest_size_too():
    body = started(Kept(), Checks(max_size=1), NOT_FOUND)
    assert body.write(b"oops") == 0


def test_the_attempt_after_a_failing_one_is_kept():
    body = started(store := Kept(), lines=NOT_FOUND)
    body.write(b"oops")
    body.start(OK, lambda: None)
    body.write(b"data")
    assert store.data == b"data"


def test_an_answer_that_is_tried_again_has_no_body():
    body = Body(store := Kept(), Checks(fail=False), None)
    body.start(BUSY, lambda: None, will_retry=lambda status: status == 503)
    body.write(b"oops")
    assert (store.data, store.calls) == (b"", [])


def test_the_last_answer_has_its_body_where_it_is_no_failure():
    body = Body(store := Kept(), Checks(fail=False), None)
    body.start(BUSY, lambda: None)
    body.write(b"oops")
    assert store.data == b"oops"


def test_an_answer_that_nobody_would_try_again_has_its_body_where_it_is_no_failure():
    body = Body(store := Kept(), Checks(fail=False), None)
    body.start(NOT_FOUND, lambda: None, will_retry=lambda status: status == 503)
    body.write(b"oops")
    assert store.data == b"oops"


# Digest


def test_the_digest_is_that_of_all_bytes():
    body = started(Kept(), Checks(with_sha256=True))
    body.write(b"one ")
    body.write(b"two")
    digest = hashlib.sha256(b"one two").hexdigest()
    assert (body.sha256, body.finish()["sha256"]) == (digest, digest)


def test_the_digest_starts_anew_with_each_attempt():
    body = started(Kept(), Checks(with_sha256=True))
    body.write(b"lost")
    body.start(OK, lambda: None)
    body.write(b"data")
    assert body.sha256 == hashlib.sha256(b"data").hexdigest()


def test_nobody_pays_for_a_digest_that_is_not_wanted():
    body = started(Kept())
    body.write(b"data")
    assert (body.sha256, "sha256" in body.finish()) == (None, False)


# Resumed bodies


def test_the_point_to_resume_from_is_the_stores():
    point = ResumePoint(5, '"tag"')
    assert Body(Kept(point), Checks(), None).start(OK, lambda: None) == point


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="no validator"),
        pytest.param([b'ETag: "tag"\r\n'], id="the same tag"),
        pytest.param([b'ETag: "tag"\r\n', b"Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n"], id="and a date"),
    ],
)
def test_an_answer_that_goes_on_is_appended(lines):
    body = started(store := Kept(ResumePoint(5, '"tag"'), b"01234"), lines=rest_from(5, *lines))
    body.write(b"56789")
    assert (store.data, store.calls) == (b"0123456789", ["prefix", "begin"])


def test_an_answer_that_is_whole_rewinds():
    body = started(store := Kept(ResumePoint(5, '"tag"'), b"01234"))
    body.write(b"whole")
    assert (store.data, store.calls) == (b"whole", ["prefix", "rewind", "begin"])


OTHER_PARTS = [
    pytest.param(rest_from(4), id="another offset"),
    pytest.param([b"HTTP/1.1 206 Partial Content\r\n"], id="no Content-Range"),
    pytest.param(rest_from(5, b'ETag: "other"\r\n'), id="another body"),
]


@pytest.mark.parametrize("lines", OTHER_PARTS)
def test_another_part_is_not_appended(lines):
    body = started(store := Kept(ResumePoint(5, '"tag"'), b"01234"), lines=lines)
    body.write(b"56789")
    assert not store.data.startswith(b"01234")


@pytest.mark.parametrize("lines", OTHER_PARTS)
def test_another_part_is_not_taken_for_the_whole(lines):
    body = started(Kept(ResumePoint(5, '"tag"'), b"01234"), lines=lines)
    body.write(b"56789")
    assert body.error is not None
    assert body.error[0] == 18


def test_an_answer_that_does_not_go_on_and_has_no_body_rewinds():
    body = started(store := Kept(ResumePoint(5, "x"), b"01234"))
    body.finish()
    assert store.data == b""


def test_a_failing_answer_leaves_alone_what_is_there():
    body = started(store := Kept(ResumePoint(5, "x"), b"01234"), lines=NOT_FOUND)
    body.write(b"oops")
    assert store.data == b"01234"


def test_what_is_there_counts_for_the_digest():
    body = started(Kept(ResumePoint(5, "x"), b"01234"), Checks(with_sha256=True), rest_from(5))
    body.write(b"56789")
    assert body.sha256 == hashlib.sha256(b"0123456789").hexdigest()


def test_what_is_there_counts_for_the_size():
    body = started(Kept(ResumePoint(5, "x"), b"01234"), Checks(max_size=9), rest_from(5))
    assert body.write(b"56789") == 0


def test_what_was_there_does_not_count_after_a_rewind():
    body = started(Kept(ResumePoint(5, "x"), b"01234"), Checks(max_size=9, with_sha256=True))
    assert body.write(b"56789") is ALL
    assert body.sha256 == hashlib.sha256(b"56789").hexdigest()


def test_what_an_earlier_attempt_has_taken_is_not_read_again():
    body = started(store := Kept(), Checks(with_sha256=True))
    body.write(b"01234")
    store.point = ResumePoint(5, "x")
    body.start(rest_from(5), lambda: None)
    body.write(b"56789")
    assert "prefix" not in store.calls
    assert body.sha256 == hashlib.sha256(b"0123456789").hexdigest()


def test_a_store_that_cannot_rewind_has_a_partial_body():
    class Out(Kept):
        def rewind(self) -> None:
            raise CannotRestart("it is out")

    body = started(Out(ResumePoint(5, "x"), b"01234"))
    assert (body.write(b"whole"), body.error) == (0, (18, "it is out"))


# The valve


def test_a_closed_valve_pauses_and_takes_nothing():
    valve = Valve()
    valve.is_closed = True
    body = started(store := Kept(), valve=valve)
    assert (body.write(b"data"), store.data, body.is_held) == (pycurl.WRITEFUNC_PAUSE, b"", True)


def test_an_opened_valve_lets_each_held_body_go_on_once():
    valve, resumed = Valve(), []
    valve.is_closed = True
    for name in ("one", "two"):
        body = Body(Kept(), Checks(), valve)
        body.start(OK, lambda name=name: resumed.append(name))
        body.write(b"data")
    valve.open()
    valve.open()
    assert resumed == ["one", "two"]


def test_a_body_that_goes_on_is_held_no_longer():
    valve = Valve()
    valve.is_closed = True
    body = started(Kept(), valve=valve)
    body.write(b"data")
    valve.open()
    assert (body.is_held, body.write(b"data")) == (False, ALL)


def test_a_paused_transfer_loses_and_doubles_nothing(peer):
    data = os.urandom(1 << 20)
    server = peer(lambda connection, head: connection.sendall(answer(data)))
    valve, store, over = Valve(), Kept(), Event()
    ended, pauses = [], []
    multi = Multi(lambda curl, code, message: (ended.append(code), over.set()), lambda: None)
    handle = Handle(Network(), multi.on_new_socket, None, want_headers=True)
    body = Body(store, Checks(with_sha256=True), valve)
    shall_pause = cycle([True, False])

    def write(piece: bytes) -> int | None:
        if next(shall_pause):
            pauses.append(len(piece))
            valve.is_closed = True
            get_hub().loop.run_callback(valve.open)
        return body.write(piece)

    body.start(handle.header_lines, lambda: multi.resume(handle.curl))
    handle.prepare(parse_url(server.url), write, None, None)
    multi.add(handle.curl)
    assert over.wait(TIMEOUT_S)
    handle.close()
    multi.close()
    assert len(pauses) > 2
    assert (ended, body.size, store.data == data) == ([0], len(data), True)
    assert body.sha256 == hashlib.sha256(data).hexdigest()


# Inside the record


# Bodies that nobody wants


def test_a_body_that_goes_nowhere_unchecked_is_unwanted():
    assert body_for(NOWHERE, Checks(), None) is UNWANTED


@pytest.mark.parametrize("checks", [Checks(max_size=1), Checks(with_sha256=True)])
def test_a_body_that_goes_nowhere_is_checked_all_the_same(checks):
    assert isinstance(body_for(NOWHERE, checks, None), Body)


def test_an_unwanted_body_takes_all_and_has_no_fields():
    UNWANTED.start([], lambda: None)
    UNWANTED.take_back()
    assert (UNWANTED.write(b"data"), UNWANTED.finish(), UNWANTED.discard()) == (4, {}, {})
