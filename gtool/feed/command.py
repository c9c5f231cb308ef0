"""A command as a source: the lines that it writes, on a terminal of its own, so that it does not hold them back.

A program that writes to a pipe collects its output in blocks of some KiB; on a terminal it writes line by line. Its
stdin is empty, and its stderr is ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import termios
import tty
from time import monotonic

import gevent

from gtool.errors import GtoolError
from gtool.feed.sources import LineSource, Put
from gtool.log import EventLog
from gtool.runtime.children import wait_for_end
from gtool.runtime.pauses import doubling
from gtool.runtime.stdio import Input

log = EventLog("feed")

FIRST_PAUSE_S = 0.5  #: before a command is started again; doubled each time it fails soon
LONGEST_PAUSE_S = 30.0
STABLE_S = 10.0  #: a command that has run so long did not fail soon
#: what the process that starts it may ignore, and a shell would have ignored by all of its own
IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
KILL_S = 2.0  #: between asking it to end and killing it


class Command:
    """Runs a shell command, and again if it is to be restarted."""

    def __init__(self, command: str, restarts: bool, max_message: int) -> None:
        self._command = command
        self._restarts = restarts
        self._max_message = max_message
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, put: Put) -> None:
        """Run until the command has ended, if it is not restarted. GtoolError if it can't be started."""
        pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            started_at = monotonic()
            self._run_once(put)
            if not self._restarts:
                return
            if monotonic() - started_at > STABLE_S:
                pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
            pause_s = next(pauses)
            log.notice("the command is started again", after_s=pause_s)
            gevent.sleep(pause_s)

    def close(self) -> None:
        """End the command, and all that it has started in its session."""
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process, signal.SIGTERM)
        wait_for_end(process, KILL_S)
        _kill(process, signal.SIGKILL)  # those too that the shell has left behind
        wait_for_end(process, KILL_S)

    def _run_once(self, put: Put) -> None:
        output, terminal = pty.openpty()
        try:
            tty.setraw(terminal)  # or each line feed would become two characters
            self._process = process = self._start(terminal)
        except OSError as error:
            os.close(output)
            raise GtoolError(f"cannot start the command: {error.strerror}") from error
        finally:
            os.close(terminal)
        log.info("command started", pid=process.pid)
        lines = LineSource(Input(output, "the command's output"), "command", self._max_message)
        try:
            lines.run(put)
        finally:
            lines.close()
        code = wait_for_end(process, None)
        self._process = None
        (log.warning if code else log.notice)("the command has ended", exit_code=code)

    def _start(self, terminal: int) -> subprocess.Popen[bytes]:
        def adopt_terminal() -> None:
            for number in IGNORED:
                signal.signal(number, signal.SIG_DFL)
            fcntl.ioctl(1, termios.TIOCSCTTY, 0)  # so that it is hung up on when we are killed

        return subprocess.Popen(
            ["/bin/sh", "-c", self._command],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            start_new_session=True,
            preexec_fn=adopt_terminal,
        )


def _kill(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
