"""click parameter types for values that have a unit: DURATION, SIZE, RATE."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import click

DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"": 1, "b": 1} | {
    f"{letter}{ending}": 1 << (10 * power) for power, letter in enumerate("kmgt", start=1) for ending in ("", "b", "ib")
}
NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", re.ASCII)
RATE_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*([a-zA-Z]+))?", re.ASCII)


def parse_duration(text: str) -> float:
    """Turn `500ms`, `5s`, `2m`, `1.5h` (or bare seconds) into seconds; ValueError if it is none."""
    number, unit = _parts(NUMBER_AND_UNIT, text)
    return number * _unit(DURATION_UNITS, unit)


def parse_size(text: str) -> int:
    """Turn `64k`, `1M`, `1.5g` (powers of 1024) into bytes; ValueError if it is none."""
    number, unit = _parts(NUMBER_AND_UNIT, text)
    return int(number * _unit(SIZE_UNITS, unit))


def parse_rate(text: str) -> float:
    """Turn `50/s`, `100/m`, `1000/h` (or a bare number per second) into events per second; ValueError if it is none."""
    number, unit = _parts(RATE_AND_UNIT, text)
    rate = number / _unit(DURATION_UNITS, unit or "s")
    if rate <= 0:
        raise ValueError(text)
    return rate


def _parts(pattern: re.Pattern[str], text: str) -> tuple[float, str]:
    match = pattern.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    number = float(match[1])
    if number == float("inf"):
        raise ValueError(text)
    return number, (match[2] or "").lower()


def _unit(units: Mapping[str, float], name: str) -> float:
    if name not in units:
        raise ValueError(name)
    return units[name]


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
        except ValueError:
            self.fail(f"{value!r} is not a {self.name} such as {self._examples}", param, ctx)


DURATION = _Quantity("duration", parse_duration, "500ms, 5s, 2m")
SIZE = _Quantity("size", parse_size, "64k, 1M")
RATE = _Quantity("rate", parse_rate, "10/s, 100/m")
