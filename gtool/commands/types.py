"""click parameter types for values that have a unit: DURATION, SIZE, RATE."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", re.ASCII)


def parse_duration(text: str) -> float:
    """Turn `500ms`, `5s`, `2m`, `1.5h` (or bare seconds) into seconds; ValueError if it is none."""
    return _scaled(text, DURATION_UNITS)


def parse_size(text: str) -> int:
    """Turn `64k`, `1M`, `1.5g` (powers of 1024) into bytes; ValueError if it is none."""
    return int(_scaled(re.sub(r"(?i:ib|b)$", "", text), SIZE_UNITS))


def parse_rate(text: str) -> float:
    """Turn `50/s`, `100/m`, `1000/h` (or a bare number per second) into events per second."""
    count, _, unit = text.partition("/")
    rate = float(count) / DURATION_UNITS[unit.strip()]
    if not 0 < rate < float("inf"):
        raise ValueError(text)
    return rate


def _scaled(text: str, units: dict[str, float] | dict[str, int]) -> float:
    match = NUMBER_AND_UNIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return float(match[1]) * units[match[2].lower()]


class _Quantity(click.ParamType[Any]):
    """A value with a unit: what parses it, and the examples that its error names."""

    def __init__(self, name: str, parse: Callable[[str], object], examples: str) -> None:
        self.name = name
        self._parse = parse
        self._examples = examples

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except (ValueError, KeyError, ZeroDivisionError, OverflowError):
            self.fail(f"{value!r} is not a {self.name} such as {self._examples}", param, ctx)


DURATION = _Quantity("duration", parse_duration, "500ms, 5s, 2m")
SIZE = _Quantity("size", parse_size, "64k, 1M")
RATE = _Quantity("rate", parse_rate, "10/s, 100/m")
