"""Where ws-tail's messages go, and the file that remembers the last id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from gtool.errors import WriteError
from gtool.feed.output import LineOutput
from gtool.feed.received import Received


@pytest.fixture
def lines(capfd) -> Iterator[Callable[..., LineOutput]]:
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(closing(LineOutput(*args)))


def test_a_message_is_out_when_write_returns(lines, capfd):
    lines(False).write(Received(b"x", True))
    assert capfd.readouterr().out == "x\n"


def test_json_is_written_if_asked_for(lines, capfd):
    lines(True).write(Received(b"x", True, "a:1", 1.0))
    assert capfd.readouterr().out == '{"id": "a:1", "time": 1.0, "data": "x"}\n'


def test_binary_goes_into_numbered_files(lines, capfd, tmp_path):
    output = lines(False, str(tmp_path / "new" / "out"))
    for data in (b"\0", b"\1"):
        output.write(Received(data, False))
    paths = capfd.readouterr().out.splitlines()
    assert paths == [str(tmp_path / "new" / "out" / f"00000{number}.bin") for number in (1, 2)]
    assert [Path(path).read_bytes() for path in paths] == [b"\0", b"\1"]


def test_a_path_that_is_shown_in_json_is_data(lines, capfd, tmp_path):
    lines(True, str(tmp_path)).write(Received(b"\0", False))
    assert f'"data": "{tmp_path}/000001.bin"' in capfd.readouterr().out


def test_a_name_that_is_no_utf_8_is_no_obstacle(lines, capfd, tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"\xff")
    lines(True, os.fsdecode(folder)).write(Received(b"\0", False))
    assert os.listdir(folder) == [b"000001.bin"]


def test_text_does_not_go_into_files(lines, capfd, tmp_path):
    lines(False, str(tmp_path)).write(Received(b"x", True))
    assert (capfd.readouterr().out, list(tmp_path.iterdir())) == ("x\n", [])


def test_files_that_are_there_are_left_alone(lines, tmp_path):
    (tmp_path / "000001.bin").write_bytes(b"old")
    lines(False, str(tmp_path)).write(Received(b"new", False))
    assert [path.read_bytes() for path in sorted(tmp_path.iterdir())] == [b"old", b"new"]


def test_a_file_that_can_not_be_written_is_an_error(lines, tmp_path):
    output = lines(False, str(tmp_path / "out"))
    (tmp_path / "out").rmdir()
    with pytest.raises(WriteError, match=r"cannot write .*000001.bin: No such file"):
        output.write(Received(b"x", False))


def test_a_directory_that_can_not_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"cannot make .*: Not a directory"):
        LineOutput(False, str(tmp_path / "file" / "out"))
