"""What ends a command early: one tree, and an exit code each."""

from __future__ import annotations

import re
import signal

import pytest

from gtool import errors
from gtool.errors import (
    BindError,
    GtoolError,
    Interrupted,
    OutputClosed,
    PeerGone,
    ReadError,
    ThresholdMissed,
    UsageError,
    WriteError,
)

EXAMPLES = [
    GtoolError("x"),
    UsageError("x"),
    ThresholdMissed("x"),
    ReadError("x"),
    WriteError("x"),
    PeerGone("x"),
    BindError("x"),
    Interrupted(2),
    OutputClosed(),
]


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = re.findall(r"(\w+) +(\d+)   ", errors.__doc__ or "")
    assert drawn == [(type(error).__name__, str(error.exit_code)) for error in EXAMPLES]


def test_every_error_is_in_the_tree():
    classes = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, GtoolError)}
    assert classes == {type(error) for error in EXAMPLES}


def test_no_two_errors_have_one_exit_code():
    codes = [errors.BUG, *(error.exit_code for error in EXAMPLES)]
    assert len(set(codes)) == len(codes)


def test_the_text_is_the_message():
    assert str(ReadError("cannot read x")) == "cannot read x"


@pytest.mark.parametrize(("error", "text"), [(Interrupted(2), "interrupted"), (OutputClosed(), "stdout was closed")])
def test_an_error_without_a_message_of_its_own_says_what_it_is(error, text):
    assert str(error) == text


def test_an_address_that_cannot_be_listened_on_is_exit_5_with_a_hint():
    error = BindError("cannot listen on tcp://:80: Permission denied", "choose a higher one")
    assert (error.exit_code, str(error)) == (5, "cannot listen on tcp://:80: Permission denied (choose a higher one)")


def test_a_hint_follows_in_parentheses():
    assert str(UsageError("nothing to do", "try --help")) == "nothing to do (try --help)"


def test_message_and_hint_are_attributes():
    error = UsageError("nothing to do", "try --help")
    assert (error.message, error.hint) == ("nothing to do", "try --help")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_with_128_and_its_number(number, code):
    assert Interrupted(number).exit_code == code
