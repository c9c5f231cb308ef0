"""Values that have a unit: durations, sizes, rates."""

from __future__ import annotations

import re

import click
import pytest

from gtool.commands.types import DURATION, RATE, SIZE, parse_duration, parse_rate, parse_size


def convert(quantity: click.ParamType, value: object) -> object:
    return quantity.convert(value, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("5", 5),
        ("2.5", 2.5),
        ("7us", 7e-6),
        ("500ms", 0.5),
        ("5s", 5),
        ("2m", 120),
        ("1.5h", 5400),
        ("1d", 86400),
        ("5S", 5),
        (" 5 s ", 5),
    ],
)
def test_a_duration_is_seconds(text, seconds):
    assert convert(DURATION, text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("5", 5),
        ("5b", 5),
        ("64k", 65536),
        ("64K", 65536),
        ("64kB", 65536),
        ("64KiB", 65536),
        ("64 kib", 65536),
        ("1M", 1 << 20),
        ("1.5g", 3 << 29),
        ("2T", 2 << 40),
        ("0.1k", 102),
    ],
)
def test_a_size_is_bytes(text, size):
    assert convert(SIZE, text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10", 10),
        ("0.5", 0.5),
        ("10/s", 10),
        ("120/m", 2),
        ("3600/h", 1),
        ("1/ms", 1000),
        ("86400/d", 1),
        (" 10 / s ", 10),
    ],
)
def test_a_rate_is_events_per_second(text, rate):
    assert convert(RATE, text) == pytest.approx(rate)


WRONG = ["", "x", "-1", "5 5", "5x", "1,5", "٣", "5.", ".5", "1.2.3"]
WRONG_DURATIONS = [*WRONG, "5/s", "nan", "inf", "1e3", "9" * 400]
WRONG_SIZES = [*WRONG, "5/s", "5bb", "5kk", "b", "nan", "9" * 400]
WRONG_RATES = ["", "x", "/s", "-1/s", "0", "0/s", "10/x", "10/5s", "10/s/s", "nan", "inf", "1,5/s", "10s", "10/"]


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        *((DURATION, text) for text in WRONG_DURATIONS),
        *((SIZE, text) for text in WRONG_SIZES),
        *((RATE, text) for text in WRONG_RATES),
    ],
)
def test_what_is_none_is_a_usage_error(quantity, text):
    with pytest.raises(click.BadParameter):
        convert(quantity, text)


@pytest.mark.parametrize(
    ("parse", "text"), [(parse_duration, "5x"), (parse_size, "5x"), (parse_rate, "5/x"), (parse_duration, "x")]
)
def test_what_is_none_is_a_value_error_below_click(parse, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        parse(text)


@pytest.mark.parametrize(
    ("quantity", "message"),
    [
        (DURATION, "'x' is not a duration such as 500ms, 5s, 2m"),
        (SIZE, "'x' is not a size such as 64k, 1M"),
        (RATE, "'x' is not a rate such as 10/s, 100/m"),
    ],
)
def test_the_error_gives_examples(quantity, message):
    with pytest.raises(click.BadParameter) as caught:
        convert(quantity, "x")
    assert caught.value.format_message() == f"Invalid value: {message}"


@pytest.mark.parametrize("quantity", [DURATION, SIZE, RATE])
@pytest.mark.parametrize("value", [5, 0.5, None])
def test_a_value_that_is_no_text_is_one_already(quantity, value):
    assert convert(quantity, value) is value
