"""Where a reader wants to begin."""

from __future__ import annotations

from typing import Any

import pytest

from gtool.live.wish import NOWHERE, Wish, wish_of
from gtool.streams.log import Cursor
from gtool.streams.memory import MemoryLog
from gtool.streams.subscription import can_resume
from gtool.web.respond import Refused


@pytest.fixture
def log() -> MemoryLog:
    """With the messages 3 to 5 of five."""
    log = MemoryLog(3, 1000, "epoch")
    log.is_mirror = False
    for number in range(1, 6):
        log.append(b"%d" % number)
    return log


def environ(query: str = "", last: str | None = None) -> dict[str, Any]:
    return {"QUERY_STRING": query, **({} if last is None else {"HTTP_LAST_EVENT_ID": last})}


def cursor(offset: int, epoch: str = "epoch") -> Cursor:
    return Cursor(epoch, offset)


@pytest.mark.parametrize("query", ["", "since=", "other=1", "since"])
def test_who_asks_for_nothing_begins_now(log, query):
    assert wish_of(environ(query), log) == Wish(cursor(5), cursor(5))


def test_what_comes_until_the_answer_is_on_its_way_is_not_missed(log):
    wish = wish_of(environ(), log)
    log.append(b"6")
    assert can_resume(log, wish.since)
    assert wish.since == cursor(5)


def test_who_asks_for_all_begins_where_the_log_does(log):
    assert wish_of(environ("since=all"), log) == Wish("all", cursor(2))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("since=epoch:4", cursor(4)),
        ("since=epoch%3A4", cursor(4)),
        ("since=other:4", cursor(4, "other")),
        ("since=epoch:1", cursor(1)),
        ("since=epoch:9", cursor(9)),
        ("since=epoch:0", cursor(0)),
        (f"since=epoch:{'9' * 30}", cursor(10**30 - 1)),
        ("since=epoch:3&since=epoch:4", cursor(4)),
        ("a=b&since=epoch:4&c", cursor(4)),
    ],
)
def test_who_asks_for_what_comes_after_an_id_begins_there(log, query, expected):
    assert wish_of(environ(query), log) == Wish(expected, expected)


@pytest.mark.parametrize(
    "text",
    [
        *("4", "epoch:", ":4", "epoch:x", "epoch:-1", "epoch:4:5", "epoch 4", "ALL", "now", "epoch:4%0a", "%ff:4"),
        *(f"epoch:{'9' * 31}", "epoch:%D9%A3", "\u00e4:4", "x" * 65 + ":4"),
    ],
)
def test_an_id_that_is_none_is_refused_with_what_was_wanted(log, text):
    with pytest.raises(Refused, match=r"since: .* is no id, which is epoch:offset, or 'all'") as caught:
        wish_of(environ(f"since={text}"), log)
    assert caught.value.status == "400 Bad Request"
    assert ("Connection", "close") in caught.value.headers


def test_what_is_refused_is_not_told_at_length(log):
    with pytest.raises(Refused) as caught:
        wish_of(environ(f"since={'x' * 10_000}"), log)
    assert len(caught.value.text) < 200


def test_who_comes_back_begins_after_what_it_has(log):
    assert wish_of(environ("", "epoch:4"), log) == Wish(cursor(4), cursor(4))


@pytest.mark.parametrize("query", ["since=all", "since=epoch:3", "since=nonsense"])
def test_what_one_comes_back_with_counts_more_than_what_it_first_asked_for(log, query):
    assert wish_of(environ(query, "epoch:4"), log) == Wish(cursor(4), cursor(4))


def test_who_comes_back_with_nothing_begins_as_it_first_asked(log):
    assert wish_of(environ("since=epoch:4", ""), log).since == cursor(4)


@pytest.mark.parametrize("last", ["nonsense", "4", "epoch:x", "\xff"])
def test_who_comes_back_with_an_id_that_is_none_begins_anew(log, last):
    """An answer of 400 would keep a browser from coming back."""
    wish = wish_of(environ("", last), log)
    assert (wish, can_resume(log, NOWHERE)) == (Wish(NOWHERE, cursor(5)), False)
