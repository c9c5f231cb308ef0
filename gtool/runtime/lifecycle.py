"""Run a command on the gevent loop: signals, and failures of greenlets and callbacks that nobody awaits."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from gevent import Greenlet, GreenletExit, getcurrent

from gtool.errors import Interrupted
from gtool.runtime import descriptors
from gtool.runtime.hub import get_hub
from gtool.runtime.interrupts import STOP_SIGNALS

Result = TypeVar("Result")


def run(main: Callable[[], Result]) -> Result:
    """Call `main` in this greenlet and give what it returns.

    The first SIGINT, SIGTERM or SIGHUP raises Interrupted in `main`, where it is waiting; a second ends the process.
    An exception in a greenlet or a loop callback that nobody awaits is raised in `main` as well: never a traceback on
    the side and exit 0.
    """
    descriptors.raise_limit()
    hub = get_hub()
    caller = getcurrent()
    is_over = False

    def throw(error: BaseException) -> None:
        hub.loop.run_callback(throw_now, error)

    def throw_now(error: BaseException) -> None:
        if not is_over:  # one that fails together with `main` has nobody to be raised in
            caller.throw(error)

    def fail(context: object, kind: Any, value: Any, _traceback: object) -> None:
        is_awaited = isinstance(context, Greenlet) and context.has_links()  # whoever waits gets the exception
        if not is_awaited and not issubclass(kind, GreenletExit):
            error = value if isinstance(value, BaseException) else kind(value)
            throw(error if isinstance(error, Exception | SystemExit) else RuntimeError(f"{kind.__name__}: {error}"))

    hub.handle_error = fail  # type: ignore[method-assign,assignment]
    seen: list[int] = []
    watchers = [_watch(number, seen, throw) for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    try:
        return main()
    finally:
        is_over = True
        for watcher in watchers:
            watcher.close()
        del hub.handle_error


def _watch(number: int, seen: list[int], throw: Callable[[BaseException], None]) -> Any:
    watcher: Any = get_hub().loop.signal(number, ref=False)

    def handle() -> None:
        if seen:
            os._exit(128 + number)
        seen.append(number)
        throw(Interrupted(number))

    watcher.start(handle)
    return watcher


@contextlib.contextmanager
def every(period_s: float | None, callback: Callable[[], None]) -> Iterator[None]:
    """Call back on the loop, again and again; never if `period_s` is None."""
    if period_s is None:
        yield
        return
    timer: Any = get_hub().loop.timer(period_s, period_s, ref=False)
    timer.start(callback)
    try:
        yield
    finally:
        timer.close()


@contextlib.contextmanager
def on_signal(number: int, callback: Callable[[], None]) -> Iterator[None]:
    """Call back on the loop whenever that signal comes."""
    watcher: Any = get_hub().loop.signal(number, ref=False)
    watcher.start(callback)
    try:
        yield
    finally:
        watcher.close()
