"""`gtool demo`: its options, and how what was found is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from gtool.commands.options import Command, option, under
from gtool.commands.terminal import shows_progress
from gtool.commands.types import DURATION
from gtool.errors import UsageError

if TYPE_CHECKING:
    from gtool.demo.run import Outcome

TOOLS = ("fetch", "echo-server", "hello-server", "zmq-pingpong", "ws-feed", "chat")
EXIT_STATUS = "0; 1 a tool failed, 2 usage, 23 stdout can't be written, 130 interrupted, 141 nobody reads stdout."
EXAMPLES = (
    "gtool demo",
    "gtool demo --only fetch --only zmq-pingpong",
    "gtool -q demo --json | jq -r 'select(.ok | not) | .error'",
)


@click.command("demo", cls=Command, exit_status=EXIT_STATUS, examples=EXAMPLES)
@under(
    "What is shown",
    option(
        "--only",
        multiple=True,
        type=click.Choice(TOOLS),
        metavar="TOOL",
        help=f"Run this tool only: {', '.join(TOOLS)}. Repeatable.",
    ),
    option("--timeout", type=DURATION, default="10s", metavar="TIME", help="For all of them."),
    option("--json", "is_json", is_flag=True, help="A JSON record for each tool, as it ends."),
)
def demo(only: Sequence[str], timeout: float, is_json: bool) -> int:
    """Run every tool once on this machine, and say what happened.

    Each is a process of its own and talks over real sockets, on loopback; nothing is left behind. It needs no
    network, and tells whether an installation works.
    """
    from gtool.demo.report import record, table
    from gtool.demo.run import run
    from gtool.demo.tools import DEMONSTRATIONS
    from gtool.runtime import lifecycle
    from gtool.runtime.stdio import Stdout

    if not timeout:
        raise UsageError("--timeout of 0 would leave no time")
    wanted = [demonstration for demonstration in DEMONSTRATIONS if not only or demonstration.tool in only]
    out = Stdout()

    def show(outcome: Outcome) -> None:
        if is_json:
            import simplejson

            out.write(simplejson.dumps(record(outcome), ignore_nan=True).encode() + b"\n")

    try:
        with _progress(len(wanted), is_json) as begin:
            outcomes = lifecycle.run(lambda: run(wanted, timeout, begin, show))
        if not is_json:
            out.write(table(outcomes).encode())
    finally:
        out.close()
    return 0 if all(outcome.found for outcome in outcomes) else 1


def _progress(total: int, is_json: bool) -> AbstractContextManager[Callable[[str], None]]:
    """A line on the terminal, unless records go there; else nothing."""
    if not shows_progress(is_stdout_quiet=not is_json):
        return nullcontext(lambda what: None)
    from gtool.demo.progress import shown

    return shown(total)
