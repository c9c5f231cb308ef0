"""A gtool server as a real process: started, waited for, talked to, stopped."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import TIMEOUT_S, command, environment

STATS = re.compile(r" stats (open=.*\n)")


@dataclass
class Ended:
    """How a server has ended, and all that it has said on stderr."""

    code: int
    err: str


@dataclass
class GtoolServer:
    """A server that listens. `urls` are its ready lines; a thread collects stderr, so that it never stalls."""

    process: subprocess.Popen[bytes]
    urls: list[str]
    _err: bytearray = field(default_factory=bytearray)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def target(self, number: int = 0) -> Any:
        """What to connect to, of the ready line with that number."""
        url = self.urls[number]
        if url.startswith("unix:"):
            return url.removeprefix("unix:")
        parts = urlsplit(url)
        return (parts.hostname, parts.port)

    @property
    def port(self) -> int:
        return int(self.target()[1])

    def connect(self, number: int = 0) -> socket.socket:
        """Make a connection, with a time-out that fails a test rather than hangs it."""
        target = self.target(number)
        family = socket.AF_UNIX if isinstance(target, str) else socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM if self.urls[number].startswith("udp:") else socket.SOCK_STREAM)
        sock.settimeout(TIMEOUT_S)
        try:
            sock.connect(target)
        except OSError:
            sock.close()
            raise
        return sock

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    @property
    def err(self) -> str:
        return self._err.decode()

    def wait_for_log(self, text: str, count: int = 1) -> str:
        """Wait until `text` stands in the log `count` times; give all of the log."""
        with self._changed:
            found = self._changed.wait_for(lambda: self._err.count(text.encode()) >= count, TIMEOUT_S)
        assert found, f"{text!r} is not in the log:\n{self.err}"
        return self.err

    def counts(self) -> dict[str, float]:
        """Ask for the counts, by SIGUSR1, and read them from the log: open, accepted, refused, received, sent ..."""
        count = len(STATS.findall(self.err))
        self.send_signal(signal.SIGUSR1)
        line = STATS.findall(self.wait_for_log(" stats open=", count + 1))[count]
        return {name: float(value) for name, _, value in (field.partition("=") for field in line.split())}

    def wait_for_counts(self, **wanted: float) -> dict[str, float]:
        """Ask for the counts until these have the values wanted; give all of them."""
        end = time.monotonic() + TIMEOUT_S
        while any((counts := self.counts())[name] != value for name, value in wanted.items()):
            assert time.monotonic() < end, f"{counts} is not {wanted}"
        return counts

    def ended(self) -> Ended:
        """Wait for its end."""
        code = self.process.wait(TIMEOUT_S)
        with self._changed:
            self._changed.wait_for(lambda: self.process.stderr is None or self.process.stderr.closed, TIMEOUT_S)
        return Ended(code, self.err)

    def stop(self, number: int = signal.SIGTERM) -> Ended:
        self.send_signal(number)
        return self.ended()

    def collect(self) -> None:
        if self.process.stderr is None:
            return
        while data := self.process.stderr.read1(65536):  # type: ignore[attr-defined]
            with self._changed:
                self._err += data
                self._changed.notify_all()
        with self._changed:
            self.process.stderr.close()
            self._changed.notify_all()


@contextmanager
def running(
    *args: str | Path, listeners: int = 1, cwd: Path | None = None, under: Sequence[str] = (), **popen: Any
) -> Iterator[GtoolServer]:
    """Run `gtool ARGS`, wait for as many ready lines as there are to be; kill it at the end if it still runs.

    `under` is a command line that execs the one that follows it: `("sh", "-c", 'ulimit -n 40; exec "$@"', "sh")`.
    """
    process = subprocess.Popen(
        [*under, *command(*args)],
        **{
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": cwd,
            "env": environment(),
            **popen,
        },
    )
    server = GtoolServer(process, [])
    collector = threading.Thread(target=server.collect, daemon=True)
    collector.start()
    try:
        for _ in range(listeners):
            assert process.stdout
            line = process.stdout.readline().decode()
            assert line, f"it has ended with {process.wait(TIMEOUT_S)}: {server.err}"
            server.urls.append(line.rstrip("\n"))
        yield server
    finally:
        process.kill()
        process.wait()
        collector.join()
        if process.stdout:
            process.stdout.close()


def receive_all(sock: socket.socket) -> bytes:
    """Read to the end of the stream."""
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = sock.recv(size - len(received))
        assert data, f"the stream ended after {len(received)} of {size} bytes"
        received += data
    return received
