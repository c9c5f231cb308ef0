"""Events and their fields on stderr, as text or as JSON lines."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.log import LEVELS, ROOT, EventLog, configure, escape_controls

fixed = settings(derandomize=True, deadline=None, max_examples=200)

log = EventLog("test")
CLEAR_SCREEN = "\x1b[2J"


@pytest.fixture(autouse=True)
def logging_as_it_was():
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def text(capsys):
    """What a call logs as text, less the time."""

    def logged(event: str = "event", **fields: object) -> str:
        configure("text", "debug")
        log.info(event, **fields)
        return capsys.readouterr().err.partition("Z INFO    ")[2]

    return logged


@pytest.fixture
def document(capsys):
    """What a call logs as JSON."""

    def logged(event: str = "event", **fields: object) -> dict[str, object]:
        configure("json", "debug")
        log.info(event, **fields)
        return json.loads(capsys.readouterr().err)

    return logged


# Text


def test_a_line_has_a_time_a_level_the_event_and_its_fields(capsys):
    configure("text", "info")
    log.warning("transfer failed", url="http://h/", exitcode=7)
    line = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING transfer failed url=http://h/ exitcode=7\n"
    assert re.fullmatch(line, capsys.readouterr().err)


def test_a_field_that_is_none_is_left_out(text):
    assert text(a=1, b=None, c=0) == "event a=1 c=0\n"


@pytest.mark.parametrize(
    ("value", "shown"), [("a b", '"a b"'), ("", '""'), ('a"b', '"a\\"b"'), ("a", "a"), ("ü", "ü"), (1.5, "1.5")]
)
def test_a_value_is_quoted_where_it_would_not_be_one_word(text, value, shown):
    assert text(key=value) == f"event key={shown}\n"


def test_an_event_cannot_talk_to_the_terminal(text):
    assert text(f"a{CLEAR_SCREEN}\nb") == "a\\x1b[2J\\nb\n"


def test_a_field_cannot_talk_to_the_terminal(text):
    assert text(key=f"a{CLEAR_SCREEN}\nb") == "event key=a\\x1b[2J\\nb\n"


def test_a_field_of_another_type_cannot_either(text):
    assert CLEAR_SCREEN not in text(key=Exception(CLEAR_SCREEN))


@fixed
@given(st.text(st.characters(exclude_categories=())))
def test_whatever_is_escaped_is_printable(value):
    assert escape_controls(value).isprintable()


@pytest.mark.parametrize("value", ["plain", "grün", "日本", "a b", r"C:\n"])
def test_what_is_printable_is_left_alone(value):
    assert escape_controls(value) == value


@pytest.mark.parametrize(
    ("value", "escaped"),
    [("\x1b", r"\x1b"), ("\r\n", r"\r\n"), ("\u202e", r"\u202e"), ("\x9b", r"\x9b"), ("grün\x07 ä", r"grün\x07 ä")],
)
def test_what_is_not_becomes_an_escape(value, escaped):
    assert escape_controls(value) == escaped


# JSON


def test_a_json_line_has_a_time_a_level_a_logger_the_event_and_its_fields(document):
    found = document("transfer failed", url="http://h/", exitcode=7, id={"a": [None]})
    datetime.fromisoformat(found.pop("time"))
    assert found == {
        "level": "info",
        "logger": "gtool.test",
        "event": "transfer failed",
        "url": "http://h/",
        "exitcode": 7,
        "id": {"a": [None]},
    }


def test_an_event_is_one_line_of_json_whatever_it_holds(capsys):
    configure("json", "debug")
    log.info(f"a\n{CLEAR_SCREEN}", key="b\u2028\ud800")
    err = capsys.readouterr().err
    assert err.isascii()
    assert err.removesuffix("\n").isprintable()


def test_what_json_has_no_form_for_is_shown_as_text(document):
    assert document(key=ValueError("x"))["key"] == "x"


def test_bytes_that_are_not_utf8_do_not_lose_an_event(document):
    assert document(key=b"\xff")["event"] == "event"


def test_a_number_that_json_has_not_is_null(document):
    assert document(key=float("nan"))["key"] is None


# Tracebacks


def fail(log_format: str, message: str) -> None:
    configure(log_format, "error")
    try:
        raise ValueError(message)
    except ValueError:
        log.exception("it broke", key=1)


def test_a_traceback_follows_its_event_as_text(capsys):
    fail("text", "the reason")
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith("Z ERROR   it broke key=1")
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: the reason")


def test_a_traceback_is_a_field_of_its_event_as_json(capsys):
    fail("json", "the reason")
    assert json.loads(capsys.readouterr().err)["traceback"].endswith("ValueError: the reason")


def test_a_traceback_cannot_talk_to_the_terminal(capsys):
    fail("text", CLEAR_SCREEN)
    assert CLEAR_SCREEN not in capsys.readouterr().err


# Levels


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("level", LEVELS)
def test_events_below_the_level_are_not_logged(capsys, level, log_format):
    configure(log_format, level)
    for name in LEVELS:
        getattr(log, name)(f"<{name}>")
    logged = re.findall(r"<(\w+)>", capsys.readouterr().err)
    assert logged == list(LEVELS[LEVELS.index(level) :])


def test_to_configure_again_is_to_replace(capsys):
    configure("text", "info")
    configure("json", "error")
    log.warning("a")
    log.error("b")
    assert json.loads(capsys.readouterr().err)["event"] == "b"


def test_other_loggers_are_not_told(capsys, caplog):
    configure("text", "info")
    log.info("a")
    assert not caplog.records


# stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_log_goes_where_stderr_is_at_the_time(monkeypatch, log_format):
    configure(log_format, "info")
    other = io.StringIO()
    monkeypatch.setattr(sys, "stderr", other)
    log.info("here")
    assert "here" in other.getvalue()


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class FailsToFlush(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream", [FullDisk(), FailsToFlush(), closed(), None], ids=["full", "flush", "closed", "none"]
)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch, log_format, stream):
    configure(log_format, "info")
    monkeypatch.setattr(sys, "stderr", stream)
    log.info("event", key="value")
