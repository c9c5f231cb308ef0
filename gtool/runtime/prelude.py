"""What comes before a connection's own bytes: the PROXY header and the TLS handshake, under one deadline."""

from __future__ import annotations

import errno
import socket
from typing import Any, Protocol

import gevent
from gevent.socket import wait_read

from gtool.runtime import proxy_protocol
from gtool.runtime.address import peer_name
from gtool.runtime.connection import CHUNK_BYTES, Connection, green, why
from gtool.runtime.gate import Gate, IpAddress
from gtool.runtime.proxy_protocol import ProxyError
from gtool.runtime.settings import Settings


class Refused(Exception):
    """The connection ends before it is served; args are one of shared.REFUSALS, and what is wrong."""


class Reception(Protocol):
    """The server, as far as a prelude knows it."""

    def accept(self, connection: Connection, sock: Any) -> None: ...

    def refused(self, peer: str, reason: str) -> None: ...


class Prelude:
    """Drives a connection until its own bytes begin; then it is the server's to accept."""

    def __init__(
        self, connection: Connection, ip: IpAddress | None, settings: Settings, gate: Gate, reception: Reception
    ) -> None:
        """Begin with start(). `ip` is the address that connects."""
        self._connection = connection
        self._ip = ip
        self._settings = settings
        self._gate = gate
        self._reception = reception
        self._closed_for = ""
        self._has_begun = False

    def start(self, sock: socket.socket) -> None:
        self._connection.driver = self
        self._greenlet = gevent.spawn(self._run, sock)

    def close(self, reason: str) -> None:
        self._closed_for = reason
        if self._has_begun:  # one that is killed before would never run, and not close its socket
            self._greenlet.kill(block=False)

    def _run(self, sock: Any) -> None:
        self._has_begun = True
        connection = self._connection
        stage = "proxy"
        try:
            if self._closed_for:
                raise gevent.GreenletExit
            with gevent.Timeout(self._settings.handshake_timeout or None, TimeoutError(errno.ETIMEDOUT, "timed out")):
                if self._settings.proxy_from is not None:
                    self._read_header(sock)
                stage = "tls"
                if connection.is_tls:
                    sock = self._secure(sock)
                    sock.do_handshake()
        except (OSError, ProxyError, Refused, gevent.GreenletExit) as error:
            sock.close()
            self._refuse(stage, error)
        except BaseException:
            sock.close()
            raise
        else:
            self._reception.accept(connection, sock)

    def _read_header(self, sock: socket.socket) -> None:
        """Take the PROXY header off, not a byte more, and give the connection the address that is in it.

        Where there is none, rules and limits are on the one that connects.
        """
        header = read_header(sock)
        ip = header.ip or self._ip
        if header.ip is not None:
            self._connection.peer = peer_name((str(header.ip), header.port))
        reason = self._gate.admit_late(ip)
        if reason:
            raise Refused(reason)
        self._connection.ip = ip

    def _secure(self, sock: socket.socket) -> Any:
        context = self._settings.tls
        assert context
        waiting = green(sock)
        try:
            return context.wrap_socket(waiting, server_side=True, do_handshake_on_connect=False)
        except OSError:
            waiting.close()  # the peer has gone
            raise

    def _refuse(self, stage: str, error: BaseException) -> None:
        if isinstance(error, Refused):
            stage, what = error.args[0], ""
        elif isinstance(error, gevent.GreenletExit):
            what = self._closed_for
        else:
            what = why(error) if isinstance(error, OSError) else str(error)
            self._connection.warn("bad PROXY header" if stage == "proxy" else "TLS handshake failed", reason=what)
        self._connection.end(what)
        self._reception.refused(self._connection.peer, stage)


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
