"""Many writes share a commit, in order; what can't be written is told, and the writer goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gtool.errors import GtoolError
from gtool.streams.log import Unavailable
from gtool.streams.sqlite import writer as module
from gtool.streams.sqlite.writer import Writer
from tests.conftest import open_files
from tests.servers.looped import failures_raise

TIMEOUT_S = 10
SHORT_S = 0.01
LARGE = "x" * 20_000


class Written:
    """A table, a writer to it, and what its connection was told to do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statements: list[str] = []
        self.writer = Writer(self._open)

    def _open(self) -> sqlite3.Connection:
        self.connection = sqlite3.connect(self.path, isolation_level=None, timeout=SHORT_S, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")
        self.connection.set_trace_callback(self.statements.append)
        return self.connection

    def count(self, statement: str) -> int:
        return sum(one.startswith(statement) for one in self.statements)

    def spawn(self, *words: str) -> list[Any]:
        """Have each be written by a greenlet of its own, together if the writer is held."""
        greenlets = [gevent.spawn(tried, self.writer, insert(word)) for word in words]
        gevent.idle()
        return greenlets

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the writer wait while the block runs: what is asked for meanwhile is written together."""
        go_on, is_held = threading.Event(), threading.Event()

        def wait(connection: sqlite3.Connection) -> None:
            is_held.set()
            assert go_on.wait(TIMEOUT_S)

        holding = gevent.spawn(self.writer.do, wait)
        gevent.idle()
        assert is_held.wait(TIMEOUT_S)
        try:
            yield
        finally:
            go_on.set()
            holding.get(timeout=TIMEOUT_S)

    @property
    def words(self) -> list[str]:
        connection = sqlite3.connect(self.path)
        found = [word for (word,) in connection.execute("SELECT word FROM words ORDER BY rowid")]
        connection.close()
        return found


def insert(word: str) -> Callable[[sqlite3.Connection], str]:
    def work(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO words VALUES (?)", (word,))
        return word

    return work


def tried(writer: Writer, work: Callable[[sqlite3.Connection], Any]) -> Any:
    """Give what a write has come to: a result, or an error."""
    try:
        return writer.do(work)
    except Unavailable as error:
        return error


def fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO nowhere VALUES (1)")


@pytest.fixture
def written(tmp_path) -> Iterator[Written]:
    with failures_raise():
        made = Written(tmp_path / "words.db")
        yield made
        made.writer.close()


def join(greenlets: list[Any]) -> list[Any]:
    """Give what each has come to."""
    return [one.get(timeout=TIMEOUT_S) for one in greenlets]


def test_a_write_gives_what_it_has_found_once_it_is_committed(written):
    assert written.writer.do(insert("one")) == "one"
    assert written.words == ["one"]


def test_the_loop_goes_on_while_something_is_written(written):
    is_done = threading.Event()

    def wait(connection: sqlite3.Connection) -> bool:
        return is_done.wait(TIMEOUT_S)

    gevent.spawn(is_done.set)  # it has its turn only if the loop is not held
    assert written.writer.do(wait)


def test_writes_that_wait_together_share_a_commit(written):
    with written.held():
        before = written.count("COMMIT")
        greenlets = written.spawn(*"abcdefghij")
    assert join(greenlets) == list("abcdefghij")
    assert written.count("COMMIT") - before == 2  # with that of what has held the writer


def test_no_more_than_so_many_share_a_commit(written, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 4)
    with written.held():
        before = written.count("COMMIT")
        greenlets = written.spawn(*"abcdefghij")
    join(greenlets)
    assert written.count("COMMIT") - before == 1 + 3


def test_writes_are_done_in_the_order_in_which_they_were_asked_for(written, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 7)
    words = [str(number) for number in range(100)]
    join(written.spawn(*words))
    assert written.words == words


def test_what_is_told_is_told_in_order_on_the_thread_of_the_loop(written):
    told = []

    def then(word: str) -> None:
        told.append((word, threading.get_ident()))

    join([gevent.spawn(written.writer.do, insert(word), then) for word in "abcdefghij"])
    assert told == [(word, threading.get_ident()) for word in "abcdefghij"]


def test_what_is_told_is_so_before_who_has_asked_goes_on(written):
    told: list[str] = []

    def write(word: str) -> list[str]:
        written.writer.do(insert(word), told.append)
        return list(told)

    with written.held():
        greenlets = [gevent.spawn(write, word) for word in "abc"]
        gevent.idle()
    assert [found[: len("abc"[: n + 1])] for n, found in enumerate(join(greenlets))] == [["a"], ["a", "b"], [*"abc"]]


def test_what_is_told_is_on_the_disk(written):
    seen: list[str] = []
    written.writer.do(insert("a"), lambda word: seen.extend(written.words))
    assert seen == ["a"]


def test_of_what_has_failed_nothing_is_told(written):
    told: list[Any] = []
    with pytest.raises(Unavailable):
        written.writer.do(fail, told.append)
    assert told == []


# What fails


def test_an_error_is_told_with_its_reason(written):
    with pytest.raises(Unavailable, match="no such table: nowhere"):
        written.writer.do(fail)


def test_an_error_that_is_not_the_databases_is_raised_as_it_is(written):
    def refuse(connection: sqlite3.Connection) -> None:
        raise GtoolError("no")

    with pytest.raises(GtoolError, match="no"):
        written.writer.do(refuse)


def test_an_error_of_one_leaves_nothing_of_those_that_are_written_with_it(written):
    with written.held():
        greenlets = [*written.spawn("a"), gevent.spawn(tried, written.writer, fail), *written.spawn("b")]
    assert [type(found) for found in join(greenlets)] == [Unavailable] * 3
    assert written.words == []


def test_an_error_leaves_other_groups_alone(written, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 2)
    with written.held():
        greenlets = [*written.spawn("a", "b"), gevent.spawn(tried, written.writer, fail), *written.spawn("c", "d", "e")]
    assert [type(found) for found in join(greenlets)] == [str, str, Unavailable, Unavailable, str, str]
    assert written.words == ["a", "b", "d", "e"]


def test_after_an_error_the_writer_goes_on(written):
    for word in "abc":
        with pytest.raises(Unavailable):
            written.writer.do(fail)
        written.writer.do(insert(word))
    assert written.words == ["a", "b", "c"]


@pytest.mark.parametrize(
    "work",
    [
        lambda connection: {}["a bug"],
        lambda connection: connection.execute("INSERT INTO words VALUES (?)", ("\ud800",)),
        lambda connection: connection.execute("INSERT INTO words VALUES (?)", (1 << 64,)),
    ],
    ids=["a bug", "half a character", "a number too large"],
)
def test_whatever_a_write_raises_those_after_it_are_written(written, monkeypatch, work):
    monkeypatch.setattr(module, "WAIT_S", 0.5)
    with suppress(Exception):
        written.writer.do(work)
    written.writer.do(insert("a"))


def test_after_a_rollback_that_failed_the_writer_goes_on(written):
    def deny(action: int, name: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if (action, name) == (sqlite3.SQLITE_TRANSACTION, "ROLLBACK") else sqlite3.SQLITE_OK

    written.connection.set_authorizer(deny)
    with pytest.raises(Unavailable):
        written.writer.do(fail)
    written.connection.set_authorizer(None)
    with pytest.raises(Unavailable):
        written.writer.do(insert("a"))  # it finds what was left open
    written.writer.do(insert("b"))
    assert written.words == ["b"]


def test_trouble_is_said_until_something_can_be_written_again(written):
    assert written.writer.trouble == ""
    with pytest.raises(Unavailable):
        written.writer.do(fail)
    assert written.writer.trouble == "cannot write: no such table: nowhere"
    written.writer.do(insert("a"))
    assert written.writer.trouble == ""


def test_trouble_is_warned_of(written, caplog):
    with pytest.raises(Unavailable):
        written.writer.do(fail)
    assert [record.message for record in caplog.records] == ["cannot write to the store"]


def test_a_disk_that_is_full_is_told_and_when_it_is_not_any_more_all_is_well(written):
    written.writer.do(insert("a"))
    (pages,) = written.connection.execute("PRAGMA page_count").fetchone()
    written.connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(3):
        with pytest.raises(Unavailable, match="full"):
            written.writer.do(insert(LARGE))
    assert "full" in written.writer.trouble
    assert written.words == ["a"]
    written.connection.execute("PRAGMA max_page_count = 100000")
    written.writer.do(insert(LARGE))
    assert (written.words, written.writer.trouble) == (["a", LARGE], "")


def test_on_a_disk_that_is_full_reading_goes_on(written):
    written.writer.do(insert("a"))
    (pages,) = written.connection.execute("PRAGMA page_count").fetchone()
    written.connection.execute(f"PRAGMA max_page_count = {pages}")
    join(written.spawn(LARGE, LARGE))
    assert written.words == ["a"]


def test_a_file_that_another_program_has_locked_is_told_and_written_to_later(written):
    other = sqlite3.connect(written.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked"):
        written.writer.do(insert("a"))
    other.close()
    written.writer.do(insert("b"))
    assert written.words == ["b"]


# What waits


def test_what_is_too_much_is_refused_at_once(written, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 4)
    with written.held():  # which is one of them
        greenlets = written.spawn(*"abc")
        with pytest.raises(Unavailable, match="too much waits"):
            written.writer.do(insert("d"))
    join(greenlets)
    assert written.words == ["a", "b", "c"]


def test_what_was_too_much_can_be_written_later(written, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    for word in "abc":
        with written.held(), pytest.raises(Unavailable):
            written.writer.do(insert("x"))
        written.writer.do(insert(word))
    assert written.words == ["a", "b", "c"]


def test_what_failed_waits_no_more(written, monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    for _ in range(3):
        with pytest.raises(Unavailable, match="no such table"):
            written.writer.do(fail)


def test_what_takes_too_long_is_unavailable_and_may_be_written_nevertheless(written, monkeypatch):
    with written.held():
        monkeypatch.setattr(module, "WAIT_S", SHORT_S)
        with pytest.raises(Unavailable, match="too long"):
            written.writer.do(insert("a"))
        monkeypatch.undo()
    written.writer.do(insert("b"))
    assert written.words == ["a", "b"]


def test_who_is_killed_while_it_waits_is_waited_for_by_nobody(written):
    with written.held():
        (greenlet,) = written.spawn("a")
        greenlet.kill()
    written.writer.do(insert("b"))
    assert written.words == ["a", "b"]


# The end


def test_the_end_comes_when_all_that_waits_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 3)
    written = Written(tmp_path / "words.db")
    greenlets = [gevent.spawn(written.writer.do, insert(word)) for word in "abcdefghij"]
    gevent.idle()
    written.writer.close()
    assert written.words == list("abcdefghij")
    assert join(greenlets) == list("abcdefghij")


def test_what_was_written_at_the_end_is_told(tmp_path):
    written, told = Written(tmp_path / "words.db"), []
    greenlets = [gevent.spawn(written.writer.do, insert(word), told.append) for word in "abc"]
    gevent.idle()
    written.writer.close()
    assert told == ["a", "b", "c"]
    join(greenlets)


def test_a_writer_that_has_written_nothing_ends(tmp_path):
    Written(tmp_path / "words.db").writer.close()


def test_the_end_leaves_no_thread_and_no_file(tmp_path):
    threads, files = threading.active_count(), open_files()
    written = Written(tmp_path / "words.db")
    written.writer.do(insert("a"))
    written.writer.close()
    assert (threading.active_count(), open_files() - files) == (threads, set())


def test_a_loop_that_waits_for_nothing_else_is_not_kept_by_a_writer(written):
    """What it is woken by does not count as something to come: who would wait for ever is told so."""
    with pytest.raises(gevent.exceptions.LoopExit):
        Event().wait()
