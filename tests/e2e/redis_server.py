"""A real redis-server with a directory of its own: killed, restarted with its data, held and let go."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import TIMEOUT_S

POLL_S = 0.02


class RedisServer:
    """It listens on loopback and on a Unix socket; what it has said yes to is on its disk."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.path = folder / "redis.sock"
        self.password = ""

    def start(self) -> None:
        places = ("--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.path))
        kept = ("--dir", str(self._folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always")
        self._process = subprocess.Popen(
            ["redis-server", *places, *kept, *self._options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        wait_until(self._answers, "redis-server does not answer")

    def require(self, password: str) -> None:
        """Want a password from the next start on."""
        self._options = ("--requirepass", password)
        self.password = password

    def kill(self) -> None:
        """As the machine's end would."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def hold(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process:
            self.kill()

    def url(self, stream: str, database: int = 0, port: int | None = None) -> str:
        return f"redis://127.0.0.1:{port or self.port}/{database}?stream={stream}"

    def unix_url(self, stream: str) -> str:
        return f"unix://{self.path}?stream={stream}"

    def call(self, *command: str | bytes | int) -> Any:
        """Say a command, and give the answer."""
        client = redis.Redis(port=self.port, protocol=2, password=self.password or None, socket_timeout=TIMEOUT_S)
        with closing(client):
            return client.execute_command(*command)

    def at_once(self, *commands: Sequence[str | bytes | int]) -> list[Any]:
        """Say several commands, between which nobody else is served; give the answers."""
        client = redis.Redis(port=self.port, protocol=2, password=self.password or None, socket_timeout=TIMEOUT_S)
        with closing(client), client.pipeline(transaction=True) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return pipeline.execute()

    def add(self, stream: str, *messages: str | bytes) -> list[str]:
        """Add entries as a publisher does that knows nothing of ours; give their ids."""
        return [self.call("XADD", stream, "*", "data", message).decode() for message in messages]

    def trim(self, stream: str, count: int) -> None:
        """Delete all but the last `count` entries."""
        self.call("XTRIM", stream, "MAXLEN", count)

    def length(self, stream: str) -> int:
        return int(self.call("XLEN", stream))

    def _signal(self, number: int) -> None:
        assert self._process
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "redis-server has ended"
        with suppress(redis.exceptions.ConnectionError):
            self.call("PING")
            return True
        return False


@pytest.fixture(name="redis_server")
def redis_server_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    with closing(server):
        server.start()
        yield server


def wait_until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(POLL_S)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
