"""Where ws-tail's messages go: lines on stdout, binary ones to files; and the file that remembers the last id."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from gtool.errors import ReadError, WriteError
from gtool.feed.received import Received, bare_line, json_line
from gtool.runtime.files import replace_file
from gtool.runtime.stdio import Stdout
from gtool.streams.log import parse_cursor

MOST_STATE = 200  #: bytes that an id takes at most
KEEP_EVERY_S = 0.2  #: that the state file is written at most; a kill repeats what came since, and loses nothing


class Lines:
    """Writes a line per message; `binary_out` is a directory for binary ones, of which the line is the path then."""

    def __init__(self, is_json: bool, binary_out: str | None = None, state: str | None = None) -> None:
        self._stdout = Stdout()
        self._is_json = is_json
        self._is_terminal = os.isatty(1)
        self._folder = binary_out
        self._files = 0
        self._state = state
        self._kept_at = 0.0
        if binary_out is not None:
            _make_folder(binary_out)

    def write(self, received: Received) -> None:
        if not received.is_text and self._folder is not None:
            path = self._write_file(self._folder, received.data)
            received = received._replace(data=os.fsencode(path), is_text=True)
        line = (
            json_line(received, time.time(), self._is_terminal)
            if self._is_json
            else bare_line(received, self._is_terminal)
        )
        self._stdout.write(line)

    def keep(self, cursor: str, is_last: bool = False) -> None:
        now = time.monotonic()
        if self._state is not None and (is_last or now - self._kept_at > KEEP_EVERY_S):
            self._kept_at = now
            replace_file(self._state, f"{cursor}\n".encode())

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


def read_state(path: str) -> str | None:
    """Give the id that a run before has kept; None if there was none. ReadError if it can't be read, or is no id."""
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_STATE).strip()
        return str(parse_cursor(text.decode())) if text else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ReadError(f"cannot go on from {path}: it holds no id", "remove it to begin anew") from error


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot make {path}: {error.strerror}") from error
