"""When a failed attempt is made again, and how long to wait before. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

#: connection errors and time-outs, by curl's numbers: proxy and host name, connect, partial body, time-out, TLS
#: handshake, empty reply, send, receive, HTTP/2 (16, 92) and QUIC (95, 96) errors
TRANSIENT_CODES = frozenset({5, 6, 7, 16, 18, 28, 35, 52, 55, 56, 92, 95, 96})
TRANSIENT_STATUSES = frozenset({408, 429})

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0


class RetryPolicy(NamedTuple):
    """How often and for how long a failing input is tried again."""

    retry: int = 0
    retry_all_errors: bool = False
    retry_max_time: float = 600.0  #: seconds after an input's first attempt in which a new one may start

    def wants_another(self, attempts: int, exitcode: int, response_code: int) -> bool:
        """Whether an input that has failed `attempts` times is tried again after such an outcome."""
        if attempts > self.retry:
            return False
        if self.retry_all_errors or exitcode in TRANSIENT_CODES:
            return True
        return is_transient(response_code)


def is_transient(response_code: int) -> bool:
    """Whether an HTTP status may be another one next time."""
    return response_code in TRANSIENT_STATUSES or response_code >= 500


def backoff(attempts: int, uniform: Callable[[float, float], float]) -> float:
    """Seconds to wait after the attempt of that number (1 is the first): exponential, with full jitter.

    `uniform` draws a number between two. Source: "Exponential Backoff And Jitter", AWS Architecture Blog; it spreads
    out callers that failed together.
    """
    return uniform(0.0, min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 32)))


def parse_retry_after(value: str, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: delay-seconds or an HTTP date (RFC 9110 section 10.2.3).

    `now` is seconds since the epoch. None for what is neither.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    from datetime import UTC  # slow to import, and rarely needed
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # the form of asctime(), which says no zone and means GMT
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - (time.time() if now is None else now))
