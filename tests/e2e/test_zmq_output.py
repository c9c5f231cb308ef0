"""What `gtool zmq-pingpong ping` prints: for people, for programs, and for what decides by its exit code."""

from __future__ import annotations

import csv
import io
import signal
import subprocess

import pytest
import simplejson
from hdrh.histogram import HdrHistogram

from tests.conftest import command, environment
from tests.e2e.zmq_peers import ENGINES, document, ended, ping, pinging, serving, tcp_peer, wait_until_busy

SHORT = ("--count", "60", "--warmup", "5")
BRIEF = ("--timeout", "300ms")
NUMBER = (int, float)
NONE = type(None)

#: the keys of the document, of a row and of a distribution, with their types: what programs rely on
DOCUMENT = {
    "ok": bool, "exit_code": int, "error": (str, NONE), "settings": (dict, NONE), "versions": dict,
    "server": (dict, NONE), "meter_p50_s": (float, NONE), "rows": list, "thresholds_missed": list,
}  # fmt: skip
ROW = {
    "pattern": str, "engine": str, "size": int, "clients": int, "sent": int, "received": (int, NONE),
    "lost": (int, NONE), "retried": int, "late": int, "duplicates": int, "gaps": (int, NONE), "elapsed_s": NUMBER,
    "rate": (*NUMBER, NONE), "bytes_per_s": (*NUMBER, NONE), "complete": bool, "error": (str, NONE),
    "round_trip": (dict, NONE), "uncorrected": (dict, NONE), "histogram": (str, NONE), "change": (dict, NONE),
}  # fmt: skip
FIGURES = ("min", "mean", "p50", "p90", "p99", "p99.9", "max", "stdev")
DISTRIBUTION = {"count": int, **dict.fromkeys(FIGURES, NUMBER)}
SETTINGS = {
    "endpoint": str, "pattern": str, "sizes": list, "count": (int, NONE), "duration": (*NUMBER, NONE), "warmup": int,
    "rate": (*NUMBER, NONE), "pipeline": int, "clients": int, "engines": list, "timeout": NUMBER, "retries": int,
    "is_plain": bool, "curve": bool,
}  # fmt: skip
VERSIONS = dict.fromkeys(("gtool", "libzmq", "pyzmq", "gevent", "python"), str)


@pytest.fixture(scope="module")
def endpoint():
    with serving() as server:
        yield server.urls[0]


def has_types(found, types):
    assert set(found) == set(types)
    wrong = {name: value for name, value in found.items() if not isinstance(value, types[name])}
    assert not wrong


def lines_of(done):
    assert (done.code, done.err) == (0, "")
    return done.out.decode().splitlines()


# The table


def test_round_trips_have_columns(endpoint):
    _, title, header, row, meter = lines_of(ping(endpoint, *SHORT))
    assert title.strip(" -") == "round trip"
    assert header.split() == ["engine", "bytes", "rounds", "lost", "rate", *FIGURES]
    assert row.split()[:4] == ["green", "32", "60", "0"]
    assert len(row.split()) == len(header.split())
    assert meter.startswith("the meter's own cost: ")


def test_one_way_has_columns_of_its_own(endpoint):
    _, header, row = lines_of(ping(endpoint, "--pattern", "push-pull", *SHORT))
    assert header.split() == ["engine", "bytes", "sent", "received", "lost", "gaps", "rate", "MB/s"]
    assert row.split()[:6] == ["green", "32", "60", "60", "0", "0"]
    assert len(row.split()) == len(header.split())


def test_the_first_line_tells_what_is_measured(endpoint):
    first = lines_of(ping(endpoint, "--clients", "3", *SHORT))[0]
    assert first.startswith(f"req-rep with {endpoint}, 3 clients, server green, libzmq ")


def test_columns_stand_under_their_names(endpoint):
    lines = lines_of(ping(endpoint, "--size", "1,64k", *SHORT))
    assert {len(line) for line in lines[2:5]} == {len(lines[2])}


def test_a_row_is_printed_when_it_is_done(endpoint):
    with pinging(endpoint, "--size", "16,32", "--duration", "150ms") as process:
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[3].split()[:2] == [b"green", b"16"]
        assert process.poll() is None


def test_with_a_rate_the_table_shows_the_times_from_sending_too(endpoint):
    lines = lines_of(ping(endpoint, "--rate", "1000", *SHORT))
    assert lines[4].split()[0] == "uncorrected"


# --json


def test_json_has_these_keys_of_these_types(endpoint):
    found = document(ping(endpoint, "--json", "--rate", "1000", *SHORT))
    has_types(found, DOCUMENT)
    has_types(found["settings"], SETTINGS)
    has_types(found["versions"], VERSIONS)
    has_types(found["server"], {"engine": str, "versions": dict})
    has_types(found["server"]["versions"], VERSIONS)
    [row] = found["rows"]
    has_types(row, ROW)
    has_types(row["round_trip"], DISTRIBUTION)
    has_types(row["uncorrected"], DISTRIBUTION)


def test_json_has_the_same_keys_one_way(endpoint):
    found = document(ping(endpoint, "--json", "--pattern", "push-pull", *SHORT))
    has_types(found, DOCUMENT)
    has_types(found["rows"][0], ROW)


def is_a_failure(done, code):
    """Check that it has ended so, with one object that says the same as the one line on stderr."""
    assert done.code == code
    found = document(done)
    has_types(found, DOCUMENT)
    assert found["error"]
    assert done.err.count("\n") == 1
    assert found["error"] in done.err
    return found


def test_json_tells_that_nobody_is_there(refused_port):
    is_a_failure(ping(f"tcp://127.0.0.1:{refused_port}", "--json", *BRIEF), 4)


def test_json_tells_of_a_peer_that_is_no_server():
    with tcp_peer(b"HTTP/1.1 400 Bad Request\r\n\r\n") as endpoint:
        is_a_failure(ping(endpoint, "--json", *BRIEF), 4)


def test_json_tells_of_a_threshold_that_was_missed(endpoint):
    found = is_a_failure(ping(endpoint, "--json", "--fail-if", "sent>1", *SHORT), 3)
    assert len(found["thresholds_missed"]) == 1
    assert found["rows"][0]["complete"]


def test_json_tells_of_a_file_that_cannot_be_read(endpoint):
    is_a_failure(ping(endpoint, "--json", "--compare", "/none/such"), 26)


def test_json_tells_of_a_key_that_cannot_be_read(endpoint):
    is_a_failure(ping(endpoint, "--json", "--curve-server-key", "/none/such"), 26)


@pytest.mark.parametrize(
    "args",
    [
        ("--size", "0"),
        ("--size", "x"),
        ("--count", "0"),
        ("--pattern", "telepathy"),
        ("--no-such-option",),
        ("one too many",),
        ("--duration", "0"),
        ("--fail-if", "rubbish"),
        ("--csv",),
        ("--count",),
    ],
    ids=" ".join,
)
def test_json_tells_of_a_usage_error(endpoint, args):
    done = ping(endpoint, "--json", *args)
    assert done.code == 2
    has_types(document(done), DOCUMENT)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("wrong", ["rubbish", "pigeon://roof", "tcp://127.0.0.1:70000", "inproc://x", ""])
def test_json_tells_of_an_endpoint_that_is_none(wrong):
    is_a_failure(ping(wrong, "--json"), 2)


def test_json_is_asked_for_by_the_environment_too(endpoint):
    done = ping(endpoint, "--size", "0", GTOOL_ZMQ_PINGPONG_PING_JSON="1")
    assert document(done)["exit_code"] == 2


def test_json_of_a_word_that_is_unknown_is_asked_for_by_the_environment_too(endpoint):
    done = ping(endpoint, "--no-such-option", GTOOL_ZMQ_PINGPONG_PING_JSON="1")
    assert document(done)["exit_code"] == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_json_has_what_was_measured_until_ctrl_c(engine):
    with serving() as server, pinging(server.urls[0], "--json", "--duration", "1h", "--engine", engine) as process:
        wait_until_busy(server)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    found = document(done)
    has_types(found, DOCUMENT)
    [row] = found["rows"]
    has_types(row, ROW)
    assert (done.code, row["complete"]) == (130, False)
    assert row["round_trip"]["count"] == row["received"] > 100


# Histograms


def histogram(row):
    return HdrHistogram.decode(row["histogram"])


def test_histograms_of_two_runs_can_be_merged(endpoint):
    """They are HdrHistogram's V2 encoding, in nanoseconds."""
    rows = [document(ping(endpoint, "--json", *SHORT))["rows"][0] for _ in range(2)]
    merged = histogram(rows[0])
    merged.add(histogram(rows[1]))
    assert merged.get_total_count() == 120
    greatest = max(row["round_trip"]["max"] for row in rows)
    assert merged.get_max_value() / 1e9 == pytest.approx(greatest, rel=0.002)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_histogram_has_each_round_trip_of_all_clients(endpoint, engine):
    [row] = document(ping(endpoint, "--json", "--clients", "3", "--engine", engine, *SHORT))["rows"]
    assert histogram(row).get_total_count() == 60
    assert histogram(row).get_value_at_percentile(50) / 1e9 == pytest.approx(row["round_trip"]["p50"], rel=0.002)


def test_histogram_draws_a_bar_for_each_range(endpoint):
    bars = [line for line in lines_of(ping(endpoint, "--histogram", *SHORT)) if "up to " in line]
    assert sum(int(line.split()[-2]) for line in bars) == 60
    assert any("####" in line for line in bars)


# --csv


def csv_of(done):
    assert (done.code, done.err) == (0, "")
    return list(csv.DictReader(io.StringIO(done.out.decode())))


def test_csv_is_a_line_for_each_row(endpoint):
    rows = csv_of(ping(endpoint, "--csv", "--size", "16,32", *SHORT))
    assert [(row["size"], row["received"], row["lost"], row["error"]) for row in rows] == [
        ("16", "60", "0", ""), ("32", "60", "0", ""),
    ]  # fmt: skip


def test_csv_has_times_in_seconds(endpoint):
    [row] = csv_of(ping(endpoint, "--csv", *SHORT))
    assert all(0 < float(row[f"{name}_s"]) < 5 for name in FIGURES)


def test_csv_leaves_empty_what_one_way_does_not_measure(endpoint):
    [row] = csv_of(ping(endpoint, "--csv", "--pattern", "push-pull", *SHORT))
    assert {row[f"{name}_s"] for name in FIGURES} == {""}
    assert None not in row


def test_csv_marks_what_is_partial(endpoint):
    [whole] = csv_of(ping(endpoint, "--csv", *SHORT))
    with serving() as server, pinging(server.urls[0], "--csv", "--duration", "1h") as process:
        wait_until_busy(server)
        process.send_signal(signal.SIGINT)
        [partial] = csv.DictReader(io.StringIO(ended(process).out.decode()))
    assert (whole["error"], partial["error"]) == ("", "interrupted")
    assert whole["complete"] != partial["complete"]


# --fail-if


@pytest.mark.parametrize("threshold", ["p99>1h", "p99.9>=1h", "max > 1h", "lost>0", "late>=1", "rate<1/s", "sent<60"])
def test_a_threshold_that_is_kept_changes_nothing(endpoint, threshold):
    assert ping(endpoint, "--fail-if", threshold, *SHORT).code == 0


@pytest.mark.parametrize(
    ("pattern", "threshold"),
    [
        ("req-rep", "p99>1us"),
        ("req-rep", "mean>=1us"),
        ("req-rep", "min<1h"),
        ("dealer-router", "rate<1000000000/s"),
        ("push-pull", "lost>=0"),
        ("pub-sub", "gaps<=0"),
    ],
)
def test_a_threshold_that_is_missed_is_named(endpoint, pattern, threshold):
    done = ping(endpoint, "--pattern", pattern, "--fail-if", threshold, *SHORT)
    assert done.code == 3
    assert f"not met: {threshold}: it was " in done.err
    assert done.err.count("\n") == 1
    assert done.out.count(b"green") >= 1


def test_all_that_was_missed_is_named(endpoint):
    args = ("--size", "16,32", "--fail-if", "p50>1us", "--fail-if", "p90>1h", "--fail-if", "sent>1")
    done = ping(endpoint, *args, *SHORT)
    assert done.code == 3
    assert [done.err.count(text) for text in ("p50>1us", "p90>1h", "sent>1", "16 B", "32 B")] == [2, 0, 2, 2, 2]


# --compare


@pytest.fixture
def earlier(endpoint, tmp_path):
    path = tmp_path / "earlier.json"
    path.write_bytes(ping(endpoint, "--json", *SHORT).out)
    return path


def test_the_change_is_shown(endpoint, earlier):
    lines = lines_of(ping(endpoint, "--compare", earlier, *SHORT))
    [change] = [line.split() for line in lines if line.startswith("change")]
    assert len(change) == 1 + 1 + len(FIGURES)
    assert all(cell[0] in "+-" and cell[-1] == "%" for cell in change[1:])


def test_the_change_is_that_against_the_earlier_run(endpoint, earlier):
    before = simplejson.loads(earlier.read_bytes())["rows"][0]
    [row] = document(ping(endpoint, "--json", "--compare", earlier, *SHORT))["rows"]
    assert set(row["change"]) == {"rate", *FIGURES}
    assert row["change"]["rate"] == pytest.approx(row["rate"] / before["rate"] - 1)
    assert row["change"]["p99"] == pytest.approx(row["round_trip"]["p99"] / before["round_trip"]["p99"] - 1)


def test_a_row_that_has_no_earlier_one_has_no_change(endpoint, earlier):
    rows = document(ping(endpoint, "--json", "--compare", earlier, "--size", "16,32", *SHORT))["rows"]
    assert [row["change"] is None for row in rows] == [True, False]


@pytest.mark.parametrize(
    "text",
    ["", "rubbish", "{}", "[]", "3", "null", '{"rows": 3}', '{"rows": [{}]}', '{"rows": [3]}', "\x00", "\udcff",
     '{"rows": [{"pattern": "req-rep", "engine": "green", "size": 32, "clients": [], "rate": 1}]}'],
    ids=str,
)  # fmt: skip
def test_a_file_to_compare_with_that_is_garbage_is_refused(endpoint, tmp_path, text):
    path = tmp_path / "earlier.json"
    path.write_text(text, errors="surrogateescape")
    done = ping(endpoint, "--compare", path, *SHORT)
    assert (done.code, done.out) == (26, b"")
    assert "is not what 'zmq-pingpong ping --json' prints" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "more",
    ['"rate": "fast"', '"rate": 1, "round_trip": 3', '"rate": 1, "round_trip": {"p50": "soon"}',
     '"rate": [1]', '"rate": 1, "round_trip": [1]'],
)  # fmt: skip
def test_figures_to_compare_with_that_are_garbage_are_refused(endpoint, tmp_path, more):
    path = tmp_path / "earlier.json"
    path.write_text('{"rows": [{"pattern": "req-rep", "engine": "green", "size": 32, "clients": 1, ' + more + "}]}")
    done = ping(endpoint, "--compare", path, *SHORT)
    assert done.code == 26
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("path", ["/none/such", "/"])
def test_a_file_to_compare_with_that_cannot_be_read_is_named(endpoint, path):
    done = ping(endpoint, "--compare", path)
    assert (done.code, done.out) == (26, b"")
    assert f"cannot read {path}: " in done.err


def test_a_failed_run_can_be_compared_with(endpoint, tmp_path, refused_port):
    path = tmp_path / "failed.json"
    path.write_bytes(ping(f"tcp://127.0.0.1:{refused_port}", "--json", *BRIEF).out)
    assert ping(endpoint, "--compare", path, *SHORT).code == 0


# A stdout that takes nothing


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",), ("--histogram",)], ids=str)
def test_a_closed_stdout_ends_it_quietly(endpoint, form):
    with pinging(endpoint, *form, *SHORT) as process:
        process.stdout.close()
        assert process.wait(10) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)], ids=str)
def test_a_full_disk_is_said(endpoint, form):
    with open("/dev/full", "wb") as full:
        args = command("zmq-pingpong", "ping", endpoint, *form, *SHORT)
        done = subprocess.run(args, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=20)
    assert done.returncode == 23
    assert done.stderr.count(b"\n") == 1
    assert b"cannot write to stdout: No space left on device" in done.stderr


def test_a_full_disk_ends_a_usage_error_with_one_line(endpoint):
    with open("/dev/full", "wb") as full:
        args = command("zmq-pingpong", "ping", endpoint, "--json", "--size", "0")
        done = subprocess.run(args, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=20)
    assert done.returncode in (2, 23)
    assert done.stderr.count(b"\n") == 1
