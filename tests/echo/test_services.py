"""What the services say, however the network cuts what they are told."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.echo.services import (
    CHARGEN_DATAGRAM,
    PRINTABLE,
    Echo,
    LineEcho,
    LineTooLong,
    Session,
    chargen_line,
    datagram_answer,
    seconds_since_1900,
    session_factory,
)

fixed = settings(derandomize=True, deadline=None, max_examples=300)

CHUNKS = st.lists(
    st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"\0"]), max_size=8).map(b"".join), max_size=12
)
MAX_LINES = st.integers(0, 12)


def echoed(chunks: list[bytes], max_line: int) -> tuple[bytes, bool]:
    """What comes back of these chunks, and whether a line among them was too long."""
    session, answer = LineEcho(max_line), b""
    for chunk in chunks:
        try:
            answer += session.receive(chunk)
        except LineTooLong as error:
            return answer + error.answer, True
    return answer + session.end(), False


# Echo


def test_echo_gives_back_what_came():
    session = Echo()
    assert (session.receive(b"ab\n\0"), session.end()) == (b"ab\n\0", b"")


# Echo by lines


@fixed
@given(chunks=CHUNKS)
def test_all_lines_come_back_in_any_chunks(chunks):
    assert echoed(chunks, max_line=1000) == (b"".join(chunks), False)


@fixed
@given(chunks=CHUNKS, max_line=MAX_LINES)
def test_where_a_line_is_too_long_does_not_go_by_chunks(chunks, max_line):
    assert echoed(chunks, max_line) == echoed([b"".join(chunks)], max_line)


@fixed
@given(chunks=CHUNKS, max_line=MAX_LINES)
def test_what_comes_back_are_the_lines_before_the_first_that_is_too_long(chunks, max_line):
    data = b"".join(chunks)
    long = re.search(rb"^[^\n]{%d}" % (max_line + 1), data, re.MULTILINE)
    assert echoed(chunks, max_line) == (data[: long.start()] if long else data, long is not None)


@fixed
@given(chunks=CHUNKS, max_line=MAX_LINES)
def test_no_more_than_a_line_is_held(chunks, max_line):
    session = LineEcho(max_line)
    for chunk in chunks:
        try:
            session.receive(chunk)
        except LineTooLong:
            return
        assert len(session._begun) <= max_line


def test_a_line_comes_back_when_it_is_complete():
    session = LineEcho(10)
    assert [session.receive(chunk) for chunk in (b"a", b"b\nc", b"\n\nd")] == [b"", b"ab\n", b"c\n\n"]


def test_the_last_line_comes_back_though_it_has_no_end():
    session = LineEcho(10)
    session.receive(b"a\nb")
    assert (session.end(), session.end()) == (b"b", b"")


@pytest.mark.parametrize("max_line", [0, 1, 5])
def test_the_end_of_a_line_is_not_counted(max_line):
    line = b"x" * max_line + b"\n"
    assert echoed([line * 3], max_line) == (line * 3, False)


@pytest.mark.parametrize("chunks", [[b"a\n123456"], [b"a\n123456\n"], [b"a\n123", b"456"], [b"a\n123", b"456\nb\n"]])
def test_a_line_that_is_too_long_loses_none_before_it(chunks):
    assert echoed(chunks, max_line=5) == (b"a\n", True)


# Those that speak first


def stream_of(session: Session, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += session.more()
    return data


def test_chargen_turns_the_characters_line_by_line_for_ever():
    data = stream_of(session_factory("chargen", None)(), 200_000)
    assert data == b"".join(chargen_line(number) for number in range(len(data) // 74))


def test_the_lines_of_chargen_are_those_of_rfc_864():
    assert [chargen_line(number)[:3] for number in (0, 1, 94, 95)] == [b' !"', b'!"#', b"~ !", b' !"']
    assert {re.fullmatch(rb"[ -~]{72}\r\n", chargen_line(number)) is None for number in range(95)} == {False}


def test_each_client_of_chargen_gets_it_from_the_beginning():
    make = session_factory("chargen", None)
    stream_of(make(), 1)
    assert make().more().startswith(chargen_line(0))


def test_time_is_the_seconds_since_1900_as_rfc_868_has_them(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: datetime(1980, 1, 1, tzinfo=UTC).timestamp())
    assert seconds_since_1900() == (2_524_521_600).to_bytes(4, "big")


def test_time_begins_again_in_2036(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: float((1 << 32) - 2_208_988_800 + 5))
    assert seconds_since_1900() == bytes([0, 0, 0, 5])


@pytest.mark.parametrize(
    "say", [lambda: session_factory("daytime", None)().greet(), lambda: datagram_answer("daytime")(b"")]
)
def test_daytime_is_one_line_that_tells_the_time_in_utc(say):
    before = datetime.now(UTC).replace(microsecond=0)
    told = datetime.strptime(say().decode(), "%A, %B %d, %Y %H:%M:%S-UTC\r\n").replace(tzinfo=UTC)
    assert before <= told <= datetime.now(UTC)


# Which says when


@pytest.mark.parametrize(
    ("name", "greets", "answer", "goes_on", "closes"),
    [
        ("echo", False, b"abc", False, False),
        ("discard", False, b"", False, False),
        ("chargen", False, b"", True, False),
        ("daytime", True, b"", False, True),
        ("time", True, b"", False, True),
    ],
)
def test_each_service_speaks_in_its_turn(name, greets, answer, goes_on, closes):
    session = session_factory(name, None)()
    told = (bool(session.greet()), session.receive(b"abc"), bool(session.more()), session.closes_after_greeting)
    assert told == (greets, answer, goes_on, closes)


def test_time_is_four_bytes():
    assert len(session_factory("time", None)().greet()) == 4


def test_echo_by_lines_is_asked_for_by_the_length_of_a_line():
    with pytest.raises(LineTooLong):
        session_factory("echo", 3)().receive(b"1234")


@pytest.mark.parametrize("name", ["echo", "discard", "chargen", "daytime", "time"])
def test_sessions_share_nothing(name):
    make = session_factory(name, 5 if name == "echo" else None)
    one, other = make(), make()
    one.receive(b"abc")
    assert other.end() == b""


# Datagrams


@pytest.mark.parametrize(("name", "answer"), [("echo", b"ab\n\0"), ("discard", None)])
def test_a_datagram_is_sent_back_or_dropped(name, answer):
    assert datagram_answer(name)(b"ab\n\0") == answer


def test_an_empty_datagram_is_echoed_too():
    assert datagram_answer("echo")(b"") == b""


def test_chargen_answers_with_some_characters():
    answers = [datagram_answer("chargen")(b"x") for _ in range(100)]
    assert max(map(len, answers)) <= CHARGEN_DATAGRAM
    assert len({len(answer) for answer in answers}) > 1
    assert all((PRINTABLE * 6).startswith(answer) for answer in answers)


def test_time_answers_with_four_bytes():
    assert len(datagram_answer("time")(b"x")) == 4
