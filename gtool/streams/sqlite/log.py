"""The log in a database: its last entries in memory, for those who are up to date, all others read from the file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from gevent.hub import get_hub
from gevent.lock import BoundedSemaphore

from gtool.streams.log import Entry, Listener, Unavailable
from gtool.streams.memory import MemoryLog
from gtool.streams.sqlite.database import Database
from gtool.streams.sqlite.writer import Writer

WINDOW, WINDOW_BYTES = 10_000, 16 << 20  #: entries in memory
KEYS_S = 24 * 3600.0  #: that the key of an entry is remembered
TRIMMED = 2_000  #: entries that are deleted in one go: others wait for it
COLUMNS = "offset, time, topic, data"


class Written(NamedTuple):
    """A row, and whether it is one that was there already under its key."""

    offset: int
    time: float
    topic: str
    data: str
    is_new: bool


class SqliteLog:
    """Numbers are offsets here: none is left out."""

    is_mirror = False

    def __init__(self, database: Database, writer: Writer, window: int = WINDOW) -> None:
        self._connection = database.reader()
        self._searching = database.reader()
        self._is_free = BoundedSemaphore(1)
        self._writer = writer
        self.epoch: str = database.epoch
        self.most, self.most_bytes = window, WINDOW_BYTES
        self._window = MemoryLog(window, WINDOW_BYTES, self.epoch)
        with ExitStack() as stack:
            stack.callback(self.close)
            self._load(window)
            stack.pop_all()

    def _load(self, window: int) -> None:
        """Take the last entries into memory. Unavailable."""
        ((newest,),) = self._query("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'entries'")
        ((oldest,),) = self._query("SELECT coalesce(min(offset), ?) FROM entries", newest + 1)
        self.oldest: int = oldest
        self._first: int = oldest  # in the file: what is to be deleted may still be there
        rows = self._query(f"SELECT {COLUMNS} FROM entries ORDER BY offset DESC LIMIT ?", window)[::-1]
        before = rows[0][0] - 1 if rows else newest
        self._window.begin_after(before, before)
        for offset, time_s, topic, data in rows:
            self._window.mirror(offset, time_s, data.encode(), topic)

    @property
    def newest(self) -> int:
        return self._window.newest

    @property
    def newest_offset(self) -> int:
        return self._window.newest_offset

    @property
    def end(self) -> int:
        return self._window.end

    @property
    def floor(self) -> int:
        return self.oldest - 1

    def append(self, data: bytes, topic: str = "", key: str | None = None) -> tuple[Entry, bool]:
        """Wait until an entry is on the disk; give it, and whether it is new: not one of the same key. Unavailable."""
        text = data.decode()
        written = self._writer.do(lambda connection: _insert(connection, topic, text, key), self._append)
        number = written.offset
        return Entry(number, number, written.time, written.data.encode(), 0, written.topic), written.is_new

    def read(self, after: int, most: int) -> Sequence[Entry]:
        if after + 1 >= self._window.oldest:
            return self._window.read(after, most)
        where = f"SELECT {COLUMNS} FROM entries WHERE offset BETWEEN ? AND ? ORDER BY offset LIMIT ?"
        return self._entries(where, max(after + 1, self.oldest), self.newest, most)

    def find(self, offset: int) -> int:
        return min(max(offset, self.floor), self.newest)

    def find_end(self, end: int) -> int:
        return self._window.find_end(end)

    def listen(self, listener: Listener) -> None:
        self._window.listen(listener)

    def forget(self, listener: Listener) -> None:
        self._window.forget(listener)

    def history(self, topic: str, before: int | None, most: int) -> list[Entry]:
        """Give the last entries of a topic before an offset, in order."""
        where = f"SELECT {COLUMNS} FROM entries WHERE topic = ? AND offset BETWEEN ? AND ? ORDER BY offset DESC LIMIT ?"
        return self._entries(where, topic, self.oldest, self._last(before), most)[::-1]

    def after(self, topic: str, offset: int, most: int) -> list[Entry]:
        """Give the first entries of a topic after an offset, in order."""
        where = f"SELECT {COLUMNS} FROM entries WHERE topic = ? AND offset BETWEEN ? AND ? ORDER BY offset LIMIT ?"
        return self._entries(where, topic, max(min(offset, self.newest) + 1, self.oldest), self.newest, most)

    def search(self, words: Iterable[str], topics: Sequence[str], before: int | None, most: int) -> list[Entry]:
        """Give the last entries that have all of these words, or words that begin so, the newest first."""
        match = " ".join('"' + word.replace('"', '""').replace("\0", " ") + '"*' for word in words)
        marks = ", ".join("?" * len(topics))
        rows = self._look_for(
            f"SELECT {COLUMNS} FROM entries WHERE offset IN (SELECT rowid FROM words WHERE words MATCH ?"
            f" AND rowid BETWEEN ? AND ?) AND topic IN ({marks}) ORDER BY offset DESC LIMIT ?",
            match,
            self.oldest,
            self._last(before),
            *topics,
            most,
        )
        return [Entry(offset, offset, at, data.encode(), 0, topic) for offset, at, topic, data in rows]

    def offset_at(self, time_s: float) -> int:
        """Give the offset after which entries are no older than that."""
        ((offset,),) = self._query("SELECT min(offset) - 1 FROM entries WHERE time >= ?", time_s)
        return self.newest if offset is None else min(max(int(offset), self.floor), self.newest)

    def trim(self, before_s: float | None, most: int | None) -> int:
        """Delete some of what is older than that time, or too much; give how many. Once more until it is none.

        Readers are told first that it is gone. Unavailable leaves it in the file, to be deleted the next time.
        """
        ends = [self.floor]
        if before_s is not None:
            # Offsets are in order of time but for a clock that was put back: only what is before all that stays may go.
            ends.append(self.offset_at(before_s))
        if most is not None:
            ends.append(self.newest - most)
        end = min(max(ends), self._first + TRIMMED - 1)
        if end < self._first:
            return 0
        self.oldest = max(self.oldest, end + 1)
        self._window.drop_up_to(end)
        count = self._writer.do(
            lambda connection: connection.execute("DELETE FROM entries WHERE offset <= ?", (end,)).rowcount
        )
        self._first = end + 1
        return count

    def close(self) -> None:
        self._connection.close()
        self._searching.close()

    def _last(self, before: int | None) -> int:
        """Give the last offset before one, of those that readers know of; SQLite's numbers end at 2^63."""
        return self.newest if before is None else min(before - 1, self.newest)

    def _append(self, written: Written) -> None:
        if written.is_new:
            self._window.mirror(written.offset, written.time, written.data.encode(), written.topic)

    def _entries(self, sql: str, *values: object) -> list[Entry]:
        # Where these end, in bytes of all, is not known: it is said to be where those in memory begin, which is later.
        end = self._window.dropped_end
        return [
            Entry(offset, offset, time_s, data.encode(), end, topic)
            for offset, time_s, topic, data in self._query(sql, *values)
        ]

    def _look_for(self, sql: str, *values: object) -> list[Any]:
        """Read what may take long, in a thread; one at a time."""
        with self._is_free:
            found: list[Any] = get_hub().threadpool.apply(_fetch, (self._searching, sql, values))
            return found

    def _query(self, sql: str, *values: object) -> list[Any]:
        return _fetch(self._connection, sql, values)


def _fetch(connection: sqlite3.Connection, sql: str, values: Sequence[object]) -> list[Any]:
    """Read; Unavailable for what the file can't give."""
    try:
        return connection.execute(sql, values).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"cannot read: {error}") from error


def _insert(connection: sqlite3.Connection, topic: str, data: str, key: str | None) -> Written:
    now = time.time()
    if key is not None:
        connection.execute("DELETE FROM keys WHERE time < ?", (now - KEYS_S,))
        found = connection.execute(
            f"SELECT {COLUMNS} FROM entries WHERE offset = (SELECT offset FROM keys WHERE key = ?)", (key,)
        ).fetchone()
        if found:
            return Written._make((*found, False))
    cursor = connection.execute("INSERT INTO entries (time, topic, data) VALUES (?, ?, ?)", (now, topic, data))
    offset = cursor.lastrowid
    assert offset is not None
    if key is not None:
        connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (key, offset, now))
    return Written(offset, now, topic, data, True)
