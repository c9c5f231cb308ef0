"""What TAB offers beside the names that click knows of: files, and the rooms of a chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gtool.errors import GtoolError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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
        names = _rooms(ctx)
    except (OSError, ValueError, LookupError, TypeError, HTTPException, GtoolError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _rooms(ctx: click.Context) -> list[str]:
    import simplejson

    from gtool.chat.remote import connection_to
    from gtool.commands.chat_options import server
    from gtool.commands.web_options import client_context

    asked = server(ctx.params)
    context = client_context(ctx.params, is_tls=asked.url.startswith("https:"))
    connection = connection_to(asked, context, ROOMS_S)
    try:
        connection.request("GET", asked.path("api", "rooms"), headers=asked.headers)
        document = simplejson.loads(connection.getresponse().read())
    finally:
        connection.close()
    return [str(room["name"]) for room in document["rooms"]]
