"""What a run must not be: `p99>2ms`, `rate<10000/s`, `lost>0`. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from gtool.pingpong.result import COUNTS, FIGURES, Row
from gtool.units import parse_duration, parse_rate, spell_duration

COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
THRESHOLD = re.compile(r"\s*([a-z0-9.]+)\s*(>=|<=|>|<)\s*(\S.*?)\s*", re.ASCII)
ROUND_TRIPS_ONLY = (*FIGURES, "retried", "late")


class Threshold(NamedTuple):
    text: str  #: as it was given
    name: str
    comparison: str
    limit: float  #: seconds, messages per second, or a number of messages

    def is_for(self, is_one_way: bool) -> bool:
        """Whether a run of that kind measures it."""
        return self.name not in ROUND_TRIPS_ONLY if is_one_way else self.name != "gaps"

    def failure(self, row: Row) -> str | None:
        """Tell what was measured, if the run fails by it; what could not be measured fails."""
        value = row.figure(self.name)
        if value is not None and not COMPARISONS[self.comparison](value, self.limit):
            return None
        measured = "was not measured" if value is None else f"was {self._spelled(value)}"
        return f"{self.text}: it {measured} ({row.engine}, {row.size} B)"

    def _spelled(self, value: float) -> str:
        if self.name in FIGURES:
            return spell_duration(value)
        return f"{value:,.0f}/s" if self.name == "rate" else f"{value:,.0f}"


def parse(text: str) -> Threshold:
    """Read a threshold. ValueError says what is wrong with it."""
    match = THRESHOLD.fullmatch(text)
    if not match:
        raise ValueError("it wants a name, one of > >= < <=, and a value")
    name, comparison, limit = match.groups()
    if name in FIGURES:
        return Threshold(text, name, comparison, _parsed(parse_duration, limit, "a duration such as 2ms"))
    if name == "rate":
        return Threshold(text, name, comparison, _parsed(parse_rate, limit, "a rate such as 10000/s"))
    if name in COUNTS:
        return Threshold(text, name, comparison, _parsed(_whole, limit, "a whole number"))
    raise ValueError(f"{name} is none of {', '.join((*FIGURES, 'rate', *COUNTS))}")


def _whole(text: str) -> float:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ValueError(text)
    return float(text)


def _parsed(parse: Callable[[str], float], text: str, what: str) -> float:
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"{text} is not {what}") from None
