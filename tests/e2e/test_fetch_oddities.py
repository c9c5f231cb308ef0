"""What a review has found, each once: odd peers, odd inputs, and options from the environment."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from tests.conftest import TIMEOUT_S, answer


@pytest.fixture
def good(peer):
    return peer(lambda connection, head: connection.sendall(answer(b"good")))


def test_a_content_type_in_no_encoding_harms_no_other_input(gtool, peer, good):
    odd = peer(
        lambda connection, head: connection.sendall(answer(b"").replace(b"\r\n", b"\r\nContent-Type: \xff\r\n", 1))
    )
    result = gtool("fetch", "--json", odd.url, good.url)
    assert (result.code, [record["ok"] for record in result.records]) == (0, [True, True])


def test_a_fifo_that_nobody_writes_to_holds_up_neither_urls_nor_signals(start_gtool, tmp_path, good):
    os.mkfifo(tmp_path / "fifo")
    process = start_gtool("fetch", good.url, "-i", "fifo")
    assert process.stdout.read(4) == b"good"
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 130


def test_a_file_that_cannot_be_read_takes_no_other_input_with_it(gtool, good):
    result = gtool("fetch", good.url, "-i", "missing")
    assert (result.code, result.out) == (26, b"good")


def test_the_first_failing_input_has_the_exit_code_though_a_file_cannot_be_read(gtool):
    assert gtool("fetch", "file:x", "-i", "missing").code == 1


def test_repeatable_options_have_a_value_a_line_in_the_environment(gtool, good):
    gtool("fetch", good.url, GTOOL_FETCH_HEADER="X-A: b c\nX-D: e")
    assert b"X-A: b c\r\n" in good.requests[0]
    assert b"X-D: e\r\n" in good.requests[0]


def test_flags_may_be_set_in_the_environment(gtool, peer):
    absent = peer(lambda connection, head: connection.sendall(answer(b"none", "404 Not Found")))
    assert gtool("fetch", absent.url, GTOOL_FETCH_NO_FAIL="1").out == b"none"
    assert gtool("fetch", absent.url, GTOOL_FETCH_NO_FAIL="0").out == b""


def test_a_post_turns_to_get_where_303_says_so(gtool, peer):
    def see_other(connection, head):
        is_start = head.startswith(b"POST / ")
        connection.sendall(answer(b"", "303 See Other", "Location: /there") if is_start else answer(head.split()[0]))

    line = f'{{"url": "{peer(see_other).url}", "method": "POST", "data": ""}}'.encode()
    assert gtool("fetch", "-i", "-", stdin=line).out == b"GET"


def test_the_descriptor_limit_is_raised_to_what_is_allowed(start_gtool, good):
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 1024))

    process = start_gtool("fetch", "-c", "60", *[good.url] * 60, preexec_fn=lower)
    assert process.communicate(timeout=TIMEOUT_S)[0] == b"good" * 60


def test_a_flood_of_bad_inputs_is_written_as_it_comes(gtool):
    result = gtool("fetch", "--json", "-i", "-", stdin=b"file:x\n" * 20_000)
    assert len(result.records) == 20_000


def test_no_secret_of_a_broken_request_is_told(gtool):
    broken = b'{"url": "x", "headers": {"Authorization": "Bearer s3cr3t",}}'
    two_lines = b'{"url": "x", "headers": ["Authorization: s3cr3t\\n"]}'
    lines = broken + b"\n" + two_lines
    result = gtool("fetch", "-i", "-", stdin=lines)
    assert "s3cr3t" not in result.err
    assert result.code == 3


def test_a_location_has_no_password_in_a_record(gtool, peer):
    moved = peer(lambda c, head: c.sendall(answer(b"", "302 Found", "Location: http://me:s3cr3t@127.0.0.1:1/")))
    assert b"s3cr3t" not in gtool("fetch", "--json", "--include-headers", "--no-location", moved.url).out


@pytest.mark.parametrize("status", ["503 Busy", "404 Not Found"])
def test_a_body_that_is_no_failure_is_not_lost_where_no_retry_follows(gtool, peer, status):
    busy = peer(lambda c, head: c.sendall(answer(b"body", status, "Retry-After: 3600")))
    result = gtool("fetch", "--no-fail", "--retry", "2", busy.url)
    assert (result.code, result.out) == (0, b"body")


def test_dev_null_takes_all_bodies_and_stays_what_it_is(gtool, good):
    assert gtool("fetch", "-o", "/dev/null", good.url, good.url).code == 0
    assert not os.path.isfile("/dev/null")
