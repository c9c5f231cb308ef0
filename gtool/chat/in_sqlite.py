"""The store in a file, for one process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from time import time

import gevent

from gtool.chat.claims import KEPT_S, Claim
from gtool.chat.store import TRIM_S, Directory, OnNote
from gtool.log import EventLog
from gtool.streams.log import Entry, Log, Unavailable
from gtool.streams.sqlite.database import Database, refusing
from gtool.streams.sqlite.log import TRIMMED, SqliteLog
from gtool.streams.sqlite.writer import Writer

log = EventLog("chat")

SCHEMA = """
CREATE TABLE rooms (name TEXT PRIMARY KEY);
CREATE TABLE claims (key TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, used_at REAL NOT NULL);
"""


class InSqlite(Directory):
    is_loaded = True

    def __init__(self, path: str, rooms: Iterable[str], retain_s: float | None, most: int | None) -> None:
        """Open it. GtoolError if it can't be used."""
        self._retain_s, self._most = retain_s, most
        with ExitStack() as stack:
            self._database = Database(path, SCHEMA)
            stack.callback(self._database.close)
            with refusing(path):
                with closing(self._database.reader()) as reader:
                    found = [name for (name,) in reader.execute("SELECT name FROM rooms ORDER BY rowid")]
                    claims = list(reader.execute("SELECT key, name, digest, used_at FROM claims"))
                self._writer = Writer(self._database.writer)
                stack.callback(self._writer.close)
                self._stored = SqliteLog(self._database, self._writer)
            stack.pop_all()
        super().__init__([*rooms, *found])
        self.log: Log = self._stored
        self._claims = {row[0]: Claim(*row) for row in claims}

    @property
    def trouble(self) -> str:
        return self._writer.trouble

    def run(self, on_note: OnNote) -> None:
        while True:
            try:
                self._forget_old()
            except Unavailable as error:
                log.warning("old messages can't be deleted", reason=str(error))
            gevent.sleep(TRIM_S)

    def post(self, room: str, data: bytes, key: str | None) -> tuple[Entry, bool]:
        return self._stored.append(data, room, key)

    def history(self, room: str, before: int | None, most: int) -> list[Entry]:
        return self._stored.history(room, before, most)

    def after(self, room: str, offset: int, most: int) -> list[Entry]:
        return self._stored.after(room, offset, most)

    def search(self, words: Sequence[str], rooms: Sequence[str], before: int | None, most: int) -> list[Entry]:
        return self._stored.search(words, rooms, before, most)

    def offset_at(self, time_s: float) -> int:
        return self._stored.offset_at(time_s)

    def add_room(self, name: str) -> None:
        super().add_room(name)  # before it is written: no other of that name may come meanwhile
        try:
            self._write("INSERT OR IGNORE INTO rooms VALUES (?)", name)
        except Unavailable:
            self._rooms.pop(name, None)
            raise

    def put_claim(self, claim: Claim) -> bool:
        before = self._claims.get(claim.key)
        if not super().put_claim(claim):  # before it is written: nobody else may have it meanwhile
            return False
        try:
            self._write("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", *claim)
        except Unavailable:
            if before:
                self._claims[claim.key] = before
            else:
                super().drop_claim(claim)
            raise
        return True

    def drop_claim(self, claim: Claim) -> None:
        self._write("DELETE FROM claims WHERE key = ?", claim.key)
        super().drop_claim(claim)

    def tell(self, note: object) -> None:
        pass  # there is nobody else

    def close(self) -> None:
        self._stored.close()
        self._writer.close()
        self._database.close()

    def _write(self, sql: str, *values: object) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(sql, values)

        self._writer.do(work)

    def _forget_old(self) -> None:
        now = time()
        while self._stored.trim(None if self._retain_s is None else now - self._retain_s, self._most) == TRIMMED:
            pass
        self._write("DELETE FROM claims WHERE used_at < ?", now - KEPT_S)
        self.drop_old_claims(now)
