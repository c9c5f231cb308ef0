"""Signals and threads of a process that runs no loop, whose main thread waits in a library."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Have the first signal to stop noted, for who asks now and then; a second one ends the process.

    A thread that fails is raised where it is asked, as a greenlet that fails is in lifecycle.run().
    """
    signals: list[int] = []
    failures: list[BaseException] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if signals:
            os._exit(128 + number)
        signals.append(number)

    def fail(args: threading.ExceptHookArgs) -> None:
        failures.append(args.exc_value or SystemError("a thread has failed"))

    def is_stopped() -> bool:
        if failures:
            raise failures[0]
        return bool(signals)

    wanted = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in wanted}
    hook, threading.excepthook = threading.excepthook, fail
    try:
        yield is_stopped
    finally:
        threading.excepthook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
