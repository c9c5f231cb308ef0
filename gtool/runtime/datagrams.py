"""Answer datagrams, as callbacks on the loop; and never those that could make two services talk for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gtool.runtime.address import peer_name
from gtool.runtime.listen import Listener
from gtool.runtime.poller import READABLE, WRITABLE
from gtool.runtime.server import Server

MAX_BYTES = 65_536  #: to receive; UDP over IPv4 has 65,507 at most
PER_TURN = 64
ANCILLARY_BYTES = 64
WELL_KNOWN = 1024  #: ports below are services', not clients' (RFC 6335 section 6)


Answer = Callable[[bytes, Any], bytes | None]


class Client(NamedTuple):
    """Where an answer goes, and by `packet_info` from which of our addresses: the one that was asked (ip(7))."""

    address: Any
    packet_info: Any


class Datagrams:
    """Sends back what `answer(data, address)` gives, None for nothing, to whoever sent the datagram.

    When the kernel takes no more, one answer waits, and nothing is read meanwhile. A subclass that keeps answers for
    later overrides send() and is_done(), and has transmit(), is_blocked and close_if_done() for them.
    """

    def __init__(self, server: Server, listener: Listener, answer: Answer, any_source: bool = False) -> None:
        self.received = self.sent = self.messages = 0
        self._server = server
        self._socket = listener.socket
        self._answer = answer
        self._any_source = any_source
        self._waiting: tuple[bytes, Client] | None = None
        self._is_stopped = False
        server.poller.add(self._socket.fileno(), READABLE, self)

    def stop(self) -> None:
        """Take no more, and close when all answers are sent."""
        self._is_stopped = True
        if self._waiting is None:
            self._server.poller.change(self._socket.fileno(), 0)
        self.close_if_done()

    def close(self) -> None:
        self._server.poller.remove(self._socket.fileno())
        self._socket.close()
        self._server.datagrams_ended(self)

    def ready(self, now: float) -> None:
        if self._waiting:
            answer, client = self._waiting
            self._waiting = None
            if not self.transmit(answer, client):
                return
            self._server.poller.change(self._socket.fileno(), READABLE)
        for _ in range(PER_TURN):
            if self._is_stopped:
                self.close_if_done()
                return
            try:
                data, packet_info, _, address = self._socket.recvmsg(MAX_BYTES, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error of an earlier answer: its peer has gone
            if not self._server.admits_datagram(address, self.is_client(address)):
                continue
            if not self._server.take_turn():
                return
            self.received += len(data)
            said = self._answer(data, address)
            if said is not None and not self.send(said, Client(address, packet_info)):
                return

    def is_client(self, address: Any) -> bool:
        """Whether an answer goes to a client: two echo services would answer each other for ever (CERT CA-1996-01)."""
        port = address[1]
        return self._any_source or (port >= WELL_KNOWN and port not in self._server.datagram_ports)

    def send(self, data: bytes, client: Client) -> bool:
        """See to it that an answer is sent; False if nothing is to be read until it is."""
        return self.transmit(data, client)

    def is_done(self) -> bool:
        """Whether all answers are sent."""
        return self._waiting is None

    @property
    def is_blocked(self) -> bool:
        """Whether the kernel takes no more: one answer waits for it, and a further one would take its place."""
        return self._waiting is not None

    def transmit(self, data: bytes, client: Client) -> bool:
        """Send one datagram; False if it has to wait until the kernel takes more."""
        try:
            self.sent += self._socket.sendmsg([data], client.packet_info, 0, client.address)
            self.messages += 1
        except BlockingIOError:
            self._waiting = (data, client)
            self._server.poller.change(self._socket.fileno(), WRITABLE)
            return False
        except OSError as error:
            peer = peer_name(client.address)
            self._server.seldom.warning("datagram not sent", peer=peer, reason=error.strerror)
        return True

    def close_if_done(self) -> None:
        """Close, if it was stopped and all answers are sent."""
        if self._is_stopped and self.is_done():
            self.close()
