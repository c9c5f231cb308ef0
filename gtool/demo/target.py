"""What fetch is shown on: a small HTTP server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from gevent.pool import Pool
from gevent.pywsgi import WSGIServer

BODY = b"a small answer\n"


class Target:
    """Answers every request with a few bytes, and notes when each came."""

    def __init__(self) -> None:
        self.url = ""
        self.came_at: list[float] = []  #: seconds, on the clock of time.perf_counter()

    @property
    def rate(self) -> float:
        """Requests a second, from the first to the last; zero for fewer than two."""
        elapsed_s = self.came_at[-1] - self.came_at[0] if self.came_at else 0.0
        return (len(self.came_at) - 1) / elapsed_s if elapsed_s else 0.0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.came_at.append(perf_counter())
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))])
        return [BODY]


@contextmanager
def serving() -> Iterator[Target]:
    target = Target()
    server = WSGIServer(("127.0.0.1", 0), target, log=None, spawn=Pool())  # with one, stop() ends connections too
    server.start()
    target.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield target
    finally:
        server.stop()
