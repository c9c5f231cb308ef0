"""A database file: opened only if it is ours, whole, and nobody else's just now; else it is left as it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from typing import IO
from urllib.parse import quote

from gtool.errors import GtoolError
from gtool.streams.log import Unavailable

APPLICATION = 0x67746F6C  #: "gtol", in the file's header (SQLite file format, section 1.3)
VERSION = 1
BUSY_S = 2.0  #: that another program may hold the file for
MOST_CHECKED = 256 << 20  #: bytes of a file that is checked as a whole before it is used

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    topic TEXT NOT NULL,
    data TEXT NOT NULL,
    text TEXT GENERATED ALWAYS AS (data ->> 'text') VIRTUAL
);
CREATE INDEX by_topic ON entries (topic, offset);
CREATE INDEX by_time ON entries (time);
CREATE TABLE keys (key TEXT PRIMARY KEY, offset INTEGER NOT NULL, time REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX keys_by_time ON keys (time);
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='entries', content_rowid='offset', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER entries_added AFTER INSERT ON entries BEGIN
    INSERT INTO words (rowid, text) VALUES (new.offset, new.text);
END;
CREATE TRIGGER entries_removed AFTER DELETE ON entries BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.offset, old.text);
END;
"""


class Database:
    """A file that we alone use. Its connections are for one thread each."""

    def __init__(self, path: str, schema: str = "") -> None:
        """Open it, and make it if it is not there, with the tables of `schema` beside those of a log.

        GtoolError if it can't be used.
        """
        self.path = path
        self._file = os.path.realpath(path)
        self._lock = _lock(path)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            with refusing(path):
                if self._is_there():
                    self._look()
                else:
                    self._make(schema)
                self.epoch = self._read_epoch()
            stack.pop_all()

    def reader(self) -> sqlite3.Connection:
        """Give a connection that sees what was committed, and never waits for who writes."""
        return _connect(self._file, "ro")

    def writer(self) -> sqlite3.Connection:
        """Give a connection that writes; a commit is on the disk when it returns."""
        connection = _connect(self._file, "rw")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def close(self) -> None:
        """Let others have the file; connections are closed before, the writer last: then it is one file."""
        self._lock.close()

    def _is_there(self) -> bool:
        """Whether there is a database, and not only what a making that was cut short has left."""
        if not os.path.exists(self._file) or not os.path.getsize(self._file):
            return False
        with contextlib.closing(self.reader()) as connection:
            (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application,) = connection.execute("PRAGMA application_id").fetchone()
        return bool(count or application)

    def _look(self) -> None:
        """See whether it is ours, and whole. Changes nothing."""
        with open(self._file, "r+b"):
            pass  # it may be written
        with contextlib.closing(self.reader()) as connection:
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION:
                raise GtoolError(f"cannot use {self.path}: it is a database of another program")
            if version > VERSION:
                raise GtoolError(f"cannot use {self.path}: a newer gtool has made it")
            if os.path.getsize(self._file) <= MOST_CHECKED:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
        with contextlib.closing(self.writer()) as connection:
            connection.execute("BEGIN IMMEDIATE")  # somebody else may hold it
            connection.rollback()

    def _make(self, schema: str) -> None:
        """Make it beside its place, and put it there when it is whole."""
        part = f"{self._file}.part"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        try:
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # private rooms are in it
            with contextlib.closing(_connect(part, "rw")) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(
                    f"BEGIN; {SCHEMA}{schema} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"
                    f"INSERT INTO facts VALUES ('epoch', '{secrets.token_urlsafe(9)}'); COMMIT;"
                )
            os.replace(part, self._file)
        finally:
            for name in (part, f"{part}-wal", f"{part}-shm"):
                with contextlib.suppress(OSError):
                    os.unlink(name)

    def _read_epoch(self) -> str:
        with contextlib.closing(self.reader()) as connection:
            found = connection.execute("SELECT value FROM facts WHERE name = 'epoch'").fetchone()
        if not found or not isinstance(found[0], str):
            raise sqlite3.DatabaseError("it has no epoch")
        return str(found[0])


@contextlib.contextmanager
def refusing(path: str) -> Iterator[None]:
    """Make of what SQLite says about a file an error that ends the command. GtoolError."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError, OSError, Unavailable) as error:
        why = (
            error.strerror if isinstance(error, OSError) else "it is spoilt" if isinstance(error, ValueError) else error
        )
        raise GtoolError(f"cannot use {path}: {why}", "it is left as it is: --store names another") from error


def _lock(path: str) -> IO[bytes]:
    """Hold a file beside the database. GtoolError if another process of ours does, or it can't be made."""
    name = f"{path}.lock"
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        file = open(name, "wb")  # noqa: SIM115  as long as the database is used
    except OSError as error:
        raise GtoolError(f"cannot use {path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise GtoolError(f"cannot use {path}: another gtool uses it", "several share redis://") from error
    return file


def _connect(path: str, mode: str) -> sqlite3.Connection:
    # The writer's is made by one thread and used by another, never by both at a time.
    uri = f"file:///{quote(os.fsencode(os.path.abspath(path)).lstrip(b'/'))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
