"""What a run says on stdout: a table as it goes, CSV as it goes, or one JSON document at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gtool.errors import GtoolError
from gtool.pingpong import document, report
from gtool.pingpong.compare import Changes, Earlier
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.result import Outcome, Row
from gtool.pingpong.settings import Settings
from gtool.pingpong.versions import versions
from gtool.units import spell_duration

Say = Callable[[str], None]


class Output(Protocol):
    def row(self, row: Row, outcome: Outcome) -> None:
        """Take a row when it is done."""

    def end(self, outcome: Outcome, missed: list[str], error: GtoolError | None) -> None:
        """Say the rest. The error is what ends it, which is logged elsewhere."""


class Table:
    def __init__(self, say: Say, settings: Settings, earlier: Earlier | None, has_histogram: bool) -> None:
        self._say = say
        self._settings = settings
        self._earlier = earlier
        self._has_histogram = has_histogram
        self._is_one_way = PATTERNS[settings.pattern].is_one_way
        self._has_begun = False

    def row(self, row: Row, outcome: Outcome) -> None:
        if not self._has_begun:
            self._begin(outcome)
        self._say(report.row(row, self._is_one_way, _changes(self._earlier, row)))
        if self._has_histogram and row.histogram is not None:
            self._say(report.histogram(row.histogram))

    def end(self, outcome: Outcome, missed: list[str], error: GtoolError | None) -> None:
        if outcome.meter_s is not None and not self._is_one_way and self._has_begun:
            self._say(f"the meter's own cost: {spell_duration(outcome.meter_s)} (p50 of a loop without a peer)\n")

    def _begin(self, outcome: Outcome) -> None:
        self._has_begun = True
        settings, peer = self._settings, outcome.server
        clients = f", {settings.clients} clients" if settings.clients > 1 else ""
        curve = ", CURVE" if settings.keys else ""
        server = f", server {peer['engine']}" if peer else ""
        self._say(
            f"{settings.pattern} with {settings.endpoint}{clients}{curve}{server}, libzmq {versions()['libzmq']}\n"
        )
        self._say(report.header(self._is_one_way))


class Csv:
    def __init__(self, say: Say) -> None:
        self._say = say
        say(document.csv_header())

    def row(self, row: Row, outcome: Outcome) -> None:
        self._say(document.csv_row(row))

    def end(self, outcome: Outcome, missed: list[str], error: GtoolError | None) -> None:
        pass


class Json:
    def __init__(self, say: Say, settings: Settings | None, earlier: Earlier | None) -> None:
        self._say = say
        self._settings = settings
        self._earlier = earlier

    def row(self, row: Row, outcome: Outcome) -> None:
        pass

    def end(self, outcome: Outcome, missed: list[str], error: GtoolError | None) -> None:
        changes = [_changes(self._earlier, row) or None for row in outcome.rows]
        self._say(document.to_json(self._settings, versions(), outcome, changes, missed, error) + "\n")


def _changes(earlier: Earlier | None, row: Row) -> Changes | None:
    return None if earlier is None else earlier.changes(row)
