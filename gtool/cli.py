"""The click group: a lazy table of commands, the global options, and errors turned into exit codes.

Nothing but click is imported here until a command runs: `gtool --help` and TAB must answer at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from gtool import __version__
from gtool.commands.options import Group, option, under
from gtool.errors import BUG, GtoolError, Interrupted, OutputClosed, UsageError, WriteError

#: command -> (module and attribute, the line in `gtool --help`); a test holds it against the commands' own help
COMMANDS = {
    "demo": ("gtool.commands.demo:demo", "Run every tool once on this machine, and say what happened."),
    "fetch": ("gtool.commands.fetch:fetch", "Fetch many URLs at once; output made for pipes."),
    "echo-server": ("gtool.commands.echo_server:echo_server", "Send back whatever comes; limits, and faults."),
    "hello-server": ("gtool.commands.hello_server:hello_server", "Speak first: a message, counted lines, then close."),
    "zmq-pingpong": ("gtool.commands.zmq_pingpong:zmq_pingpong", "Play ping-pong over ZeroMQ, and time it."),
    "chat": ("gtool.commands.chat:chat", "Serve chat rooms that lose nothing."),
    "chat-post": ("gtool.commands.chat_post:chat_post", "Say something in a room of a chat; stdin, without a MESSAGE."),
    "chat-tail": ("gtool.commands.chat_tail:chat_tail", "Show what is said in rooms of a chat, a message a line."),
    "ws-feed": ("gtool.commands.ws_feed:ws_feed", "Feed any number of WebSocket clients from one producer."),
    "ws-tail": ("gtool.commands.ws_tail:ws_tail", "Show a WebSocket feed in the shell, a message a line."),
    "completion": ("gtool.commands.completion:completion", "Print what has bash, zsh or fish complete commands."),
}

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
COMPLETE = "_GTOOL_COMPLETE"  #: in the environment when a shell asks what can follow
VERBOSITY = ("error", "warning", "notice", "info", "debug")


class LazyGroup(Group):
    """A group that imports a command's module when that command is run, and not for its help line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    exit_status="0 success, 1 failed, 2 usage, 3 a threshold was not met, 4 timed out or peer gone, 5 could not bind "
    "or connect, 70 a bug in gtool, 130 interrupted, 141 output closed; fetch has curl's numbers for transfers.",
    examples=("gtool demo", "gtool -v fetch --retry 3 https://example.com/", "gtool --log-format json echo-server"),
    context_settings={
        "auto_envvar_prefix": "GTOOL",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)
@under(
    "Log, on stderr",
    option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Lines of text, or of JSON."),
    option("--log-level", type=click.Choice(VERBOSITY), default="notice", help="Log this, and what is worse."),
    option("-v", "--verbose", count=True, help="Log more: -v info, -vv debug and tracebacks."),
    option("-q", "--quiet", is_flag=True, help="Log errors only."),
)
@click.version_option(__version__, prog_name="gtool", allow_from_autoenv=False)
def gtool(log_format: str, log_level: str, verbose: int, quiet: bool) -> None:
    """A networking toolbox for the shell, for cron jobs and for CI.

    Data goes to stdout, everything else to stderr. Each option can be set in the environment, as
    GTOOL_<COMMAND>_<OPTION>: GTOOL_FETCH_CONCURRENCY=50, GTOOL_LOG_FORMAT=json.
    """
    from gtool import log  # kept off the path of --help

    steps = -1 if quiet else verbose
    level = VERBOSITY[min(VERBOSITY.index(log_level) + steps, len(VERBOSITY) - 1)] if steps >= 0 else "error"
    log.configure(log_format, level)


def main() -> NoReturn:
    """Run gtool as a program: the entry point of the console script.

    Leaves without taking the interpreter down, which would take 10 ms of every run. Commands close what they opened
    before they return, so nothing is left to be done but to flush.
    """
    _reserve_standard_descriptors()
    code = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            code = code or OutputClosed.exit_code
    os._exit(code)


def run(args: Sequence[str]) -> int:
    """Run one command line; return its exit code. Every error ends here, as one line on stderr."""
    if os.environ.get(COMPLETE):
        return _complete()
    try:
        return int(gtool.main(list(args), prog_name="gtool", standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        _say(error.format_message())
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "gtool"
        message = " ".join(error.format_message().split())
        _say(f"{path}: error: {message} (try '{path} --help')")
        return error.exit_code
    except UsageError as error:
        _say(f"gtool: error: {error}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except SystemExit:
        return OutputClosed.exit_code  # click's way to say that nobody reads its help any more
    except (Interrupted, OutputClosed) as error:
        return error.exit_code  # whoever did that knows
    except GtoolError as error:
        _report(str(error))
        return error.exit_code
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
            _report(f"cannot write: {error.strerror}")
            return WriteError.exit_code
        _report(f"a bug in gtool: {type(error).__name__}: {error} (please report it; -vv shows where)")
        return BUG


def _complete() -> int:
    """Answer a TAB, as click does: by ending the program. Somebody is at a prompt, where no error is to appear."""
    try:
        gtool.main([], prog_name="gtool", complete_var=COMPLETE)
    except SystemExit as end:
        return int(end.code or 0)
    except (Exception, KeyboardInterrupt):
        return 1


def _say(text: str) -> None:
    """Write a line to stderr; that it cannot be written changes no exit code."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _report(message: str) -> None:
    """Log the error that ends the command; its traceback too when the log is at debug, or for a bug."""
    import logging

    from gtool.log import EventLog

    log = EventLog("cli")
    if logging.getLogger("gtool").isEnabledFor(logging.DEBUG):
        log.exception(message)
    else:
        log.error(message)


def _reserve_standard_descriptors() -> None:
    """Open /dev/null on each of 0, 1, 2 that is closed, so that no socket or file ends up there.

    `sys.stdin` and `sys.stdout` stay None in that case: whoever needs them finds out, and says so. stderr is what it
    would be said on, so that one has to be there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
