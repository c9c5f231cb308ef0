"""The figures at the end of a run, for people."""

from __future__ import annotations

import re

from gtool.commands.fetch import EXIT_STATUS
from gtool.fetch.retry_policy import TRANSIENT_CODES
from gtool.fetch.summary import MEANINGS, summary_table
from gtool.fetch.tally import PHASES, Tally
from gtool.stats import LatencyHistogram

NOTHING = {"p50": None, "p90": None, "p99": None, "max": None}
SUMMARY = {
    "inputs": 12,
    "succeeded": 8,
    "failed": 3,
    "skipped": 1,
    "by_status": {"2xx": 8, "4xx": 2},
    "by_exitcode": {"6": 1, "22": 2},
    "bytes": 123456,
    "elapsed": 1.23456,
    "requests_per_second": 8.91,
    "time_connect": {"p50": 0.0005, "p90": 0.001, "p99": 0.25, "max": 0.99949},
    "time_first_byte": {"p50": 1.0, "p90": 2.5, "p99": 59.0, "max": 600.0},
    "time_total": NOTHING,
}


def test_the_table_has_a_line_for_each_figure():
    assert summary_table(SUMMARY) == (
        "inputs              12   8 succeeded, 3 failed, 1 skipped\n"
        "bytes           123456\n"
        "elapsed         1.235s\n"
        "requests/s         8.9\n"
        "HTTP 2xx             8\n"
        "HTTP 4xx             2\n"
        "exit 6               1   host not resolved\n"
        "exit 22              2   HTTP error\n"
        "                   p50       p90       p99       max\n"
        "connect          500us       1ms     250ms     999ms\n"
        "first byte          1s      2.5s       59s      600s\n"
        "total                -         -         -         -\n"
    )


def test_a_code_without_a_meaning_stands_alone():
    assert "exit 99              1\n" in summary_table({**SUMMARY, "by_exitcode": {"99": 1}})


def test_a_run_of_nothing_has_a_table():
    tally = Tally({phase: LatencyHistogram() for phase in PHASES})
    assert summary_table(tally.summary(0.0)).count("-") == 12


def test_every_exit_status_of_the_help_has_a_meaning():
    told = {int(code) for code in re.findall(r"\b(\d+) [a-zA-Z]", EXIT_STATUS)}
    commands_own = {0, 2, 26, 130, 141}
    assert told - commands_own <= MEANINGS.keys()


def test_every_code_that_is_worth_a_retry_has_a_meaning():
    assert MEANINGS.keys() >= TRANSIENT_CODES
