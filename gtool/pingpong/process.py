"""A client in a process of its own, on the blocking engine: `python -m gtool.pingpong.process`.

stdin brings the job, a line of JSON, then `start`, and maybe `stop`; its end says to close the connection, all the more
if nothing was said before. stdout gets an empty line when the client is ready, then its tally, a line of JSON.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

import simplejson
import zmq

from gtool.errors import Interrupted
from gtool.pingpong import blocking
from gtool.pingpong.client import measure
from gtool.pingpong.job import Job
from gtool.pingpong.tally import Tally

START = b"start\n"
STOP = signal.SIGTERM
STOP_AGAIN_S = 0.05  #: a signal that comes just before a wait does not end it


class _Orders:
    """What comes on stdin after the job, read by a thread."""

    def __init__(self) -> None:
        self._started, self._ended = threading.Event(), threading.Event()
        self._is_finished = threading.Event()
        self._is_stopped = False
        self._main = threading.get_ident()
        signal.signal(STOP, self._stop)
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_start(self) -> None:
        _say("")
        self._started.wait()

    def finish(self, tally: Tally) -> None:
        self._is_finished.set()
        signal.signal(STOP, signal.SIG_IGN)
        _say(simplejson.dumps(tally.to_json()))
        self._ended.wait()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            if line == START:
                self._started.set()
            else:
                self._interrupt()
        self._ended.set()
        self._interrupt()

    def _interrupt(self) -> None:
        while not self._is_finished.wait(STOP_AGAIN_S):
            signal.pthread_kill(self._main, STOP)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_stopped and not self._is_finished.is_set():
            self._is_stopped = True
            raise Interrupted(signal.SIGINT)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # whoever has started us tells us on stdin
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if line:
        context = zmq.Context()  # which has to live as long as we do
        measure(blocking, context, Job.from_json(simplejson.loads(line)), _Orders())
    os._exit(0)  # as gtool does; the thread is not waited for


def _say(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    main()
