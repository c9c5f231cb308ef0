"""The progress line on a terminal: which tool is being shown, and how many are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


@contextmanager
def shown(total: int) -> Iterator[Callable[[str], None]]:
    """Show the line; what is yielded is called with what begins now."""
    columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}"))
    # No refreshing: it would be by a thread. Lines of the log appear above.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=total)
        done = count()

        def begin(what: str) -> None:
            progress.update(task, completed=next(done), description=what, refresh=True)

        yield begin
