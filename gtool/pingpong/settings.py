"""What a whole `ping` is to measure. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gtool.pingpong.job import ClientKeys


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
    keys: ClientKeys | None = None
