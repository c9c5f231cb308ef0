"""chat-tail: rooms in the shell. Where messages go: lines, and a command for each."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from gtool.chat.messages import Message
from gtool.chat.received import environment_of, text_line
from gtool.chat.remote import Remote
from gtool.errors import UsageError
from gtool.live.lines import json_line
from gtool.live.state import State
from gtool.log import EventLog
from gtool.runtime.children import wait_for_end
from gtool.runtime.stdio import Stdout

log = EventLog("tail")

END_S = 0.2  #: that a command is given to end with us


class Messages:
    """Writes a line per message, and runs a command for it."""

    def __init__(
        self,
        is_json: bool = False,
        command: Sequence[str] = (),
        until: re.Pattern[str] | None = None,
        state: str | None = None,
    ) -> None:
        """`command` is the words of one, run without a shell; it is over when a message's text matches `until`."""
        self._stdout = Stdout()
        self._is_terminal = os.isatty(1)
        self._is_json = is_json
        self._command = command
        self._until = until
        self._state = State(state)

    def write(self, received: Message) -> bool:
        is_json = self._is_json
        self._stdout.write(json_line(received._asdict(), self._is_terminal) if is_json else text_line(received))
        if self._command:
            self._run(received)
        return bool(self._until and self._until.search(received.text))

    def keep(self, cursor: str, is_last: bool = False) -> None:
        self._state.keep(cursor, is_last)

    def when_closed(self, callback: Callable[[], None]) -> None:
        self._stdout.when_closed(callback)

    def close(self) -> None:
        self._stdout.close()

    def _run(self, told: Message) -> None:
        """Wait for the command; what it is told by a message is in its environment, and no part of a command line."""
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, env={**os.environ, **environment_of(told)}
            )
        except OSError as error:
            raise UsageError(f"--exec: cannot run {self._command[0]}: {error.strerror}") from error
        try:
            code = wait_for_end(process, None)
        finally:
            if process.poll() is None:
                process.terminate()  # we are to end, and so is it
                wait_for_end(process, END_S)
        if code:
            log.warning("the command has failed", id=told.id, code=code)


def stream_url(remote: Remote, rooms: Sequence[str]) -> str:
    """Give the URL of the rooms' stream, over HTTP."""
    return f"{remote.url}/api/ws?{urlencode([('room', room) for room in rooms], errors='surrogateescape')}"
