"""A build hook: a wheel has a man page of each command, made of what its --help says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from click_man.man import ManPage
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]
    """Writes them into a directory of their own, from which the wheel takes them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from gtool.cli import gtool

        self._made = TemporaryDirectory()
        for name, text in pages(gtool):
            path = Path(self._made.name, f"{name}.1")
            path.write_text(text)
            build_data["shared_data"][str(path)] = f"share/man/man1/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._made.cleanup()


def pages(command: click.Command, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Give the name and the text of a command's page, and of those of its subcommands."""
    ctx = click.Context(command, parent, "gtool" if parent is None else command.name, **command.context_settings)
    yield ctx.command_path.replace(" ", "-"), _page(ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            subcommand = command.get_command(ctx, name)
            assert subcommand
            yield from pages(subcommand, ctx)


def _page(ctx: click.Context) -> str:
    from gtool import __version__

    command: Any = ctx.command
    page = ManPage(ctx.command_path)
    page.version = __version__
    page.short_help = _roff(command.get_short_help_str(limit=200))
    page.synopsis = " ".join(command.collect_usage_pieces(ctx))
    page.description = _roff(cleandoc(command.help))
    page.commands = [
        (name, _roff(command.get_command(ctx, name).get_short_help_str(limit=200)))
        for name in getattr(command, "list_commands", lambda _: [])(ctx)
    ]
    return str(page) + "".join(f"{line}\n" for line in _rest(ctx))


def _rest(ctx: click.Context) -> Iterator[str]:
    """Give what click-man knows nothing of: options under their headings, exit statuses, examples."""
    command: Any = ctx.command
    yield ".SH OPTIONS"
    for heading, lines in command.sections(ctx).items():
        yield f".SS {_roff(heading)}"
        for names, text in lines:
            yield from (".TP", rf"\fB{_roff(names)}\fR", _roff(text))
    for heading, text in (("NOTES", command.notes), ("EXIT STATUS", command.exit_status)):
        if text:
            yield from (f".SH {heading}", _roff(text))
    yield from (".SH EXAMPLES", ".EX", *map(_roff, command.examples), ".EE")


def _roff(text: str) -> str:
    """Have troff show text as it is: a backslash, a hyphen, and a line that begins like a request."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", r"\e").replace("-", r"\-"), flags=re.MULTILINE)
