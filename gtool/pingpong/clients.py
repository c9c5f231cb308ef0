"""Clients that are started together: as greenlets of this process, or each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, Protocol

import gevent
import simplejson
import zmq
from gevent.event import Event
from gevent.fileobject import FileObjectPosix

from gtool.errors import GtoolError, Interrupted
from gtool.pingpong import green
from gtool.pingpong.client import measure
from gtool.pingpong.job import Job
from gtool.pingpong.tally import Tally
from gtool.runtime.children import wait_for_end

Reading = Any  #: the greenlet that waits for a client's result

STOPPED = Interrupted(signal.SIGINT).exit_code
LAST_WORD_S = 0.5  #: that clients which are told to stop have for their tallies
END_S = 0.2  #: and then to end


class Client(Protocol):
    def wait_until_ready(self) -> bool:
        """Wait until it is connected and warmed up; False if it has failed before."""

    def start(self) -> None: ...

    def stop(self) -> None:
        """Have it end now, with what it has measured."""

    def result(self) -> dict[str, Any]:
        """Wait for its end; give its tally, as JSON."""

    def release(self) -> None:
        """Let it close its connection: what it has sent is there, or not waited for."""

    def wait(self) -> None:
        """Wait for its end."""

    def kill(self) -> None:
        """Leave nothing of it behind."""


class GreenClient:
    """A client in a greenlet; it is its own giver of orders."""

    def __init__(self, context: zmq.Context[Any], job: Job) -> None:
        self._is_ready, self._started, self._released = Event(), Event(), Event()
        self._tally: Tally | None = None
        self._has_tally = Event()
        self._greenlet = gevent.spawn(measure, green, context, job, self)

    def wait_for_start(self) -> None:
        self._is_ready.set()
        self._started.wait()

    def finish(self, tally: Tally) -> None:
        self._tally = tally
        self._has_tally.set()
        self._released.wait()

    def wait_until_ready(self) -> bool:
        self._wait_for(self._is_ready, self._has_tally)
        return self._tally is None

    def start(self) -> None:
        self._started.set()

    def stop(self) -> None:
        if self._tally is None:
            self._greenlet.kill(Interrupted(signal.SIGINT), block=False)

    def result(self) -> dict[str, Any]:
        self._wait_for(self._has_tally)
        assert self._tally is not None
        return self._tally.to_json()

    def release(self) -> None:
        self._released.set()

    def wait(self) -> None:
        self._greenlet.join()

    def kill(self) -> None:
        self._greenlet.kill()

    def _wait_for(self, *events: Event) -> None:
        gevent.wait([*events, self._greenlet], count=1)  # type: ignore[type-var]
        if self._greenlet.exception:
            raise self._greenlet.exception


class ProcessClient:
    def __init__(self, job: Job) -> None:
        # -P: nothing is imported from wherever we are. A session of its own: the terminal's Ctrl-C is for us.
        command = [sys.executable, "-P", "-m", "gtool.pingpong.process"]
        pipe = subprocess.PIPE
        try:
            process: Any = subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True, bufsize=0)
        except OSError as error:
            raise GtoolError(f"cannot start a client's process: {error.strerror}", "use fewer --clients") from error
        self._process = process
        self._stdin: Any = FileObjectPosix(process.stdin.fileno(), "wb", closefd=False)
        self._stdout: Any = FileObjectPosix(process.stdout.fileno(), "rb", closefd=False)
        self._line = b"\n"  # the last one of those that it has said
        self._say(simplejson.dumps(job.to_json()).encode())

    def wait_until_ready(self) -> bool:
        self._line = self._stdout.readline()
        return self._line == b"\n"

    def start(self) -> None:
        self._say(b"start")

    def stop(self) -> None:
        self._say(b"stop")

    def result(self) -> dict[str, Any]:
        while self._line == b"\n":
            self._line = self._stdout.readline()
        if self._line.startswith(b"{"):
            document: dict[str, Any] = simplejson.loads(self._line)
            return document
        self.kill()
        tally = Tally()
        tally.fail(GtoolError(f"a client's process has ended with {self._process.returncode}, and no result"))
        return tally.to_json()

    def release(self) -> None:
        self._hang_up()

    def wait(self) -> None:
        wait_for_end(self._process, None)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._hang_up()
        for file in (self._stdout, self._process.stdout):
            file.close()

    def _say(self, line: bytes) -> None:
        with suppress(OSError):  # it has ended, which its result tells
            self._stdin.write(line + b"\n")
            self._stdin.flush()

    def _hang_up(self) -> None:
        for file in (self._stdin, self._process.stdin):
            with suppress(OSError):  # what it has not been told before is told no more
                file.close()


def run_together(clients: list[Client], tally: Tally) -> None:
    """Start them once all are ready; what they measure is added up, also when a signal ends it: Interrupted.

    Where one ends early, so do the others.
    """
    readings: list[Reading] = []
    try:
        if all(client.wait_until_ready() for client in clients):
            for client in clients:
                client.start()
        else:
            _stop(clients)
        readings += [gevent.spawn(client.result) for client in clients]
        for reading in gevent.iwait(readings):
            if reading.get()["error"] is not None:
                _stop(clients)
    except Interrupted:
        _stop(clients)
        readings = readings or [gevent.spawn(client.result) for client in clients]
        gevent.wait(readings, timeout=LAST_WORD_S)
        raise
    finally:
        _add_up(readings, tally)


def close(clients: list[Client]) -> None:
    """Give them a moment to end by themselves, all together."""
    for client in clients:
        client.release()
    with gevent.Timeout(END_S, False):  # type: ignore[arg-type]
        for client in clients:
            client.wait()
    for client in clients:
        client.kill()


def _stop(clients: list[Client]) -> None:
    for client in clients:
        client.stop()


def _add_up(readings: list[Reading], tally: Tally) -> None:
    """Add up what they have measured. The error is that of one who has failed, not of those stopped for it."""
    results = [reading.get() if reading.ready() else _silent(reading) for reading in readings]
    for result in sorted(results, key=lambda result: result["exit_code"] == STOPPED):
        tally.fail_as(result)
    for result in results:
        tally.add(result)


def _silent(reading: Reading) -> dict[str, Any]:
    """Wait no longer for a client's result."""
    reading.kill()
    tally = Tally()
    tally.fail(GtoolError("a client has not ended in time"))
    return tally.to_json()
