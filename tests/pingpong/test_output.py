"""What a run says: a table and CSV as it goes, one document at its end."""

from __future__ import annotations

import json

import pytest
import simplejson

from gtool.errors import PeerGone
from gtool.pingpong.compare import Earlier
from gtool.pingpong.document import csv_header, csv_row
from gtool.pingpong.job import ClientKeys
from gtool.pingpong.output import Csv, Json, Output, Table
from gtool.pingpong.report import header
from gtool.pingpong.result import Outcome, Row
from gtool.pingpong.settings import Settings
from gtool.pingpong.versions import versions
from gtool.stats import NANOSECOND, Distribution, LatencyHistogram

LIBZMQ = versions()["libzmq"]
SETTINGS = Settings("tcp://h:1")
ONE_WAY = Settings("tcp://h:1", "push-pull")
ROW = Row(
    pattern="req-rep", engine="green", size=32, clients=1, sent=10, received=10, lost=0, retried=0, late=0,
    duplicates=0, gaps=None, elapsed_s=0.1, rate=100.0, round_trip=Distribution(10, *[0.001] * 8), uncorrected=None,
    histogram=None, error=None,
)  # fmt: skip
ONE_WAY_ROW = ROW._replace(pattern="push-pull", gaps=0, round_trip=None)


@pytest.fixture
def said():
    """What has been said, to whom it was given."""
    return []


@pytest.fixture
def earlier(tmp_path):
    """An earlier run, half as fast."""
    path = tmp_path / "run.json"
    path.write_text(simplejson.dumps({"rows": [ROW._replace(rate=50.0, round_trip=None).to_json()]}))
    return Earlier(str(path))


def outcome(server: dict[str, object] | None = None, meter_s: float | None = None) -> Outcome:
    made = Outcome()
    made.server, made.meter_s = server, meter_s
    return made


def measured(output: Output, *rows: Row, found: Outcome | None = None, error: PeerGone | None = None) -> None:
    """Go through a run as run.py does."""
    found = found or outcome()
    for row in rows:
        found.rows.append(row)
        output.row(row, found)
    output.end(found, [], error)


# The table


def test_a_table_begins_with_what_is_measured(said):
    measured(Table(said.append, SETTINGS, None, False), ROW)
    assert said[:2] == [f"req-rep with tcp://h:1, libzmq {LIBZMQ}\n", header(is_one_way=False)]


@pytest.mark.parametrize(
    ("options", "server", "title"),
    [
        ({}, {"engine": "blocking"}, "req-rep with tcp://h:1, server blocking"),
        ({"clients": 3}, None, "req-rep with tcp://h:1, 3 clients"),
        ({"keys": ClientKeys("S" * 40, "P" * 40, "X" * 40)}, None, "req-rep with tcp://h:1, CURVE"),
    ],
)
def test_the_title_tells_what_is_out_of_the_ordinary(said, options, server, title):
    measured(Table(said.append, Settings("tcp://h:1", **options), None, False), ROW, found=outcome(server))
    assert said[0] == f"{title}, libzmq {LIBZMQ}\n"


def test_a_row_is_said_when_it_is_done(said):
    table = Table(said.append, SETTINGS, None, False)
    table.row(ROW, outcome())
    assert said[-1].startswith("green              32        10     0      100/s      1ms")


def test_a_title_stands_over_all_rows_once(said):
    measured(Table(said.append, SETTINGS, None, False), ROW, ROW)
    assert len(said) == 4


def test_where_nothing_was_measured_nothing_is_said(said):
    measured(Table(said.append, SETTINGS, None, False), found=outcome(meter_s=1e-6), error=PeerGone("nobody there"))
    assert said == []


def test_the_cost_of_the_meter_is_said_last(said):
    measured(Table(said.append, SETTINGS, None, False), ROW, found=outcome(meter_s=1.5e-6))
    assert said[-1] == "the meter's own cost: 1.5us (p50 of a loop without a peer)\n"


def test_one_way_the_meter_costs_no_round_trips(said):
    measured(Table(said.append, ONE_WAY, None, False), ONE_WAY_ROW, found=outcome(meter_s=1.5e-6))
    assert said[1] == header(is_one_way=True)
    assert len(said) == 3


def test_the_change_stands_under_the_row(said, earlier):
    measured(Table(said.append, SETTINGS, earlier, False), ROW)
    assert said[-1].splitlines()[1].split() == ["change", "+100.0%"]


@pytest.mark.parametrize(("has_histogram", "bars"), [(True, 1), (False, 0)])
def test_a_histogram_is_drawn_where_it_is_wanted(said, has_histogram, bars):
    recorded = LatencyHistogram(NANOSECOND)
    recorded.record(0.001)
    measured(Table(said.append, SETTINGS, None, has_histogram), ROW._replace(histogram=recorded.encoded()))
    assert "".join(said).count("up to") == bars


# CSV


def test_csv_is_a_header_and_a_line_for_each_row_as_it_is_done(said):
    output = Csv(said.append)
    output.row(ROW, outcome())
    output.row(ONE_WAY_ROW, outcome())
    assert said == [csv_header(), csv_row(ROW), csv_row(ONE_WAY_ROW)]


def test_csv_has_nothing_at_its_end(said):
    measured(Csv(said.append), found=outcome(meter_s=1e-6))
    assert said == [csv_header()]


# JSON


def test_json_says_nothing_before_the_end(said):
    Json(said.append, SETTINGS, None).row(ROW, outcome())
    assert said == []


def test_json_is_one_line_with_all_rows(said):
    measured(Json(said.append, SETTINGS, None), ROW, ROW._replace(size=64))
    (line,) = said
    assert line.endswith("}\n")
    assert [row["size"] for row in json.loads(line)["rows"]] == [32, 64]


def test_json_has_the_change_of_each_row(said, earlier):
    measured(Json(said.append, SETTINGS, earlier), ROW, ROW._replace(size=64))
    assert [row["change"] for row in json.loads(said[0])["rows"]] == [{"rate": 1.0}, None]


def test_json_has_what_was_missed(said):
    Json(said.append, SETTINGS, None).end(outcome(), ["lost>0: it was 2"], None)
    assert json.loads(said[0])["thresholds_missed"] == ["lost>0: it was 2"]


def test_json_is_said_on_failure_too(said):
    measured(Json(said.append, None, None), error=PeerGone("nobody there"))
    assert json.loads(said[0])["error"] == "nobody there"
