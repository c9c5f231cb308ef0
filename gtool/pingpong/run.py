"""A whole `ping`: measure, say what was measured, hold it against the thresholds."""

from __future__ import annotations

from gtool.errors import BUG, GtoolError, ThresholdMissed
from gtool.pingpong.output import Output
from gtool.pingpong.ping import ping
from gtool.pingpong.result import Outcome
from gtool.pingpong.settings import Settings
from gtool.pingpong.thresholds import Threshold


class Bug(GtoolError):
    """What is not foreseen; raised as what it is, this is for the document only."""

    exit_code = BUG


def run(settings: Settings, output: Output, thresholds: tuple[Threshold, ...]) -> None:
    """Run it. ThresholdMissed names all that was not met; what ended it early, if something did, comes first."""
    outcome = Outcome()
    missed: list[str] = []
    error: GtoolError | None = Bug("a bug in gtool")  # until it is known better
    try:
        ping(settings, outcome, lambda row: output.row(row, outcome))
        missed += [failure for row in outcome.rows for each in thresholds if (failure := each.failure(row))]
        if missed:
            raise ThresholdMissed(f"not met: {'; '.join(missed)}")
        error = None
    except GtoolError as caught:
        error = caught
        raise
    finally:
        output.end(outcome, missed, error)
