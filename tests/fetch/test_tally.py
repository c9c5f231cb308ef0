"""What a run has done, counted."""

from __future__ import annotations

from itertools import permutations

import pytest

from gtool.fetch.tally import PHASES, Tally
from gtool.stats import LatencyHistogram


def record(seq: int = 0, exitcode: int = 0, **changes: object) -> dict[str, object]:
    known = {"response_code": 200, "size_download": 10, "num_connects": 1}
    times = {"time_connect": 0.1, "time_starttransfer": 0.2, "time_total": 0.4}
    return {"seq": seq, "exitcode": exitcode, **known, **times, **changes}


def tally_of(*records: dict[str, object]) -> Tally:
    tally = Tally({phase: LatencyHistogram() for phase in PHASES})
    for each in records:
        tally.note(each)
    return tally


def test_a_run_without_failures_ends_well():
    assert tally_of(record(0), record(1)).exitcode == 0


@pytest.mark.parametrize("order", list(permutations([0, 1, 2, 3])))
def test_the_exit_code_is_that_of_the_first_failure_in_input_order_whatever_ends_first(order):
    codes = {0: 0, 1: 28, 2: 6, 3: 22}
    assert tally_of(*(record(seq, codes[seq]) for seq in order)).exitcode == 28


def test_what_is_done_and_what_has_failed_is_counted():
    tally = tally_of(record(0), record(1, 7), record(2, 7))
    assert (tally.done, tally.failed) == (3, 2)


def test_bytes_are_added_up():
    assert tally_of(record(size_download=3), record(size_download=4)).bytes == 7


def test_the_summary_counts_inputs_with_those_skipped():
    tally = tally_of(record(0), record(1, 7))
    tally.skipped = 3
    summary = tally.summary(2.0)
    assert {name: summary[name] for name in ("inputs", "succeeded", "failed", "skipped")} == (
        {"inputs": 5, "succeeded": 1, "failed": 1, "skipped": 3}
    )


def test_a_run_of_nothing_counts_nothing():
    summary = Tally().summary(1.0)
    assert [summary[name] for name in ("inputs", "succeeded", "failed", "skipped", "bytes")] == [0] * 5


def test_the_rate_leaves_out_those_skipped():
    tally = tally_of(record(0), record(1))
    tally.skipped = 100
    assert tally.summary(0.5)["requests_per_second"] == 4


def test_a_run_that_took_no_time_has_no_rate():
    assert tally_of().summary(0.0)["requests_per_second"] == 0


def test_the_summary_groups_by_status_and_by_exit_code_in_order():
    codes = [(500, 22), (404, 22), (200, 0), (204, 0), (0, 6)]
    summary = tally_of(*(record(exitcode=code, response_code=status) for status, code in codes)).summary(1.0)
    assert list(summary["by_status"].items()) == [("2xx", 2), ("4xx", 1), ("5xx", 1)]
    assert list(summary["by_exitcode"].items()) == [("6", 1), ("22", 2)]


@pytest.mark.parametrize(("name", "seconds"), [("time_connect", 0.1), ("time_first_byte", 0.2), ("time_total", 0.4)])
def test_the_summary_has_the_percentiles_of_each_phase(name, seconds):
    values = tally_of(record()).summary(1.0)[name]
    assert values == pytest.approx(dict.fromkeys(("p50", "p90", "p99", "max"), seconds), rel=1e-3)


def test_a_reused_connection_is_no_sample_of_connecting():
    summary = tally_of(record(num_connects=0)).summary(1.0)
    assert summary["time_connect"]["max"] is None
    assert summary["time_total"]["max"] is not None


def test_an_input_that_had_no_answer_is_no_sample_at_all():
    summary = tally_of(record(exitcode=28, response_code=0)).summary(1.0)
    assert summary["time_total"]["max"] is None


def test_without_histograms_a_summary_has_no_percentiles():
    tally = Tally()
    tally.note(record())
    assert not [name for name in tally.summary(1.0) if name.startswith("time_")]
