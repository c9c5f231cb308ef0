"""What can end a command early, and the exit code of each.

    GtoolError            1   it failed
    ├── UsageError        2   the command line contradicts itself
    ├── ThresholdMissed   3   what was measured is not as good as it had to be
    ├── ReadError        26   an input cannot be read (curl's number)
    ├── WriteError       23   an output cannot be written (curl's number)
    ├── PeerGone          4   the other side does not answer, or not as agreed
    ├── BindError         5   an address cannot be listened on
    ├── Interrupted     130   SIGINT (128 + the signal's number for others)
    └── OutputClosed    141   whoever read stdout has gone; says nothing

Failures of single transfers are not here: they are outcomes, kept in records (gtool.fetch.record).
"""

from __future__ import annotations

BUG = 70  #: exit code for an error that is none of these: a bug in gtool


class GtoolError(Exception):
    """End the command with one line that says what failed, on what, and what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(GtoolError):
    exit_code = 2


class ThresholdMissed(GtoolError):
    exit_code = 3


class ReadError(GtoolError):
    exit_code = 26


class WriteError(GtoolError):
    exit_code = 23


class PeerGone(GtoolError):
    exit_code = 4


class BindError(GtoolError):
    exit_code = 5


class Interrupted(GtoolError):
    """A signal asked the command to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted")
        self.exit_code = 128 + signal_number


class OutputClosed(GtoolError):
    """The reader of stdout has gone (`| head`): not worth a word."""

    exit_code = 141

    def __init__(self) -> None:
        super().__init__("stdout was closed")
