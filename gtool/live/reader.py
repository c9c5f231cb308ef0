"""One stream's way through the log: it is given what comes next whenever it takes it, and told what it has missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gtool.live.encoder import Encoder, Note, View
from gtool.live.fanout import Fanout
from gtool.streams.log import Cursor, Unavailable, oldest_cursor
from gtool.streams.subscription import Since, Slow, Subscription, TooSlow
from gtool.web.channel import Channel
from gtool.web.frames import NORMAL, TRY_AGAIN_LATER

if TYPE_CHECKING:
    from gtool.live.delivery import Delivery

AWAITED = 10  #: checks that a reader waits for messages which it has had elsewhere, and we have not
BATCHES = 16  #: that a reader is given in one turn
TOLD_PER_LOG = 8  #: times that a reader is told how far it is, at least, while the log changes once
TOO_SLOW = "too slow: resume with ?since="
OVER = "the feed has ended"


class Bounds(NamedTuple):
    """What may wait for a reader, and what is done about one that is too slow."""

    slow: Slow = "drop"
    most_bytes: int = 1 << 20


class Stream(Protocol):
    """A WebSocket, or an event stream."""

    channel: Channel

    @property
    def is_open(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class Reader:
    """One stream's way through the log."""

    __slots__ = (
        "_awaited",
        "_delivery",
        "_encoder",
        "_fanout",
        "_passed",
        "_subscription",
        "_told",
        "stream",
    )

    def __init__(self, delivery: Delivery, stream: Stream, encoder: Encoder, since: Since, fanout: Fanout) -> None:
        self._delivery = delivery
        self._fanout = fanout
        self._encoder = encoder
        self._subscription = Subscription(delivery.log, since)
        self._told = 0  # of what it has lost
        self._passed = 0  # since it was last told an id
        self._awaited = 0
        self.stream = stream

    def begin(self) -> None:
        """Give it what it came back for, or say that this can't be done."""
        self._attempt(self._begin)

    def check(self) -> None:
        """See to this reader, if it waits for something."""
        self._attempt(self._check)

    def pull(self) -> None:
        """Give it what there is, as far as the stream takes it."""
        self._attempt(self._pull)

    def drained(self) -> None:
        self._attempt(self._drained)

    def tell(self, note: Note, encoded: dict[View, bytes] | None = None) -> None:
        """Say what is no message, and of no use later: not to one that does not keep up.

        `encoded` has it as others of the same view are told it.
        """
        if self.stream.is_open and not self.stream.channel.waiting:
            known = {} if encoded is None else encoded
            if self._encoder.view not in known:
                known[self._encoder.view] = self._encoder.view.note(note)
            self.stream.write(known[self._encoder.view])

    def message(self, message: object) -> None:
        """Take what a client says: nobody listens."""

    def closed(self) -> None:
        self._delivery.forget(self)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Do what reads the log; where that can't be read just now, have the reader come back later."""
        try:
            step()
        except Unavailable as error:
            if self.stream.is_open:
                self.stream.close(TRY_AGAIN_LATER, str(error))

    def _begin(self) -> None:
        if not self._subscription.is_recovered:
            self._begin_anew()
        self._pull()

    def _begin_anew(self) -> None:
        view, delivery = self._encoder.view, self._delivery
        self._subscription.begin_anew(delivery.anew(view.topics))
        self.stream.write(view.note({"recovered": False, "oldest": str(oldest_cursor(delivery.log))}))

    def _check(self) -> None:
        if self._subscription.is_awaited():
            self._awaited += 1
            if self._awaited > AWAITED:
                self._begin_anew()
                self._pull()
        elif self.stream.channel.waiting and self.stream.is_open:
            self._keep_up()
        elif self._subscription.has_more:
            self._pull()  # past what is of other topics, which has waked nobody

    def _drained(self) -> None:
        self._keep_up()
        self._pull()

    def _pull(self) -> None:
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
                stream.write(self._encoder.view.note({"dropped": subscription.lost - self._told}))
                self._told = subscription.lost
            data, position = self._encoder.next(subscription.position)
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
                self.stream.write(self._encoder.view.note({"cursor": str(Cursor(log.epoch, entry.offset))}))

    def _skip_what_is_gone(self) -> None:
        """Pass over what the log has lost: this reader has taken all that it was given."""
        before = self._subscription.lost
        self._subscription.skip_what_is_gone()
        self._delivery.on_dropped(self._subscription.lost - before)

    def _keep_up(self) -> None:
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
