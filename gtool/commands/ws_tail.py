"""`gtool ws-tail`: its options, and how they become settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from gtool.commands.options import Command, option, under
from gtool.commands.types import DURATION, SIZE
from gtool.commands.web_options import FILE, client_context, client_tls, secret
from gtool.errors import UsageError

EXIT_STATUS = (
    "0; 1 a gap (--strict), 2 usage, 4 too few messages in time, or the server has gone, 5 it can't be "
    "connected to, 23 an output can't be written, 26 an input can't be read, 130 interrupted, 141 stdout "
    "closed."
)
EXAMPLES = (
    "gtool ws-tail ws://127.0.0.1:10000/ --count 3",
    "gtool ws-tail ws://127.0.0.1:10000/ --since all --json | jq -r .data",
    "gtool ws-tail wss://feed.example.com/ --state feed.id --timeout 50s >> feed.log",
)


@click.command("ws-tail", cls=Command, exit_status=EXIT_STATUS, examples=EXAMPLES)
@click.argument("url")
@under(
    "When to end",
    option("-n", "--count", type=click.IntRange(1), metavar="N", help="After N messages."),
    option("--timeout", type=DURATION, metavar="TIME", help="After so long; exit 4 if nothing came, or less than N."),
    option("--no-reconnect", is_flag=True, help="When the connection ends. Without it, connect again and resume."),
    option("--strict", "is_strict", is_flag=True, help="When messages were lost: exit 1."),
)  # fmt: skip
@under(
    "Where to begin",
    option("--since", metavar="ID|all", help="After the message with this id, or with all that the server keeps."),
    option("--state", type=FILE, metavar="FILE", help="Keep the last id there, and go on from it the next time."),
)  # fmt: skip
@under(
    "Output",
    option("--json", "is_json", is_flag=True, help="A JSON object per message: id, time, data (or base64)."),
    option("--binary-out", type=click.Path(file_okay=False), metavar="DIR",
           help="Write binary messages to files there, and their paths as lines. Else they are base64."),
)  # fmt: skip
@under(
    "Connection",
    option("--send", "sends", is_flag=True, help="Send each line of stdin to the server."),
    option("-H", "--header", multiple=True, metavar="LINE", help="Send this header. Repeatable."),
    option("--token", metavar="SECRET",
           help="Send Authorization: Bearer SECRET. @FILE reads it there."),
    option("--origin", metavar="ORIGIN", help="Send this Origin, as a browser would."),
    option("--subprotocol", multiple=True, metavar="NAME", help="Offer this subprotocol. Repeatable."),
    option("--max-message", type=SIZE, default="16M", metavar="SIZE", help="Take no longer message."),
    option("--connect-timeout", type=DURATION, default="10s", metavar="TIME", help="For a connection to stand."),
    *client_tls("WS_TAIL"),
)  # fmt: skip
def ws_tail(**options: Any) -> None:
    """Show a WebSocket feed in the shell, a message a line.

    The server may be ws-feed or any other. Of ws-feed nothing is missed: a connection that ends is taken up where it
    stopped.
    """
    from gtool.feed.output import LineOutput
    from gtool.feed.tail import Tail
    from gtool.feed.view import SUBPROTOCOL
    from gtool.live.state import read_state
    from gtool.live.terms import Settings
    from gtool.runtime import lifecycle
    from gtool.web.handshake import Wanted, parse_url

    _check_subprotocols(options["subprotocol"])
    try:
        url, place = parse_url(options["url"])
    except ValueError as error:
        raise UsageError(str(error)) from error
    since = _since(options["since"])
    token = secret(options["token"])
    headers = [_header(line) for line in options["header"]]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    settings = Settings(
        Wanted(
            url, tuple(headers), options["origin"], options["subprotocol"] or (SUBPROTOCOL,), options["max_message"]
        ),
        place,
        client_context(options, place.is_tls),
        connect_timeout=options["connect_timeout"] or None,
        most=options["count"],
        timeout=options["timeout"] or None,
        since=(read_state(options["state"]) if options["state"] else None) or since,
        reconnects=not options["no_reconnect"],
        is_strict=options["is_strict"],
    )
    output = LineOutput(options["is_json"], options["binary_out"], options["state"])
    try:
        lifecycle.run(lambda: Tail(settings, output, options["sends"]).run())
    finally:
        output.close()


def _header(line: str) -> tuple[str, str]:
    from gtool.web.guard import TOKEN

    name, colon, value = line.partition(":")
    if not colon or not TOKEN.fullmatch(name) or not value.isprintable():
        raise UsageError(f"{line!r} is not a header such as 'Name: value'")
    return name, value.strip()


def _since(text: str | None) -> str | None:
    from gtool.streams.log import parse_cursor

    if text is None or text == "all":
        return text
    try:
        return str(parse_cursor(text))
    except ValueError as error:
        raise UsageError(f"--since: {error}, or 'all'") from error


def _check_subprotocols(names: Iterable[str]) -> None:
    from gtool.web.guard import TOKEN

    for name in names:
        if not TOKEN.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of a subprotocol")
