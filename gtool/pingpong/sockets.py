"""Sockets of ZeroMQ on the loop: bound and connected with errors that say what is wrong; no wait without a deadline."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import zmq.green as zmq

from gtool.errors import BindError, PeerGone, UsageError
from gtool.runtime.listen import HINTS
from gtool.runtime.unix_path import free_path

TCP_PORT = re.compile(r"^tcp://.*:(\d+)$", re.ASCII)
TRANSPORTS = "tcp://host:port, ipc://path, inproc://name"
BIND_HINTS = {**HINTS, errno.ENODEV: HINTS[errno.EADDRNOTAVAIL]}  # which is how libzmq puts it
BAD_ENDPOINT = (errno.EINVAL, errno.EPROTONOSUPPORT)


@contextmanager
def context() -> Iterator[Any]:
    """Give a context; at the end its sockets are closed, and what they have not sent by then is dropped."""
    made = zmq.Context()
    try:
        yield made
    finally:
        made.destroy(linger=0)


def bind(sock: Any, endpoint: str) -> str:
    """Bind, and give the endpoint with the real port. UsageError for one that is none, BindError if it can't be had.

    libzmq takes ipc paths from live servers, and leaves them behind; see remove_path() for the latter.
    """
    check(endpoint)
    path = ipc_path(endpoint)
    try:
        with free_path(path, endpoint) if path else nullcontext():
            sock.bind(endpoint)
    except zmq.ZMQError as error:
        raise _refusal(error, endpoint, "bind to") from error
    return str(sock.getsockopt_string(zmq.LAST_ENDPOINT))


def remove_path(endpoint: str) -> None:
    """Remove the path of an ipc endpoint that we have bound to."""
    path = ipc_path(endpoint)
    if path:
        with suppress(OSError):
            os.unlink(path)


def check(endpoint: str) -> None:
    """Raise UsageError for what libzmq lets pass: it takes a port modulo 65536."""
    port = TCP_PORT.search(endpoint)
    if port and int(port[1]) > 65535:
        raise UsageError(f"cannot use {endpoint!r}: port {port[1]} is over 65535")


def ipc_path(endpoint: str) -> str | None:
    """Give the path of an ipc endpoint; None for other transports, and for those that have no file (`@name`, `*`)."""
    transport, _, path = endpoint.partition("://")
    return path if transport == "ipc" and path[:1] not in ("@", "*", "") else None


def connect(sock: Any, endpoint: str) -> None:
    """Begin to connect: that nobody is there shows only by silence. UsageError for an endpoint that is none."""
    check(endpoint)
    try:
        sock.connect(endpoint)
    except zmq.ZMQError as error:
        raise _refusal(error, endpoint, "connect to") from error


def send(sock: Any, message: bytes, timeout_s: float) -> None:
    """Send a message, to a peer that has connected. PeerGone if there is none in time."""
    if not sock.poll(round(timeout_s * 1000), zmq.POLLOUT):
        raise PeerGone(f"nobody has connected within {timeout_s:g} s", "is the other side there?")
    sock.send(message, zmq.NOBLOCK)


def receive(sock: Any, timeout_s: float | None) -> bytes:
    """Wait for a message. PeerGone if none comes in time; None is for who is killed when the other side gives up.

    zmq.green ignores RCVTIMEO, and its recv() can miss an edge of the descriptor: poll() has a deadline.
    """
    if not sock.poll(None if timeout_s is None else round(timeout_s * 1000)):
        raise PeerGone(f"no answer within {timeout_s:g} s", "is the other side there, and of the same pattern?")
    message: bytes = sock.recv(zmq.NOBLOCK)
    return message


def _refusal(error: zmq.ZMQError, endpoint: str, what: str) -> Exception:
    reason = zmq.strerror(error.errno or 0)
    if error.errno in BAD_ENDPOINT:
        return UsageError(f"cannot {what} {endpoint!r}: {reason}", f"endpoints are {TRANSPORTS}")
    return BindError(f"cannot {what} {endpoint}: {reason}", BIND_HINTS.get(error.errno or 0, ""))
