"""The file that remembers the last id."""

from __future__ import annotations

import pytest

import gtool.live.state
from gtool.errors import ReadError, WriteError
from gtool.live.state import State, read_state


def test_what_is_kept_can_be_read(tmp_path):
    State(str(tmp_path / "id")).keep("a:1")
    assert read_state(str(tmp_path / "id")) == "a:1"


def test_the_state_is_not_written_for_each_message(tmp_path):
    output = State(str(tmp_path / "id"))
    output.keep("a:1")
    output.keep("a:2")
    assert read_state(str(tmp_path / "id")) == "a:1"


def test_the_state_is_written_again_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(gtool.live.state, "KEEP_EVERY_S", 0)
    output = State(str(tmp_path / "id"))
    output.keep("a:1")
    output.keep("a:2")
    assert read_state(str(tmp_path / "id")) == "a:2"


def test_the_last_state_is_written_at_once(tmp_path):
    output = State(str(tmp_path / "id"))
    output.keep("a:1")
    output.keep("a:2", is_last=True)
    assert read_state(str(tmp_path / "id")) == "a:2"


def test_without_a_state_nothing_is_kept(tmp_path):
    State(None).keep("a:1", is_last=True)
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_can_not_be_written_is_an_error(tmp_path):
    output = State(str(tmp_path / "missing" / "id"))
    with pytest.raises(WriteError, match=r"cannot write .*missing/id: No such file"):
        output.keep("a:1")


def test_a_state_that_can_not_be_written_leaves_no_file_behind(tmp_path):
    (tmp_path / "id").mkdir()
    with pytest.raises(WriteError):
        State(str(tmp_path / "id")).keep("a:1")
    assert [path.name for path in tmp_path.iterdir()] == ["id"]


def test_no_state_is_none(tmp_path):
    assert read_state(str(tmp_path / "id")) is None


def test_an_empty_state_is_none(tmp_path):
    (tmp_path / "id").write_text(" \n")
    assert read_state(str(tmp_path / "id")) is None


def test_a_state_that_can_not_be_read_is_an_error(tmp_path):
    with pytest.raises(ReadError, match=f"cannot read {tmp_path}: Is a directory"):
        read_state(str(tmp_path))


def test_a_state_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "id").write_bytes(b"\xff")
    with pytest.raises(ReadError, match="it holds no id"):
        read_state(str(tmp_path / "id"))


@pytest.mark.parametrize("text", ["rubbish\n", "a:1\nb:2\n", "all", "a:" + "9" * 300, "\0" * 100])
def test_a_state_that_is_no_id_is_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / "id").write_text(text)
    with pytest.raises(ReadError, match=f"cannot go on from {tmp_path}/id: it holds no id"):
        read_state(str(tmp_path / "id"))
