"""`gtool chat-tail`: its options, and how they become settings."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click

from gtool.commands.chat_options import server, server_of
from gtool.commands.complete import rooms
from gtool.commands.options import Command, option, under
from gtool.commands.types import DURATION
from gtool.commands.web_options import FILE, client_context
from gtool.errors import UsageError
from gtool.units import parse_duration

EXIT_STATUS = (
    "0; 1 a gap (--strict), 2 usage, 4 too few messages in time, none that --until waits for, or the server "
    "has gone, 5 it can't be connected to, 23 the state can't be written, 26 it can't be read, 130 "
    "interrupted, 141 stdout closed."
)
EXAMPLES = (
    "gtool chat-tail builds --until '^deployed' --timeout 30m && ./smoke-test",
    "gtool chat-tail builds lunch --json --state chat.id --timeout 50s | jq -r .text",
    "gtool chat-tail alerts --exec ./page-somebody",
)


@click.command("chat-tail", cls=Command, exit_status=EXIT_STATUS, examples=EXAMPLES)
@click.argument("rooms", nargs=-1, required=True, metavar="ROOM...", shell_complete=rooms)
@under(
    "When to end",
    option("-n", "--count", type=click.IntRange(1), metavar="N", help="After N messages."),
    option("--timeout", type=DURATION, metavar="TIME", help="After so long; exit 4 if nothing came, or less than N."),
    option("--until", metavar="REGEX", help="After a message whose text matches; exit 4 if none does in time."),
    option("--no-reconnect", is_flag=True, help="When the connection ends. Without it, connect again and resume."),
    option("--strict", "is_strict", is_flag=True, help="When messages were lost: exit 1."),
)  # fmt: skip
@under(
    "Where to begin",
    option("--since", metavar="ID|TIME|all",
           help="After the message with this id, from so long ago (1h), or with the first."),
    option("--state", type=FILE, metavar="FILE", help="Keep the last id there, and go on from it the next time."),
)  # fmt: skip
@under(
    "Output",
    option("--json", "is_json", is_flag=True, help="A JSON object per message: id, time, room, user, text."),
    option("--exec", "command", metavar="CMD",
           help="Run it for each message, without a shell, with GTOOL_CHAT_ID, _TIME, _ROOM, _USER and _TEXT."),
)  # fmt: skip
@under(
    "Where",
    *server_of("CHAT_TAIL"),
    option("--connect-timeout", type=DURATION, default="10s", metavar="TIME", help="For a connection to stand."),
)
def chat_tail(**options: Any) -> None:
    """Show what is said in rooms of a chat, a message a line.

    Nothing is missed: a connection that ends is taken up where it stopped.
    """
    from gtool.chat.messages import SUBPROTOCOL
    from gtool.chat.output import Messages, stream_url
    from gtool.chat.received import ChatLanguage
    from gtool.live.state import read_state
    from gtool.live.tail import Tail
    from gtool.live.terms import Settings
    from gtool.runtime import lifecycle
    from gtool.web.handshake import Wanted, parse_url

    where = server(options)
    url, place = parse_url(stream_url(where, options["rooms"]))
    since = _since(options["since"])
    until = _regex(options["until"])
    command = _words(options["command"])
    settings = Settings(
        Wanted(url, tuple(where.headers.items()), None, (SUBPROTOCOL,)),
        place,
        client_context(options, place.is_tls),
        connect_timeout=options["connect_timeout"] or None,
        most=options["count"],
        timeout=options["timeout"] or None,
        since=(read_state(options["state"]) if options["state"] else None) or since,
        reconnects=not options["no_reconnect"],
        is_strict=options["is_strict"],
        awaits="no message that matches" if until else "",
    )
    output = Messages(options["is_json"], command, until, options["state"])
    try:
        lifecycle.run(lambda: Tail(settings, output, ChatLanguage()).run())
    finally:
        output.close()


def _since(text: str | None) -> str | None:
    """Give what the server understands: an id, all, or -SECONDS. UsageError."""
    from gtool.streams.log import parse_cursor

    if text is None or text == "all":
        return text
    try:
        return f"-{parse_duration(text):.3f}"
    except ValueError:
        pass
    try:
        return str(parse_cursor(text))
    except ValueError as error:
        raise UsageError(f"--since: {error}, or a time such as 1h, or 'all'") from error


def _regex(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"--until: {text!r} is no regular expression: {error}") from error


def _words(command: str | None) -> list[str]:
    try:
        words = shlex.split(command or "")
    except ValueError as error:
        raise UsageError(f"--exec: {error}") from error
    if command is not None and not words:
        raise UsageError("--exec: a command is wanted")
    return words
