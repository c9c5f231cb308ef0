"""Where ws-tail's messages go: lines on stdout, binary ones to files; and the file that remembers the last id."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gtool.errors import WriteError
from gtool.feed.received import Received, bare_line, enveloped
from gtool.live.lines import json_line
from gtool.live.state import State
from gtool.runtime.stdio import Stdout


class LineOutput:
    """Writes a line per message; `binary_out` is a directory for binary ones, of which the line is the path then."""

    def __init__(self, is_json: bool, binary_out: str | None = None, state: str | None = None) -> None:
        self._stdout = Stdout()
        self._is_json = is_json
        self._is_terminal = os.isatty(1)
        self._folder = binary_out
        self._files = 0
        self._state = State(state)
        if binary_out is not None:
            _make_folder(binary_out)

    def write(self, received: Received) -> bool:
        if not received.is_text and self._folder is not None:
            path = self._write_file(self._folder, received.data)
            received = received._replace(data=os.fsencode(path), is_text=True)
        line = (
            json_line(enveloped(received, time.time()), self._is_terminal)
            if self._is_json
            else bare_line(received, self._is_terminal)
        )
        self._stdout.write(line)
        return False

    def keep(self, cursor: str, is_last: bool = False) -> None:
        self._state.keep(cursor, is_last)

    def when_closed(self, callback: Callable[[], None]) -> None:
        self._stdout.when_closed(callback)

    def close(self) -> None:
        self._stdout.close()

    def _write_file(self, folder: str, data: bytes) -> str:
        while True:
            self._files += 1
            path = os.path.join(folder, f"{self._files:06}.bin")
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                continue  # of an earlier run
            except OSError as error:
                raise WriteError(f"cannot write {path}: {error.strerror}") from error
            return path


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot make {path}: {error.strerror}") from error
