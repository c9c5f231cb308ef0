"""What the options of web-facing commands, and of their clients, have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from gtool.commands.options import option
from gtool.errors import UsageError

if TYPE_CHECKING:
    from gtool.web.guard import Guard

FILE = click.Path(dir_okay=False)
SITE = (
    option("--allow-host", multiple=True, metavar="NAME",
           help="Serve this host, as clients call it; * is any. Repeatable.  [default: loopback, what is listened on]"),
    option("--allow-origin", multiple=True, metavar="ORIGIN",
           help="Serve pages of this site too, as https://example.com; * is any. Repeatable."),
    option("--base-path", metavar="PATH", help="Serve under this path, as a reverse proxy hands it on."),
)  # fmt: skip


def client_tls(command: str) -> tuple[Any, ...]:
    """Give a client's TLS options; `command` is as in names of environment variables."""
    return (
        option("--cacert", type=FILE, envvar=[f"GTOOL_{command}_CACERT", "SSL_CERT_FILE"], metavar="FILE",
               help="Trust these certificates.  [default: the bundle of certifi]"),
        option("--cert", type=FILE, metavar="FILE", help="Client certificate, PEM."),
        option("--key", type=FILE, metavar="FILE", help="Its private key, PEM."),
        option("-k", "--insecure", is_flag=True, help="Do not check certificates."),
    )  # fmt: skip


def client_context(options: dict[str, Any], is_tls: bool) -> Any:
    """Make the TLS context of a client; None where none is wanted. UsageError for files that can't be used."""
    if options["key"] and not options["cert"]:
        raise UsageError("--key needs --cert")
    if not is_tls:
        return None
    from gtool.web.client import tls_context

    return tls_context(options["cacert"], options["cert"], options["key"], options["insecure"])


def secret(text: str | None) -> str | None:
    """Give a secret, or what stands in the file named by @FILE. UsageError if that can't be read, or is empty."""
    if text is None or not text.startswith("@"):
        found = text
    else:
        try:
            with open(text[1:], encoding="utf-8") as file:
                found = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise UsageError(f"cannot read the token from {text[1:]}: {why}") from error
    if found == "":
        raise UsageError("the token is empty")
    return found


def guard(options: dict[str, Any], listen: Iterable[Any], token: str | None) -> Guard:
    """Make the guard of a site. UsageError for a host or an origin that is none."""
    from gtool.web.guard import guard_for

    listening = [address.host for address in listen if address.host]
    try:
        return guard_for(listening, options["allow_host"], options["allow_origin"], token)
    except ValueError as error:
        raise UsageError(str(error)) from error


def base_path(options: dict[str, Any]) -> str:
    """Give the base path with a slash before it, and none behind."""
    path = (options["base_path"] or "").strip("/")
    return f"/{path}" if path else ""


def check_web(options: dict[str, Any]) -> None:
    """UsageError for listening where HTTP can't be spoken."""
    if any(address.scheme == "udp" for address in options["listen"]):
        raise UsageError("HTTP and WebSockets go over TCP: udp:// can't be listened on")
