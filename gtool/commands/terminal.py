"""Whether there is a terminal to show progress on."""

from __future__ import annotations

import os
import sys


def shows_progress(*, is_stdout_quiet: bool) -> bool:
    """Tell whether stderr is a terminal that takes it, and no data would be written across it."""
    if os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return False
    return is_stdout_quiet or not sys.stdout.isatty()
