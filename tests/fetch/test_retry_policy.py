"""Which outcomes are tried again, and when."""

from __future__ import annotations

import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.retry_policy import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    TRANSIENT_CODES,
    RetryPolicy,
    backoff,
    parse_retry_after,
)

fixed = settings(derandomize=True, deadline=None, max_examples=300)

MOMENT = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 section 5.6.7
HTTP_ERROR = 22


@pytest.fixture
def far_from_greenwich(monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_nothing_is_tried_again_by_default():
    assert not RetryPolicy().wants_another(1, 7, 0)


def test_an_input_gets_as_many_retries_as_asked_for():
    policy = RetryPolicy(retry=2)
    assert [policy.wants_another(attempts, 7, 0) for attempts in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize("exitcode", sorted(TRANSIENT_CODES))
def test_connection_errors_and_timeouts_are_tried_again(exitcode):
    assert RetryPolicy(retry=1).wants_another(1, exitcode, 0)


@pytest.mark.parametrize("exitcode", [5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92, 95, 96])
def test_the_errors_that_pass_by_themselves_are_among_them(exitcode):
    assert exitcode in TRANSIENT_CODES


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_statuses_that_may_pass_are_tried_again(status):
    assert RetryPolicy(retry=1).wants_another(1, HTTP_ERROR, status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 499])
def test_statuses_that_will_stay_are_not(status):
    assert not RetryPolicy(retry=1).wants_another(1, HTTP_ERROR, status)


@pytest.mark.parametrize("exitcode", [1, 3, 8, 22, 23, 47, 60, 63])
def test_errors_that_will_stay_are_not(exitcode):
    assert not RetryPolicy(retry=1).wants_another(1, exitcode, 200)


@pytest.mark.parametrize(("exitcode", "status"), [(60, 0), (HTTP_ERROR, 404), (8, 200)])
def test_every_error_is_tried_again_where_all_are_asked_for(exitcode, status):
    assert RetryPolicy(retry=1, retry_all_errors=True).wants_another(1, exitcode, status)


def test_asking_for_all_errors_gives_no_more_attempts():
    assert not RetryPolicy(retry=1, retry_all_errors=True).wants_another(2, 7, 0)


# Waiting


def test_the_longest_wait_doubles_with_each_attempt_up_to_a_minute():
    longest = [backoff(attempts, lambda low, high: high) for attempts in range(1, 9)]
    assert longest == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_wait_may_be_none_at_all():
    assert backoff(5, lambda low, high: low) == 0


@fixed
@given(attempts=st.integers(1, 100), seed=st.integers())
def test_the_wait_is_within_its_bounds(attempts, seed):
    assert 0 <= backoff(attempts, Random(seed).uniform) <= min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** (attempts - 1))


def test_the_wait_has_an_end_after_thousands_of_attempts():
    assert backoff(5000, lambda low, high: high) == LONGEST_DELAY_S


# Retry-After


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("120", 120), (" 7 ", 7), ("007", 7)])
def test_retry_after_is_a_number_of_seconds(value, seconds):
    assert parse_retry_after(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
@pytest.mark.usefixtures("far_from_greenwich")
def test_or_one_of_the_three_forms_of_an_http_date(value):
    assert parse_retry_after(value, now=MOMENT - 30) == 30


def test_a_date_that_is_over_is_no_wait():
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now=MOMENT + 1) == 0


def test_a_date_is_counted_from_the_clock_where_no_time_is_given():
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0


@pytest.mark.parametrize(
    "value",
    ["", "-1", "1.5", "+5", "soon", "٣", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT"],
)
def test_what_is_neither_is_none(value):
    assert parse_retry_after(value) is None


@pytest.mark.parametrize(
    "value", ["Sun, 06 Nov 1994 08:49:37 +99999999999999999999", "Sun, 06 Nov 99999999999 08:49:37 GMT"]
)
def test_a_date_beyond_the_calendar_is_none(value):
    assert parse_retry_after(value, now=0) is None


@fixed
@given(st.text(max_size=40) | st.from_regex(r"\A[A-Z][a-z]{2}, \d{1,6} [A-Z][a-z]{2} \d{1,6} [0-9:]{1,9} [+-]?\d*\Z"))
def test_nothing_that_a_peer_sends_raises(value):
    seconds = parse_retry_after(value, now=0)
    assert seconds is None or seconds >= 0
