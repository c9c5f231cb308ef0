"""Values that have a unit: durations, sizes, rates, shares; addresses and networks."""

from __future__ import annotations

import re
from ipaddress import ip_network

import click
import pytest

from gtool.commands.types import (
    ADDRESS,
    CIDR,
    DURATION,
    RATE,
    SHARE,
    SIZE,
    SIZE_OR_DURATION,
    parse_duration,
    parse_rate,
    parse_share,
    parse_size,
    parse_size_or_duration,
)
from gtool.runtime.address import Address


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
    assert convert(SHARE, text) == pytest.approx(share)


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
    assert convert(SIZE_OR_DURATION, text) == size_and_seconds


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8000", Address(None, "", 8000)),
        ("udp://[::1]:7", Address("udp", "::1", 7)),
        ("unix:/x", Address(None, path="/x")),
        ("fd:3", Address(None, descriptor=3)),
    ],
)
def test_an_address_is_where_to_listen(text, address):
    assert convert(ADDRESS, text) == address


@pytest.mark.parametrize("text", ["10.0.0.0/8", "10.0.0.1", "::1", "2001:db8::/32", "0.0.0.0/0", "10.0.0.0/255.0.0.0"])
def test_a_network_is_a_range_of_addresses_or_one(text):
    assert convert(CIDR, text) == ip_network(text)


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
WRONG_ADDRESSES = ["", "8000", "localhost", "::1:8000", "a:65536", "http://a:80", "unix:", "fd:x"]
WRONG_NETWORKS = ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "::1/8", "10.0.0.0/x", "10.0.0", "[::1]", "1"]


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        *((DURATION, text) for text in WRONG_DURATIONS),
        *((SIZE, text) for text in WRONG_SIZES),
        *((RATE, text) for text in WRONG_RATES),
        *((SHARE, text) for text in WRONG_SHARES),
        *((SIZE_OR_DURATION, text) for text in WRONG_SIZES_OR_DURATIONS),
        *((ADDRESS, text) for text in WRONG_ADDRESSES),
        *((CIDR, text) for text in WRONG_NETWORKS),
    ],
)
def test_what_is_none_is_a_usage_error(quantity, text):
    with pytest.raises(click.BadParameter):
        convert(quantity, text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_duration, "5x"),
        (parse_size, "5x"),
        (parse_rate, "5/x"),
        (parse_duration, "x"),
        (parse_share, "1.1"),
        (parse_size_or_duration, "5x"),
    ],
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
        (SHARE, "'x' is not a share such as 0.3, 30%"),
        (SIZE_OR_DURATION, "'x' is not a size or duration such as 64k, 5s"),
        (ADDRESS, "'x' is not an address: it wants a host and a port, as 127.0.0.1:8000 or :8000"),
    ],
)
def test_the_error_gives_examples(quantity, message):
    with pytest.raises(click.BadParameter) as caught:
        convert(quantity, "x")
    assert caught.value.format_message() == f"Invalid value: {message}"


def test_the_error_tells_what_is_wrong_with_a_network():
    with pytest.raises(click.BadParameter) as caught:
        convert(CIDR, "10.0.0.1/8")
    message = "Invalid value: '10.0.0.1/8' is not a CIDR such as 10.0.0.0/8, ::1: 10.0.0.1/8 has host bits set"
    assert caught.value.format_message() == message


@pytest.mark.parametrize("quantity", [DURATION, SIZE, RATE, SHARE, SIZE_OR_DURATION, ADDRESS, CIDR])
@pytest.mark.parametrize("value", [5, 0.5, None])
def test_a_value_that_is_no_text_is_one_already(quantity, value):
    assert convert(quantity, value) is value
