"""A client's connection: made within a deadline, or told why not."""

from __future__ import annotations

import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import zmq

from gtool.errors import PeerGone
from gtool.pingpong.endpoints import connect, new_socket
from gtool.pingpong.engine import Engine, Link
from gtool.pingpong.handshake import Handshake
from gtool.pingpong.job import ClientKeys

EVENT = struct.Struct("=HI")  # zmq_socket_monitor(3): the event and its value; the next frame is the endpoint
CLIENT_EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def monitor(sock: Any, events: int) -> Any:
    """Give the socket that tells of these events, without a high-water mark.

    zmq.Socket.get_monitor_socket() has one, of 2,000 events: when nobody takes them, libzmq's own thread stands still.
    """
    endpoint = f"inproc://monitor-{uuid.uuid4().hex}"
    sock.monitor(endpoint, events)
    told = new_socket(sock.context, zmq.PAIR)
    told.rcvhwm = 0
    told.connect(endpoint)
    return told


class Connection:
    """A link to one peer, and what libzmq says about it."""

    def __init__(self, engine: Engine, link: Link, events: Link, handshake: Handshake, timeout_s: float) -> None:
        self.engine = engine
        self.link = link
        self._events = events
        self._handshake = handshake
        self._timeout_s = timeout_s

    def wait(self) -> None:
        """Wait for the handshake. PeerGone if it fails, as soon as that is known, or is not made in time."""
        deadline = time.monotonic() + self._timeout_s
        while not self._handshake.is_made:
            rest_s = deadline - time.monotonic()
            frames = self._events.receive(rest_s) if rest_s > 0 else None
            if frames is None:
                raise self._handshake.silence(self._timeout_s)
            self._handshake.take(*EVENT.unpack(frames[0]))
            if self._handshake.failure:
                raise self._handshake.failure

    def silence(self) -> PeerGone:
        """Tell why nothing has come, by what is known now."""
        while (frames := self._events.receive(0)) is not None:
            self._handshake.take(*EVENT.unpack(frames[0]))
        return self._handshake.silence(self._timeout_s)


@contextmanager
def connected(
    engine: Engine, sock: Any, endpoint: str, keys: ClientKeys | None, timeout_s: float, linger_ms: int = 0
) -> Iterator[Connection]:
    """Connect a new socket. UsageError for an endpoint that is none, PeerGone if nobody is there in time."""
    sock.linger = linger_ms
    sock.ipv6 = True
    if keys:
        sock.curve_serverkey = keys.server.encode()
        sock.curve_publickey, sock.curve_secretkey = keys.public.encode(), keys.secret.encode()
    link, events = engine.link(sock), engine.link(monitor(sock, CLIENT_EVENTS))
    try:
        connection = Connection(engine, link, events, Handshake(endpoint, keys is not None), timeout_s)
        connect(sock, endpoint)
        connection.wait()
        yield connection
    finally:
        sock.disable_monitor()
        events.close()
        link.close()
