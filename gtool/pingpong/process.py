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
from gtool.pingpong.blocking import LOOK_S, Stoppable
from gtool.pingpong.client import measure
from gtool.pingpong.job import Job
from gtool.pingpong.tally import Tally

START = b"start\n"


class _Orders:
    """What comes on stdin after the job, read by a thread. SIGTERM is another way to say `stop`."""

    def __init__(self) -> None:
        self._started, self._ended = threading.Event(), threading.Event()
        self._is_to_stop = False
        self._has_stopped = False  # or is done
        signal.signal(signal.SIGTERM, self._stop)
        threading.Thread(target=self._read, daemon=True).start()

    def look(self) -> None:
        """Raise Interrupted if that was said; once, so that what follows can be done in peace."""
        if self._is_to_stop and not self._has_stopped:
            self._has_stopped = True
            raise Interrupted(signal.SIGINT)

    def wait_for_start(self) -> None:
        _say("")
        while not self._started.wait(LOOK_S):
            self.look()

    def finish(self, tally: Tally) -> None:
        self._has_stopped = True
        _say(simplejson.dumps(tally.to_json()))
        self._ended.wait()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            if line == START:
                self._started.set()
            else:
                self._is_to_stop = True
        self._is_to_stop = True
        self._ended.set()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_to_stop = True


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # whoever has started us tells us on stdin
        signal.signal(number, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if line:
        context = zmq.Context()  # which has to live as long as we do
        orders = _Orders()
        measure(Stoppable(orders.look), context, Job.from_json(simplejson.loads(line)), orders)
    os._exit(0)  # as gtool does; the thread is not waited for


def _say(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    main()
