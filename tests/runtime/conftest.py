"""What tests of listeners share."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gtool.runtime.address import parse_address
from gtool.runtime.listen import Listener, open_listeners

Open = Callable[..., list[Listener]]


@pytest.fixture
def listen() -> Iterator[Open]:
    """Listen on addresses; closed, and their paths removed, at the end."""
    opened: list[Listener] = []

    def run(*addresses: str, scheme: str = "tcp") -> list[Listener]:
        opened.extend(made := open_listeners(map(parse_address, addresses), scheme))
        return made

    yield run
    for listener in opened:
        listener.remove()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def connects(listener: Listener) -> bool:
    with socket.socket(listener.socket.family, socket.SOCK_STREAM) as client:
        client.connect(listener.socket.getsockname())
        accepted, _ = listener.socket.accept()
        accepted.close()
    return True
