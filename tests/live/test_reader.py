"""One stream's way through the log. What many readers have in common is in tests/live/test_delivery.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gtool.feed.view import View
from gtool.live.encoder import Encoder
from gtool.live.reader import Bounds, Reader
from gtool.streams.log import Unavailable
from gtool.streams.memory import MemoryLog
from gtool.web.frames import TRY_AGAIN_LATER


@pytest.fixture
def stream() -> Any:
    closed: list[tuple[int, str]] = []
    return SimpleNamespace(
        channel=SimpleNamespace(waiting=0), is_open=True, closed=closed, close=lambda *why: closed.append(why)
    )


@pytest.mark.parametrize("step", ["begin", "pull", "drained", "check"])
def test_where_the_log_can_not_be_read_a_reader_is_to_come_back(monkeypatch, stream, step):
    log = MemoryLog(9, 1000)
    log.append(b"a")
    delivery: Any = SimpleNamespace(log=log, bounds=Bounds(), is_over=False)
    reader = Reader(delivery, stream, Encoder(log, View(True)), "all", SimpleNamespace())

    def be_away(*_: object) -> Any:
        raise Unavailable("it is away")

    monkeypatch.setattr(log, "read", be_away)
    getattr(reader, step)()
    assert stream.closed == [(TRY_AGAIN_LATER, "it is away")]
