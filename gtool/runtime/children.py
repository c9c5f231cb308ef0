"""Processes that we have started, by the standard library.

Not by gevent.subprocess: it has libev reap every child of the process, also those whose code somebody else waits for.
"""

from __future__ import annotations

import os
import subprocess

import gevent
from gevent.socket import wait_read


def wait_for_end(process: subprocess.Popen[bytes], timeout_s: float | None) -> int | None:
    """Wait on the loop for a process to end; give its exit code, None if it has not ended in time."""
    if process.poll() is not None:
        return process.returncode
    descriptor = os.pidfd_open(process.pid)
    try:
        with gevent.Timeout(timeout_s, False):  # type: ignore[arg-type]
            wait_read(descriptor)
    finally:
        os.close(descriptor)
    return process.poll()
