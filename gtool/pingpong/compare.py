"""The change against an earlier run, from the document that --json has printed. Pure, but for reading it."""

from __future__ import annotations

from typing import Any

import simplejson

from gtool.errors import ReadError
from gtool.pingpong.result import FIGURES, Row

Changes = dict[str, float]  #: by the name of a figure; 0.1 is a tenth more


class Earlier:
    """The rows of an earlier run."""

    def __init__(self, path: str) -> None:
        """Read them. ReadError for a file that is no such document."""
        try:
            with open(path, encoding="utf-8") as file:
                document = simplejson.load(file)
            self._rows = {_key(row): _figures(row) for row in document["rows"]}
        except OSError as error:
            raise ReadError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ReadError(f"{path} is not what 'zmq-pingpong ping --json' prints") from error

    def changes(self, row: Row) -> Changes:
        """Tell how a row differs from that of the same pattern, engine, size and clients; empty if there was none."""
        before = self._rows.get(row.key(), {})
        now = {name: row.figure(name) for name in ("rate", *FIGURES)}
        return {name: value / before[name] - 1 for name, value in now.items() if value is not None and before.get(name)}


def _key(row: dict[str, Any]) -> tuple[object, ...]:
    return (row["pattern"], row["engine"], row["size"], row["clients"])


def _figures(row: dict[str, Any]) -> dict[str, float]:
    """Give what a row has measured. TypeError if that is no numbers."""
    figures = {"rate": row["rate"], **(row["round_trip"] or {})}
    return {name: value + 0.0 for name, value in figures.items() if value is not None}
