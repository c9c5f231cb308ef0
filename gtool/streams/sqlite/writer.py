"""Whoever writes to a database: a thread beside the loop, that has many writes share one commit."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from gevent.event import AsyncResult
from gevent.hub import get_hub
from gevent.timeout import Timeout

from gtool.log import EventLog, SeldomLog
from gtool.streams.log import Unavailable

log = EventLog("store")

GROUP = 500  #: writes in one commit
MOST_WAITING = 10_000  #: writes that wait for theirs
WAIT_S = 15.0

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]


class _Job(Generic[Result]):
    def __init__(self, work: Work[Result], then: Callable[[Result], None]) -> None:
        self.work = work
        self.then = then
        self.result: AsyncResult[Result] = AsyncResult()
        self.found: Result
        self.error: Exception | None = None

    def finish(self) -> None:
        if self.error:
            self.result.set_exception(self.error)
            return
        self.result.set(self.found)  # whoever waits goes on after this
        self.then(self.found)


class Writer:
    """Greenlets ask for writes; they are done in order, those that wait together in one transaction."""

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self.trouble = ""  #: why nothing can be written just now
        self._connection = open_connection()
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._done: deque[list[_Job[Any]]] = deque()
        self._waiting = 0
        self._seldom = SeldomLog(log)
        self._watcher: Any = get_hub().loop.async_(ref=False)
        self._watcher.start(self._finish)
        self._thread = threading.Thread(target=self._write, name="writer", daemon=True)
        self._thread.start()

    def do(self, work: Work[Result], then: Callable[[Result], None] = lambda result: None) -> Result:
        """Wait until `work` is done, and on the disk. `then` is called on the loop, in order, before others go on.

        What `work` raises is a failure of all that are written with it.
        Unavailable if it can't be written.
        """
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too much waits to be written")
        job = _Job(work, then)
        self._waiting += 1
        self._jobs.put(job)
        try:
            result: Result = job.result.get(timeout=WAIT_S)  # type: ignore[assignment]
        except Timeout as error:
            raise Unavailable("it takes too long to be written") from error
        return result

    def close(self) -> None:
        """End, once all that was asked for is written."""
        self._jobs.put(None)
        self._thread.join()
        self._watcher.close()
        self._finish()
        self._connection.close()

    def _finish(self) -> None:
        """On the loop: take note of what is done."""
        while self._done:
            jobs = self._done.popleft()
            self._waiting -= len(jobs)
            error = jobs[-1].error
            self.trouble = f"cannot write: {error}" if error else ""
            if error:
                self._seldom.warning("cannot write to the store", reason=str(error))
            for job in jobs:
                job.finish()

    def _write(self) -> None:
        """In the thread: commit what there is, again and again."""
        is_open = True
        while is_open:
            jobs = [self._jobs.get()]
            while len(jobs) < GROUP and jobs[-1]:
                try:
                    jobs.append(self._jobs.get_nowait())
                except Empty:
                    break
            is_open = jobs[-1] is not None
            group = [job for job in jobs if job]
            if group:
                self._commit(group)
                self._done.append(group)
                self._watcher.send()

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        connection = self._connection
        doing = None
        try:
            connection.execute("BEGIN IMMEDIATE")
            for doing in jobs:
                doing.found = doing.work(connection)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  whatever it is, it is those who wait that are to know
            for job in jobs:
                job.error = Unavailable(str(error))
            if doing and not isinstance(error, sqlite3.Error):
                doing.error = error  # what was asked for can't be done, now or later
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # then there is no transaction, or the next BEGIN fails too
                    connection.execute("ROLLBACK")
