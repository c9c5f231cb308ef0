"""What a run has done so far, counted: for the exit status, the progress line and the summary. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gtool.fetch.record import Record

if TYPE_CHECKING:
    from gtool.stats import LatencyHistogram

PHASES = {"connect": "time_connect", "first byte": "time_starttransfer", "total": "time_total"}


class Tally:
    """Counts of ended inputs."""

    def __init__(self, histograms: Mapping[str, LatencyHistogram] | None = None) -> None:
        """`histograms` is one per phase of PHASES, or None to keep none."""
        self._histograms = histograms or {}
        self.done = 0
        self.failed = 0
        self.skipped = 0
        self.bytes = 0
        self.by_status: Counter[str] = Counter()
        self.by_exitcode: Counter[int] = Counter()
        self._first_failure: tuple[int, int] | None = None  #: seq and exit code

    @property
    def exitcode(self) -> int:
        """Curl's code of the first failing input in input order; 0 if all went well."""
        return self._first_failure[1] if self._first_failure else 0

    def note(self, record: Record) -> None:
        self.done += 1
        self.bytes += record["size_download"]
        if exitcode := record["exitcode"]:
            self.failed += 1
            self.by_exitcode[exitcode] += 1
            failure = record["seq"], exitcode
            self._first_failure = min(self._first_failure or failure, failure)
        if self._histograms:
            self._note_phases(record)

    def _note_phases(self, record: Record) -> None:
        status = record["response_code"]
        if not status:
            return
        self.by_status[f"{status // 100}xx"] += 1
        for phase, field in PHASES.items():
            # A reused connection took no time to connect: that is no sample of connecting.
            if phase != "connect" or record["num_connects"]:
                self._histograms[phase].record(record[field])

    def summary(self, elapsed_s: float) -> dict[str, Any]:
        """The figures of a whole run: counts, bytes, seconds, and percentiles of each phase in seconds."""
        summary: dict[str, Any] = {
            "inputs": self.done + self.skipped,
            "succeeded": self.done - self.failed,
            "failed": self.failed,
            "skipped": self.skipped,
            "by_status": dict(sorted(self.by_status.items())),
            "by_exitcode": {str(code): count for code, count in sorted(self.by_exitcode.items())},
            "bytes": self.bytes,
            "elapsed": elapsed_s,
            "requests_per_second": self.done / elapsed_s if elapsed_s else 0.0,
        }
        for phase, histogram in self._histograms.items():
            values = histogram.percentiles()
            summary[f"time_{phase.replace(' ', '_')}"] = {
                "p50": values.p50, "p90": values.p90, "p99": values.p99, "max": values.max,
            }  # fmt: skip
        return summary
