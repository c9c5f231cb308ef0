"""Events and their fields on stderr, as text or as JSON lines."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from datetime import datetime
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gtool.log
from gtool.log import ROOT, EventLog, SeldomLog, configure, escape_controls

fixed = settings(derandomize=True, deadline=None, max_examples=200)

log = EventLog("test")
LEVELS = ("debug", "info", "notice", "warning", "error")
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


def test_a_notice_is_called_one_in_text(capsys):
    configure("text", "notice")
    log.notice("draining", connections=3)
    assert capsys.readouterr().err.partition("Z ")[2] == "NOTICE  draining connections=3\n"


def test_a_notice_is_called_one_in_json(capsys):
    configure("json", "notice")
    log.notice("draining")
    assert json.loads(capsys.readouterr().err)["level"] == "notice"


def test_a_notice_matters_more_than_info_and_less_than_a_warning(capsys):
    for level in ("info", "notice", "warning"):
        configure("text", level)
        log.notice(f"<{level}>")
    assert re.findall(r"<(\w+)>", capsys.readouterr().err) == ["info", "notice"]


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


# Warnings that a flood can cause


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told: `clock.now += 1`."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(gtool.log, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def seldom(clock):
    """A SeldomLog that says something once in 10 s at most; `seldom.said` are the events and their fields."""
    said: list[tuple[str, dict[str, object]]] = []
    sink = SimpleNamespace(warning=lambda event, **fields: said.append((event, fields)))
    log = SeldomLog(sink, every_s=10)
    log.said = said
    return log


def test_a_warning_is_said_at_once(seldom):
    seldom.warning("bad peer", peer="a")
    assert seldom.said == [("bad peer", {"peer": "a", "left_out": None})]


def test_the_same_warning_is_said_once_in_its_time(seldom, clock):
    for clock.now in (5, 6, 14.9, 15, 16, 24.9, 25):
        seldom.warning("bad peer", at=clock.now)
    assert [fields["at"] for _, fields in seldom.said] == [5, 15, 25]


def test_what_was_left_out_is_counted(seldom, clock):
    for clock.now in (0, 1, 2, 3, 10, 20, 21, 30):
        seldom.warning("bad peer")
    assert [fields["left_out"] for _, fields in seldom.said] == [None, 3, None, 1]


def test_one_warning_does_not_hold_up_another(seldom):
    for event in ("a", "b", "a", "b"):
        seldom.warning(event)
    assert [event for event, _ in seldom.said] == ["a", "b"]


def test_warnings_are_counted_apart(seldom, clock):
    for clock.now, event in ((0, "a"), (0, "b"), (1, "a"), (2, "a"), (3, "b"), (10, "a"), (11, "b")):
        seldom.warning(event)
    assert [(event, fields["left_out"]) for event, fields in seldom.said[2:]] == [("a", 2), ("b", 1)]


def test_a_warning_that_is_said_seldom_is_one_of_the_log(capsys):
    configure("text", "warning")
    seldom = SeldomLog(log, every_s=3600)
    for _ in range(3):
        seldom.warning("bad peer", peer="1.2.3.4:5")
    assert capsys.readouterr().err.partition("Z ")[2] == "WARNING bad peer peer=1.2.3.4:5\n"


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
