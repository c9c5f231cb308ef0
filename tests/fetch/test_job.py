"""The verdict on an attempt, whether there is another one, and the record at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pycurl
import pytest

from gtool.fetch.bodies import UNWANTED, Body, Checks, body_for
from gtool.fetch.handles import Handle
from gtool.fetch.job import SUCCESS, Job
from gtool.fetch.record import NOTHING
from gtool.fetch.request import Request, parse_object
from gtool.fetch.retry_policy import RetryPolicy
from gtool.fetch.settings import Network
from gtool.fetch.stores import CannotRestart, InlineStore, ResumePoint, Store
from tests.conftest import answer

URL = "http://some.test/"
OK = NOTHING._replace(method="GET", response_code=200)
NOT_FOUND = OK._replace(response_code=404)
LINES = [b"HTTP/1.1 200 OK\r\n", b"X-One: 1\r\n", b"\r\n"]
DIGEST = hashlib.sha256(b"data").hexdigest()


class Failing(Store):
    """Raises an error where it is asked to."""

    def __init__(self, error: Exception, at: str) -> None:
        self._error = error
        self._at = at
        self.is_discarded = False

    def start(self) -> ResumePoint | None:
        self._may_fail("start")
        return None

    def take_back(self) -> None:
        self._may_fail("take_back")

    def append(self, data: bytes) -> None:
        self._may_fail("append")

    def finish(self, sha256: str | None) -> dict[str, Any]:
        self._may_fail("finish")
        return {}

    def discard(self) -> dict[str, Any]:
        self.is_discarded = True
        return {}

    def _may_fail(self, where: str) -> None:
        if self._at == where:
            raise self._error


class Resumed(Store):
    """Has some bytes, and no way to give them back."""

    def start(self) -> ResumePoint | None:
        return ResumePoint(3, '"tag"')

    def rewind(self) -> None:
        raise CannotRestart("it is out")


class Streamed(Store):
    """Keeps what stdout would have, in a list."""

    skips_failures = True

    def __init__(self, kept: list[bytes]) -> None:
        self.append = kept.append


@pytest.fixture
def handle() -> Iterator[Handle]:
    made = Handle(Network(), lambda descriptor, purpose: 0, None, want_headers=True)
    yield made
    made.close()


def job(store: Store | None = None, max_time_s: float | None = None, **fields: Any) -> Job:
    request = parse_object(json.dumps({"url": URL, **fields}))
    assert isinstance(request, Request)
    checks = Checks(with_sha256=request.sha256 is not None)
    return Job(7, request, body_for(store or InlineStore(100), checks, None), max_time_s)


def begin(job: Job, handle: Handle, now: float = 100.0) -> Job:
    """Begin an attempt that the server answers."""
    job.begin_attempt(handle, now, lambda curl: None)
    handle.header_lines += LINES
    return job


def judge(job: Job, code: int = 0, message: str = "", measured=OK, fail: bool = True):
    return job.judge(code, message, measured, fail)


# Attempts


def test_attempts_are_counted(handle):
    one = job()
    for _ in range(3):
        begin(one, handle)
    assert one.attempts == 3


@pytest.fixture
def server(peer):
    return peer(lambda connection, head: connection.sendall(answer(b"data")))


def test_an_attempt_has_its_body_written(handle, server):
    one = begin(job(url=server.url), handle)
    handle.curl.perform()
    assert one.conclude(OK, SUCCESS, with_headers=False)["body"] == "data"


def test_an_attempt_asks_for_what_its_store_lacks(handle, server):
    begin(job(Resumed(), url=server.url), handle)
    with pytest.raises(pycurl.error):  # since the server sends all of it
        handle.curl.perform()
    assert b"Range: bytes=3-" in server.requests[0]


def test_an_answer_that_is_tried_again_has_no_body(handle):
    """A stream to stdout could not take it back."""
    kept = []
    one = Job(0, job().request, Body(Streamed(kept), Checks(fail=False), None), None)
    for body in (b"first", b"last"):
        one.begin_attempt(handle, 100.0, lambda curl: None, lambda job, status: job.attempts == 1)
        handle.header_lines.append(b"HTTP/1.1 503 Busy\r\n")
        one.body.write(body)
    assert kept == [b"last"]


def test_time_runs_from_the_first_attempt(handle):
    one = job(max_time_s=10.0)
    begin(one, handle, now=100.0)
    begin(one, handle, now=104.0)
    assert one.time_left(106.0) == 4.0


def test_time_does_not_run_before_the_first_attempt(handle):
    """A job may have waited long for its turn."""
    one = job(max_time_s=10.0)
    begin(one, handle, now=500.0)
    assert one.time_left(500.0) == 10.0


def test_without_a_limit_no_time_is_left_nor_over(handle):
    assert begin(job(), handle).time_left(1e9) is None


def test_an_unreadable_part_is_an_os_error(handle):
    with pytest.raises(OSError, match="no part"):
        begin(job(Failing(OSError("no part"), "start")), handle)


# Stalled ones


def moving(*moved: int, is_connected: bool = True) -> Any:
    """Stands for a handle that says at each look how many bytes have moved."""
    looks = iter(moved)
    return SimpleNamespace(bytes_moved=lambda: next(looks), is_connected=is_connected)


def looks(handle: Any, *times: float, is_held: bool = False) -> list[bool]:
    """Whether a job that began at 100 has stalled for 10 seconds, at these times."""
    one = job()
    one.body.is_held = is_held
    one.handle, one.moved_at = handle, 100.0
    return [one.has_stalled(now, 10.0) for now in times]


def test_a_transfer_without_a_byte_has_stalled_when_the_time_is_over():
    assert looks(moving(0, 0), 109.9, 110.0) == [False, True]


def test_a_byte_counts_from_when_it_was_seen():
    assert looks(moving(0, 1, 1, 1), 105.0, 109.0, 118.9, 119.0) == [False, False, False, True]


def test_a_transfer_that_moves_has_not_stalled():
    assert looks(moving(1, 2, 3), 109.0, 118.0, 127.0) == [False, False, False]


def test_a_transfer_that_we_hold_has_not_stalled():
    assert looks(moving(0, 0), 109.0, 1000.0, is_held=True) == [False, False]


def test_a_transfer_that_waits_for_its_connection_has_not_stalled():
    assert looks(moving(0, 0, is_connected=False), 109.0, 1000.0) == [False, False]


def test_an_attempt_is_not_blamed_for_the_one_before(handle):
    one = begin(job(), handle, now=100.0)
    one.moved = 5
    begin(one, handle, now=200.0)
    assert (one.moved, one.moved_at) == (0, 200.0)


# Verdicts


def test_an_answer_below_400_is_a_success(handle):
    assert judge(begin(job(), handle)) is SUCCESS


@pytest.mark.parametrize("status", [400, 404, 503])
def test_an_answer_from_400_is_a_failure(handle, status):
    assert judge(begin(job(), handle), measured=OK._replace(response_code=status)) == (
        22,
        f"the server answered {status}",
    )


def test_an_answer_from_400_is_a_success_where_that_is_wanted(handle):
    assert judge(begin(job(), handle), measured=NOT_FOUND, fail=False) is SUCCESS


def test_a_failure_of_libcurl_has_its_code_and_message(handle):
    assert judge(begin(job(), handle), 7, "no route") == (7, "no route")


def test_a_failure_without_a_message_has_one_of_ours_where_it_is_a_usual_one(handle):
    assert judge(begin(job(), handle), 28) == (28, "timed out")


def test_a_failure_without_a_message_has_its_number(handle):
    assert judge(begin(job(), handle), 99) == (99, "libcurl error 99")


@pytest.mark.parametrize(("code", "hint"), [(47, "--max-redirs"), (60, "--cacert")])
def test_a_failure_that_an_option_would_help_names_it(handle, code, hint):
    assert hint in judge(begin(job(), handle), code, "failed")[1]


def test_a_failure_on_our_side_comes_before_libcurls_word_for_it(handle):
    one = begin(job(Failing(OSError(28, "No space left on device"), "append")), handle)
    one.body.write(b"data")
    assert judge(one, 23, "Failure writing output") == (23, "cannot write: No space left on device")


def test_a_failure_of_libcurl_comes_before_the_status(handle):
    assert judge(begin(job(), handle), 18, "half", NOT_FOUND) == (18, "half")


def test_a_refused_address_is_named(handle):
    one = begin(job(), handle)
    handle.refused += ["10.0.0.1", "::1"]
    assert judge(one, 7, "Could not connect") == (7, "--deny-private does not let it connect to 10.0.0.1, ::1")


def test_a_refused_address_is_not_blamed_for_another_failure(handle):
    one = begin(job(), handle)
    handle.refused += ["::1"]
    assert judge(one, 28, "timed out") == (28, "timed out")


def test_a_body_of_the_wanted_digest_is_a_success(handle):
    one = begin(job(sha256=DIGEST.upper()), handle)
    one.body.write(b"data")
    assert judge(one) is SUCCESS


def test_a_body_of_another_digest_is_a_failure(handle):
    one = begin(job(sha256="0" * 64), handle)
    one.body.write(b"data")
    assert judge(one) == (8, f"sha256 is {DIGEST}, not {'0' * 64}")


def test_a_failing_answer_comes_before_its_digest(handle):
    assert judge(begin(job(sha256=DIGEST), handle), measured=NOT_FOUND)[0] == 22


# Another attempt

PATIENT = RetryPolicy(retry=2)


def test_a_transient_failure_may_be_tried_again(handle):
    assert begin(job(), handle).may_retry(PATIENT, 7, 0, 101.0)


def test_another_failure_may_not(handle):
    assert not begin(job(), handle).may_retry(PATIENT, 3, 0, 101.0)


def test_attempts_have_a_limit(handle):
    one = job()
    tried = [begin(one, handle).may_retry(PATIENT, 7, 0, 101.0) for _ in range(3)]
    assert tried == [True, True, False]


def test_a_failure_on_our_side_is_not_tried_again(handle):
    one = begin(job(Failing(OSError(28, "full"), "append")), handle)
    one.body.write(b"data")
    assert not one.may_retry(PATIENT._replace(retry_all_errors=True), 23, 200, 101.0)


@pytest.mark.parametrize(("at", "may"), [(130.0, True), (130.1, False)])
def test_no_attempt_starts_after_the_time_for_retries(handle, at, may):
    assert begin(job(), handle).may_retry(PATIENT._replace(retry_max_time=30.0), 7, 0, at) is may


@pytest.mark.parametrize(("at", "may"), [(109.9, True), (110.0, False)])
def test_no_attempt_starts_after_the_inputs_own_time(handle, at, may):
    assert begin(job(max_time_s=10.0), handle).may_retry(PATIENT, 7, 0, at) is may


def test_what_an_attempt_has_left_is_taken_back(handle):
    one = begin(job(), handle)
    one.body.write(b"lost")
    assert one.take_back() is None
    assert one.conclude(OK, (7, "failed"), with_headers=False)["body"] == ""


def test_what_is_out_cannot_be_taken_back(handle):
    assert job(Failing(CannotRestart("it is out"), "take_back")).take_back() == (18, "it is out")


def test_the_server_may_ask_for_time(handle):
    one = begin(job(), handle)
    handle.header_lines.append(b"Retry-After: 7\r\n")
    assert one.retry_after() == 7.0


def test_a_server_that_asks_for_nothing_gets_nothing(handle):
    assert begin(job(), handle).retry_after() is None


# The record


def test_a_success_has_its_body(handle):
    one = begin(job(), handle)
    one.body.write(b"data")
    record = one.conclude(OK, SUCCESS, with_headers=False)
    assert (record["ok"], record["exitcode"], record["errormsg"], record["body"]) == (True, 0, None, "data")


def test_a_failure_has_what_is_left_of_its_body(handle):
    one = begin(job(), handle)
    one.body.write(b"half")
    record = one.conclude(OK, (18, "half of it"), with_headers=False)
    assert (record["ok"], record["exitcode"], record["errormsg"], record["body"]) == (False, 18, "half of it", "half")


def test_a_record_knows_its_input(handle):
    record = begin(job(id={"any": "thing"}), handle).conclude(OK, SUCCESS, with_headers=False)
    assert (record["seq"], record["id"], record["url"]) == (7, {"any": "thing"}, URL)


@pytest.mark.parametrize(("attempts", "retries"), [(1, 0), (3, 2)])
def test_retries_are_the_attempts_after_the_first(handle, attempts, retries):
    one = job()
    for _ in range(attempts):
        begin(one, handle)
    assert one.conclude(OK, SUCCESS, with_headers=False)["num_retries"] == retries


def test_an_input_that_was_never_sent_has_no_retries():
    assert job().conclude(NOTHING, (28, "no time"), with_headers=False)["num_retries"] == 0


def test_an_input_that_was_never_sent_asked_for_no_url():
    assert job().conclude(NOTHING, (28, "no time"), with_headers=False)["url_effective"] is None


def test_the_effective_url_is_that_of_the_request(handle):
    one = begin(job(url="some.test/path"), handle)
    assert one.conclude(OK, SUCCESS, with_headers=False)["url_effective"] == "http://some.test/path"


def test_the_effective_url_is_where_redirects_have_led(handle):
    measured = OK._replace(redirected_to="http://other.test/")
    assert begin(job(), handle).conclude(measured, SUCCESS, with_headers=False)["url_effective"] == "http://other.test/"


@pytest.mark.parametrize("redirected_to", [None, "http://me:secret@other.test/"])
def test_no_record_has_a_password(handle, redirected_to):
    one = begin(job(url="http://me:secret@some.test/"), handle)
    record = one.conclude(OK._replace(redirected_to=redirected_to), SUCCESS, with_headers=False)
    assert "secret" not in json.dumps(record)


def test_headers_are_told_where_they_are_wanted(handle):
    record = begin(job(), handle).conclude(OK, SUCCESS, with_headers=True)
    assert record["headers"] == {"x-one": ["1"]}


def test_headers_are_left_out_where_they_are_not(handle):
    assert "headers" not in begin(job(), handle).conclude(OK, SUCCESS, with_headers=False)


def test_a_digest_is_told(handle):
    one = begin(job(sha256=DIGEST), handle)
    one.body.write(b"data")
    assert one.conclude(OK, SUCCESS, with_headers=False)["sha256"] == DIGEST


def test_a_body_that_cannot_be_finished_is_a_write_error(handle):
    store = Failing(OSError(21, "Is a directory", "name"), "finish")
    record = begin(job(store), handle).conclude(OK, SUCCESS, with_headers=False)
    assert (record["exitcode"], record["errormsg"]) == (23, "cannot write name: Is a directory")
    assert (record["ok"], store.is_discarded) == (False, True)


def test_a_resumed_body_whose_answer_is_another_and_empty_is_partial(handle):
    record = begin(job(Resumed()), handle).conclude(OK, SUCCESS, with_headers=False)
    assert (record["exitcode"], record["errormsg"]) == (18, "it is out")


def test_an_input_whose_body_nobody_wants_has_a_record_too(handle):
    one = Job(0, job().request, UNWANTED, None)
    assert begin(one, handle).conclude(OK, SUCCESS, with_headers=False)["ok"]
