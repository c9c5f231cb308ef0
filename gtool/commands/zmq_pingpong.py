"""`gtool zmq-pingpong`: the demo's options, and the two that measure between hosts."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from gtool.commands.options import Group, option, under
from gtool.commands.types import DURATION
from gtool.commands.zmq_ping import PATTERN, ping
from gtool.commands.zmq_serve import serve
from gtool.errors import UsageError

EXIT_STATUS = (
    "0; 2 usage, 4 no answer in time or another one than agreed, 5 an endpoint that can't be bound to, 130 "
    "interrupted, 141 stdout closed."
)
EXAMPLES = (
    "gtool zmq-pingpong",
    "gtool zmq-pingpong --rounds 1000 --endpoint inproc://pingpong | tail -3",
    "gtool zmq-pingpong --message Ping --reply Pong --interval 1s",
)


@click.group(
    "zmq-pingpong",
    cls=Group,
    exit_status=EXIT_STATUS,
    examples=EXAMPLES,
    invoke_without_command=True,
    commands=[serve, ping],
)
@under(
    "The game",
    option("--rounds", type=click.IntRange(1, 1_000_000_000), default=9, metavar="N", help="Rounds to play."),
    option("--message", default="Hello", metavar="TEXT", help="What the one that binds, REQ, asks."),
    option("--reply", default="World", metavar="TEXT", help="What the one that connects, REP, answers."),
    option("--interval", type=DURATION, default=0, metavar="TIME", help="Wait so long between rounds."),
    option("--endpoint", default="tcp://127.0.0.1:*", metavar="ENDPOINT",
           help="Where they meet: tcp://host:port (* is a free one), ipc://path, inproc://name."),
    option("--timeout", type=DURATION, default="5s", metavar="TIME", help="For an answer."),
    option("--pattern", type=PATTERN, hidden=True),  # of ping: whoever types it here is to hear so, and at TAB sees all
)  # fmt: skip
@click.pass_context
def zmq_pingpong(ctx: click.Context, /, pattern: str | None, **options: Any) -> None:
    """Play ping-pong over ZeroMQ, and time it.

    Alone it is a demo: two greenlets in one process, on zmq.green; one binds and asks, the other connects and answers.
    Each line says who has the turn; beside it stands the time of the round trip. With a command it is a meter.
    """
    if pattern is not None:
        raise UsageError(f"--pattern is for 'ping', and comes after it: zmq-pingpong ping --pattern {pattern} ...")
    if ctx.invoked_subcommand is not None:
        _refuse_options_of_the_game(ctx, options)
        return
    from gtool.pingpong.game import Settings, run
    from gtool.runtime.stdio import Stdout

    out = Stdout()
    texts = {name: os.fsencode(options[name]) for name in ("message", "reply")}
    try:
        run(Settings(**{**options, **texts}), lambda text: out.write(text.encode()))
    finally:
        out.close()


def _refuse_options_of_the_game(ctx: click.Context, options: dict[str, Any]) -> None:
    for name in options:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name} is for the game: options of '{ctx.invoked_subcommand}' come after it")
