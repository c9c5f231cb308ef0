"""Answer datagrams, as callbacks on the loop; and never those that could make two services talk for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gtool.runtime.address import peer_name
from gtool.runtime.listen import Listener
from gtool.runtime.poller import READ, WRITE
from gtool.runtime.server import Server

MAX_BYTES = 65_536  #: to receive; UDP over IPv4 has 65,507 at most
PER_TURN = 64
WELL_KNOWN = 1024  #: ports below are services', not clients' (RFC 6335 section 6)


class Datagrams:
    """Sends back what `answer(data)` gives, None for nothing, to whoever sent the datagram.

    When the kernel takes no more, one answer waits, and nothing is read meanwhile.
    """

    def __init__(
        self, server: Server, listener: Listener, answer: Callable[[bytes], bytes | None], any_source: bool = False
    ) -> None:
        self.received = self.sent = self.messages = 0
        self._server = server
        self._socket = listener.socket
        self._answer = answer
        self._any_source = any_source
        self._own_port = self._socket.getsockname()[1]
        self._waiting: tuple[bytes, Any] | None = None
        server.poller.add(self._socket.fileno(), READ, self)

    def close(self) -> None:
        self._server.poller.remove(self._socket.fileno())
        self._socket.close()

    def ready(self, now: float) -> None:
        if self._waiting:
            data, address = self._waiting
            self._waiting = None
            if not self.send(data, address):
                return
            self._server.poller.change(self._socket.fileno(), READ)
        for _ in range(PER_TURN):
            try:
                data, address = self._socket.recvfrom(MAX_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier answer: its peer has gone
            if not self.is_client(address):
                self._server.refuse_datagram(peer_name(address))
                continue
            if not self._server.take_turn():
                return
            self.received += len(data)
            answer = self._answer(data)
            if answer is not None and not self.send(answer, address):
                return

    def is_client(self, address: Any) -> bool:
        """Whether an answer goes to a client: two echo services would answer each other for ever (CERT CA-1996-01)."""
        port = address[1]
        return self._any_source or (port >= WELL_KNOWN and port != self._own_port)

    def send(self, data: bytes, address: Any) -> bool:
        """Send one datagram; False if it has to wait until the kernel takes more."""
        try:
            self.sent += self._socket.sendto(data, address)
            self.messages += 1
        except BlockingIOError:
            self._waiting = (data, address)
            self._server.poller.change(self._socket.fileno(), WRITE)
            return False
        except OSError as error:
            self._server.seldom.warning("datagram not sent", peer=peer_name(address), reason=error.strerror)
        return True
