"""click parameter types: values that have a unit, shares, addresses, networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gtool.units import (
    parse_duration,
    parse_range,
    parse_rate,
    parse_share,
    parse_size,
    parse_size_or_duration,
    parse_sizes,
)


class _Parsed(click.ParamType[Any]):
    """A value that a function reads: what it is called, and the examples that its error names."""

    def __init__(self, name: str, parse: Callable[[str], object], examples: str) -> None:
        self.name = name
        self._parse = parse
        self._examples = examples

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"{value!r} is not a {self.name} such as {self._examples}", param, ctx)


class _Explained(click.ParamType[Any]):
    """A value whose function says what is wrong with it."""

    def __init__(self, name: str, what: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._what = what
        self._parse = parse

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{value!r} is not {self._what}: {error}", param, ctx)


def _address(text: str) -> object:
    from gtool.runtime.address import parse_address  # for servers

    return parse_address(text)


def _network(text: str) -> object:
    from ipaddress import ip_network  # for servers

    return ip_network(text)


def _threshold(text: str) -> object:
    from gtool.pingpong.thresholds import parse  # for one command

    return parse(text)


DURATION = _Parsed("duration", parse_duration, "500ms, 5s, 2m")
SIZE = _Parsed("size", parse_size, "64k, 1M")
RATE = _Parsed("rate", parse_rate, "10/s, 100/m")
SHARE = _Parsed("share", parse_share, "0.3, 30%")
SIZE_OR_DURATION = _Parsed("size or duration", parse_size_or_duration, "64k, 5s")
SIZES = _Parsed("list of sizes", parse_sizes, "32, 16,1k,64k, 16..64k")
PORTS = _Parsed("range of ports", parse_range, "5556-5565")
THRESHOLD = _Explained("threshold", "a threshold", _threshold)
ADDRESS = _Explained("address", "an address", _address)
CIDR = _Explained("CIDR", "a CIDR such as 10.0.0.0/8, ::1", _network)
