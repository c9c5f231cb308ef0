"""Commands of gtool as processes of their own, which end with the demonstration that has started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import Any

from gevent.fileobject import FileObjectPosix

from gtool.errors import PeerGone
from gtool.runtime.children import wait_for_end

#: nothing that we start outlives us for longer, though we be killed
LIFE = "20s"


class Stage:
    """Starts processes; `with` ends them, whatever they do."""

    def __init__(self) -> None:
        self._processes: list[Process] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()

    def start(self, *args: str) -> Process:
        """Start `gtool ARGS`, as it is without the user's environment variables for it, and without proxies."""
        process = Process(args)
        self._processes.append(process)
        return process

    def serve(self, *args: str) -> tuple[Process, str]:
        """Start a server; give it, and the address that it has printed. PeerGone if it prints none."""
        server = self.start(*args, "--duration", LIFE)
        return server, server.line()


class Process:
    """A command of gtool, to be talked to. What it has said on stderr is the reason when it fails."""

    def __init__(self, args: tuple[str, ...]) -> None:
        self._name = args[0]
        # A pipe that nobody reads would stall it.
        self._said: Any = tempfile.TemporaryFile()  # noqa: SIM115, closed by kill()
        # -P: nothing is imported from wherever we are. A session of its own: the terminal's Ctrl-C is for us.
        # Not gevent's Popen, which waits on the loop: a signal in between would leave a process that nobody knows.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gtool", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=_environment(),
            start_new_session=True,
            bufsize=0,
        )
        assert process.stdin
        assert process.stdout
        self._process: Any = process
        self._stdin: Any = FileObjectPosix(process.stdin.fileno(), "wb", closefd=False)
        self._stdout: Any = FileObjectPosix(process.stdout.fileno(), "rb", closefd=False)

    def say(self, text: str) -> None:
        """Write lines to its stdin. PeerGone if it has ended."""
        try:
            self._stdin.write(text.encode())
            self._stdin.flush()
        except OSError:
            raise self._failure() from None

    def line(self) -> str:
        """Wait for the next line that it prints. PeerGone if it has ended."""
        line: bytes = self._stdout.readline()
        if not line:
            raise self._failure()
        return line.decode().rstrip("\n")

    def finish(self) -> list[str]:
        """Close its stdin and wait for its end; give the lines that it has still printed. PeerGone if it fails."""
        self._hang_up()
        output: bytes = self._stdout.read()
        if wait_for_end(self._process, None):
            raise self._failure()
        return output.decode().splitlines()

    def stop(self) -> None:
        """Ask a server to end, and wait for it. PeerGone if it does not end as it should."""
        self._process.send_signal(signal.SIGTERM)
        self.finish()

    def kill(self) -> None:
        """Leave nothing of it behind."""
        self._process.kill()
        self._process.wait()
        self._hang_up()
        for file in (self._stdout, self._process.stdout, self._said):
            file.close()

    def _hang_up(self) -> None:
        for file in (self._stdin, self._process.stdin):
            with suppress(OSError):  # what it was not told is told no more
                file.close()

    def _failure(self) -> PeerGone:
        code = wait_for_end(self._process, None)
        self._said.seek(0)
        lines: list[str] = self._said.read().decode(errors="replace").splitlines()
        return PeerGone(f"{self._name} has ended with {code}: {_event(lines[-1]) if lines else 'without a word'}")


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GTOOL_") and not name.upper().endswith("_PROXY")
    }


def _event(line: str) -> str:
    """Give a line of the log without its time and level."""
    _, is_error, event = line.partition(" ERROR ")
    return event.strip() if is_error else line
