"""The progress line, shown when stderr is a terminal."""

from __future__ import annotations

import gevent
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gtool.fetch.engine import Engine
from gtool.fetch.tally import Tally

INTERVAL_S = 0.2


class ProgressLine:
    """Shows done, failed, in flight and bytes/s of a running engine, and the time left once the total is known."""

    def __init__(self, engine: Engine, tally: Tally) -> None:
        self._engine = engine
        self._tally = tally
        self._progress = Progress(
            TextColumn("{task.completed:.0f} done{task.fields[rest]}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,  # by a thread; a greenlet does it here
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("fetch", total=None, rest="")
        self._bytes = 0
        self._progress.start()
        self._ticker = gevent.spawn(self._tick)

    def close(self) -> None:
        self._ticker.kill()
        self._progress.stop()

    def _tick(self) -> None:
        while True:
            self._show()
            gevent.sleep(INTERVAL_S)

    def _show(self) -> None:
        tally, total = self._tally, self._engine.total
        moved = tally.bytes + self._engine.bytes_in_flight
        per_second = max(0, moved - self._bytes) / INTERVAL_S
        self._bytes = moved
        of = f" of {total}" if total is not None else ""
        rest = f"{of}, {tally.failed} failed, {self._engine.in_flight} in flight, {_size(per_second)}/s"
        self._progress.update(self._task, completed=tally.done + tally.skipped, total=total, rest=rest)
        self._progress.refresh()


def _size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"
