"""A server's counts, as a line of the log and for Prometheus."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest

from gtool.log import ROOT, configure
from gtool.runtime import report
from gtool.runtime.report import Report, exposition, exposition_of
from gtool.runtime.shared import ACCEPTED, DROPPED, MESSAGES, OPEN, RECEIVED, REFUSALS, REFUSED, SENT, Counters, Counts

COUNTS = Counts(1, 2, 3, 4, 5, 6, {reason: number for number, reason in enumerate(REFUSALS, start=10)})


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told: `clock.now += 2`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def said(capsys):
    """What a report logs; logging is as it was at the end."""
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    configure("json", "notice")

    def log(report: Report) -> dict[str, object]:
        report.log()
        return json.loads(capsys.readouterr().err)

    yield log
    logger.handlers[:], logger.level, logger.propagate = before


# The log


def test_the_counts_are_a_line_that_is_logged_by_default(clock, said):
    counters = Counters()
    row = counters.row(0)
    for column, value in ((OPEN, 1), (ACCEPTED, 2), (RECEIVED, 3), (SENT, 4), (MESSAGES, 5)):
        row[column] = value
    row[REFUSED["full"]] = row[REFUSED["tls"]] = 3
    found = said(Report(counters))
    assert (found["event"], found["level"]) == ("stats", "notice")
    names = ("open", "accepted", "received", "sent", "messages", "refused")
    assert [found[name] for name in names] == [1, 2, 3, 4, 5, 6]


def test_rates_are_since_the_last_line(clock, said):
    counters = Counters()
    row, report = counters.row(0), Report(counters)
    rates = []
    for seconds, messages, received in ((2, 10, 1000), (4, 10, 0), (1, 0, 5)):
        clock.now += seconds
        row[MESSAGES] += messages
        row[RECEIVED] += received
        found = said(report)
        rates.append((found["messages_per_s"], found["received_per_s"]))
    assert rates == [(5, 500), (2.5, 0), (0, 5)]


def test_what_was_counted_before_the_report_began_is_in_no_rate(clock, said):
    counters = Counters()
    counters.row(0)[MESSAGES] = 1000
    report = Report(counters)
    clock.now += 1
    assert said(report)["messages_per_s"] == 0


def test_two_reports_at_the_same_time_divide_by_no_zero(clock, said):
    report = Report(Counters())
    assert said(report)["messages_per_s"] == said(report)["messages_per_s"] == 0


@pytest.mark.parametrize(("count", "told"), [(0, False), (3, True)])
def test_messages_that_were_dropped_are_told_where_there_are_any(clock, said, count, told):
    counters = Counters()
    counters.row(0)[DROPPED] = count
    found = said(Report(counters))
    assert found.get("dropped") == (count if told else None)


# Prometheus


def samples(text: str) -> dict[str, int]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: int(value) for name, _, value in lines}


def test_every_count_is_a_sample():
    refused = {
        f'gtool_refused_connections_total{{reason="{reason}"}}': count for reason, count in COUNTS.refused.items()
    }
    assert samples(exposition(COUNTS)) == refused | {
        "gtool_open_connections": 1,
        "gtool_connections_total": 2,
        "gtool_received_bytes_total": 3,
        "gtool_sent_bytes_total": 4,
        "gtool_messages_total": 5,
        "gtool_dropped_messages_total": 6,
    }


def test_every_sample_follows_its_help_and_its_type():
    lines = exposition(COUNTS).splitlines()
    seen = set()
    for line in lines:
        words = line.split()
        if line.startswith("#"):
            seen.add((words[1], words[2]))
        else:
            name = words[0].partition("{")[0]
            assert {("HELP", name), ("TYPE", name)} <= seen


def test_what_only_grows_is_a_counter():
    kinds = dict(line.split()[2:] for line in exposition(COUNTS).splitlines() if line.startswith("# TYPE"))
    assert {name for name, kind in kinds.items() if kind == "counter"} == {name for name in kinds if "_total" in name}
    assert kinds["gtool_open_connections"] == "gauge"


def test_the_last_line_has_its_end():
    assert exposition(COUNTS).endswith("\n")


def test_metrics_of_ones_own_are_written_in_the_same_way():
    assert exposition_of(("a_total", "counter", "How many.", 3), ("b", "gauge", "How much.", 0)) == (
        "# HELP gtool_a_total How many.\n# TYPE gtool_a_total counter\ngtool_a_total 3\n"
        "# HELP gtool_b How much.\n# TYPE gtool_b gauge\ngtool_b 0\n"
    )


def test_metrics_of_ones_own_can_follow_the_counts():
    both = exposition(COUNTS) + exposition_of(("a_total", "counter", "How many.", 3))
    assert samples(both) == samples(exposition(COUNTS)) | {"gtool_a_total": 3}
