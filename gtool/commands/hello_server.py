"""`gtool hello-server`: its options, and how they become settings."""

from __future__ import annotations

from typing import Any

import click

from gtool.commands.options import Command, option, under
from gtool.commands.server_options import EXIT_STATUS, SIGNALS, plan, server_options
from gtool.commands.types import DURATION, SIZE
from gtool.errors import ReadError, UsageError

DEFAULT = "127.0.0.1:5000"
EXAMPLES = (
    "gtool hello-server",
    "gtool hello-server --message '220 mail.example ESMTP' --count 0 --crlf --close never",
    "gtool hello-server --template '{time} tick {n}' --count 60 --interval 1s",
)


@click.command("hello-server", cls=Command, notes=SIGNALS, exit_status=EXIT_STATUS, examples=EXAMPLES)
@under(
    "What is said",
    option("--message", metavar="TEXT", help="The first line; empty for none.  [default: Hello from a telnet!]"),
    option("--message-file", type=click.Path(), metavar="FILE", help="Say what is in FILE instead, as it is."),
    option("--count", type=click.IntRange(0), default=5, metavar="N", help="Lines that follow."),
    option("--template", default="{n}", metavar="TEXT", help="Each of them: {n} {time} {peer} {connection}."),
    option("--interval", type=DURATION, default=0, metavar="TIME", help="Wait so long between lines."),
    option("--crlf", is_flag=True, help="End lines with CR LF."),
    option("--wait-for-input", is_flag=True, help="Speak when the client has sent something."),
    option("--chunk-size", type=SIZE, metavar="SIZE", help="Send pieces of so many bytes."),
    option("--close", type=click.Choice(["fin", "rst", "linger", "never"]), default="fin",
           help="At the end: close cleanly; reset; shut down writing, and wait for the client to; leave that to it."),
)  # fmt: skip
@server_options(DEFAULT)
def hello_server(**options: Any) -> int:
    """Speak first: a message, counted lines, then close.

    When it listens it prints a line per address on stdout, as tcp://127.0.0.1:5000.
    """
    from gtool.hello.run import HelloService, Settings
    from gtool.runtime.serve import serve

    if options["chunk_size"] == 0:
        raise UsageError("--chunk-size of 0 would send nothing")
    settings = Settings(
        _script(options),
        interval=options["interval"],
        wait_for_input=options["wait_for_input"],
        close=options["close"],
        chunk_size=options["chunk_size"],
    )
    return serve(plan(options, DEFAULT), lambda server: HelloService(settings, server))


def _script(options: dict[str, Any]) -> Any:
    from gtool.hello.script import BadTemplate, Script, check_template

    if options["message"] is not None and options["message_file"] is not None:
        raise UsageError("--message and --message-file are two messages: choose one")
    try:
        check_template(options["template"])
    except BadTemplate as error:
        raise UsageError(str(error)) from error
    line_end = b"\r\n" if options["crlf"] else b"\n"
    return Script(_message(options, line_end), options["template"], options["count"], line_end)


def _message(options: dict[str, Any], line_end: bytes) -> bytes:
    if options["message_file"] is not None:
        try:
            with open(options["message_file"], "rb") as file:
                return file.read()
        except OSError as error:
            raise ReadError(f"cannot read {options['message_file']}: {error.strerror}") from error
    message = "Hello from a telnet!" if options["message"] is None else options["message"]
    return message.encode(errors="surrogateescape") + line_end if message else b""
