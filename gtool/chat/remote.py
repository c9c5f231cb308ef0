"""A chat server as its clients for the shell see it: where it is, and what proves who asks."""

from __future__ import annotations

import getpass
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from gtool.chat.names import LONGEST, check_name
from gtool.errors import UsageError

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection

DEFAULT = "http://127.0.0.1:5000"
NOBODY = "nobody"  #: where a login can't be a name


class Remote(NamedTuple):
    """`url` has no slash at its end; `token` is the server's own, or a session's."""

    url: str
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def path(self, *segments: str) -> str:
        """Give a path on the server, below the one that it stands under."""
        return "/".join([urlsplit(self.url).path, *(quote(one, safe="", errors="surrogateescape") for one in segments)])


def connection_to(remote: Remote, context: ssl.SSLContext | None, timeout_s: float | None = None) -> HTTPConnection:
    """Give a connection that connects when it is used; `context` is for https, `timeout_s` for each wait."""
    from http.client import HTTPConnection, HTTPSConnection  # for those who post

    parts = urlsplit(remote.url)
    assert parts.hostname
    if parts.scheme == "https":
        return HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=context)
    return HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)


def parse_remote(url: str, token: str | None) -> Remote:
    """Read http://HOST:PORT/PATH, or HOST:PORT. UsageError for what is none."""
    full = url if "://" in url else f"http://{url}"
    error = UsageError(f"{_shown(url)!r} is no chat server's URL such as {DEFAULT}")
    try:
        parts = urlsplit(full)
        port = parts.port
    except ValueError:
        raise error from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise error
    if not full.isascii() or not full.isprintable() or " " in full:
        raise error
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError("the token has what no header can have: letters of ASCII are wanted")
    if parts.username is not None:
        raise UsageError("a chat server's URL has no user: --as is a name, --token-file a secret")
    return Remote(full.rstrip("/"), token)


def login_name() -> str:
    """Give the name of the login, as far as one may be called so in a chat."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # of a number without a name
        name = ""
    name = re.sub(r"[^\w.-]", "-", name).strip("-._")[:LONGEST].strip("-._")
    try:
        return check_name(name)
    except ValueError:
        return NOBODY


def _shown(url: str) -> str:
    return re.sub("^([a-z]+://)?[^/@]*@", r"\1", url)
