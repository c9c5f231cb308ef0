"""Values that have a unit: durations, sizes, rates, shares; ranges and thresholds; addresses and networks."""

from __future__ import annotations

from ipaddress import ip_network

import click
import pytest

from gtool.commands.types import (
    ADDRESS,
    CIDR,
    DURATION,
    PORTS,
    RATE,
    SHARE,
    SIZE,
    SIZE_OR_DURATION,
    SIZES,
    THRESHOLD,
)
from gtool.pingpong.thresholds import Threshold
from gtool.runtime.address import Address


def convert(quantity: click.ParamType, value: object) -> object:
    return quantity.convert(value, None, None)


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


@pytest.mark.parametrize(
    ("quantity", "text", "value"),
    [
        (SIZES, "16,1k", (16, 1024)),
        (SIZES, "16..64", (16, 32, 64)),
        (PORTS, "5556-5565", (5556, 5565)),
        (THRESHOLD, "p99>2ms", Threshold("p99>2ms", "p99", ">", 0.002)),
        (THRESHOLD, "lost>0", Threshold("lost>0", "lost", ">", 0.0)),
    ],
)
def test_a_text_becomes_what_it_stands_for(quantity, text, value):
    assert convert(quantity, text) == value


WRONG_ADDRESSES = ["", "8000", "localhost", "::1:8000", "a:65536", "http://a:80", "unix:", "fd:x"]
WRONG_NETWORKS = ["", "localhost", "10.0.0.0/33", "10.0.0.1/8", "::1/8", "10.0.0.0/x", "10.0.0", "[::1]", "1"]


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (DURATION, "5/x"),
        (SIZE, "5/x"),
        (RATE, "5/x"),
        (SHARE, "5/x"),
        (SIZE_OR_DURATION, "5/x"),
        (SIZES, "16,"),
        (PORTS, "9-1"),
        (THRESHOLD, "p99=1"),
        *((ADDRESS, text) for text in WRONG_ADDRESSES),
        *((CIDR, text) for text in WRONG_NETWORKS),
    ],
)
def test_what_is_none_is_a_usage_error(quantity, text):
    with pytest.raises(click.BadParameter):
        convert(quantity, text)


@pytest.mark.parametrize(
    ("quantity", "message"),
    [
        (DURATION, "'x' is not a duration such as 500ms, 5s, 2m"),
        (SIZE, "'x' is not a size such as 64k, 1M"),
        (RATE, "'x' is not a rate such as 10/s, 100/m"),
        (SHARE, "'x' is not a share such as 0.3, 30%"),
        (SIZE_OR_DURATION, "'x' is not a size or duration such as 64k, 5s"),
        (SIZES, "'x' is not a list of sizes such as 32, 16,1k,64k, 16..64k"),
        (PORTS, "'x' is not a range of ports such as 5556-5565"),
        (THRESHOLD, "'x' is not a threshold: it wants a name, one of > >= < <=, and a value"),
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


@pytest.mark.parametrize(
    "quantity", [DURATION, SIZE, RATE, SHARE, SIZE_OR_DURATION, SIZES, PORTS, THRESHOLD, ADDRESS, CIDR]
)
@pytest.mark.parametrize("value", [5, 0.5, None])
def test_a_value_that_is_no_text_is_one_already(quantity, value):
    assert convert(quantity, value) is value
