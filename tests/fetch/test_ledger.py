from __future__ import annotations

import pytest

from gtool.fetch.files import Files
from gtool.fetch.ledger import Ledger
from gtool.fetch.record import NOTHING
from gtool.fetch.report import Report
from gtool.fetch.request import Rejected, parse_url
from gtool.fetch.retry_policy import RetryPolicy
from gtool.fetch.schedule import Limits
from gtool.fetch.settings import Network, Output, Settings
from gtool.fetch.stores import NOWHERE
from gtool.fetch.tally import Tally


class Notes(Report):
    def __init__(self) -> None:
        self.expected, self.records = [], []

    def expect(self, seq) -> None:
        self.expected.append(seq)

    def report(self, seq, record, on_written) -> None:
        self.records.append(record)


class Journal:
    """Says of all requests that they are done."""

    def skips(self, request) -> bool:
        return True


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def ledger(notes):
    def make(output=Output(json=True), files=None, journal=None, network=Network(), on_failure=lambda: None):  # noqa: B008
        settings = Settings(network, output, Limits(), RetryPolicy())
        return Ledger(settings, notes, files, journal, Tally(), on_failure)

    return make


def test_inputs_are_numbered_in_their_order(ledger, notes):
    book = ledger()
    jobs = [book.enter(parse_url("a")), book.enter(parse_url("b"))]
    assert ([job.seq for job in jobs], notes.expected) == ([0, 1], [0, 1])


def test_what_cannot_be_sent_has_its_record_at_once(ledger, notes):
    assert ledger().enter(Rejected("x", 3, "malformed URL", "me")) is None
    (record,) = notes.records
    assert (record["id"], record["exitcode"], record["errormsg"]) == ("me", 3, "malformed URL")


def test_what_an_earlier_run_has_done_has_no_record_but_its_number(ledger, notes):
    book = ledger(journal=Journal())
    book.enter(parse_url("a"))
    book.enter(Rejected("x", 3, "malformed URL"))
    assert [record["seq"] for record in notes.records] == [1]


def test_a_second_input_for_one_file_fails_with_23(ledger, notes, tmp_path):
    book = ledger(Output(output="x"), Files(f"{tmp_path}/x"))
    book.enter(parse_url("a"))
    book.enter(parse_url("b"))
    assert [record["exitcode"] for record in notes.records] == [23]


def test_a_file_that_must_stay_is_a_success_that_tells_its_path(ledger, notes, tmp_path):
    (tmp_path / "x").touch()
    ledger(Output(output="x"), Files(f"{tmp_path}/x", no_clobber=True)).enter(parse_url("a"))
    (record,) = notes.records
    assert (record["ok"], record["body_path"]) == (True, f"{tmp_path}/x")


def test_the_own_time_of_a_request_comes_before_that_of_all(ledger):
    book = ledger(network=Network(max_time=5.0))
    own = parse_url("a")._replace(max_time_s=1.0)
    assert [book.enter(own).max_time_s, book.enter(parse_url("a")).max_time_s] == [1.0, 5.0]


def test_no_time_is_no_limit(ledger):
    assert ledger(network=Network(max_time=0.0)).enter(parse_url("a")).max_time_s is None


def test_a_body_that_nobody_wants_goes_nowhere(ledger):
    assert Notes().store(0) is NOWHERE
    assert ledger().enter(parse_url("a")).body.write(b"four") == 4


def test_only_a_failure_is_called_one(ledger):
    failures = []
    book = ledger(on_failure=lambda: failures.append("failed"))
    for verdict in ((0, None), (7, "refused")):
        book.close(book.enter(parse_url("a")), NOTHING, verdict)
    assert failures == ["failed"]
