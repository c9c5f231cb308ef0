"""Values that have a unit, as people write them: durations, sizes, rates, shares. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

DURATION_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST_S = 100 * 366 * 86400.0  #: what clocks of the kernel count to without a care
PER_SECOND = {unit: 1 / seconds for unit, seconds in DURATION_UNITS.items()}
SIZE_UNITS = {"": 1, "b": 1} | {
    f"{letter}{ending}": 1 << (10 * power) for power, letter in enumerate("kmgt", start=1) for ending in ("", "b", "ib")
}
NUMBER_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]*)", re.ASCII)
SHARE_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)", re.ASCII)
RATE_AND_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*([a-zA-Z]+))?", re.ASCII)


def parse_duration(text: str) -> float:
    """Turn `500ms`, `5s`, `2m`, `1.5h` (or bare seconds) into seconds; ValueError if it is none."""
    seconds = _scaled(NUMBER_AND_UNIT, text, DURATION_UNITS)
    if seconds > LONGEST_S:
        raise ValueError(text)
    return seconds


def parse_size(text: str) -> int:
    """Turn `64k`, `1M`, `1.5g` (powers of 1024) into bytes; ValueError if it is none."""
    return int(_scaled(NUMBER_AND_UNIT, text, SIZE_UNITS))


def parse_rate(text: str) -> float:
    """Turn `50/s`, `100/m`, `1000/h` (or a bare number per second) into events per second; ValueError if it is none."""
    rate = _scaled(RATE_AND_UNIT, text, PER_SECOND)
    if rate <= 0:
        raise ValueError(text)
    return rate


def _scaled(pattern: re.Pattern[str], text: str, units: Mapping[str, float]) -> float:
    match = pattern.fullmatch(text.strip())
    factor = units.get((match[2] or "").lower()) if match else None
    if match is None or factor is None or float(match[1]) == float("inf"):
        raise ValueError(text)
    return float(match[1]) * factor


def parse_share(text: str) -> float:
    """Turn `0.3` or `30%` into a share from 0 to 1; ValueError if it is none."""
    match = SHARE_AND_UNIT.fullmatch(text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else None
    if share is None or share > 1:
        raise ValueError(text)
    return share


def parse_size_or_duration(text: str) -> tuple[int | None, float | None]:
    """Turn `64k`, `1M`, `100` into bytes, `500ms`, `5s`, `1m` into seconds: (bytes, None) or (None, seconds).

    `m` is minutes and `M` is mebibytes; other letters mean one of the two only.
    """
    match = NUMBER_AND_UNIT.fullmatch(text.strip())
    if match and match[2] and match[2] in DURATION_UNITS:  # in small letters: M is no unit of time
        return None, parse_duration(text)
    return parse_size(text), None


def parse_sizes(text: str) -> tuple[int, ...]:
    """Turn `16,1k,64k`, or `16..64k` for each doubling up to the last, into bytes; ValueError if none."""
    sizes: list[int] = []
    for part in text.split(","):
        first, is_range, last = part.partition("..")
        size, end = parse_size(first), parse_size(last if is_range else first)
        if is_range and not 0 < size <= end:
            raise ValueError(text)
        while True:
            sizes.append(size)
            size *= 2
            if size > end or not size:
                break
    return tuple(sizes)


def parse_range(text: str) -> tuple[int, int]:
    """Turn `5556-5565` into its first and last number; ValueError if it is none."""
    match = re.fullmatch(r"(\d{1,18})-(\d{1,18})", text.strip(), re.ASCII)
    if not match or int(match[1]) > int(match[2]):
        raise ValueError(text)
    return int(match[1]), int(match[2])


def spell_duration(seconds: float) -> str:
    """Spell seconds for people, with three digits, in the unit that suits them: `187us`, `1.25ms`, `2.5s`."""
    for unit, factor in (("us", 1e6), ("ms", 1e3)):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g}{unit}"
    return f"{seconds:.3g}s" if seconds < 999.5 else f"{seconds:.0f}s"
