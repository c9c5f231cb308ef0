"""A server's counts, as a line of the log and as text for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from gtool.log import EventLog
from gtool.runtime.shared import Counters, Counts

log = EventLog("stats")

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"  #: of what exposition() writes

METRICS: tuple[tuple[str, str, str, Callable[[Counts], int]], ...] = (
    ("open_connections", "gauge", "Connections that are open now.", lambda counts: counts.open),
    ("connections_total", "counter", "Connections accepted.", lambda counts: counts.accepted),
    ("received_bytes_total", "counter", "Bytes received.", lambda counts: counts.received),
    ("sent_bytes_total", "counter", "Bytes sent.", lambda counts: counts.sent),
    ("messages_total", "counter", "Reads and datagrams answered, messages delivered.", lambda counts: counts.messages),
    ("dropped_messages_total", "counter", "Messages that slow clients were not given.", lambda counts: counts.dropped),
)


class Report:
    """Logs the counts, with rates since it last did."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._last = counters.read()
        self._last_at = time.monotonic()

    def log(self) -> None:
        counts, now = self._counters.read(), time.monotonic()
        seconds = max(now - self._last_at, 1e-3)
        log.notice(
            "stats",
            open=counts.open,
            accepted=counts.accepted,
            refused=counts.refusals,
            received=counts.received,
            sent=counts.sent,
            messages=counts.messages,
            dropped=counts.dropped or None,
            messages_per_s=round((counts.messages - self._last.messages) / seconds, 1),
            received_per_s=round((counts.received - self._last.received) / seconds, 1),
        )
        self._last, self._last_at = counts, now


def exposition(counts: Counts) -> str:
    """Write counts as Prometheus reads them (text format 0.0.4)."""
    metrics = exposition_of(*((name, kind, text, value(counts)) for name, kind, text, value in METRICS))
    name = "gtool_refused_connections_total"
    lines = [f"# HELP {name} Connections and datagrams refused, by reason.", f"# TYPE {name} counter"]
    lines += [f'{name}{{reason="{reason}"}} {count}' for reason, count in counts.refused.items()]
    return metrics + "\n".join(lines) + "\n"


def exposition_of(*metrics: tuple[str, str, str, int]) -> str:
    """Write metrics, each a name, a kind, a sentence and a value."""
    lines = []
    for name, kind, text, value in metrics:
        lines += [f"# HELP gtool_{name} {text}", f"# TYPE gtool_{name} {kind}", f"gtool_{name} {value}"]
    return "\n".join(lines) + "\n"
