"""`gtool completion`: the script that has a shell ask gtool what can follow."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gtool.commands.options import Command

EPILOG = """\b
Examples:
  gtool completion bash > ~/.local/share/bash-completion/completions/gtool
  gtool completion zsh > ~/.zfunc/_gtool    # a directory in fpath, before compinit
  gtool completion fish > ~/.config/fish/completions/gtool.fish

\b
The script asks gtool at each TAB: it needs no new one when gtool is updated.
"""


@click.command("completion", cls=Command, epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the script that has a shell complete gtool's commands.

    It completes commands, options, their values and files, and the rooms of the chat server in GTOOL_CHAT_SERVER.
    """
    make = get_completion_class(shell)
    assert make
    click.echo(make(ctx.find_root().command, {}, "gtool", "_GTOOL_COMPLETE").source(), nl=False)
