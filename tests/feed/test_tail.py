"""What ws-tail adds to a tail: lines that are sent. What all tails do is in tests/live/test_tail.py."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from gtool.feed import tail as feed_tail
from gtool.feed.tail import Tail
from gtool.live.tail import Settings
from gtool.web.handshake import Wanted, parse_url


@pytest.mark.parametrize("sends", [False, True])
def test_lines_are_sent_for_as_long_as_it_runs_if_they_are_to_be(monkeypatch, sends):
    sending: list[Any] = []

    def send_lines(_sender: Any) -> None:
        sending.append(gevent.getcurrent())
        gevent.sleep(60)

    def run(_self: Any) -> None:
        gevent.idle()

    monkeypatch.setattr(feed_tail, "send_lines", send_lines)
    monkeypatch.setattr(feed_tail.tail.Tail, "run", run)
    url, place = parse_url("ws://localhost:1/")
    Tail(Settings(Wanted(url), place), None, sends).run()  # type: ignore[arg-type]
    assert [greenlet.dead for greenlet in sending] == [True] * sends
