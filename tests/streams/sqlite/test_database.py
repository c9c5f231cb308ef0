"""A file is opened if it is ours, whole, and nobody else's; in any other case it is left as it is."""

from __future__ import annotations

import gc
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gtool.errors import GtoolError
from gtool.streams.sqlite import database as module
from gtool.streams.sqlite.database import APPLICATION, VERSION, Database
from tests.conftest import ROOT, environment, open_files

TIMEOUT_S = 20
PAGE = 4096  #: SQLite's default
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(module, "BUSY_S", 0.01)
    yield
    gc.collect()


def make(path: Path, entries: int = 0) -> str:
    """Make a database, with entries in it; give its epoch."""
    database = Database(str(path))
    with closing(database.writer()) as connection:
        for number in range(entries):
            connection.execute(
                "INSERT INTO entries (time, topic, data) VALUES (?, 'room', ?)",
                (float(number), f'{{"text": "word{number} {"x" * 200}"}}'),
            )
    database.close()
    gc.collect()
    with closing(sqlite3.connect(path.absolute())) as connection:  # all into the file, and no journal beside it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database.epoch


def refused(path: Path | str) -> str:
    """Try to open what can't be used, and give why; another may try at once, for nothing is held."""
    with pytest.raises(GtoolError) as caught:
        Database(str(path))
    with pytest.raises(GtoolError) as again:
        Database(str(path))
    assert str(again.value) == str(caught.value)
    return str(caught.value)


# A database of ours


def test_what_is_made_is_for_nobody_else_to_read(path):
    make(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_made_says_whose_it_is_and_which_version(path):
    make(path)
    with closing(sqlite3.connect(path)) as connection:
        found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    assert found == [APPLICATION, VERSION]


def test_opened_again_it_has_the_same_epoch(path):
    epoch = make(path)
    assert [make(path), make(path)] == [epoch, epoch]


def test_two_databases_have_two_epochs(tmp_path):
    assert make(tmp_path / "one") != make(tmp_path / "two")


def test_opening_leaves_the_file_as_it_is(path):
    make(path, 10)
    before = path.read_bytes()
    Database(str(path)).close()
    assert path.read_bytes() == before


def test_the_tables_of_a_schema_are_made_with_it(path):
    database = Database(str(path), "CREATE TABLE rooms (name TEXT);")
    with closing(database.reader()) as connection:
        assert connection.execute("SELECT * FROM rooms").fetchall() == []
    database.close()


def test_a_reader_can_not_write(path):
    database = Database(str(path))
    with closing(database.reader()) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("INSERT INTO facts VALUES ('a', 'b')")
    database.close()


def test_a_reader_sees_what_was_committed_while_somebody_writes(path):
    database = Database(str(path))
    with closing(database.writer()) as writer, closing(database.reader()) as reader:
        writer.execute("INSERT INTO facts VALUES ('a', '1')")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE facts SET value = '2' WHERE name = 'a'")
        assert reader.execute("SELECT value FROM facts WHERE name = 'a'").fetchall() == [("1",)]
        writer.execute("COMMIT")
        assert reader.execute("SELECT value FROM facts WHERE name = 'a'").fetchall() == [("2",)]
    database.close()


def test_a_commit_is_on_the_disk_when_it_returns(path):
    """synchronous is FULL (2): with less, SQLite loses commits of a WAL when the power fails."""
    database = Database(str(path))
    with closing(database.writer()) as writer:
        found = [writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]
    database.close()
    assert found == [2, "wal"]


def test_a_folder_that_is_missing_is_made_for_nobody_else(tmp_path):
    make(tmp_path / "state" / "gtool" / "chat.db")
    assert stat.S_IMODE((tmp_path / "state" / "gtool").stat().st_mode) == 0o700


def test_an_empty_file_is_made_one(path):
    path.touch()
    assert make(path) == make(path)


@pytest.mark.parametrize(
    "name",
    ["a?b.db", "a#b.db", "a%b.db", "a%20b.db", "a b.db", "?mode=memory", "%", "a&b=c", "ä.db", "a'b\".db", "a\\b", "-"],
)
def test_odd_characters_in_the_name_are_characters_of_the_name(tmp_path, name):
    epoch = make(tmp_path / name, 3)
    assert make(tmp_path / name) == epoch
    assert all(one.name.startswith(name) for one in tmp_path.iterdir())


def test_odd_characters_in_a_folder_are_characters_of_its_name(tmp_path):
    folder = tmp_path / "a? #%41b"
    epoch = make(folder / "chat.db")
    assert make(folder / "chat.db") == epoch


def test_a_name_that_is_no_unicode_is_a_name(tmp_path):
    name = os.fsdecode(b"\xff.db")
    epoch = make(tmp_path / name)
    assert make(tmp_path / name) == epoch


@pytest.mark.parametrize("name", ["chat.db", "./chat.db", "sub/chat.db"])
def test_a_path_may_begin_where_one_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    epoch = make(Path(name))
    assert make(tmp_path / name) == epoch


def test_a_path_may_begin_with_two_slashes(path):
    database = Database(f"/{path}")
    database.close()
    assert make(path) == database.epoch


@pytest.mark.parametrize("name", [":memory:", "file:x.db"])
def test_a_name_that_means_something_to_sqlite_is_a_name_only(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    epoch = make(Path(name))
    assert make(tmp_path / name) == epoch


def test_a_link_to_a_database_is_that(tmp_path, path):
    epoch = make(path)
    (tmp_path / "link.db").symlink_to(path)
    assert make(tmp_path / "link.db") == epoch


def test_one_that_a_dead_process_has_left_is_opened_with_all_that_it_has_committed(path):
    """It had no time to put its journal (-wal) in the file."""
    script = (
        "import os, sys; from gtool.streams.sqlite.database import Database\n"
        "database = Database(sys.argv[1]); writer = database.writer()\n"
        "writer.execute(\"INSERT INTO facts VALUES ('a', 'b')\")\n"
        "writer.execute('BEGIN'); writer.execute(\"INSERT INTO facts VALUES ('c', 'd')\")\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, env=environment(), timeout=TIMEOUT_S)
    assert path.with_name("chat.db-wal").exists()
    database = Database(str(path))
    with closing(database.reader()) as reader:
        assert reader.execute("SELECT value FROM facts WHERE name IN ('a', 'c')").fetchall() == [("b",)]
    database.close()


@pytest.mark.parametrize("schema", ["CREATE nonsense;", "CREATE TABLE entries (x);"])
def test_one_whose_making_has_failed_can_be_made_later(path, schema):
    with pytest.raises(GtoolError, match="cannot use"):
        Database(str(path), schema)
    assert make(path) == make(path)


def test_one_whose_making_was_cut_short_can_be_made_later(path):
    """kill -9, or a full disk, before the tables are committed."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert make(path) == make(path)


def test_once_it_is_closed_nothing_is_left_open(path):
    gc.collect()
    gc.disable()
    before = open_files()
    try:
        Database(str(path)).close()
        left = open_files() - before
    finally:
        gc.enable()
    assert left == set()


# Somebody else's


def test_one_that_is_in_use_is_refused_with_what_to_do(path):
    database = Database(str(path))
    assert refused(path) == f"cannot use {path}: another gtool uses it (several share redis://)"
    database.close()


def test_one_that_another_process_uses_is_refused(path):
    script = (
        "import sys; from gtool.streams.sqlite.database import Database\n"
        "database = Database(sys.argv[1]); print(flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, path], cwd=ROOT, env=environment(), **pipes) as process:
        process.stdout.readline()
        assert "another gtool uses it" in refused(path)
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 0
    make(path)


def test_one_that_is_closed_can_be_used_by_others(path):
    Database(str(path)).close()
    make(path)


def test_one_that_another_program_writes_to_is_refused(path):
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in refused(path)
        other.rollback()
    make(path)


def test_one_that_another_program_writes_to_for_a_short_time_is_waited_for(path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", TIMEOUT_S)
    make(path)
    script = (
        "import sqlite3, sys; other = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "other.execute('BEGIN EXCLUSIVE'); print(flush=True); sys.stdin.readline(); other.rollback(); other.close()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, path], **pipes) as process:
        process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()  # whichever of us is faster
        make(path)


# What can't be used


def damage(path: Path, kind: str) -> None:
    """Spoil a database of ours, or put something else in its place."""
    if kind == "garbage":
        path.write_bytes(random.Random(1).randbytes(10_000))
    elif kind == "a few bytes":
        path.write_bytes(b"chat")
    elif kind == "a text":
        path.write_text("this is a letter to my mother\n" * 500)
    elif kind == "zeros":
        path.write_bytes(bytes(3 * PAGE))
    else:
        make(path, 2000)
        data = path.read_bytes()
        if kind == "cut in the middle of a page":
            path.write_bytes(data[: len(data) // 2 + 100])
        elif kind == "cut at a page":
            path.write_bytes(data[: len(data) // PAGE // 2 * PAGE])
        elif kind == "the header only":
            path.write_bytes(data[:100])
        elif kind == "the first page only":
            path.write_bytes(data[:PAGE])
        elif kind == "its header spoilt":
            path.write_bytes(random.Random(1).randbytes(100) + data[100:])
        elif kind == "its schema spoilt":
            path.write_bytes(data[:100] + random.Random(1).randbytes(PAGE - 100) + data[PAGE:])
        else:
            at = len(data) // PAGE // 2 * PAGE
            path.write_bytes(data[:at] + random.Random(1).randbytes(PAGE) + data[at + PAGE :])


SPOILT = [
    "garbage",
    "a few bytes",
    "a text",
    "zeros",
    "cut in the middle of a page",
    "cut at a page",
    "the header only",
    "the first page only",
    "its header spoilt",
    "its schema spoilt",
    "a page in the middle spoilt",
]


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_spoilt_is_refused_and_left_as_it_is(path, kind):
    damage(path, kind)
    before = path.read_bytes()
    assert refused(path).startswith(f"cannot use {path}: ")
    assert path.read_bytes() == before


def why_not(path: Path) -> str | None:
    """Open a database; say what was wrong in other words than ours, if that was so."""
    try:
        Database(str(path)).close()
    except GtoolError:
        pass
    except (ValueError, TypeError) as error:
        return repr(error)
    return None


def test_whatever_is_spoilt_it_is_refused_in_a_sentence_or_whole_enough_to_be_used(path):
    make(path, 50)
    sound = path.read_bytes()
    for seed in range(60):
        dice = random.Random(seed)
        data = bytearray(sound)
        for _ in range(dice.randint(1, 30)):
            at = dice.randrange(len(data))
            data[at : at + 8] = dice.randbytes(len(data[at : at + 8]))
        path.write_bytes(data)
        assert (seed, why_not(path), path.read_bytes() == data) == (seed, None, True)


def test_one_without_its_epoch_is_refused(path):
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM facts")
    assert why_not(path) is None


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(path, mode):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE entries (x)")
        connection.commit()
    before = path.read_bytes()
    assert "it is a database of another program" in refused(path)
    assert path.read_bytes() == before


def test_one_of_a_newer_gtool_is_refused_and_left_as_it_is(path):
    make(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = path.read_bytes()
    assert "a newer gtool has made it" in refused(path)
    assert path.read_bytes() == before


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    assert "cannot use" in refused(tmp_path / "folder")
    assert (tmp_path / "folder" / "kept").exists()


@pytest.mark.parametrize("name", ["file/chat.db", "a" * 300])
def test_a_path_that_can_not_be_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    assert "cannot use" in refused(tmp_path / name)


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A directory in which we are nobody, and root made what is there."""
    if os.geteuid():
        pytest.skip("it takes root to become nobody")
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
        os.seteuid(0)


def test_where_nothing_may_be_made_nothing_is(foreign):
    os.seteuid(NOBODY)
    assert "Permission denied" in refused(foreign / "chat.db")
    assert list(foreign.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_that_may_not_be_written_is_refused_and_left_as_it_is(foreign, mode):
    """The folder is ours to write to, and the file is not."""
    path = foreign / "chat.db"
    make(path)
    path.with_name("chat.db.lock").unlink()
    path.chmod(mode)
    foreign.chmod(0o777)
    before = path.read_bytes()
    os.seteuid(NOBODY)
    assert refused(path).startswith(f"cannot use {path}: ")
    os.seteuid(0)
    assert path.read_bytes() == before
