"""An attempt to reach a server: the time that it has, and the words for why it has failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gevent

if TYPE_CHECKING:
    import ssl


@contextmanager
def within(seconds: float | None, what: str) -> Iterator[None]:
    """Let a block take so long, None for ever. TimeoutError, with these words, if it takes longer.

    Inside the block that is no OSError: gevent's create_connection() takes one for an address that does not answer,
    and goes on to the next, without a timer.
    """
    try:
        with gevent.Timeout(seconds) as limit:
            yield
    except gevent.Timeout as error:
        if error is not limit:
            raise
        raise TimeoutError(what) from None


def secured(sock: Any, context: ssl.SSLContext, host: str) -> Any:
    """Give TLS over a socket, its handshake still to be done: else nobody could close it when that is cut short."""
    return context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)


def why_not(error: Exception) -> str:
    """Say what is wrong with a connection, in the words of who knows best."""
    if untrusted := getattr(error, "verify_message", ""):
        return f"the certificate is not trusted: {untrusted}"
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error) or type(error).__name__
