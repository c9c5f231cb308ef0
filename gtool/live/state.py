"""The file that remembers the last id, for the next run to go on from."""

from __future__ import annotations

import time

from gtool.errors import ReadError
from gtool.runtime.files import replace_file
from gtool.streams.log import parse_cursor

MOST_BYTES = 200  #: that an id takes at most
KEEP_EVERY_S = 0.2  #: that the file is written at most; a kill repeats what came since, and loses nothing


class State:
    """Keeps ids, if there is a file for them."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._kept_at = 0.0

    def keep(self, cursor: str, is_last: bool = False) -> None:
        """Remember an id soon; at once if it is the last. WriteError."""
        now = time.monotonic()
        if self._path is not None and (is_last or now - self._kept_at > KEEP_EVERY_S):
            self._kept_at = now
            replace_file(self._path, f"{cursor}\n".encode())


def read_state(path: str) -> str | None:
    """Give the id that a run before has kept; None if there was none. ReadError if it can't be read, or is no id."""
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES).strip()
        return str(parse_cursor(text.decode())) if text else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ReadError(f"cannot go on from {path}: it holds no id", "remove it to begin anew") from error
