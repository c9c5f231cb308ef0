"""The time that an attempt has, and what is said when it fails."""

from __future__ import annotations

import ssl

import gevent
import pytest

from gtool.web.attempt import why_not, within


def test_what_takes_too_long_is_a_timeout_with_its_words():
    with pytest.raises(TimeoutError, match="no answer"), within(0.01, "no answer"):
        gevent.sleep(10)


def test_inside_it_is_no_os_error():
    seen = []
    with pytest.raises(TimeoutError), within(0.01, ""):  # noqa: PT012
        try:
            gevent.sleep(10)
        except BaseException as error:
            seen.append(error)
            raise
    assert not isinstance(seen[0], OSError)


def test_another_timer_is_not_taken_for_this_one():
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01), within(10, ""):
        gevent.sleep(10)


@pytest.mark.parametrize("seconds", [None, 10])
def test_what_is_in_time_is_not_disturbed(seconds):
    with within(seconds, ""):
        gevent.sleep(0)


def of_a_certificate() -> Exception:
    error = ssl.SSLCertVerificationError(1, "long text")
    error.verify_message = "self-signed"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError("no pong"), "no pong"),
        (TimeoutError(), "TimeoutError"),
        (of_a_certificate(), "the certificate is not trusted: self-signed"),
    ],
)
def test_an_error_is_said_in_few_words(error, words):
    assert why_not(error) == words
