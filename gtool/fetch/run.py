"""`gtool fetch` as one call: puts the parts of a run together and takes them down again.

Parts that only some runs need are imported by those, so that one small URL does not wait for them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gtool.errors import OutputClosed, UsageError
from gtool.fetch.engine import Engine
from gtool.fetch.ledger import files_for
from gtool.fetch.report import Report
from gtool.fetch.settings import Output, Settings
from gtool.fetch.tally import PHASES, Tally
from gtool.runtime import lifecycle
from gtool.runtime.stdio import Stdout

if TYPE_CHECKING:
    from gtool.fetch.journal import Journal
    from gtool.fetch.progress import ProgressLine
    from gtool.fetch.record import Record


def run(settings: Settings) -> int:
    """Fetch everything; give curl's exit code of the first failing input in input order.

    If none has failed: 26 if not all inputs could be read, else 0. Raises UsageError, WriteError, OutputClosed,
    Interrupted.
    """
    return lifecycle.run(lambda: _run(settings))


def _run(settings: Settings) -> int:
    started = time.monotonic()
    tally = Tally(_histograms() if settings.summary else None)
    output = settings.output
    try:
        files = files_for(output) if output.output is not None else None
        make_report = _report_maker(output, settings.limits.lookahead)
    except ValueError as error:
        raise UsageError(str(error)) from error
    journal = _open_journal(settings.journal) if settings.journal else None
    engine = Engine(settings, make_report, files, journal, tally)
    progress = _progress_line(engine, tally) if settings.progress else None
    try:
        engine.run()
    finally:
        if progress:
            progress.close()
        if journal:
            journal.close()
        if settings.summary:
            _print_summary(tally.summary(time.monotonic() - started), settings.summary)
    return tally.exitcode or (engine.input_error.exit_code if engine.input_error else 0)


def _histograms() -> dict[str, Any]:
    from gtool.stats import LatencyHistogram

    return {phase: LatencyHistogram() for phase in PHASES}


def _progress_line(engine: Engine, tally: Tally) -> ProgressLine:
    from gtool.fetch.progress import ProgressLine

    return ProgressLine(engine, tally)


def _print_summary(summary: dict[str, Any], form: str) -> None:
    from gtool.fetch.record_json import encode_json
    from gtool.fetch.summary import summary_table

    sys.stderr.write(summary_table(summary) if form == "table" else f"{encode_json(summary)}\n")


def _open_journal(path: str) -> Journal:
    from gtool.fetch.journal import Journal

    return Journal(path)


def _report_maker(output: Output, lookahead: int) -> Callable[[Callable[[], None]], Report]:
    """What makes the Report; ValueError for a --write-out that can't be used."""
    if output.has_lines:
        return _line_maker(output, lookahead)
    if output.output is not None:
        return lambda _on_room: Report()
    from gtool.fetch.stream import BodyStream

    return lambda on_room: BodyStream(_stdout(), lookahead, on_room)


def _line_maker(output: Output, lookahead: int) -> Callable[[Callable[[], None]], Report]:
    from gtool.fetch.lines import RecordLines
    from gtool.fetch.record_json import json_line

    line: Callable[[Record], str] = json_line
    if output.write_out is not None:
        from gtool.fetch.write_out import parse_write_out

        line = parse_write_out(output.write_out)
    keeps_bodies = output.json and not output.no_body and output.output is None
    max_body = output.max_body if keeps_bodies else None
    window = lookahead if output.ordered else None
    return lambda on_room: RecordLines(_stdout(), line, max_body, window, on_room)


def _stdout() -> Stdout:
    stdout = Stdout()
    stdout.when_closed(_output_closed)
    return stdout


def _output_closed() -> None:
    raise OutputClosed
