"""The other driver: a session over TLS or with faults, by two greenlets, one reading and one writing.

Between them stands a queue of answers with the time at which they were given. It is short: when it is full nothing is
read, and TCP's flow control stops the client.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, NamedTuple

import gevent
from gevent.event import Event
from gevent.queue import Queue

from gtool.echo.faults import After, Faults, Transit
from gtool.echo.services import LineTooLong, Session
from gtool.runtime.connection import Connection, why
from gtool.runtime.greenlets import FunctionDriver, Stream

MOST_ANSWERS = 4096  #: that faults may hold back
MOST_BYTES = 1 << 18  #: of theirs; then, as without faults, nothing is read


class _Answer(NamedTuple):
    given_at: float
    data: bytes


class _End(NamedTuple):
    reason: str
    is_broken: bool = False  #: nothing can be sent any more


class _TimeIsUp(Exception):
    def __init__(self, is_reset: bool) -> None:
        super().__init__(is_reset)
        self.is_reset = is_reset


class Conversation:
    """Serves one stream. `transit` is None where no faults are met."""

    def __init__(
        self, stream: Stream, session: Session, max_bytes: int | None, faults: Faults, transit: Transit | None
    ) -> None:
        self._stream = stream
        self._session = session
        self._max_bytes = max_bytes
        self._transit = transit
        self._reset_after = (transit and faults.reset_after) or After()
        self._close_after = (transit and faults.close_after) or After()
        sizes = [after.size for after in (self._reset_after, self._close_after) if after.size is not None]
        self._limit = min(sizes, default=None)
        self._limit_resets = self._limit == self._reset_after.size
        self._answers: Queue[_Answer | _End] = Queue(MOST_ANSWERS if transit else 1)
        self._held = 0  # bytes of the answers in the queue
        self._has_room = Event()
        self._begun_at = monotonic()

    def run(self) -> str:
        """Serve to the end; give the reason for it. OSError if the connection broke while we sent."""
        reader = gevent.spawn(self._read)
        try:
            with (
                gevent.Timeout(self._reset_after.seconds, _TimeIsUp(is_reset=True)),
                gevent.Timeout(self._close_after.seconds, _TimeIsUp(is_reset=False)),
            ):
                end = self._write()
        except _TimeIsUp as fault:
            end = self._fault(fault.is_reset)
        finally:
            reader.kill()
        if not end.is_broken:
            self._stream.finish()
        return end.reason

    def _read(self) -> None:
        try:
            end = self._answer_all()
        except OSError as error:
            end = _End(why(error), is_broken=True)
        self._answers.put(end)

    def _answer_all(self) -> _End:
        connection = self._stream.connection
        while data := self._stream.read():
            connection.messages += 1
            excess = connection.received - self._max_bytes if self._max_bytes is not None else 0
            try:
                self._put(self._session.receive(data[:-excess] if excess > 0 else data))
            except LineTooLong as error:
                connection.warn(str(error))
                self._put(error.answer)
                return _End(str(error))
            if excess > 0:
                self._put(self._session.end())
                return _End("max bytes")
        self._put(self._session.end())
        return _End("closed")

    def _put(self, data: bytes) -> None:
        if not data:
            return
        self._held += len(data)
        self._answers.put(_Answer(monotonic(), data))
        while self._held > MOST_BYTES:
            self._has_room.clear()
            self._has_room.wait()

    def _write(self) -> _End:
        if self._limit == 0:
            return self._fault(self._limit_resets)
        greeting = self._session.greet()
        if greeting and (fault := self._send(_Answer(monotonic(), greeting))):
            return fault
        if self._session.closes_after_greeting:
            return _End("served")
        while True:
            if more := self._session.more():
                item: _Answer | _End = _Answer(self._begun_at, more)  # as if it had been said from the start
            else:
                item = self._answers.get()
            if isinstance(item, _End):
                return item
            if fault := self._send(item):
                return fault
            if not more:
                self._held -= len(item.data)
                self._has_room.set()

    def _send(self, answer: _Answer) -> _End | None:
        """Send an answer piece by piece, each when it is due; give the end if a fault makes one."""
        if self._transit is None:
            self._stream.write(answer.data)
            return None
        for due, piece in self._transit.pieces(answer.data, answer.given_at):
            self._wait_until(due)
            self._stream.write(piece if self._limit is None else piece[: self._limit - self._sent])
            if self._sent == self._limit:
                return self._fault(self._limit_resets)
        return None

    @property
    def _sent(self) -> int:
        return self._stream.connection.sent

    def _wait_until(self, due: float) -> None:
        connection = self._stream.connection
        while (seconds := due - monotonic()) > 0:
            connection.active_at = due  # what we hold back is no idleness of the peer
            gevent.sleep(seconds)

    def _fault(self, is_reset: bool) -> _End:
        if is_reset:
            self._stream.reset()
        return _End("fault: reset" if is_reset else "fault: closed", is_broken=is_reset)


def converse(
    connection: Connection, sock: Any, session: Session, max_bytes: int | None, faults: Faults, transit: Transit | None
) -> None:
    """Drive a connection by a conversation."""
    FunctionDriver(connection, sock, lambda stream: Conversation(stream, session, max_bytes, faults, transit).run())
