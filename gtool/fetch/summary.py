"""The figures at the end of a run, for people: --summary. Pure."""

from __future__ import annotations

from typing import Any

from gtool.units import spell_duration

MEANINGS = {
    1: "unsupported protocol",
    3: "malformed URL",
    5: "proxy not resolved",
    6: "host not resolved",
    7: "could not connect",
    8: "wrong checksum",
    16: "HTTP/2 error",
    18: "partial body",
    22: "HTTP error",
    23: "write error",
    28: "timed out",
    35: "TLS handshake failed",
    47: "too many redirects",
    52: "empty reply",
    55: "send failed",
    56: "receive failed",
    60: "certificate not trusted",
    61: "bad content encoding",
    63: "body too large",
    92: "HTTP/2 stream error",
    95: "HTTP/3 error",
    96: "QUIC connection failed",
}
PERCENTILES = ("p50", "p90", "p99", "max")


def summary_table(summary: dict[str, Any]) -> str:
    """Lay out what Tally.summary() gives, a line per figure."""
    lines = [
        f"{'inputs':<12}{summary['inputs']:>10}   "
        f"{summary['succeeded']} succeeded, {summary['failed']} failed, {summary['skipped']} skipped",
        f"{'bytes':<12}{summary['bytes']:>10}",
        f"{'elapsed':<12}{summary['elapsed']:>9.3f}s",
        f"{'requests/s':<12}{summary['requests_per_second']:>10.1f}",
    ]
    lines += [f"{'HTTP ' + status:<12}{count:>10}" for status, count in summary["by_status"].items()]
    for code, count in summary["by_exitcode"].items():
        lines.append(f"{'exit ' + code:<12}{count:>10}   {MEANINGS.get(int(code), '')}".rstrip())
    lines.append(f"{'':<12}" + "".join(f"{name:>10}" for name in PERCENTILES))
    for phase in ("connect", "first byte", "total"):
        values = summary[f"time_{phase.replace(' ', '_')}"]
        lines.append(f"{phase:<12}" + "".join(f"{_spelled(values[name]):>10}" for name in PERCENTILES))
    return "\n".join(lines) + "\n"


def _spelled(seconds: float | None) -> str:
    return "-" if seconds is None else spell_duration(seconds)
