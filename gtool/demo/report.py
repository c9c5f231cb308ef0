"""The outcomes, as a table for people and as records for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gtool.demo.run import Outcome

HEADINGS = ("tool", "what was done", "result", "rate")
GAP = "   "


def table(outcomes: Sequence[Outcome]) -> str:
    """Lay the outcomes out, each with the command to try next below it."""
    rows = [HEADINGS, *map(_cells, outcomes)]
    whole = [row for row in rows if all(row)]  # a reason may be long, and nothing follows it
    widths = [max(len(row[column]) for row in (rows if column < 2 else whole)) for column in range(len(HEADINGS))]
    lines = [GAP.join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    commands = ["", *(f"{'':<{widths[0]}}{GAP}try: {outcome.demonstration.next}" for outcome in outcomes)]
    return "".join(f"{line}\n{command}\n" for line, command in zip(lines, commands, strict=True))


def record(outcome: Outcome) -> dict[str, Any]:
    """Give an outcome as JSON has it. Times are seconds; `rate` is in `unit`."""
    demonstration, found = outcome.demonstration, outcome.found
    return {
        "tool": demonstration.tool,
        "ok": found is not None,
        "done": demonstration.what,
        "result": found and found.result,
        "rate": found and round(found.rate, 1),
        "unit": found and found.unit,
        "error": outcome.reason or None,
        "elapsed_s": round(outcome.elapsed, 3),
        "next": demonstration.next,
    }


def _cells(outcome: Outcome) -> tuple[str, str, str, str]:
    tool, what = outcome.demonstration.tool, outcome.demonstration.what
    if outcome.found is None:
        return tool, what, f"FAILED: {outcome.reason}", ""
    result, rate, unit = outcome.found
    return tool, what, result, f"{rate:,.0f} {unit}" if rate >= 100 else f"{rate:.1f} {unit}"
