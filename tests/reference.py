"""What is generated and committed: README's reference from --help, and the completion scripts.

`python -m tests.reference` writes both; tests compare them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
from click.shell_completion import get_completion_class

from gtool.cli import gtool
from tests.conftest import ROOT

WIDTH = 100
README = ROOT / "README.md"
BETWEEN = re.compile(r"(?<=<!-- made by python -m tests.reference -->\n).*?(?=<!-- end -->\n)", re.DOTALL)
SCRIPTS = {"bash": "gtool.bash", "zsh": "_gtool", "fish": "gtool.fish"}


def commands(command: click.Command = gtool, parent: click.Context | None = None) -> Iterator[click.Context]:
    """The context of each command, as if it had been called."""
    name = "gtool" if parent is None else command.name
    ctx = click.Context(command, parent, name, terminal_width=WIDTH, **command.context_settings)
    yield ctx
    for name in getattr(command, "list_commands", lambda _: [])(ctx):
        yield from commands(command.get_command(ctx, name), ctx)


def reference() -> str:
    """README's reference, in Markdown."""
    return "\n".join(
        f"<details><summary><code>{ctx.command_path}</code></summary>\n\n```text\n{ctx.get_help()}\n```\n\n</details>\n"
        for ctx in commands()
    )


def script(shell: str) -> str:
    """The completion script of a shell."""
    make = get_completion_class(shell)
    assert make
    return make(gtool, {}, "gtool", "_GTOOL_COMPLETE").source()


if __name__ == "__main__":
    README.write_text(BETWEEN.sub(lambda _: reference(), README.read_text()))
    for shell, name in SCRIPTS.items():
        (ROOT / "completions" / name).write_text(script(shell))
