"""A secret on the command line, or in a file."""

from __future__ import annotations

import pytest

from gtool.commands.web_options import secret
from gtool.errors import UsageError


def test_no_secret_is_none():
    assert secret(None) is None


@pytest.mark.parametrize("text", ["s3cret", " s3cret ", "a@b", "ä"])
def test_a_secret_is_taken_as_it_is(text):
    assert secret(text) == text


def test_a_secret_may_stand_in_a_file(tmp_path):
    (tmp_path / "token").write_text(" s3cret \n")
    assert secret(f"@{tmp_path}/token") == "s3cret"


def test_an_empty_secret_is_refused():
    with pytest.raises(UsageError, match="the token is empty"):
        secret("")


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_empty_file_is_refused(tmp_path, data):
    (tmp_path / "token").write_bytes(data)
    with pytest.raises(UsageError, match="the token is empty"):
        secret(f"@{tmp_path}/token")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=f"cannot read the token from {tmp_path}/token: No such file"):
        secret(f"@{tmp_path}/token")


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "token").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=f"cannot read the token from {tmp_path}/token: it is not UTF-8"):
        secret(f"@{tmp_path}/token")


def test_a_name_without_an_end_is_no_file():
    with pytest.raises(UsageError):
        secret("@")
