"""Where a reader wants to begin: what it says in the query, or in Last-Event-ID when an event stream comes back."""

from __future__ import annotations

from typing import NamedTuple

from gtool.streams.log import Cursor, Log, oldest_cursor, parse_cursor
from gtool.streams.subscription import Since
from gtool.web.request import query_of
from gtool.web.respond import CLOSE, Environ, Refused

NOWHERE = Cursor("", 0)  #: an id that is of no use: its reader is told so, and begins anew


class Wish(NamedTuple):
    since: Since
    cursor: Cursor  #: after which the reader begins, if it can be given what it asks for


def wish_of(environ: Environ, log: Log) -> Wish:
    """Read what a reader asks for; with nothing said, what comes from now on. Refused for an id that is none."""
    last = environ.get("HTTP_LAST_EVENT_ID", "")
    text = last or query_of(environ).get("since", [""])[-1]
    # From here on: what comes up until the answer is on its way is not missed.
    now = Cursor(log.epoch, log.newest_offset)
    if text == "all":
        return Wish("all", oldest_cursor(log))
    try:
        since = parse_cursor(text) if text else now
    except ValueError as error:
        if last:  # a browser would not come back after an error
            return Wish(NOWHERE, now)
        raise Refused("400 Bad Request", f"since: {error}, or 'all'", [CLOSE]) from error
    return Wish(since, since)
