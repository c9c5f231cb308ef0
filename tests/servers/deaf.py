"""A host of two addresses, neither of which answers: whoever connects is left to wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
from gevent import get_hub

NAME = "deaf.test"


@contextmanager
def deaf_host() -> Iterator[str]:
    """Give HOST:PORT; the backlogs there are full, so the kernel answers nobody."""
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0)).getsockname()[1]
        stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        addresses = [("127.0.0.1", port), ("127.0.0.2", port)]
        for address in addresses:
            for _ in range(3):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                with suppress(BlockingIOError):
                    sock.connect(address)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(get_hub().resolver, "getaddrinfo", lambda *args, **kwargs: found)
        yield f"{NAME}:{port}"
