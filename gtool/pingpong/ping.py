"""Measure against a server: agree, run the clients of each engine and size in turn, keep what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import zmq

from gtool.errors import GtoolError
from gtool.pingpong import green, result
from gtool.pingpong.clients import Client, GreenClient, ProcessClient, close, run_together
from gtool.pingpong.connection import connected
from gtool.pingpong.control import Control
from gtool.pingpong.endpoints import closing, new_socket
from gtool.pingpong.job import Job
from gtool.pingpong.meter import empty_loop
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.protocol import LONGEST_IDLE_S
from gtool.pingpong.result import Outcome, Row
from gtool.pingpong.settings import Settings
from gtool.pingpong.tally import Tally
from gtool.runtime import lifecycle

REPORT_S = 0.3  #: for what the server says of a run that has failed
BYE_MS = 200  #: that the last word to the server may take
LONGEST_PAUSE = 3  #: time-outs, and messages of a rate, that a server waits for a client's next message


def ping(settings: Settings, outcome: Outcome, on_row: Callable[[Row], None]) -> None:
    """Measure all; `on_row` gets each row when it is done. What ends it early is raised."""
    lifecycle.run(lambda: _ping(settings, outcome, on_row))


def _ping(settings: Settings, outcome: Outcome, on_row: Callable[[Row], None]) -> None:
    with closing(zmq.Context()) as context, _agreed(context, settings, outcome) as control:
        outcome.meter_s = empty_loop(green)
        for size in settings.sizes:
            for engine in settings.engines:
                _Run(context, control, settings, engine, size).run(outcome, on_row)


@contextmanager
def _agreed(context: zmq.Context[Any], settings: Settings, outcome: Outcome) -> Iterator[Control | None]:
    """Say hello, and bye at the end. None if the server is not one of ours."""
    if settings.is_plain:
        yield None
        return
    sock = new_socket(context, zmq.DEALER)
    with connected(green, sock, settings.endpoint, settings.keys, settings.timeout, BYE_MS) as connection:
        control = Control(connection, settings.endpoint, settings.timeout)
        outcome.server = control.hello(settings.pattern, list(settings.sizes), settings.pipeline)
        try:
            yield control
        finally:
            control.bye()


class _Run:
    """The clients of one row."""

    def __init__(
        self, context: zmq.Context[Any], control: Control | None, settings: Settings, engine: str, size: int
    ) -> None:
        self._context = context
        self._control = control
        self._settings = settings
        self._engine = engine
        self._size = size
        self._sessions: list[int] = []

    def run(self, outcome: Outcome, on_row: Callable[[Row], None]) -> None:
        """Run them, and have a row of it in any case."""
        tally = Tally()
        clients: list[Client] = []
        reports: list[dict[str, float]] = []
        try:
            clients.extend(map(self._client, range(self._settings.clients)))
            run_together(clients, tally)
            if tally.error is None:
                reports.extend(self._reports(tally, self._settings.timeout))
        except GtoolError as error:
            tally.fail(error)
            raise
        finally:
            if tally.error is not None:
                with suppress(GtoolError):
                    reports = self._reports(tally, REPORT_S)
            close(clients)
            row = self._row(tally, reports)
            outcome.rows.append(row)
            on_row(row)
        if tally.error is not None:
            raise _Ended(tally.error, tally.exit_code)

    def _reports(self, tally: Tally, within_s: float) -> list[dict[str, float]]:
        """Have the server say what has come of each client's messages, where they go one way."""
        if self._control is None:
            return []
        return self._control.reports(dict(zip(self._sessions, tally.sent_by_each, strict=False)), within_s)

    def _row(self, tally: Tally, reports: list[dict[str, float]]) -> Row:
        settings = self._settings
        key = (settings.pattern, self._engine, self._size, settings.clients)
        if PATTERNS[settings.pattern].is_one_way:
            return result.one_way(*key, tally, reports if len(reports) == settings.clients else None)
        return result.round_trips(*key, tally)

    def _client(self, number: int) -> Client:
        job = self._job(number)
        return GreenClient(self._context, job) if self._engine == "green" else ProcessClient(job)

    def _job(self, number: int) -> Job:
        settings = self._settings
        share = None if settings.rate is None else settings.rate / settings.clients
        endpoint = settings.endpoint
        if self._control is not None and PATTERNS[settings.pattern].is_one_way:
            idle_s = min(LONGEST_IDLE_S, LONGEST_PAUSE * (settings.timeout + 1 / (share or 1.0)))
            session, endpoint = self._control.open(settings.pattern, self._size, idle_s)
            self._sessions.append(session)
        return Job(
            endpoint,
            settings.pattern,
            self._size,
            count=None if settings.count is None else _part(settings.count, settings.clients, number),
            duration=settings.duration,
            warmup=settings.warmup,
            rate=share,
            phase=0.0 if settings.rate is None else number / settings.rate,
            pipeline=settings.pipeline,
            timeout=settings.timeout,
            retries=settings.retries,
            is_plain=settings.is_plain,
            keys=settings.keys,
        )


class _Ended(GtoolError):
    """A client has ended early; its error has crossed from a tally, maybe of another process."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _part(count: int, clients: int, number: int) -> int:
    """Share a count out: the first clients have one more where it does not come out even."""
    return count // clients + (number < count % clients)
