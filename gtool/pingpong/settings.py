"""What a whole `ping` is to measure, and what it has measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gtool.pingpong.job import Keys
from gtool.pingpong.result import Row


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are seconds; count and rate are those of all clients together."""

    endpoint: str
    pattern: str = "req-rep"
    sizes: tuple[int, ...] = (32,)
    count: int | None = None
    duration: float | None = None
    warmup: int = 100
    rate: float | None = None
    pipeline: int = 1
    clients: int = 1
    engines: tuple[str, ...] = ("green",)
    timeout: float = 5.0
    retries: int = 0
    is_plain: bool = False
    keys: Keys | None = None


class Outcome:
    """What was measured, as far as it got."""

    def __init__(self) -> None:
        self.server: dict[str, Any] | None = None
        self.meter_s: float | None = None  #: the median of a round trip to nowhere
        self.rows: list[Row] = []
