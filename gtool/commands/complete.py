"""What TAB offers beside the names that click knows of: files, and the rooms of a chat."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from gtool.errors import GtoolError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

MOST_BYTES = 1 << 20  #: of an answer
ROOMS_S = 1.0  #: that a chat server has to answer in: somebody waits at a prompt


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell offer files."""
    from click.shell_completion import CompletionItem  # TAB only asks for it

    return [CompletionItem(incomplete, type="file")]


def rooms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the rooms of the chat server that is meant; nothing where it does not say."""
    from http.client import HTTPException

    from click.shell_completion import CompletionItem

    try:
        with _deadline(ROOMS_S):
            names = _rooms(ctx)
    except (OSError, ValueError, LookupError, TypeError, HTTPException, GtoolError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the time is up, whatever is waited for; in the main thread."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _rooms(ctx: click.Context) -> list[str]:
    import simplejson

    from gtool.chat.remote import connection_to
    from gtool.commands.chat_options import server
    from gtool.commands.web_options import client_context

    asked = server(ctx.params)
    context = client_context(ctx.params, is_tls=asked.url.startswith("https:"))
    connection = connection_to(asked, context)
    try:
        connection.request("GET", asked.path("api", "rooms"), headers=asked.headers)
        document = simplejson.loads(connection.getresponse().read(MOST_BYTES))
    finally:
        connection.close()
    return [str(room["name"]) for room in document["rooms"]]
