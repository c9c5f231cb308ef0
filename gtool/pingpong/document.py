"""All of a run as one document for --json, and its rows as lines for --csv. Pure."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from typing import Any

import simplejson

from gtool.errors import GtoolError
from gtool.pingpong.compare import Changes
from gtool.pingpong.result import FIGURES, Outcome, Row
from gtool.pingpong.settings import Settings

CSV_COLUMNS = ("pattern", "engine", "size", "clients", "sent", "received", "lost", "retried", "late", "duplicates",
               "gaps", "elapsed_s", "rate", "bytes_per_s", "complete", "error")  # fmt: skip


def to_json(
    settings: Settings | None,
    versions: dict[str, str],
    outcome: Outcome,
    changes: list[Changes | None],
    missed: list[str],
    error: GtoolError | None,
) -> str:
    """Give the document as one line. Times are seconds; `histogram` is HdrHistogram's V2 encoding, in nanoseconds."""
    rows = [{**row.to_json(), "change": change} for row, change in zip(outcome.rows, changes, strict=True)]
    return simplejson.dumps(
        {
            "ok": error is None,
            "exit_code": 0 if error is None else error.exit_code,
            "error": None if error is None else str(error),
            "settings": None if settings is None else _settings(settings),
            "versions": versions,
            "server": outcome.server,
            "meter_p50_s": outcome.meter_s,
            "rows": rows,
            "thresholds_missed": missed,
        },
        ignore_nan=True,
    )


def csv_header() -> str:
    return _csv_line([*CSV_COLUMNS, *(f"{name}_s" for name in FIGURES)])


def csv_row(row: Row) -> str:
    """Give a row as a line; what was not measured is empty."""
    document = row.to_json()
    figures = document["round_trip"] or {}
    document["complete"] = "true" if document["complete"] else "false"
    return _csv_line([*(document[name] for name in CSV_COLUMNS), *(figures.get(name) for name in FIGURES)])


def _settings(settings: Settings) -> dict[str, Any]:
    """Give the settings, without the keys: a secret is none any more in a log."""
    return {**{name: value for name, value in asdict(settings).items() if name != "keys"}, "curve": bool(settings.keys)}


def _csv_line(values: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
