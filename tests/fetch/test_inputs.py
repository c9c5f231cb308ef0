"""Requests from arguments, files and pipes: every line once, in order, and never waiting for one."""

from __future__ import annotations

import os

import gevent
import pytest
from gevent.event import Event

from gtool.errors import ReadError
from gtool.fetch.inputs import LONGEST_LINE_BYTES, Inputs, Later
from gtool.fetch.request import Rejected, Request
from gtool.fetch.urls import URL_MALFORMED
from gtool.runtime.stdio import CHUNK_BYTES, Input


def read_all(reader: Inputs) -> list[Request | Rejected]:
    """Read to the end; it must not say that there is nothing yet."""
    items = []
    while (item := reader.next()) is not Later.END:
        assert not isinstance(item, Later)
        items.append(item)
    return items


def urls(items: list[Request | Rejected]) -> list[str]:
    return [item.url for item in items]


@pytest.fixture
def open_inputs():
    """Make an Inputs that is closed at the end: `open_inputs(files=[path])`."""
    opened = []

    def make(urls=(), files=(), separator=b"\n", on_ready=lambda: None):
        opened.append(Inputs(urls, [str(file) for file in files], separator, on_ready))
        return opened[-1]

    yield make
    for reader in opened:
        reader.close()


@pytest.fixture
def pipe():
    """A pipe: the path of its end to read, and the descriptor of the one to write."""
    read_end, write_end = os.pipe()
    yield f"/dev/fd/{read_end}", write_end
    os.close(read_end)
    os.close(write_end)


# Arguments


def test_arguments_come_first_and_in_order(open_inputs, tmp_path):
    (tmp_path / "urls").write_text("c\nd\n")
    reader = open_inputs(["a", "b"], [tmp_path / "urls"])
    assert urls(read_all(reader)) == ["http://a", "http://b", "http://c", "http://d"]


def test_an_argument_may_be_a_json_request(open_inputs):
    (item,) = read_all(open_inputs(['{"url": "a", "id": 5}']))
    assert item.id == 5


@pytest.mark.parametrize("argument", ["", " ", "#a", "http://h/\udcff"])
def test_an_argument_that_is_no_url_is_rejected_not_ignored(open_inputs, argument):
    (item,) = read_all(open_inputs([argument]))
    assert item.exitcode == URL_MALFORMED


# Files


def test_files_are_read_in_order_and_the_last_line_needs_no_end(open_inputs, tmp_path):
    (tmp_path / "1").write_text("a\nb")
    (tmp_path / "2").write_text("c\n")
    assert urls(read_all(open_inputs(files=[tmp_path / "1", tmp_path / "2"]))) == ["http://a", "http://b", "http://c"]


def test_blank_lines_and_comments_are_no_inputs(open_inputs, tmp_path):
    (tmp_path / "urls").write_text("\n# a\n  \nb\r\n\n")
    reader = open_inputs(files=[tmp_path / "urls"])
    assert urls(read_all(reader)) == ["http://b"]
    assert reader.count == 1


def test_a_file_may_be_separated_by_nul(open_inputs, tmp_path):
    (tmp_path / "urls").write_bytes(b"a\0b\0")
    assert urls(read_all(open_inputs(files=[tmp_path / "urls"], separator=b"\0"))) == ["http://a", "http://b"]


def test_an_empty_file_has_no_inputs(open_inputs, tmp_path):
    (tmp_path / "urls").touch()
    assert read_all(open_inputs(files=[tmp_path / "urls"])) == []


def test_a_file_of_many_chunks_is_read_to_its_end(open_inputs, tmp_path):
    count = 5 * CHUNK_BYTES // 10
    (tmp_path / "urls").write_text("".join(f"h/{n}\n" for n in range(count)))
    items = read_all(open_inputs(files=[tmp_path / "urls"]))
    assert urls(items) == [f"http://h/{n}" for n in range(count)]


def test_a_file_is_read_as_inputs_are_asked_for(open_inputs, tmp_path):
    path = tmp_path / "urls"
    path.write_text("h/1\n" * CHUNK_BYTES)
    reader = open_inputs(files=[path])
    reader.next()
    with path.open("a") as file:
        file.write("h/last\n")
    assert read_all(reader)[-1].url == "http://h/last"


def test_a_rejected_line_counts_as_an_input(open_inputs, tmp_path):
    (tmp_path / "urls").write_text("ftp://a\nb\n")
    reader = open_inputs(files=[tmp_path / "urls"])
    assert [type(item) for item in read_all(reader)] == [Rejected, Request]
    assert reader.count == 2


def test_a_line_over_the_limit_is_a_rejected_input_and_the_next_one_follows(open_inputs, tmp_path):
    (tmp_path / "urls").write_bytes(b"a\n" + b"x" * (LONGEST_LINE_BYTES + 1) + b"\nb\n")
    items = read_all(open_inputs(files=[tmp_path / "urls"]))
    assert [type(item) for item in items] == [Request, Rejected, Request]


def test_of_a_line_over_the_limit_the_record_says_how_long_it_may_be(open_inputs, tmp_path):
    (tmp_path / "urls").write_bytes(b"http://h/" + b"x" * LONGEST_LINE_BYTES)
    (item,) = read_all(open_inputs(files=[tmp_path / "urls"]))
    assert item.exitcode == URL_MALFORMED
    assert str(LONGEST_LINE_BYTES) in item.errormsg


def test_no_part_of_a_password_in_a_line_over_the_limit_is_shown(open_inputs, tmp_path):
    line = f'{{"url": "http://joe:s3cr3t@h/", "data": "{"x" * LONGEST_LINE_BYTES}"}}'
    (tmp_path / "urls").write_text(line)
    (item,) = read_all(open_inputs(files=[tmp_path / "urls"]))
    assert "s3" not in item.url


def test_the_end_is_known_when_it_has_been_told_and_stays_the_end(open_inputs):
    reader = open_inputs(["a"])
    reader.next()
    assert not reader.is_at_end
    assert [reader.next(), reader.next()] == [Later.END, Later.END]
    assert reader.is_at_end


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    reader = Inputs([], [str(tmp_path / "none")], b"\n", lambda: None)
    assert "/none: No such file" in str(reader.error)


def test_a_file_that_is_not_there_takes_no_other_with_it(tmp_path):
    (tmp_path / "urls").write_text("a\n")
    reader = Inputs(["b"], [str(tmp_path / "none"), str(tmp_path / "urls")], b"\n", lambda: None)
    assert [item.url for item in read_all(reader)] == ["http://b", "http://a"]
    reader.close()


def test_a_directory_ends_at_once_with_an_error_and_the_next_file_is_read(open_inputs, tmp_path):
    (tmp_path / "urls").write_text("a\n")
    reader = open_inputs(files=[tmp_path, tmp_path / "urls"])
    assert urls(read_all(reader)) == ["http://a"]
    assert isinstance(reader.error, ReadError)


def test_the_error_that_is_kept_is_the_first(open_inputs, tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    reader = open_inputs(files=[tmp_path / "1", tmp_path / "2"])
    read_all(reader)
    assert f"{tmp_path}/1" in str(reader.error)


def test_a_line_that_a_read_error_cuts_off_is_no_input(open_inputs, tmp_path, monkeypatch):
    def read(file: Input) -> bytes:
        if chunks:
            return chunks.pop()
        raise ReadError("cannot read urls: Input/output error")

    chunks = [b"http://a/\nhttp://b/delete-me-n"]
    (tmp_path / "urls").touch()
    monkeypatch.setattr(Input, "read", read)
    assert urls(read_all(open_inputs(files=[tmp_path / "urls"]))) == ["http://a/"]


# Pipes


def test_an_empty_pipe_has_nothing_yet(open_inputs, pipe):
    path, _ = pipe
    reader = open_inputs(files=[path])
    assert [reader.next(), reader.next()] == [Later.NOT_YET, Later.NOT_YET]
    assert reader.count == 0
    assert not reader.is_at_end


def test_half_a_line_is_nothing_yet(open_inputs, pipe):
    path, write_end = pipe
    reader = open_inputs(files=[path])
    os.write(write_end, b"http://h/lo")
    assert reader.next() is Later.NOT_YET
    os.write(write_end, b"ng\n")
    assert reader.next().url == "http://h/long"


def test_it_calls_when_a_pipe_has_something_again(open_inputs, pipe):
    path, write_end = pipe
    is_ready = Event()
    reader = open_inputs(files=[path], on_ready=is_ready.set)
    assert reader.next() is Later.NOT_YET
    os.write(write_end, b"a\n")
    with gevent.Timeout(10):
        is_ready.wait()
    assert reader.next().url == "http://a"


def test_it_calls_once_for_each_time_that_there_was_nothing_yet(open_inputs, pipe):
    path, write_end = pipe
    calls = []
    reader = open_inputs(files=[path], on_ready=lambda: calls.append(1))
    os.write(write_end, b"a\n")
    reader.next()
    gevent.idle()
    assert not calls
    reader.next()
    reader.next()
    os.write(write_end, b"b\n")
    for _ in range(5):
        gevent.idle()
    assert len(calls) == 1


def test_it_calls_when_the_last_writer_of_a_pipe_has_gone(open_inputs):
    read_end, write_end = os.pipe()
    is_ready = Event()
    reader = open_inputs(files=[f"/dev/fd/{read_end}"], on_ready=is_ready.set)
    os.close(read_end)
    assert reader.next() is Later.NOT_YET
    os.close(write_end)
    with gevent.Timeout(10):
        is_ready.wait()
    assert reader.next() is Later.END


def test_what_a_pipe_holds_after_its_writer_has_gone_is_read(open_inputs):
    read_end, write_end = os.pipe()
    reader = open_inputs(files=[f"/dev/fd/{read_end}"])
    os.write(write_end, b"a\nb")
    os.close(write_end)
    os.close(read_end)
    assert urls(read_all(reader)) == ["http://a", "http://b"]
