"""One stream's way through the log: it is given what comes next whenever it takes it, and told what it has missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from gtool.live.encoder import Encoder, Note, View
from gtool.streams.log import Cursor, Log, Unavailable
from gtool.streams.subscription import Since, Slow, Subscription, TooSlow
from gtool.web.channel import Channel
from gtool.web.fanout import Fanout

AWAITED_S = 10  #: that a reader waits for messages which it has had elsewhere, and we have not
BATCHES = 16  #: that a reader is given in one turn
TOLD_PER_LOG = 8  #: times that a reader is told how far it is, at least, while the log changes once
TRY_AGAIN_LATER = 1013  # registered with IANA for RFC 6455 section 11.7
NORMAL = 1000
TOO_SLOW = "too slow: resume with ?since="
OVER = "the feed has ended"


class Bounds(NamedTuple):
    """What may wait for a reader, and what is done about one that is too slow."""

    slow: Slow = "drop"
    most_bytes: int = 1 << 20


class Readers(Protocol):
    """All who read the same log, as one of them knows them."""

    log: Log
    bounds: Bounds
    on_dropped: Callable[[int], None]
    is_over: bool

    def skip_others(self, topics: frozenset[str], position: int) -> int: ...

    def forget(self, reader: Reader) -> None: ...


class Stream(Protocol):
    """A WebSocket, or an event stream."""

    channel: Channel

    @property
    def is_open(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class Reader:
    """One stream's way through the log."""

    __slots__ = ("_awaited_s", "_delivery", "_encoder", "_fanout", "_passed", "_subscription", "_told", "stream")

    def __init__(self, delivery: Readers, stream: Stream, encoder: Encoder, since: Since, fanout: Fanout) -> None:
        self._delivery = delivery
        self._fanout = fanout
        self._encoder = encoder
        self._subscription = Subscription(delivery.log, since)
        self._told = 0  # of what it has lost
        self._passed = 0  # since it was last told an id
        self._awaited_s = 0
        self.stream = stream

    def begin(self) -> None:
        """Give it what it came back for, or say that this can't be done."""
        log = self._delivery.log
        if not self._subscription.is_recovered:
            self.stream.write(self._encoder.note({"recovered": False, "oldest": oldest_id(log)}))
        self.pull()

    def check(self) -> None:
        """See to this reader, once a second, if it waits for something."""
        if self._subscription.is_awaited():
            self._awaited_s += 1
            if self._awaited_s > AWAITED_S:
                self._subscription.give_up()
                self.begin()
        elif self.stream.channel.waiting and self.stream.is_open:
            self.keep_up()
        elif self._subscription.has_more:
            self.pull()  # past what is of other topics, which has waked nobody

    def tell(self, note: Note, encoded: dict[View, bytes] | None = None) -> None:
        """Say what is no message, and of no use later: not to one that does not keep up.

        `encoded` has it as others of the same view are told it.
        """
        if self.stream.is_open and not self.stream.channel.waiting:
            known = {} if encoded is None else encoded
            if self._encoder.view not in known:
                known[self._encoder.view] = self._encoder.note(note)
            self.stream.write(known[self._encoder.view])

    def pull(self) -> None:
        stream, subscription = self.stream, self._subscription
        channel = stream.channel
        if subscription.is_awaited():
            return
        self._skip_others()
        for _ in range(BATCHES):
            if channel.waiting or not stream.is_open:
                return
            if subscription.position < self._delivery.log.oldest - 1:
                self._skip_what_is_gone()
            if self._told < subscription.lost:
                stream.write(self._encoder.note({"dropped": subscription.lost - self._told}))
                self._told = subscription.lost
            try:
                data, position = self._encoder.next(subscription.position)
            except Unavailable as error:
                stream.close(TRY_AGAIN_LATER, str(error))
                return
            if position == subscription.position:
                if self._delivery.is_over:
                    stream.close(NORMAL, OVER)
                return
            passed = position - subscription.position
            subscription.position = position
            if data:
                channel.connection.messages += passed
                self._passed = 0
                stream.write(data)
            else:
                self._pass_over(passed)
        self._fanout.again(self)

    def _skip_others(self) -> None:
        """Pass over what is of other topics, which has waked nobody: the log may have dropped it by now."""
        topics, before = self._encoder.view.topics, self._subscription.position
        if topics is not None and self._subscription.has_more:
            self._subscription.position = self._delivery.skip_others(topics, before)
            self._pass_over(self._subscription.position - before)

    def _pass_over(self, count: int) -> None:
        """Tell now and then how far it is: else what is of other topics would make its last id too old to come back."""
        self._passed += count
        log = self._delivery.log
        if self._passed > log.most // TOLD_PER_LOG:
            self._passed = 0
            for entry in log.read(self._subscription.position - 1, 1):
                self.stream.write(self._encoder.note({"cursor": str(Cursor(log.epoch, entry.offset))}))

    def _skip_what_is_gone(self) -> None:
        """Pass over what the log has lost: this reader has taken all that it was given."""
        before = self._subscription.lost
        self._subscription.skip_what_is_gone()
        self._delivery.on_dropped(self._subscription.lost - before)

    def keep_up(self) -> None:
        """Skip what is too much for it, or close it, as the bounds say."""
        self._skip_others()
        before = self._subscription.lost
        try:
            self._subscription.keep_up(self._delivery.bounds.most_bytes, self._delivery.bounds.slow)
        except TooSlow:
            if self.stream.is_open:
                self.stream.channel.connection.warn("a reader is too slow")
                self.stream.close(TRY_AGAIN_LATER, TOO_SLOW)
        if self._subscription.lost > before:
            self._delivery.on_dropped(self._subscription.lost - before)

    def drained(self) -> None:
        self.keep_up()
        self.pull()

    def message(self, message: object) -> None:
        """Take what a client says: nobody listens."""

    def closed(self) -> None:
        self._delivery.forget(self)


def oldest_id(log: Log) -> str:
    """Give the id of the oldest message that is kept; where none is, of the place after which the next one comes."""
    entries = log.read(log.oldest - 1, 1)
    return str(Cursor(log.epoch, entries[0].offset if entries else log.newest_offset))
