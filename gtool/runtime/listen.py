"""Listening sockets from addresses: both families on one port, port 0, Unix paths, inherited descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gtool.errors import BindError, UsageError
from gtool.runtime.address import Address, peer_name, url

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
FIRST_INHERITED = 3  # sd_listen_fds(3)
#: Set on the listener, inherited by what is accepted (tcp(7)): small answers leave at once, and a peer that was
#: unplugged is noticed within two minutes, whether there is an idle time-out or not.
TCP_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
PORT_0_ATTEMPTS = 32  #: for a port that is free in both families

HINTS = {
    errno.EADDRINUSE: "another process listens there: stop it ('ss -ltnup' names it), or choose another port",
    errno.EACCES: "ports below 1024 are for root, or for CAP_NET_BIND_SERVICE; choose a higher one",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address",
}
UNIX_HINTS = {errno.EACCES: "you may not write there", errno.ENOENT: "there is no such directory"}


class Listener:
    """A socket that listens, or takes datagrams; not blocking. Closing it removes its path."""

    def __init__(self, sock: socket.socket, scheme: str, path: str | None = None) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.scheme = scheme  #: tcp, tls or udp; unix is for those that have a path
        self.url = _url(sock, scheme)
        self._path = path
        self._inode = os.stat(path).st_ino if path else 0

    @property
    def is_datagram(self) -> bool:
        return self.scheme == "udp"

    def close(self) -> None:
        self.socket.close()

    def remove(self) -> None:
        """Close it, and remove its path, if that is still ours: another server may have taken it over."""
        self.close()
        if self._path:
            with contextlib.suppress(OSError):
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)


def open_listeners(addresses: Iterable[Address], default_scheme: str = "tcp") -> list[Listener]:
    """Listen on all of them, or on none: BindError. `default_scheme` is for addresses that name none."""
    opened: list[Listener] = []
    try:
        for address in addresses:
            opened.extend(_open(address, address.scheme or default_scheme))
    except BaseException:
        for listener in opened:
            listener.remove()
        raise
    return opened


def inherited_addresses() -> list[Address]:
    """Give the sockets that systemd has opened for this process, and take them out of the environment.

    LISTEN_FDS counts only if LISTEN_PID is ours: it may be meant for our parent (sd_listen_fds(3)).
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.pop("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if not count.isdigit():
        raise UsageError(f"LISTEN_FDS={count!r} is not a number")
    return [Address(None, descriptor=FIRST_INHERITED + number) for number in range(int(count))]


def _open(address: Address, scheme: str) -> Iterator[Listener]:
    if address.descriptor is not None:
        yield _inherited(address.descriptor, scheme)
    elif address.path is not None:
        yield Listener(_unix(address.path), scheme, address.path)
    else:
        assert address.port is not None
        for sock in _internet(address.host, address.port, scheme):
            yield Listener(sock, scheme)


def _internet(host: str, port: int, scheme: str) -> list[socket.socket]:
    """Bind each address of the host to the same port; with port 0, to one that is free for all of them."""
    name = url(scheme, host, port)
    kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise BindError(f"cannot listen on {name}: {getattr(error, 'strerror', None) or error}") from error
    targets = sorted({(family, address) for family, _, _, _, address in found})  # IPv4 first
    for attempt in range(PORT_0_ATTEMPTS):
        try:
            return _bind_all(targets, kind, port)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < PORT_0_ATTEMPTS - 1:
                continue  # free for IPv4, taken for IPv6
            raise BindError(f"cannot listen on {name}: {error.strerror}", HINTS.get(error.errno or 0, "")) from error
    raise AssertionError("the last attempt returns or raises")


def _bind_all(targets: Sequence[tuple[int, tuple[Any, ...]]], kind: int, port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    try:
        for family, address in targets:
            try:
                sock = _bind(family, kind, (address[0], port, *address[2:]))
            except OSError as error:
                # A kernel without IPv6 has `::` in getaddrinfo all the same.
                if bound and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    continue
                raise
            bound.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind(family: int, kind: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a restart needn't wait for TIME_WAIT
            for option in TCP_OPTIONS:
                sock.setsockopt(*option)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _unix(path: str) -> socket.socket:
    """Listen on a path. One that a dead server has left is replaced; one that a live server has is not."""
    name = f"unix:{path}"
    if _is_there(path):
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise BindError(f"cannot listen on {name}: there is a file of another kind", "choose another path")
        if _is_live(path):
            raise BindError(f"cannot listen on {name}: another server listens there", "stop it, or choose another path")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot listen on {name}: {error.strerror}", UNIX_HINTS.get(error.errno or 0, "")) from error
    return sock


def _is_there(path: str) -> bool:
    try:
        os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    return True


def _is_live(path: str) -> bool:
    """Whether somebody accepts connections there: ECONNREFUSED is what a socket of a dead process says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog must not hold us up
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EACCES, errno.EPROTOTYPE)
    return True


def _inherited(descriptor: int, scheme: str) -> Listener:
    name = f"fd:{descriptor}"
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise BindError(f"cannot listen on {name}: {error.strerror}", "whoever starts gtool has to open it") from error
    os.set_inheritable(descriptor, False)
    if sock.type == socket.SOCK_DGRAM and sock.family in (socket.AF_INET, socket.AF_INET6):
        return Listener(sock, "udp")
    if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise BindError(f"cannot listen on {name}: it is no socket that listens")
    return Listener(sock, "tcp" if scheme == "udp" else scheme)


def _url(sock: socket.socket, scheme: str) -> str:
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{address}"
    return f"{scheme}://{peer_name(address)}"
