"""The engine in this process, with a report that only takes notes; what a user sees of it is in tests/e2e."""

from __future__ import annotations

import threading

import pytest

from gtool.fetch import journal as journal_module
from gtool.fetch.engine import Engine
from gtool.fetch.journal import Journal
from gtool.fetch.report import Report
from gtool.fetch.retry_policy import RetryPolicy
from gtool.fetch.schedule import Limits
from gtool.fetch.settings import Network, Output, Settings
from gtool.fetch.tally import Tally
from tests.conftest import answer


class Notes(Report):
    """Keeps the records in the order in which they come."""

    def __init__(self) -> None:
        self.records = []

    def report(self, seq, record, on_written) -> None:
        self.records.append(record)
        if on_written:
            on_written()

    def seqs(self) -> list[int]:
        return [record["seq"] for record in self.records]


@pytest.fixture
def make_engine():
    """Make an engine for these URLs; its `notes` are its report."""

    def make(*urls: str, limits: Limits | None = None, journal: Journal | None = None, **settings) -> Engine:
        notes, tally = Notes(), Tally()
        whole = Settings(Network(), Output(json=True), limits or Limits(), RetryPolicy(), urls=urls)._replace(
            **settings
        )
        engine = Engine(whole, lambda on_room: notes, None, journal, tally)
        engine.notes, engine.tally = notes, tally
        return engine

    return make


def test_every_input_has_one_record(make_engine, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"x")))
    engine = make_engine(*[server.url] * 100, "file:x")
    engine.run()
    assert sorted(engine.notes.seqs()) == list(range(101))


def test_the_total_is_known_when_the_inputs_are_read(make_engine, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"x")))
    engine = make_engine(server.url, server.url)
    before = engine.total
    engine.run()
    assert (before, engine.total) == (None, 2)


def test_no_more_handles_are_made_than_run_at_once(make_engine, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"x")))
    engine = make_engine(*[server.url] * 50, limits=Limits(concurrency=3))
    engine.run()
    assert len(engine._flight._idle) == 3


def test_inputs_are_not_read_further_ahead_of_a_busy_host_than_the_look_ahead(make_engine, peer):
    go_on = threading.Event()

    def hold(connection, head):
        go_on.wait(10)
        connection.sendall(answer(b"x"))

    engine = make_engine(*[peer(hold).url] * 50, limits=Limits(concurrency_per_host=1, lookahead=5))
    engine._pump()
    read_ahead = engine._inputs.count
    go_on.set()
    engine.run()
    assert read_ahead == 6  # one that runs, five that wait


def test_no_transfer_starts_while_the_journal_is_behind(make_engine, peer, tmp_path, monkeypatch):
    class Watched(Journal):
        most = 0

        def note(self, request, record):
            super().note(request, record)
            self.most = max(self.most, len(self._lines))

    monkeypatch.setattr(journal_module, "BACKLOG_LINES", 2)
    server = peer(lambda connection, head: connection.sendall(answer(b"x")))
    journal = Watched(str(tmp_path / "journal"))
    make_engine(*[server.url] * 6, limits=Limits(concurrency=1), journal=journal).run()
    journal.close()
    assert journal.most <= 2
    assert (tmp_path / "journal").read_text().count("\n") == 6


def test_fail_early_ends_the_run_at_the_first_failure(make_engine):
    engine = make_engine("file:a", "file:b", fail_early=True)
    engine.run()
    assert engine.notes.seqs() == [0]


def test_after_the_deadline_the_rest_is_reported_as_not_run(make_engine, peer):
    silent = peer(lambda connection, head: threading.Event().wait(0))
    engine = make_engine(*[silent.url] * 5, limits=Limits(concurrency=2), deadline=0.05)
    engine.run()
    assert [record["exitcode"] for record in engine.notes.records] == [28] * 5


def test_the_exit_code_is_that_of_the_first_failure_in_input_order(make_engine, refused_port):
    engine = make_engine(f"http://127.0.0.1:{refused_port}", "file:x")
    engine.run()
    assert (engine.notes.seqs(), engine.tally.exitcode) == ([1, 0], 7)
