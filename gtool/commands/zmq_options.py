"""The options that zmq-pingpong's two sides share: CURVE keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from gtool.commands.options import option


def curve_options(*own: Callable[[Any], Any]) -> list[Callable[[Any], Any]]:
    """Give the options for keys; `own` are those of one side only."""
    return [
        *own,
        option("--curve-secret", type=click.Path(), metavar="FILE",
               help="Our secret key: a certificate of zmq.auth's, or 40 characters of Z85."),
        option("--curve-public", type=click.Path(), metavar="FILE",
               help="Our public key, to be checked against the secret one, which it follows from."),
        option("--curve-generate", type=click.Path(), metavar="DIR", is_eager=True, expose_value=False,
               callback=_generate, help="Write key pairs for a server and a client into DIR, and exit."),
    ]  # fmt: skip


def _generate(ctx: click.Context, _param: click.Parameter, directory: str | None) -> None:
    if directory is None or ctx.resilient_parsing:
        return
    from gtool.pingpong.keys import generate

    for path in generate(directory):
        click.echo(path)
    ctx.exit()
