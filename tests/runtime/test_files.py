"""A file is replaced whole, or not at all."""

from __future__ import annotations

import os

import pytest

from gtool.errors import WriteError
from gtool.runtime.files import replace_file


def test_a_file_is_there_whole_and_nothing_else(tmp_path):
    replace_file(str(tmp_path / "file"), b"data")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"data")]


def test_what_was_there_is_replaced_and_whoever_has_it_open_reads_on(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with open(path, "rb") as opened:
        replace_file(str(path), b"new")
        assert (opened.read(), path.read_bytes()) == (b"old", b"new")


def test_what_can_not_be_written_is_named_and_leaves_nothing(tmp_path):
    with pytest.raises(WriteError, match=r"cannot write .*missing/file: No such file or directory"):
        replace_file(str(tmp_path / "missing/file"), b"data")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WriteError, match="Is a directory"):
        replace_file(str(tmp_path / "folder"), b"data")
    assert os.listdir(tmp_path) == ["folder"]
