"""Delivery from the log to all who read: WebSockets and event streams alike, each from its own place in the log."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

from gevent.event import Event
from gevent.hub import get_hub

from gtool.live.encoder import Encoder, Note, Pieces, View
from gtool.live.fanout import Fanout
from gtool.live.reader import Bounds, Reader, Stream
from gtool.streams.burst import Burst
from gtool.streams.log import Entry, Log
from gtool.streams.subscription import Since

CHECK_S = 1.0


class Delivery:
    """One worker's readers."""

    def __init__(
        self,
        log: Log,
        bounds: Bounds,
        on_dropped: Callable[[int], None],
        anew: Callable[[frozenset[str] | None], Since] = lambda _: "all",
    ) -> None:
        """`on_dropped` is told how many messages a slow reader is not given.

        `anew` says after what one begins, by its topics, that can't go on: a place that there is. May be Unavailable.
        """
        self.log = log
        self.anew = anew
        self.bounds = bounds
        self.on_dropped = on_dropped
        self.is_over = False
        self.has_let_go = False
        self._burst = Burst(log)
        self._waiters: set[Event] = set()
        self._pieces: WeakValueDictionary[Hashable, Pieces] = WeakValueDictionary()
        self._encoders: WeakValueDictionary[View, Encoder] = WeakValueDictionary()  # for as long as there are readers
        self._readers: dict[Reader, frozenset[str] | None] = {}  # and the topics of each
        #: by topics; the one for all topics is always there: pace() waits on it, so a source gives way even without
        #: readers
        self._fanouts: dict[frozenset[str] | None, Fanout] = {None: Fanout()}
        self._lasts: dict[frozenset[str], tuple[int, int]] = {}  # the last two entries of some topics: their numbers
        log.listen(self._appended)
        self._timer: Any = get_hub().loop.timer(CHECK_S, CHECK_S, ref=False)
        self._timer.start(self.check)

    def open(self, stream: Stream, view: View, since: Since) -> Reader:
        """Have a stream be given what comes after a place in the log. It is the stream's listener from now on.

        One that can't be given all of that is told so, and begins anew.
        """
        encoder = self._encoders.get(view)
        if encoder is None:
            pieces = self._pieces.setdefault(view.look, Pieces())
            encoder = self._encoders[view] = Encoder(self.log, view, pieces)
        topics = encoder.view.topics  # one set for all who have the same view
        fanout = self._enter(topics)
        reader = Reader(self, stream, encoder, since, fanout)
        self._readers[reader] = topics
        fanout.add(reader)
        return reader

    def forget(self, reader: Reader) -> None:
        self._leave(self._readers.pop(reader), reader)

    def pace(self, size: int) -> None:
        """Before a message of that size: wait, if need be, until all who take it have been given what there is."""
        if not self._burst.has_room(size):
            for fanout in list(self._fanouts.values()):
                fanout.wait()
            self._burst.begin()

    @contextmanager
    def waiting(self, topics: frozenset[str] | None) -> Iterator[Event]:
        """Have an event be set whenever something of these topics comes, and at the end."""
        waiter = _Waiter()
        self._enter(topics).add(waiter)
        self._waiters.add(waiter.event)
        try:
            yield waiter.event
        finally:
            self._waiters.remove(waiter.event)
            self._leave(topics, waiter)

    def tell(self, topic: str, note: Note) -> None:
        """Say something that is no message to all who read a topic."""
        encoded: dict[View, bytes] = {}
        for reader, topics in list(self._readers.items()):
            if topics is None or topic in topics:
                reader.tell(note, encoded)

    def let_go(self) -> None:
        """Have those who wait in greenlets do so no more."""
        self.has_let_go = True
        for waiter in list(self._waiters):
            waiter.set()

    def end(self) -> None:
        """Close each reader once it has all that there is."""
        self.is_over = True
        for fanout in self._fanouts.values():
            fanout.wake()

    def check(self) -> None:
        """See to those who wait for something, or have not read for a while; every CHECK_S by itself."""
        for reader in list(self._readers):
            reader.check()

    def close(self) -> None:
        self._timer.close()
        self.log.forget(self._appended)
        for fanout in self._fanouts.values():
            fanout.close()

    def _enter(self, topics: frozenset[str] | None) -> Fanout:
        if topics not in self._fanouts:
            self._fanouts[topics] = Fanout()
            if topics is not None:
                self._lasts[topics] = (self.log.newest, self.log.newest)
        return self._fanouts[topics]

    def _leave(self, topics: frozenset[str] | None, one: Reader | _Waiter) -> None:
        fanout = self._fanouts[topics]
        fanout.remove(one)
        if not fanout and topics is not None:
            fanout.close()
            del self._fanouts[topics], self._lasts[topics]

    def skip_others(self, topics: frozenset[str], position: int) -> int:
        """Give the position of a reader of these topics, past what is known to be of others."""
        before, last = self._lasts[topics]
        if position >= last:
            return self.log.newest
        return max(position, last - 1) if position >= before else position

    def _appended(self, entry: Entry) -> None:
        for topics, fanout in self._fanouts.items():
            if topics is None or entry.topic in topics:
                if topics is not None:
                    self._lasts[topics] = (self._lasts[topics][1], entry.number)
                fanout.wake()


class _Waiter:
    """One who waits in a greenlet."""

    def __init__(self) -> None:
        self.event = Event()

    def pull(self) -> None:
        self.event.set()
