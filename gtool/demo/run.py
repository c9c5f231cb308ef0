"""The demonstrations in turn, each in its time, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import gevent

from gtool.demo.stage import Stage
from gtool.demo.tools import Demonstration, Found
from gtool.errors import GtoolError, Interrupted
from gtool.log import EventLog

log = EventLog("demo")


class Outcome(NamedTuple):
    """What came of one demonstration: `found`, or the reason why there is none. Times are seconds."""

    demonstration: Demonstration
    found: Found | None
    reason: str
    elapsed: float


def run(
    demonstrations: Sequence[Demonstration],
    timeout_s: float,
    begin: Callable[[str], None],
    show: Callable[[Outcome], None],
) -> Sequence[Outcome]:
    """Play all of them within `timeout_s` seconds; `begin` gets what is done next, `show` what came of it.

    Each has half of the time that is left, and the last one all: one that hangs leaves some to the others.
    """
    ends_at = perf_counter() + timeout_s
    outcomes = []
    for left, demonstration in zip(range(len(demonstrations), 0, -1), demonstrations, strict=True):
        begin(f"{demonstration.tool}: {demonstration.what}")
        outcomes.append(_play(demonstration, (ends_at - perf_counter()) / min(left, 2)))
        show(outcomes[-1])
    return outcomes


def _play(demonstration: Demonstration, timeout_s: float) -> Outcome:
    started_at = perf_counter()
    found, reason = None, ""
    try:
        with Stage() as stage, gevent.Timeout(timeout_s, GtoolError(f"it was not done within {timeout_s:.1f} s")):
            found = demonstration.play(stage)
    except Interrupted:
        raise
    except (GtoolError, OSError) as error:
        reason = str(error)
    elapsed_s = perf_counter() - started_at
    if found:
        log.notice(f"{demonstration.tool} works", elapsed_s=round(elapsed_s, 3))
    else:
        log.error(f"{demonstration.tool} failed", reason=reason)
    return Outcome(demonstration, found, reason, elapsed_s)
