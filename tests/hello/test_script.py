"""What hello-server says, and templates that it can't fill in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.hello.script import FIELDS, BadTemplate, Script, check_template

fixed = settings(derandomize=True, deadline=None, max_examples=300)

PIECES = [*(f"{{{field}}}" for field in FIELDS), "{", "}", "{{", "}}", "{n:03}", "{n!r}", "{time:>9}", "{}", "{x}", "ü"]


def said(template: str = "{n}", lines: int = 3, message: bytes = b"", line_end: bytes = b"\n") -> list[bytes]:
    return list(Script(message, template, lines, line_end).parts("1.2.3.4:5", 7, lambda: "noon"))


# What is said


def test_the_message_comes_first_as_it_is():
    assert said(message=b"\xff\r\nhello")[0] == b"\xff\r\nhello"


def test_lines_are_counted_from_0():
    assert said() == [b"0\n", b"1\n", b"2\n"]


def test_without_a_message_lines_come_first():
    assert said(lines=1, message=b"") == [b"0\n"]


def test_without_lines_there_is_the_message():
    assert said(lines=0, message=b"hello\n") == [b"hello\n"]


def test_with_neither_nothing_is_said():
    assert said(lines=0) == []


def test_lines_end_as_they_are_told_to():
    assert said(lines=2, line_end=b"\r\n") == [b"0\r\n", b"1\r\n"]


def test_a_template_is_filled_in():
    assert said("{n} {time} {peer} {connection}", lines=1) == [b"0 noon 1.2.3.4:5 7\n"]


@pytest.mark.parametrize(
    ("template", "line"),
    [("{n:03}", b"000"), ("{{n}}", b"{n}"), ("{n:3}", b"  0"), ("", b""), ("ü", b"\xc3\xbc")],
)
def test_templates_are_those_of_python(template, line):
    assert said(template, lines=1) == [line + b"\n"]


def test_bytes_of_the_command_line_that_are_no_unicode_stay_as_they_are():
    assert said("\udcff", lines=1) == [b"\xff\n"]


def test_the_time_is_told_for_each_line():
    times = iter(["one", "two"])
    assert list(Script(b"", "{time}", 2).parts("", 1, lambda: next(times))) == [b"one\n", b"two\n"]


def test_a_line_is_made_when_it_is_asked_for():
    parts = Script(b"", "{n}", 10**12).parts("", 1, lambda: "")
    assert [next(parts), next(parts)] == [b"0\n", b"1\n"]


# Templates


@fixed
@given(
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
    | st.text("{}n:!. x0", max_size=8).filter(lambda t: t.count("{") < 2)
)
def test_a_template_that_passes_can_be_filled_in(template):
    try:
        check_template(template)
    except BadTemplate:
        return
    assert len(said(template)) == 3


@pytest.mark.parametrize("template", ["", "plain", "{n}", "{n:5}", "{n:05}", "{{}}", "{time} {peer} {connection}"])
def test_a_good_template_passes(template):
    check_template(template)


@pytest.mark.parametrize("template", ["{x}", "{}", "{0}", "{N}", "{n.real}", "{n[0]}", "{n} {nn}"])
def test_a_field_that_there_is_not_is_named_with_those_that_there_are(template):
    with pytest.raises(BadTemplate, match=r"there is no \{.*\}; there are \{n\} \{time\} \{peer\} \{connection\}"):
        check_template(template)


@pytest.mark.parametrize(
    "template",
    ["{", "}", "{n", "n}", "{n}}", "{n!}", "{n!r}", "{n:z}", "{n:c}", "{n:{x}}", "{n:9999}", "{time:d}", "{n!r:d}"],
)
def test_what_cannot_be_filled_in_for_every_line_is_told_with_the_template(template):
    with pytest.raises(BadTemplate) as caught:
        check_template(template)
    assert str(caught.value).startswith(f"template {template!r}: ")


def test_a_bad_template_is_a_value_error():
    assert issubclass(BadTemplate, ValueError)
