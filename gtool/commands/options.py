"""What the options of several commands share: headings in the help, and options that come in groups."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Option(click.Option):
    """An option under a heading of its command's help."""

    def __init__(self, *args: Any, heading: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Look in GTOOL_<COMMAND>_<OPTION> for each of its long names: click looks for the parameter's name only."""
        if self.envvar is not None:
            return super().resolve_envvar_value(ctx)
        for names, is_on in ((self.opts, True), (self.secondary_opts, False)):
            for name in names:
                value = os.environ.get(self._variable(ctx, name)) if name.startswith("--") else None
                meant = self._meant(value, is_on) if value else None
                if meant is not None:
                    return meant
        return None

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Take a repeatable option's values one a line: headers and data have blanks in them."""
        value = self.resolve_envvar_value(ctx)
        return value.splitlines() if value is not None and self.multiple else value

    def _variable(self, ctx: click.Context, name: str) -> str:
        return f"{ctx.auto_envvar_prefix}_{name[2:].replace('-', '_').replace('.', '_').upper()}"

    def _meant(self, value: str, is_on: bool) -> str | None:
        if not self.is_flag:
            return value
        is_set = click.BOOL.convert(value, self, None)
        if self.is_bool_flag:
            return str(is_set is is_on)
        return str(self.flag_value) if is_set else None


class Command(click.Command):
    """A command whose help shows its options under their headings, in the order in which they were declared.

    At its end stand the exit statuses, and the examples: command lines of the shell, which the tests run.
    """

    def __init__(
        self, *args: Any, notes: str = "", exit_status: str = "", examples: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.notes = notes
        self.exit_status = exit_status
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_headings(ctx, formatter)

    def sections(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Give the options under each heading: their names, and what they are for."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Argument):
                continue  # the usage line has it
            line = param.get_help_record(ctx)
            if line is not None:
                sections.setdefault(getattr(param, "heading", "Other"), []).append(line)
        return sections

    def format_headings(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, lines in self.sections(ctx).items():
            with formatter.section(heading):
                formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, text in (("Notes", self.notes), ("Exit status", self.exit_status)):
            if text:
                with formatter.section(heading):
                    formatter.write_text(text)
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples))  # as they are: to be copied


class Group(Command, click.Group):
    """Such a command that has subcommands too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_headings(ctx, formatter)
        self.format_commands(ctx, formatter)


def under(heading: str, *options: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    """Apply options in the order in which they are written, all under one heading."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        params = getattr(function, "__click_params__", [])
        for param in params:
            if isinstance(param, Option) and param.heading == "Other":
                param.heading = heading
        return function

    return decorate


def option(*names: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Declare an Option; its default is shown where there is one to speak of."""
    default = attributes.get("default")
    shows = default is not None and not isinstance(default, bool) and default != 0
    return click.option(*names, cls=Option, **{"show_default": shows, **attributes})
