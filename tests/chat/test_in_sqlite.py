"""What is special about a store in a file: it is all there again, or there is a clear word."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

from gtool.chat import in_sqlite as module
from gtool.chat.claims import KEPT_S, Claim
from gtool.chat.in_sqlite import InSqlite
from gtool.chat.messages import pack
from gtool.errors import GtoolError
from gtool.streams.log import Cursor, Unavailable
from gtool.streams.sqlite import database as database_module
from gtool.streams.sqlite import log as log_module
from gtool.streams.sqlite.database import Database
from gtool.streams.subscription import Subscription
from tests.conftest import open_files
from tests.servers.looped import failures_raise

TIMEOUT_S = 10
CLAIM = Claim("bob", "Bob", "digest", 1000.0)


class Stored:
    """A store, and the file that it is in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store: InSqlite
        self.open()

    def open(self, rooms: tuple[str, ...] = ("a",), retain_s: float | None = None, most: int | None = None) -> InSqlite:
        self.store = InSqlite(str(self.path), rooms, retain_s, most)
        return self.store

    def reopen(self, *rooms: str, **options: Any) -> InSqlite:
        self.store.close()
        return self.open(rooms or ("a",), **options)

    def say(self, *texts: object) -> None:
        for text in texts:
            self.store.post("a", pack("a", "user", str(text)), None)

    def lock(self) -> sqlite3.Connection:
        """Have another program hold the file: nothing can be written."""
        self.store._writer._connection.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        return other


@pytest.fixture
def stored(tmp_path) -> Iterator[Stored]:
    with failures_raise():
        made = Stored(tmp_path / "chat.db")
        yield made
        made.store.close()


@pytest.fixture
def locked(stored) -> Iterator[InSqlite]:
    """A store that can be read, and not written to."""
    with closing(stored.lock()):
        yield stored.store


# After a restart


def test_rooms_that_were_added_are_there_again(stored):
    stored.store.add_room("c")
    stored.store.add_room("b")
    assert list(stored.reopen("a").rooms()) == ["a", "c", "b"]


def test_rooms_that_are_named_come_first_and_once(stored):
    stored.store.add_room("b")
    assert list(stored.reopen("z", "b").rooms()) == ["z", "b"]


def test_names_are_whose_they_were(stored):
    stored.store.put_claim(CLAIM)
    store = stored.reopen()
    assert store.find_claim("bob") == CLAIM
    assert not store.put_claim(CLAIM._replace(digest="other"))


def test_that_a_name_was_used_is_known(stored):
    stored.store.put_claim(CLAIM)
    stored.store.put_claim(CLAIM._replace(used_at=2000.0))
    assert stored.reopen().find_claim("bob").used_at == 2000.0


def test_a_name_that_was_let_go_is_nobodys(stored):
    stored.store.put_claim(CLAIM)
    stored.store.drop_claim(CLAIM)
    assert stored.reopen().find_claim("bob") is None


def test_a_name_that_was_not_used_for_long_is_nobodys(stored, monkeypatch):
    stored.store.put_claim(CLAIM)
    monkeypatch.setattr(module, "time", lambda: 1000.0 + KEPT_S + 1)
    stored.store._forget_old()
    assert stored.reopen().find_claim("bob") is None


def test_a_reader_goes_on_where_it_was(stored):
    stored.say(1, 2, 3)
    cursor = Cursor(stored.store.log.epoch, 1)
    store = stored.reopen()
    stored.say(4)
    subscription = Subscription(store.log, cursor)
    assert ([entry.offset for entry in subscription.take(9)], subscription.is_recovered) == ([2, 3, 4], True)


def test_a_key_is_known(stored):
    data = pack("a", "user", "x")
    stored.store.post("a", data, "key")
    assert [(entry.offset, is_new) for entry, is_new in [stored.reopen().post("a", data, "key")]] == [(1, False)]


@pytest.mark.parametrize(("options", "floor"), [({"most": 2}, 3), ({"retain_s": 10.0}, 5), ({}, 0)])
def test_how_much_is_kept_may_be_said_anew(stored, monkeypatch, options, floor):
    stored.say(*range(5))
    store = stored.reopen(**options)
    now = store.log.read(0, 9)[-1].time
    monkeypatch.setattr(module, "time", lambda: now + 11)
    store._forget_old()
    assert store.log.floor == floor


def test_much_is_deleted_at_one_look(stored, monkeypatch):
    for where in (module, log_module):
        monkeypatch.setattr(where, "TRIMMED", 2)
    stored.say(*range(9))
    store = stored.reopen(most=2)
    store._forget_old()
    assert store.log.floor == 7


def test_after_its_end_all_is_in_the_one_file(stored, tmp_path):
    """So that it can be copied."""
    stored.say("x")
    stored.store.close()
    shutil.copy(stored.path, tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        found = copy.execute("SELECT count(*) FROM entries").fetchone()
    stored.open()
    assert found == (1,)


def test_the_end_leaves_no_thread(tmp_path):
    before = threading.active_count()
    Stored(tmp_path / "x.db").store.close()
    assert threading.active_count() == before


# What can't be written


def test_what_can_not_be_written_is_told_and_is_trouble_until_it_can(stored):
    with closing(stored.lock()), pytest.raises(Unavailable, match="locked"):
        stored.say("x")
    assert "locked" in stored.store.trouble
    stored.say("y")
    assert (stored.store.trouble, stored.store.log.newest) == ("", 1)


def test_when_nothing_can_be_written_reading_goes_on(stored):
    stored.say("word")
    with closing(stored.lock()):
        with pytest.raises(Unavailable):
            stored.say("other")
        assert len(stored.store.history("a", None, 9)) == 1
        assert len(stored.store.search(["word"], ["a"], None, 9)) == 1
        assert len(stored.store.log.read(0, 9)) == 1


def test_a_room_that_can_not_be_written_is_none(locked):
    with pytest.raises(Unavailable):
        locked.add_room("b")
    assert list(locked.rooms()) == ["a"]


def test_a_name_that_can_not_be_let_go_is_still_ones_own(stored):
    stored.store.put_claim(CLAIM)
    with closing(stored.lock()), pytest.raises(Unavailable):
        stored.store.drop_claim(CLAIM)
    assert stored.store.find_claim("bob") == CLAIM


def test_a_name_that_can_not_be_written_is_nobodys(locked):
    with pytest.raises(Unavailable):
        locked.put_claim(CLAIM)
    assert locked.find_claim("bob") is None


def test_when_old_messages_can_not_be_deleted_it_is_tried_again(stored, monkeypatch, caplog):
    monkeypatch.setattr(module, "TRIM_S", 0.001)
    stored.say(1, 2, 3)
    store = stored.reopen(most=1)
    other = stored.lock()
    running = gevent.spawn(store.run, lambda note: None)
    with gevent.Timeout(TIMEOUT_S):
        while not any("old messages can't be deleted" in record.message for record in caplog.records):
            gevent.sleep(0.001)
        other.close()
        while store.log.floor < 2:
            gevent.sleep(0.001)
    running.kill()


# What can't be used


def refused(path: Path) -> str:
    """Try to open what can't be used; give what is said, or what was raised instead, or left behind."""
    gc.collect()
    threads, files = set(threading.enumerate()), open_files()
    said = _try(path)
    left = set(threading.enumerate()) - threads
    for thread in left:
        thread._target.__self__.close()  # type: ignore[attr-defined]
    gc.collect()
    return f"{said}, and {len(left)} threads are left" if left else f"{said}{open_files() - files or ''}"


def _try(path: Path) -> str:
    try:
        InSqlite(str(path), (), None, None).close()
    except GtoolError as error:
        return str(error)
    except sqlite3.Error as error:
        return repr(error)
    return "nothing"


def test_a_log_of_ours_that_is_no_chats_is_refused(tmp_path):
    path = tmp_path / "x.db"
    Database(str(path)).close()
    assert refused(path).startswith(f"cannot use {path}: ")


@pytest.mark.parametrize("most_checked", [1 << 20, 0], ids=["small", "large"])
def test_one_that_is_spoilt_is_refused_and_left_as_it_is(tmp_path, monkeypatch, most_checked):
    """A large one is not looked through at the start: what is found spoilt then is told in the same way."""
    monkeypatch.setattr(database_module, "MOST_CHECKED", most_checked)
    stored = Stored(tmp_path / "x.db")
    stored.say(*("x" * 1000 for _ in range(100)))
    stored.store.close()
    gc.collect()
    with closing(sqlite3.connect(stored.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries'")
    data = bytearray(stored.path.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xee" * 4096
    stored.path.write_bytes(data)
    assert refused(stored.path).startswith(f"cannot use {stored.path}: ")
    assert stored.path.read_bytes() == data
