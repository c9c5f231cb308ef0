"""Small files that others read while they are written."""

from __future__ import annotations

import contextlib
import os

from gtool.errors import WriteError


def replace_file(path: str, data: bytes) -> None:
    """Write a file under another name and rename it: whoever reads it sees the old one or the new one, whole.

    WriteError if it can't be written; the old one stays then.
    """
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise WriteError(f"cannot write {path}: {error.strerror}") from error
