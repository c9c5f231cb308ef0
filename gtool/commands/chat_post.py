"""`gtool chat-post`: its options, and what is posted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import click

from gtool.commands.chat_options import server, server_of
from gtool.commands.complete import rooms
from gtool.commands.options import Command, option, under
from gtool.commands.types import DURATION
from gtool.commands.web_options import client_context
from gtool.errors import UsageError

MOST_READ = 1 << 20  #: bytes of a message that is read from stdin; the server takes less
EXIT_STATUS = (
    "0 once it is stored; 1 the server does not take it, 2 usage, 4 no answer in time, 5 it can't be "
    "connected to, 26 stdin can't be read, 130 interrupted, 141 stdout closed."
)
EXAMPLES = (
    'make test || gtool chat-post builds "tests failed on $(hostname)"',
    "git log -1 --oneline | gtool chat-post builds --as ci",
    "tail -f deploy.log | gtool chat-post --server http://chat.lan:5000 deploy --lines",
)


@click.command("chat-post", cls=Command, exit_status=EXIT_STATUS, examples=EXAMPLES)
@click.argument("room", shell_complete=rooms)
@click.argument("message", required=False)
@under(
    "What to say",
    option("--as", "user", metavar="NAME", help="Under this name.  [default: the session's, or the login's]"),
    option("--lines", is_flag=True, help="Post each line of stdin, as it comes, as a message of its own."),
    option("--json", "is_json", is_flag=True, help="Print each message as it is stored, with its id."),
    option("--timeout", type=DURATION, default="15s", metavar="TIME",
           help="Try so long, again and again, to have a message stored; once is once, however often it is sent."),
)  # fmt: skip
@under("Where", *server_of("CHAT_POST"))
def chat_post(**options: Any) -> None:
    """Say something in a room of a chat; stdin, without a MESSAGE."""
    from gtool.chat.post import Poster, post_all
    from gtool.live.lines import json_line
    from gtool.runtime import lifecycle
    from gtool.runtime.stdio import Stdout

    if options["lines"] and options["message"] is not None:
        raise UsageError("--lines posts stdin: there is a message too")
    where = server(options)
    tls = client_context(options, where.url.startswith("https:"))
    room, message = options["room"], options["message"]
    poster = Poster(where, options["user"], tls, options["timeout"] or float("inf"))
    stdout = Stdout()

    def show(posted: Mapping[str, Any]) -> None:
        if options["is_json"]:
            stdout.write(json_line(posted, os.isatty(1)))

    def run() -> None:
        if options["lines"]:
            post_all(poster, room, _lines(), show)
        else:
            show(poster.post(room, _stdin() if message is None else message))

    try:
        lifecycle.run(run)
    finally:
        poster.close()
        stdout.close()


def _stdin() -> str:
    """Wait for all of stdin, as far as a message may go. ReadError."""
    text = b""
    source = _open()
    try:
        while len(text) <= MOST_READ and (data := source.wait_and_read()):
            text += data
    finally:
        source.close()
    if len(text) > MOST_READ:
        raise UsageError("stdin is too long for a message: --lines posts one for each line")
    return text.decode(errors="replace")


def _lines() -> Iterator[str | None]:
    """Give each line of stdin as it comes; None for one that is too long. ReadError."""
    from gtool.runtime.lines import LineSplitter

    splitter = LineSplitter(MOST_READ)
    source = _open()
    try:
        while data := source.wait_and_read():
            yield from map(_decoded, splitter.feed(data))
        yield from map(_decoded, splitter.end())
    finally:
        source.close()


def _decoded(line: bytes | None) -> str | None:
    return None if line is None else line.decode(errors="replace")


def _open() -> Any:
    from gtool.runtime.stdio import open_input

    return open_input("-")
