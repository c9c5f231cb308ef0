"""The change against an earlier run, and files that are none."""

from __future__ import annotations

import re

import pytest
import simplejson

from gtool.errors import ReadError
from gtool.pingpong.compare import Earlier
from gtool.pingpong.result import Row
from gtool.stats import Distribution

ROW = Row(
    pattern="req-rep", engine="green", size=32, clients=1, sent=1000, received=1000, lost=0, retried=0, late=0,
    duplicates=0, gaps=None, elapsed_s=0.1, rate=10_000.0, round_trip=Distribution(1000, *[0.002] * 8),
    uncorrected=None, histogram=None, error=None,
)  # fmt: skip
ONE_WAY = ROW._replace(pattern="push-pull", round_trip=None)


@pytest.fixture
def earlier(tmp_path):
    """Make an earlier run of its rows."""

    def make(*rows: Row) -> Earlier:
        path = tmp_path / "run.json"
        path.write_text(simplejson.dumps({"rows": [row.to_json() for row in rows]}) + "\n")
        return Earlier(str(path))

    return make


def test_a_change_is_a_share_of_what_was_before(earlier):
    before = ROW._replace(rate=8000.0, round_trip=Distribution(9, 0.001, 0.002, 0.004, *[0.002] * 5))
    changes = earlier(before).changes(ROW)
    assert changes == {"rate": 0.25, "min": 1.0, "mean": 0.0, "stdev": -0.5} | dict.fromkeys(
        ("p50", "p90", "p99", "p99.9", "max"), 0.0
    )


def test_one_way_only_the_rate_changes(earlier):
    assert earlier(ONE_WAY._replace(rate=20_000.0)).changes(ONE_WAY) == {"rate": -0.5}


@pytest.mark.parametrize("other", [{"pattern": "dealer-router"}, {"engine": "blocking"}, {"size": 33}, {"clients": 2}])
def test_another_kind_of_run_is_not_compared(earlier, other):
    assert earlier(ROW._replace(**other)).changes(ROW) == {}


def test_of_several_rows_the_one_of_the_same_kind_is_compared(earlier):
    rows = [ROW._replace(size=size, rate=size * 1000.0, round_trip=None) for size in (16, 32, 64)]
    assert earlier(*rows).changes(ROW) == {"rate": pytest.approx(10 / 32 - 1)}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (ROW._replace(rate=None, round_trip=None), ROW),
        (ROW._replace(rate=0.0, round_trip=Distribution(1, *[0.0] * 8)), ROW),
        (ROW, ROW._replace(rate=None, round_trip=None)),
    ],
)
def test_what_was_not_measured_both_times_has_no_change(earlier, before, now):
    assert earlier(before).changes(now) == {}


def test_an_earlier_run_without_rows_has_nothing_to_compare(earlier):
    assert earlier().changes(ROW) == {}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"rubbish",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"1",
        b'{"rows": null}',
        b'{"rows": [null]}',
        b'{"rows": ["row"]}',
        b'{"rows": {"a": 1}}',
        b'{"rows": [{}]}',
        b'{"rows": [{"pattern": [], "engine": "", "size": 1, "clients": 1}]}',
        b'{"rows": []}\n{"rows": []}\n',
        b"pattern,engine,size\nreq-rep,green,32\n",
    ],
)
def test_a_file_that_is_no_such_document_is_named(tmp_path, text):
    path = tmp_path / "run.json"
    path.write_bytes(text)
    with pytest.raises(ReadError, match=f"^{re.escape(str(path))} is not what 'zmq-pingpong ping --json' prints$"):
        Earlier(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ReadError, match=rf"^cannot read {re.escape(str(tmp_path))}/none: No such file or directory$"):
        Earlier(str(tmp_path / "none"))


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ReadError, match=r"Is a directory$"):
        Earlier(str(tmp_path))
