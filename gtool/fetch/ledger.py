"""The ledger of a run: every input is entered once, and closed once, with its record."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gtool.fetch.bodies import Checks, body_for
from gtool.fetch.job import Job, Verdict
from gtool.fetch.record import NOTHING, WRITE_ERROR, Measured, Record, build
from gtool.fetch.report import Report, Written
from gtool.fetch.request import Rejected, Request
from gtool.fetch.settings import Output, Settings
from gtool.fetch.stores import BadName, Exists, Store
from gtool.fetch.tally import Tally
from gtool.log import EventLog

if TYPE_CHECKING:
    from gtool.fetch.files import Files
    from gtool.fetch.journal import Journal

log = EventLog("fetch")

EXISTS = "not fetched: the file exists"


class Ledger:
    """Makes jobs of inputs, and records of jobs that have ended."""

    def __init__(
        self,
        settings: Settings,
        report: Report,
        files: Files | None,
        journal: Journal | None,
        tally: Tally,
        on_failure: Callable[[], None],
    ) -> None:
        """`on_failure` is called after the record of each input that has failed."""
        output = settings.output
        self._output = output
        self._max_time_s = settings.network.max_time
        self._checks = Checks(output.max_size, output.sha256 or (files is not None and files.needs_sha256), output.fail)
        self._logs_failures = not output.has_lines
        self._report = report
        self._files = files
        self._journal = journal
        self._tally = tally
        self._on_failure = on_failure
        self._seq = 0

    def enter(self, item: Request | Rejected) -> Job | None:
        """Make a job of an input; None if there is nothing to transfer, as where an earlier run has done it."""
        seq, self._seq = self._seq, self._seq + 1
        if isinstance(item, Request) and self._journal and self._journal.skips(item):
            self._tally.skipped += 1
            return None
        self._report.expect(seq)
        if isinstance(item, Rejected):
            self._close_unsent(seq, item.id, item.url, (item.exitcode, item.errormsg))
            return None
        try:
            store = self._store(seq, item)
        except BadName as error:
            self._close_unsent(seq, item.id, item.shown, (WRITE_ERROR, str(error)))
            return None
        except Exists as exists:
            self._close_unsent(seq, item.id, item.shown, (0, EXISTS), exists.path)
            return None
        checks = self._checks if item.sha256 is None else self._checks._replace(with_sha256=True)
        body = body_for(store, checks, self._report.valve)
        return Job(seq, item, body, item.max_time_s or self._max_time_s or None)

    def close(self, job: Job, measured: Measured, verdict: Verdict) -> None:
        """Finish a job that has ended for good."""
        record = job.conclude(measured, verdict, self._output.include_headers)
        self._publish(record, partial(self._journal.note, job.request, record) if self._journal else None)

    def _close_unsent(
        self, seq: int, request_id: object, url: str, verdict: Verdict, body_path: str | None = None
    ) -> None:
        fields = {"body_path": body_path} if body_path else {}
        self._publish(build(seq, request_id, url, None, NOTHING, fields, 0, time.time(), *verdict), None)

    def _publish(self, record: Record, on_written: Written | None) -> None:
        self._tally.note(record)
        exitcode = record["exitcode"]
        if exitcode and self._logs_failures:
            log.warning("failed", url=record["url"], exitcode=exitcode, error=record["errormsg"], id=record["id"])
        self._report.report(record["seq"], record, on_written)
        if exitcode:
            self._on_failure()

    def _store(self, seq: int, request: Request) -> Store:
        if self._output.output is None and request.output is None:
            return self._report.store(seq)
        if self._files is None:
            self._files = files_for(self._output)
        return self._files.store_for(seq, request)


def files_for(output: Output) -> Files:
    """Make what bodies go to files with. ValueError if the template can't be used."""
    from gtool.fetch.files import Files  # what few runs need is imported by those

    template = "{name}" if output.output is None else output.output
    return Files(template, no_clobber=output.no_clobber, resume=output.resume)
