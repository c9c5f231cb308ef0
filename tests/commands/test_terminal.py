"""Progress is for terminals that take it, and not for those that data goes to."""

from __future__ import annotations

import sys

import pytest

from gtool.commands.terminal import shows_progress


@pytest.mark.parametrize(
    ("stderr", "stdout", "is_stdout_quiet", "variables", "shows"),
    [
        (True, False, False, {}, True),
        (True, True, True, {}, True),
        (True, True, False, {}, False),
        (False, False, True, {}, False),
        (True, False, True, {"TERM": "dumb"}, False),
        (True, False, True, {"NO_COLOR": "1"}, False),
    ],
)
def test_where_there_is_progress(
    monkeypatch: pytest.MonkeyPatch, stderr: bool, stdout: bool, is_stdout_quiet: bool, variables: dict, shows: bool
):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: stderr)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: stdout)
    assert shows_progress(is_stdout_quiet=is_stdout_quiet) is shows
