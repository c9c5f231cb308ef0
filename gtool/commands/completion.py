"""`gtool completion`: the script that has a shell ask gtool what can follow."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gtool.commands.options import Command

EXAMPLES = (
    "gtool completion bash > ~/.local/share/bash-completion/completions/gtool",
    "gtool completion zsh > ~/.zfunc/_gtool",
    "gtool completion fish > ~/.config/fish/completions/gtool.fish",
)


@click.command(
    "completion",
    cls=Command,
    notes="The script asks gtool at each TAB, and stays the same when gtool is updated. zsh finds it in fpath.",
    examples=EXAMPLES,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print what has bash, zsh or fish complete commands.

    It completes commands, options, their values and files, and the rooms of the chat server in GTOOL_CHAT_SERVER.
    """
    make = get_completion_class(shell)
    assert make
    click.echo(make(ctx.find_root().command, {}, "gtool", "_GTOOL_COMPLETE").source(), nl=False)
