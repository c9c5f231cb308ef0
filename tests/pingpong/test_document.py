"""The document of a run is one line of JSON whatever has happened; rows are lines of CSV."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import GtoolError, PeerGone, UsageError
from gtool.pingpong.document import csv_header, csv_row, to_json
from gtool.pingpong.job import ClientKeys
from gtool.pingpong.result import Outcome, Row
from gtool.pingpong.settings import Settings
from gtool.stats import Distribution

fixed = settings(derandomize=True, deadline=None, max_examples=100)

ROW = Row(
    pattern="req-rep", engine="green", size=32, clients=1, sent=1000, received=998, lost=2, retried=1, late=0,
    duplicates=0, gaps=None, elapsed_s=0.5, rate=1996.0,
    round_trip=Distribution(998, *(number / 1000 for number in range(1, 9))), uncorrected=None, histogram="HISTF",
    error=None,
)  # fmt: skip
ONE_WAY = Row(
    pattern="push-pull", engine="blocking", size=100, clients=2, sent=50, received=40, lost=10, retried=0, late=0,
    duplicates=3, gaps=2, elapsed_s=0.5, rate=80.0, round_trip=None, uncorrected=None, histogram=None, error=None,
)  # fmt: skip
UNKNOWN = ONE_WAY._replace(received=None, lost=None, gaps=None, duplicates=0, rate=None, error="interrupted")
SETTINGS = Settings("tcp://127.0.0.1:5555", count=1000)
VERSIONS = {"gtool": "1", "libzmq": "4"}

NUMBER, MAYBE = (int, float), type(None)
#: what users rely on: the names, and what each is
DOCUMENT = {
    "ok": bool, "exit_code": int, "error": (str, MAYBE), "settings": (dict, MAYBE), "versions": dict,
    "server": (dict, MAYBE), "meter_p50_s": (float, MAYBE), "rows": list, "thresholds_missed": list,
}  # fmt: skip
SETTING = {
    "endpoint": str, "pattern": str, "sizes": list, "count": (int, MAYBE), "duration": (*NUMBER, MAYBE), "warmup": int,
    "rate": (*NUMBER, MAYBE), "pipeline": int, "clients": int, "engines": list, "timeout": NUMBER, "retries": int,
    "is_plain": bool, "curve": bool,
}  # fmt: skip
IN_ROW = {
    "pattern": str, "engine": str, "size": int, "clients": int, "sent": int, "received": (int, MAYBE),
    "lost": (int, MAYBE), "retried": int, "late": int, "duplicates": int, "gaps": (int, MAYBE), "elapsed_s": NUMBER,
    "rate": (*NUMBER, MAYBE), "bytes_per_s": (*NUMBER, MAYBE), "complete": bool, "error": (str, MAYBE),
    "round_trip": (dict, MAYBE), "uncorrected": (dict, MAYBE), "histogram": (str, MAYBE), "change": (dict, MAYBE),
}  # fmt: skip
FIGURES = {"count": int} | dict.fromkeys(("min", "mean", "p50", "p90", "p99", "p99.9", "max", "stdev"), float)


def outcome(*rows: Row, server: dict[str, object] | None = None, meter_s: float | None = None) -> Outcome:
    made = Outcome()
    made.rows.extend(rows)
    made.server, made.meter_s = server, meter_s
    return made


def parsed(line: str) -> dict[str, object]:
    """Read a line as the strictest do: of ASCII, without NaN and the like, which JSON has not."""
    assert line.isascii()
    assert len(line.splitlines()) == 1
    return json.loads(line, parse_constant=pytest.fail)


def document(
    *rows: Row,
    options: Settings | None = SETTINGS,
    changes: list[dict[str, float] | None] | None = None,
    missed: tuple[str, ...] = (),
    error: GtoolError | None = None,
    **attributes,
) -> dict[str, object]:
    changes = [None] * len(rows) if changes is None else changes
    return parsed(to_json(options, VERSIONS, outcome(*rows, **attributes), changes, list(missed), error))


def assert_has(found: dict[str, object], schema: dict[str, object]) -> None:
    assert found.keys() == schema.keys()
    wrong = {name: value for name, value in found.items() if not isinstance(value, schema[name])}
    assert wrong == {}


# The document


@pytest.mark.parametrize(
    ("rows", "more"),
    [
        ([ROW, ONE_WAY], {"server": {"engine": "green", "versions": VERSIONS}, "meter_s": 1e-6}),
        ([UNKNOWN], {"error": PeerGone("nobody there")}),
        ([], {"options": None, "error": UsageError("no endpoint")}),
    ],
)
def test_a_document_has_all_names_in_any_case(rows, more):
    assert_has(document(*rows, **more), DOCUMENT)


def test_settings_have_all_names():
    assert_has(document()["settings"], SETTING)


@pytest.mark.parametrize("row", [ROW, ONE_WAY, UNKNOWN])
def test_a_row_has_all_names(row):
    assert_has(document(row)["rows"][0], IN_ROW)


def test_a_distribution_has_all_names():
    assert_has(document(ROW)["rows"][0]["round_trip"], FIGURES)


texts = st.text(st.characters())  # with what is no Unicode: argv may have it


@fixed
@given(endpoint=texts, error=texts, missed=texts, server=st.dictionaries(texts, texts, max_size=3))
def test_whatever_is_said_is_one_line_and_can_be_read_back(endpoint, error, missed, server):
    found = document(
        UNKNOWN._replace(error=error),
        options=Settings(endpoint),
        server=server,
        missed=(missed,),
        error=PeerGone(error),
    )
    texts_found = (found["settings"]["endpoint"], found["error"], found["rows"][0]["error"], found["thresholds_missed"])
    assert texts_found == (endpoint, error, error, [missed])
    assert found["server"] == server


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_null(value):
    assert document(ROW._replace(rate=value))["rows"][0]["rate"] is None


def test_a_good_run_is_ok():
    found = document(ROW)
    assert (found["ok"], found["exit_code"], found["error"]) == (True, 0, None)


def test_a_run_that_has_failed_has_its_exit_code_and_what_to_do():
    found = document(error=PeerGone("nobody there", "is it started?"))
    assert (found["ok"], found["exit_code"], found["error"]) == (False, 4, "nobody there (is it started?)")


def test_rows_stand_in_the_order_in_which_they_were_measured():
    rows = document(*(ROW._replace(size=size) for size in (64, 16, 32)))["rows"]
    assert [row["size"] for row in rows] == [64, 16, 32]


def test_each_row_has_its_change():
    rows = document(ROW, ONE_WAY, changes=[{"rate": 0.5}, None])["rows"]
    assert [row["change"] for row in rows] == [{"rate": 0.5}, None]


def test_keys_stay_out_of_it():
    keys = ClientKeys(server="S" * 40, public="P" * 40, secret="X" * 40)
    text = to_json(Settings("tcp://h:1", keys=keys), VERSIONS, outcome(), [], [], None)
    assert [key in text for key in (keys.server, keys.public, keys.secret)] == [False] * 3


@pytest.mark.parametrize(("keys", "is_curve"), [(None, False), (ClientKeys("S" * 40, "P" * 40, "X" * 40), True)])
def test_that_there_are_keys_is_told(keys, is_curve):
    assert document(options=Settings("tcp://h:1", keys=keys))["settings"]["curve"] is is_curve


# CSV


def test_the_first_line_names_the_columns():
    assert csv_header() == (
        "pattern,engine,size,clients,sent,received,lost,retried,late,duplicates,gaps,elapsed_s,rate,bytes_per_s,"
        "complete,error,min_s,mean_s,p50_s,p90_s,p99_s,p99.9_s,max_s,stdev_s\n"
    )


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            ROW,
            "req-rep,green,32,1,1000,998,2,1,0,0,,0.5,1996.0,63872.0,true,,0.001,0.002,0.004,0.005,0.006,0.007,0.008,0.003\n",
        ),
        (ONE_WAY, "push-pull,blocking,100,2,50,40,10,0,0,3,2,0.5,80.0,8000.0,true,,,,,,,,,\n"),
        (UNKNOWN, "push-pull,blocking,100,2,50,,,0,0,0,,0.5,,,false,interrupted,,,,,,,,\n"),
    ],
)
def test_a_row_is_a_line_and_what_was_not_measured_is_empty(row, line):
    assert csv_row(row) == line


@fixed
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_what_ended_a_row_is_one_field_of_it(error):
    (fields,) = csv.reader([csv_row(UNKNOWN._replace(error=error))])
    assert fields[csv_header().split(",").index("error")] == error
