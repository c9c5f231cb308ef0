"""The options that chat's clients have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gtool.commands.options import option
from gtool.commands.web_options import FILE, client_tls, secret

if TYPE_CHECKING:
    from gtool.chat.remote import Remote


def server_of(command: str) -> tuple[Any, ...]:
    """Give the options that say where the server is; `command` is as in names of environment variables."""
    return (
        option("--server", envvar=[f"GTOOL_{command}_SERVER", "GTOOL_CHAT_SERVER"], metavar="URL",
               default="http://127.0.0.1:5000", help="The chat server."),
        option("--token-file", type=FILE, envvar=[f"GTOOL_{command}_TOKEN_FILE", "GTOOL_CHAT_TOKEN_FILE"],
               metavar="FILE", help="The secret in it is a private server's, or that of one's own session."),
        *client_tls(command),
    )  # fmt: skip


def server(options: dict[str, Any]) -> Remote:
    """Give the server that is asked. UsageError."""
    from gtool.chat.remote import parse_remote

    path = options["token_file"]
    return parse_remote(options["server"], None if path is None else secret(f"@{path}"))
