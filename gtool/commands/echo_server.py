"""`gtool echo-server`: its options, and how they become settings."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from gtool.commands.options import Command, option, under
from gtool.commands.server_options import EXIT_STATUS, SIGNALS, plan, server_options
from gtool.commands.types import DURATION, SHARE, SIZE, SIZE_OR_DURATION
from gtool.errors import UsageError

DEFAULT = "127.0.0.1:8000"
EXAMPLES = (
    "gtool echo-server",
    "gtool echo-server -l :7 -l udp://:7 --idle-timeout 1m --max-connections-per-ip 10",
    "gtool echo-server --latency 100ms --jitter 20ms --reset-after 64k --toxicity 0.3 --seed 7",
)


@click.command("echo-server", cls=Command, notes=SIGNALS, exit_status=EXIT_STATUS, examples=EXAMPLES)
@under(
    "Service",
    option("--service", type=click.Choice(["echo", "discard", "chargen", "daytime", "time"]), default="echo",
           help="What to do with what comes: RFC 862, 863, 864, 867, 868."),
    option("--line", "is_line", is_flag=True, help="Echo a line when it is complete, not bytes as they come."),
    option("--max-line", type=SIZE, default="64k", metavar="SIZE", help="A longer line ends its connection."),
    option("--max-bytes", type=SIZE, metavar="SIZE", help="Close a connection that sends more."),
    option("--allow-any-source", "any_source", is_flag=True,
           help="UDP: answer service ports (below 1024, and our own) too. Two echo services would never stop."),
)  # fmt: skip
@under(
    "Faults, on the way back",
    option("--latency", type=DURATION, default=0, metavar="TIME", help="Send what comes so much later."),
    option("--jitter", type=DURATION, default=0, metavar="TIME", help="Vary the latency by up to TIME, both ways."),
    option("--bandwidth", type=SIZE, metavar="SIZE", help="Send so many bytes per second and connection at most."),
    option("--slice", type=SIZE, metavar="SIZE", help="Send pieces of so many bytes at most."),
    option("--corrupt-rate", type=SHARE, default=0, metavar="SHARE", help="Change this share of the bytes."),
    option("--drop-rate", type=SHARE, default=0, metavar="SHARE", help="UDP: lose this share of the datagrams."),
    option("--reset-after", type=SIZE_OR_DURATION, metavar="SIZE|TIME",
           help="Reset a connection when so much was sent back, or after so long."),
    option("--close-after", type=SIZE_OR_DURATION, metavar="SIZE|TIME", help="Close it then, cleanly."),
    option("--toxicity", type=SHARE, default="1", metavar="SHARE",
           help="The share of connections, or datagrams, that the faults hit."),
    option("--seed", type=click.IntRange(0), metavar="N",
           help="Have the same faults again. Without it a seed is drawn, and logged."),
)  # fmt: skip
@server_options(DEFAULT)
@click.pass_context
def echo_server(ctx: click.Context, /, **options: Any) -> int:
    """Send back whatever comes; limits, and faults.

    It serves TCP, UDP, Unix sockets and TLS; the faults are there to test clients by. When it listens it prints a line
    per address on stdout, as tcp://127.0.0.1:8000.
    """
    from gtool.echo.run import EchoService, Settings
    from gtool.runtime.serve import serve

    is_max_line_set = ctx.get_parameter_source("max_line") is not ParameterSource.DEFAULT
    if options["service"] != "echo" and options["is_line"]:
        raise UsageError(f"--line is for echo, not for {options['service']}")
    if is_max_line_set and not options["is_line"]:
        raise UsageError("--max-line needs --line")
    if options["max_bytes"] is not None and options["service"] not in ("echo", "discard"):
        raise UsageError(f"--max-bytes is for echo and discard: {options['service']} takes what comes for nothing")
    faults = _faults(options)
    settings = Settings(
        service=options["service"],
        max_line=options["max_line"] if options["is_line"] else None,
        max_bytes=options["max_bytes"],
        any_source=options["any_source"],
        faults=faults,
        seed=_seed(options["seed"], faults),
    )
    return serve(plan(options, DEFAULT), lambda server: EchoService(settings, server))


def _faults(options: dict[str, Any]) -> Any:
    from gtool.echo.faults import After, Faults

    for name in ("bandwidth", "slice"):
        if options[name] == 0:
            raise UsageError(f"--{name} of 0 would send nothing")
    ends: dict[str, Any] = {
        name: After(*options[name]) if options[name] else None for name in ("reset_after", "close_after")
    }
    return Faults(**{name: options[name] for name in Faults._fields if name not in ends}, **ends)


def _seed(given: int | None, faults: Any) -> int:
    """The seed given, or one that is drawn and logged, if there are faults to need it."""
    if given is not None or not faults.are_any():
        return given or 0
    import random

    from gtool.log import EventLog

    seed = random.randrange(1 << 32)
    EventLog("echo").notice("faults are on", seed=seed, hint="--seed has the same again")
    return seed
