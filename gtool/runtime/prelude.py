"""What comes before a connection's own bytes: the PROXY header and the TLS handshake, under one deadline."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from gevent.socket import wait_read

from gtool.runtime import proxy_protocol
from gtool.runtime.address import peer_name
from gtool.runtime.connection import CHUNK_BYTES, Connection, why
from gtool.runtime.gate import Gate
from gtool.runtime.greenlets import GreenletDriver, green
from gtool.runtime.proxy_protocol import ProxyError
from gtool.runtime.settings import Settings

if TYPE_CHECKING:
    from gtool.runtime.gate import IpAddress


class Refused(Exception):
    """The connection ends before it is served; `reason` is one of shared.REFUSALS, `what` says more."""

    def __init__(self, reason: str, what: str = "") -> None:
        super().__init__(reason, what)
        self.reason = reason
        self.what = what


class Reception(Protocol):
    """The server, as far as a prelude knows it."""

    def accept(self, connection: Connection, sock: Any) -> None: ...

    def refused(self, peer: str, reason: str) -> None: ...


class Prelude(GreenletDriver):
    """Drives a connection until its own bytes begin; then it is the server's to accept."""

    def __init__(
        self,
        connection: Connection,
        sock: socket.socket,
        ip: IpAddress | None,
        settings: Settings,
        gate: Gate,
        reception: Reception,
    ) -> None:
        """Take over a socket. `ip` is the address that connects."""
        super().__init__(connection)
        self._socket: Any = sock
        self._ip = ip
        self._settings = settings
        self._gate = gate
        self._reception = reception

    def run(self) -> None:
        try:
            if self.closed_for:
                raise gevent.GreenletExit
            deadline = TimeoutError(errno.ETIMEDOUT, "timed out")
            with gevent.Timeout(self._settings.handshake_timeout or None, deadline):
                self._prepare()
        except Refused as refused:
            self._socket.close()
            self.connection.end(refused.what)
            self._reception.refused(self.connection.peer, refused.reason)
        except gevent.GreenletExit:
            self._socket.close()
            self.connection.end(self.closed_for)
        else:
            self._reception.accept(self.connection, self._socket)

    def _prepare(self) -> None:
        """Read the PROXY header and do the handshake, where there are to be. Refused if the peer fails at that."""
        stage, event = "proxy", "bad PROXY header"
        try:
            if self._settings.proxy_from is not None:
                self._read_header()
            stage, event = "tls", "TLS handshake failed"
            if self.connection.is_tls:
                self._secure()
        except (OSError, ProxyError) as error:
            what = why(error) if isinstance(error, OSError) else str(error)
            self.connection.warn(event, reason=what)
            raise Refused(stage, what) from error

    def _read_header(self) -> None:
        """Take the PROXY header off, not a byte more, and give the connection the address that is in it.

        Where there is none, rules and limits are on the one that connects.
        """
        header = read_header(self._socket)
        ip = header.ip or self._ip
        if header.ip is not None:
            self.connection.peer = peer_name((str(header.ip), header.port))
        reason = self._gate.admit_late(ip)
        if reason:
            raise Refused(reason)
        self.connection.ip = ip

    def _secure(self) -> None:
        context = self._settings.tls
        assert context
        self._socket = green(self._socket)
        self._socket = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket.do_handshake()


def read_header(sock: socket.socket) -> proxy_protocol.Header:
    """Wait for a whole PROXY header, and leave what follows it in the socket."""
    taken = b""
    while True:
        wait_read(sock.fileno())
        data = sock.recv(CHUNK_BYTES, socket.MSG_PEEK)
        if not data:
            raise ProxyError("PROXY header cut short")
        header = proxy_protocol.parse(taken + data)
        sock.recv(len(data) if header is None else header.length - len(taken))
        if header is not None:
            return header
        taken += data
