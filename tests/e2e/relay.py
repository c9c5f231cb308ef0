"""A relay in front of a TCP server: it passes bytes on, changes them if asked to, and cuts connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.conftest import TIMEOUT_S

Change = Callable[[bytes], "bytes | None"]


class Relay:
    """`up` and `down` change what goes to the server and what comes from it; None cuts the connection."""

    def __init__(self, port: int, up: Change = bytes, down: Change = bytes) -> None:
        self._target = ("127.0.0.1", port)
        self._up, self._down = up, down
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.count = 0  #: of connections that there were
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """End the connections that there are; new ones are taken."""
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(TIMEOUT_S)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self.count += 1
                self._open |= {client, server}
            thread = threading.Thread(target=self._serve, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        upwards = threading.Thread(target=_pass_on, args=(client, server, self._up), daemon=True)
        upwards.start()
        _pass_on(server, client, self._down)
        upwards.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()


@contextmanager
def relaying(port: int, up: Change = bytes, down: Change = bytes) -> Iterator[Relay]:
    relay = Relay(port, up, down)
    try:
        yield relay
    finally:
        relay.close()


def _pass_on(source: socket.socket, sink: socket.socket, change: Change) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            changed = change(data)
            if changed is None:
                break
            sink.sendall(changed)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
