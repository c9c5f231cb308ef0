"""A stream in the shell: hands on what comes, and goes on where it stopped when the connection ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit, urlunsplit

import gevent

from gtool.errors import BindError, GtoolError, OutputClosed, PeerGone
from gtool.live.terms import CURSOR_HEADER, Identified, Language, Output, Settings
from gtool.log import EventLog
from gtool.runtime.pauses import doubling
from gtool.streams.log import parse_cursor
from gtool.web.attempt import why_not
from gtool.web.client import Client, connect
from gtool.web.frames import (
    BROKEN,
    GOING_AWAY,
    INTERNAL_ERROR,
    NO_CODE,
    NORMAL,
    SERVICE_RESTART,
    TRY_AGAIN_LATER,
    Message,
)
from gtool.web.handshake import Rejected

log = EventLog("tail")

Result = TypeVar("Result")
Received = TypeVar("Received", bound=Identified)

FIRST_PAUSE_S = 0.5  #: before connecting again; doubled up to the longest, and a random part of it is waited
LONGEST_PAUSE_S = 15.0
STABLE_S = 10.0  #: a connection that has stood so long is a new beginning

FINAL = frozenset(range(400, 500)) - {408, 425, 429}  #: statuses that will be the same the next time
#: closings after which it is worth coming back
RETRIED = (None, GOING_AWAY, NO_CODE, BROKEN, INTERNAL_ERROR, SERVICE_RESTART, TRY_AGAIN_LATER)


class _End(NamedTuple):
    """How a connection has ended; `code` is that of a close frame, if one came."""

    why: str
    code: int | None = None


class _TimeIsUp(Exception):
    """There is no more time to wait for anything."""


class Tail(Generic[Received]):
    """One run."""

    def __init__(
        self,
        settings: Settings,
        output: Output[Received],
        language: Language[Received],
        use: Callable[[Client | None], None] = lambda client: None,
    ) -> None:
        """`use` is told which connection there is, and when there is none."""
        self._settings = settings
        self._language = language
        self._use = use
        self._output = output
        self._cursor = settings.since  # where to go on; None where the server has no ids
        self._has_ids = False
        self._has_enough = False
        self._count = 0
        self._client: Client | None = None
        self._deadline = None if settings.timeout is None else monotonic() + settings.timeout
        self._is_over = False

    def run(self) -> None:
        """Hand on messages until there are enough, the time is up, or the feed has ended.

        PeerGone if the time was too short or the server has gone; BindError if it can't be connected to; GtoolError for
        a gap, if there must be none.
        """
        self._watch_output()
        is_in_time = True
        try:
            self._follow()
        except _TimeIsUp:
            is_in_time = False
        finally:
            self._is_over = True
            if self._has_ids and self._cursor and ":" in self._cursor:  # an id, and not what was asked for
                self._output.keep(self._cursor, is_last=True)
            self._part()
        self._judge(is_in_time)

    def _watch_output(self) -> None:
        """End at once when nobody reads any more, even if nothing comes."""
        main = gevent.getcurrent()

        def closed() -> None:
            if not self._is_over:
                self._is_over = True
                main.throw(OutputClosed())

        self._output.when_closed(closed)

    def _within(self, wait: Callable[[], Result]) -> Result:
        """Wait for something, as long as there is time. A line that is being written is not cut short by it."""
        if self._deadline is None:
            return wait()
        with gevent.Timeout(max(0.0, self._deadline - monotonic()), _TimeIsUp):
            return wait()

    def _judge(self, is_in_time: bool) -> None:
        """Say whether that was what was wanted. PeerGone if it was less."""
        settings = self._settings
        if self._has_enough:
            return
        if settings.most is not None and self._count < settings.most:
            why = "the feed has ended" if is_in_time else "the time is up"
            raise PeerGone(f"{why} after {self._count} of {settings.most} messages")
        if settings.awaits:
            until = "until its end" if is_in_time else f"within {settings.timeout:g} s"
            raise PeerGone(f"{settings.awaits} {until}")
        if not is_in_time and not self._count:
            raise PeerGone(f"no message within {settings.timeout:g} s")

    def _follow(self) -> None:
        """Follow the feed over all its connections."""
        pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        is_first = True
        while True:
            begun_at = monotonic()
            end = self._follow_once(is_first)
            self._part()
            if end is None or end.code == NORMAL:
                return
            if not self._settings.reconnects or end.code not in RETRIED:
                code = f" ({end.code})" if end.code else ""
                raise PeerGone(f"{self._settings.place.name} has gone{code}: {end.why}")
            is_first = False
            if monotonic() - begun_at > STABLE_S:
                pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
            wait_s = next(pauses) * random.uniform(0.5, 1.0)
            log.notice("reconnecting", reason=end.why, after_s=round(wait_s, 1))
            self._within(partial(gevent.sleep, wait_s))

    def _follow_once(self, is_first: bool) -> _End | None:
        """Connect, and hand on messages; give how that has ended, None if there are enough of them.

        BindError if the first attempt to connect fails, or the server does not want us.
        """
        try:
            client = self._within(partial(self._connect, is_first))
        except (Rejected, OSError) as error:
            why = str(error) if isinstance(error, Rejected) else why_not(error)
            if is_first or (isinstance(error, Rejected) and error.status in FINAL):
                raise BindError(f"cannot connect to {self._settings.place.name}: {why}") from error
            return _End(why)
        try:
            if self._read(client):
                return None
        except OSError as error:
            return _End(why_not(error), client.close_code)
        return _End(client.close_reason or "the connection broke", client.close_code)

    def _part(self) -> None:
        """Let go of a connection, with a good-bye if it stands."""
        self._use(None)
        client, self._client = self._client, None
        if client:
            client.close()

    def _connect(self, is_first: bool) -> Client:
        settings = self._settings
        wanted = settings.wanted
        if self._cursor:
            wanted = wanted._replace(url=with_since(wanted.url, self._cursor))
        client = self._client = connect(wanted, settings.place, settings.tls, settings.connect_timeout)
        self._has_ids = client.handshake.subprotocol == self._language.subprotocol
        if self._has_ids:
            self._begin_after(client.handshake.header(CURSOR_HEADER))
        else:
            self._cursor = None
            if not is_first:
                self._gap("what came while we were away is lost: this server tells no ids")
        self._use(client)
        return client

    def _begin_after(self, told: str | None) -> None:
        """Remember where the server says that we begin, lest the next run begin later."""
        if told is not None and not (self._cursor and ":" in self._cursor):
            self._go_on_after(told)

    def _read(self, client: Client) -> bool:
        """Hand on what comes; True if that is enough."""
        messages = client.messages()
        while (message := self._within(partial(next, messages, None))) is not None:
            received = self._understand(message)
            if received is None:
                continue
            self._has_enough = self._output.write(received)
            self._count += 1
            if received.id:
                self._cursor = received.id
                self._output.keep(received.id)
            if self._has_enough or self._count == self._settings.most:
                return True
        return False

    def _understand(self, message: Message) -> Received | None:
        """Read a message; None for a note about the stream."""
        if not self._has_ids:
            return self._language.bare(message)
        try:
            received, note = self._language.open(message.data)
        except ValueError as error:
            raise PeerGone(f"{self._settings.place.name} sends what is {error}") from error
        if note.get("recovered") is False:
            self._gap(f"{self._cursor} can't be gone on from: what is kept comes after {note.get('oldest')}")
        elif "cursor" in note:
            self._go_on_after(note["cursor"])
        elif "dropped" in note:
            self._gap(f"{note['dropped']} messages were left out: we are too slow")
        return received

    def _go_on_after(self, told: object) -> None:
        """Take an id that comes without a message. PeerGone if it is none."""
        try:
            self._cursor = str(parse_cursor(str(told)))
        except ValueError as error:
            raise PeerGone(f"{self._settings.place.name} tells what is no id: {error}") from error
        self._output.keep(self._cursor)

    def _gap(self, what: str) -> None:
        if self._settings.is_strict:
            raise GtoolError(what, "run without --strict once, to go on")
        log.warning("gap", url=self._settings.place.name, what=what)


def with_since(url: str, cursor: str) -> str:
    """Put `since` into a URL's query, and leave the rest of it as it is: it may be signed."""
    parts = urlsplit(url)
    others = [pair for pair in parts.query.split("&") if pair and not pair.startswith("since=")]
    return urlunsplit(parts._replace(query="&".join([*others, f"since={cursor}"])))
