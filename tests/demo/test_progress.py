"""The progress line."""

from __future__ import annotations

import pytest

from gtool.demo.progress import shown


def test_it_says_what_is_done_and_how_far_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    with shown(2) as begin:
        begin("echo-server: 10 round trips")
        begin("chat: a post")
    written = capsys.readouterr().err
    assert written.index("echo-server: 10 round trips") < written.index("1/2") < written.index("chat: a post")
    assert "2/2" not in written
