"""`gtool ws-feed`: its options, and how they become settings."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.core import ParameterSource

from gtool.commands.options import Command, option, under
from gtool.commands.redis_options import redis_location
from gtool.commands.server_options import EXIT_STATUS, SIGNALS, plan, server_options
from gtool.commands.types import DURATION, SIZE
from gtool.commands.web_options import SITE, base_path, check_web, guard, secret
from gtool.errors import ReadError, UsageError

DEFAULT = "127.0.0.1:10000"
EXAMPLES = (
    "gtool ws-feed",
    "tail -f /var/log/syslog | gtool ws-feed --stdin",
    "gtool ws-feed --command 'vmstat 1' --restart",
)


@click.command("ws-feed", cls=Command, notes=SIGNALS, exit_status=EXIT_STATUS, examples=EXAMPLES)
@under(
    "Source, one of these; without any, a random walk",
    option("--interval", type=DURATION, default="500ms", metavar="TIME", help="Of the random walk; 0 is flat out."),
    option("--seed", type=int, metavar="N", help="Have the same random walk again."),
    option("--stdin", "is_stdin", is_flag=True, help="Each line of stdin is a message."),
    option("--command", metavar="CMD", help="Each line that a shell command writes, on a terminal of its own."),
    option("--restart", is_flag=True, help="Start the command again when it ends, later each time it fails soon."),
    option("--source", metavar="URL", help="Follow a Redis stream: redis://HOST/DB?stream=NAME."),
    option("--echo", "is_echo", is_flag=True, help="Send each client its own messages back."),
    option("--publish", metavar="URL", help="Write the source into a Redis stream, and serve what stands there."),
    option("--at-eof", type=click.Choice(["stay", "close"]), default="stay",
           help="When the source ends: serve what there is, or close once all have it."),
)  # fmt: skip
@under(
    "Delivery",
    option("--backlog", type=click.IntRange(1), default=1000, metavar="N",
           help="Messages that are kept for those who resume with ?since=ID."),
    option("--backlog-size", type=SIZE, default="64M", metavar="SIZE", help="The most that they may take."),
    option("--slow", type=click.Choice(["latest", "drop", "close"]), default="drop",
           help="A client that does not keep up skips to the latest message, misses the oldest, or is closed."),
    option("--slow-size", type=SIZE, default="1M", metavar="SIZE", help="What may wait for a client until then."),
    option("--max-message", type=SIZE, metavar="SIZE",
           help="The longest message, or line.  [default: 1M; with --echo 16M]"),
)  # fmt: skip
@under(
    "Who may read",
    *SITE,
    option("--token", metavar="SECRET", help="Ask for it: Authorization: Bearer, or ?token=. @FILE reads it there."),
)
@server_options(DEFAULT)
@click.pass_context
def ws_feed(ctx: click.Context, /, **options: Any) -> int:
    """Feed any number of WebSocket clients from one producer.

    A client at ws://HOST:PORT/ gets each message, a browser at http://HOST:PORT/ a page with a live chart; /sse,
    /latest, /healthz and /metrics are there too. ?since=ID resumes, ?envelope=1 tells ids.
    """
    from gtool.feed.run import Settings, run
    from gtool.live.reader import Bounds

    _check(ctx, options)
    wanted = plan(options, DEFAULT, is_web=True)
    max_message = options["max_message"] or (16 << 20 if options["is_echo"] else 1 << 20)
    settings = Settings(
        guard=guard(options, wanted.listen, secret(options["token"])),
        bounds=Bounds(options["slow"], options["slow_size"]),
        backlog=options["backlog"],
        backlog_bytes=options["backlog_size"],
        max_message=max_message,
        base_path=base_path(options),
        is_echo=options["is_echo"],
        closes_at_end=options["at_eof"] == "close",
        head_timeout=options["handshake_timeout"] or None,
    )
    is_shared = options["source"] is not None or options["is_echo"]
    return run(wanted, settings, _supply(options, max_message), is_shared)


def _check(ctx: click.Context, options: dict[str, Any]) -> None:
    given = [
        f"--{name}"
        for name, is_given in (
            ("stdin", options["is_stdin"]),
            ("command", options["command"] is not None),
            ("source", options["source"] is not None),
            ("echo", options["is_echo"]),
        )
        if is_given
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are two sources: one is wanted")
    if any(ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("interval", "seed")) and given:
        raise UsageError(f"--interval and --seed are for the random walk, not for {given[0]}")
    if options["restart"] and options["command"] is None:
        raise UsageError("--restart is for --command")
    if options["publish"] is not None and (options["source"] is not None or options["is_echo"]):
        raise UsageError("--publish is for a source of our own: the walk, --stdin, --command")
    if options["max_message"] == 0:
        raise UsageError("--max-message of 0 would take no message")
    check_web(options)


def _supply(options: dict[str, Any], max_message: int) -> Any:
    """Give what makes the supply, in the process that is to have it."""
    from gtool.feed.supply import InRedis, Own

    open_source = _source(options, max_message)
    url = options["publish"] if options["source"] is None else options["source"]
    if url is None:
        return lambda: Own(open_source())
    location = redis_location(url)

    def in_redis() -> Any:
        source = open_source() if options["source"] is None else None
        return InRedis(location, source, options["backlog"], max_message)

    return in_redis


def _source(options: dict[str, Any], max_message: int) -> Any:
    """Give what opens the source of our own."""
    from gtool.feed import sources

    if options["is_echo"]:
        return sources.Nothing
    if options["command"] is not None:
        from gtool.feed.command import Command as CommandSource

        return lambda: CommandSource(options["command"], options["restart"], max_message)
    if options["is_stdin"]:
        if sys.stdin is None:
            raise ReadError("cannot read stdin: it is closed")
        return lambda: sources.stdin(max_message)
    return lambda: sources.Walk(options["interval"], options["seed"])
