"""Tell others that a server listens: a line per listener on stdout, a file, systemd."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Sequence

from gtool.errors import OutputClosed, WriteError
from gtool.runtime.files import replace_file


def announce(urls: Sequence[str], ready_file: str | None = None) -> None:
    """Say where the server listens; whoever reads that may connect. WriteError, OutputClosed if it can't be said."""
    text = _text(urls)
    if ready_file is not None:
        replace_file(ready_file, text)
    if sys.stdout is not None:  # a daemon's may be closed
        try:
            sys.stdout.buffer.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise WriteError(f"cannot write to stdout: {error.strerror}") from error
    notify("READY=1")


def withdraw(urls: Sequence[str], ready_file: str) -> None:
    """Remove the file that said so, unless it speaks of another server by now."""
    with contextlib.suppress(OSError):
        with open(ready_file, "rb") as file:
            is_ours = file.read() == _text(urls)
        if is_ours:
            os.unlink(ready_file)


def notify(state: str) -> None:
    """Tell systemd of a change of state, if it wants to know (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.sendall(state.encode())


def _text(urls: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(f"{url}\n") for url in urls)
