"""How many files and sockets the process may have open."""

from __future__ import annotations

import contextlib


def raise_limit() -> None:
    """Have as many descriptors as we may: the soft limit is there for programs that use select(2)."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
