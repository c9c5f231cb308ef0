"""`gtool completion`: the script that has a shell ask gtool what can follow."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gtool.commands.options import Command

EXAMPLES = (
    "source <(gtool completion bash)",
    "mkdir -p ~/.zfunc && gtool completion zsh > ~/.zfunc/_gtool",
    "fish -c 'gtool completion fish | source; complete -C \"gtool fe\"'",
)


@click.command(
    "completion",
    cls=Command,
    notes="The script asks gtool at each TAB, and stays the same when gtool is updated. Have it read by "
    "~/.bashrc, or ~/.config/fish/config.fish; zsh finds it in fpath, with fpath+=~/.zfunc before compinit.",
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
