"""Endpoints of ZeroMQ: bound and connected to with errors that say what is wrong, and nothing left behind."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import zmq

from gtool.errors import BindError, GtoolError, UsageError
from gtool.runtime.listen import HINTS
from gtool.runtime.unix_path import free_path

AnyContext = TypeVar("AnyContext", bound="zmq.Context[Any]")

TCP = re.compile(r"tcp://(?:.*;)?(?P<host>.*):(?P<port>\d+|\*)", re.ASCII)
TRANSPORTS = "tcp://host:port, ipc://path, inproc://name"
BIND_HINTS = {**HINTS, errno.ENODEV: HINTS[errno.EADDRNOTAVAIL]}  # which is how libzmq puts it
TERM_S = 1.0  #: more than any socket lingers
BAD_ENDPOINT = (errno.EINVAL, errno.EPROTONOSUPPORT)


@contextmanager
def closing(context: AnyContext) -> Iterator[AnyContext]:
    """Give a context; at the end its sockets are closed, and what they have not sent by then is dropped."""
    context.set(zmq.MAX_SOCKETS, context.get(zmq.SOCKET_LIMIT))  # not 1,023: descriptors are the limit
    try:
        yield context
    finally:
        destroy(context)


def destroy(context: zmq.Context[Any]) -> None:
    """Close a context and its sockets; those of zmq.green must be closed already.

    In a thread that is not waited for longer than TERM_S, but left to the end of the process: zmq_ctx_term(3) waits for
    a name that libzmq is looking up, as long as the resolver takes. No signal must fall into it either, a child's exit
    for one: pyzmq passes over its EINTR and takes the context for closed, whose descriptors then stay open for good
    (zmq/backend/cython/_zmq.py, "ignore interrupted term").
    """
    ending = Thread(target=partial(context.destroy, linger=0), daemon=True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        ending.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    ending.join(TERM_S)


def new_socket(context: zmq.Context[Any], kind: int) -> Any:
    """Make a socket. GtoolError if there can be no more."""
    try:
        return context.socket(kind)
    except zmq.ZMQError as error:
        raise GtoolError(f"cannot have a further socket: {error.strerror}", "'ulimit -n' says how many") from error


def bind(sock: Any, endpoint: str) -> str:
    """Bind, and give the endpoint with the real port. UsageError for one that is none, BindError if it can't be had.

    libzmq takes ipc paths from live servers, and leaves them behind; see remove_path() for the latter.
    """
    check(endpoint)
    path = ipc_path(endpoint)
    sock.ipv6 = endpoint.startswith(("tcp://[", "tcp://*:"))  # else libzmq calls 127.0.0.1 [::ffff:127.0.0.1]
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
    tcp = TCP.fullmatch(endpoint)
    if tcp and tcp["port"] != "*" and int(tcp["port"]) > 65535:
        raise UsageError(f"cannot use {endpoint!r}: port {tcp['port']} is over 65535")


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


def _refusal(error: zmq.ZMQError, endpoint: str, what: str) -> Exception:
    reason = zmq.strerror(error.errno or 0)
    if error.errno in BAD_ENDPOINT:
        return UsageError(f"cannot {what} {endpoint!r}: {reason}", f"endpoints are {TRANSPORTS}")
    return BindError(f"cannot {what} {endpoint}: {reason}", BIND_HINTS.get(error.errno or 0, ""))
