"""Values that have a unit: what they are worth, and what is none."""

from __future__ import annotations

import pytest

from gtool.units import (
    parse_duration,
    parse_range,
    parse_rate,
    parse_share,
    parse_size,
    parse_size_or_duration,
    parse_sizes,
    spell_duration,
)


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
    assert parse_duration(text) == pytest.approx(seconds)


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
    assert parse_size(text) == size


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
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("0", 0),
        ("1", 1),
        ("0.3", 0.3),
        (".3", 0.3),
        ("30%", 0.3),
        ("100%", 1),
        ("0%", 0),
        ("0.5%", 0.005),
        (" 30 % ", 0.3),
    ],
)
def test_a_share_is_from_0_to_1(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "size_and_seconds"),
    [
        ("0", (0, None)),
        ("100", (100, None)),
        ("5b", (5, None)),
        ("64k", (65536, None)),
        ("1M", (1 << 20, None)),
        ("1m", (None, 60.0)),
        ("1MiB", (1 << 20, None)),
        ("1G", (1 << 30, None)),
        ("0.5s", (None, 0.5)),
        ("500ms", (None, 0.5)),
        (" 5 s ", (None, 5.0)),
        ("1h", (None, 3600.0)),
        ("1d", (None, 86400.0)),
    ],
)
def test_a_unit_tells_a_duration_from_a_size(text, size_and_seconds):
    assert parse_size_or_duration(text) == size_and_seconds


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("32", (32,)),
        ("0", (0,)),
        ("16,1k,64k", (16, 1024, 65536)),
        ("64,16,64", (64, 16, 64)),
        (" 16 , 1 k ", (16, 1024)),
        ("16..128", (16, 32, 64, 128)),
        ("16..100", (16, 32, 64)),
        ("3..13", (3, 6, 12)),
        ("16..16", (16,)),
        ("1k..4k", (1024, 2048, 4096)),
        ("1.5k..3k", (1536, 3072)),
        ("1,16..64,1k", (1, 16, 32, 64, 1024)),
        ("16..32,1..2", (16, 32, 1, 2)),
    ],
)
def test_sizes_are_a_list_or_each_doubling(text, sizes):
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("5556-5565", (5556, 5565)),
        ("0-0", (0, 0)),
        (" 1-2 ", (1, 2)),
        ("007-8", (7, 8)),
        ("1-" + "9" * 18, (1, 10**18 - 1)),
    ],
)
def test_a_range_is_its_first_and_its_last_number(text, numbers):
    assert parse_range(text) == numbers


WRONG = ["", "x", "-1", "5 5", "5x", "1,5", "٣", "5.", ".5", "1.2.3"]
WRONG_DURATIONS = [*WRONG, "5/s", "nan", "inf", "1e3", "9" * 400]
WRONG_SIZES = [*WRONG, "5/s", "5bb", "5kk", "b", "nan", "9" * 400]
WRONG_RATES = ["", "x", "/s", "-1/s", "0", "0/s", "10/x", "10/5s", "10/s/s", "nan", "inf", "1,5/s", "10s", "10/"]
WRONG_SHARES = [
    "",
    "%",
    "x",
    "x%",
    "-0.1",
    "1.1",
    "101%",
    "-1%",
    "nan",
    "inf",
    "nan%",
    "1,5",
    "30%%",
    "3 0%",
    "1_0e-2",
    "\u0663%",
]
WRONG_SIZES_OR_DURATIONS = [*WRONG, "5/s", "5kk", "b", "nan", "5sm", "9" * 400, "9" * 400 + "s"]

WRONG_RANGES = [
    "",
    "5",
    "-",
    "5-",
    "-5",
    "5--6",
    "6-5",
    "5-6-7",
    "5 - 6",
    "5..6",
    "a-b",
    "1.5-2",
    "\u0663-9",
    "1-" + "9" * 19,
]
#: and the part of it that is wrong
WRONG_SIZES_OF_MANY = {
    **{text: text for text in WRONG if text != "1,5"},
    ",": "",
    "16,": "",
    "16,x": "x",
    "16 32": "16 32",
    "16;32": "16;32",
    "..": "",
    "16..": "",
    "..16": "",
    "16...32": ".32",
    "16..x": "x",
    "0..16": "0..16",
    "64..16": "64..16",
    "1,64..16": "1,64..16",
}


@pytest.mark.parametrize(("text", "wrong"), WRONG_SIZES_OF_MANY.items())
def test_a_list_with_what_is_no_size_is_a_value_error_that_names_it(text, wrong):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_sizes(text)
    assert str(caught.value) == wrong


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((parse_duration, text) for text in WRONG_DURATIONS),
        *((parse_size, text) for text in WRONG_SIZES),
        *((parse_rate, text) for text in WRONG_RATES),
        *((parse_share, text) for text in WRONG_SHARES),
        *((parse_size_or_duration, text) for text in WRONG_SIZES_OR_DURATIONS),
        *((parse_range, text) for text in WRONG_RANGES),
    ],
)
def test_what_is_none_is_a_value_error_that_names_it(parse, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0us"),
        (250e-9, "0.25us"),
        (187.4e-6, "187us"),
        (92.84e-6, "92.8us"),
        (1.254e-3, "1.25ms"),
        (0.5, "500ms"),
        (1.0, "1s"),
        (2.5, "2.5s"),
        (999.4e-6, "999us"),
        *((seconds, text) for seconds, text in ((999.7e-6, "1ms"), (0.9996, "1s"))),
        *((seconds, text) for seconds, text in ((1000.0, "1000s"), (3600.0, "3600s"))),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_suits_it(seconds, text):
    assert spell_duration(seconds) == text
