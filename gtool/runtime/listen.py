"""Listening sockets from addresses: both families on one port, port 0, Unix paths, inherited descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gtool.errors import BindError, UsageError
from gtool.runtime.address import Address, peer_name, url
from gtool.runtime.unix_path import bind_path

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

IP_PKTINFO = 8  # of linux/in.h; Python has it from 3.12
#: Tells of each datagram which of our addresses it was sent to (ip(7), ipv6(7)); set before the first can come.
PACKET_INFO = {
    int(socket.AF_INET): (socket.IPPROTO_IP, IP_PKTINFO),
    int(socket.AF_INET6): (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
}

HINTS = {
    errno.EADDRINUSE: "another process listens there: stop it ('ss -ltnup' names it), or choose another port",
    errno.EACCES: "ports below 1024 are for root, or for CAP_NET_BIND_SERVICE; choose a higher one",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address",
}


Target = tuple[int, tuple[Any, ...]]  #: family, and the address as sockets take it


class Listener:
    """A socket that listens, or takes datagrams; not blocking. A Unix socket has a path, which is to be removed."""

    def __init__(self, sock: socket.socket, scheme: str, path: str | None = None) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.scheme = scheme  #: tcp, tls or udp; a Unix socket's is tcp or tls too
        self.url = _url(sock, scheme)
        self._path = path
        self._inode = os.stat(path).st_ino if path else 0

    @property
    def is_datagram(self) -> bool:
        return self.scheme == "udp"

    def close(self) -> None:
        self.socket.close()

    def unlink(self) -> None:
        """Remove its path, before it is closed: from then on the path, or the number of its inode, may be another's."""
        path, self._path = self._path, None
        if path:
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == self._inode:
                    os.unlink(path)

    def remove(self) -> None:
        self.unlink()
        self.close()


def open_listeners(addresses: Iterable[Address], default_scheme: str = "tcp") -> list[Listener]:
    """Listen on all of them, or on none: BindError. `default_scheme` is for addresses that name none."""
    opened: list[Listener] = []
    taken: set[int | None] = set()
    try:
        for address in addresses:
            if address.descriptor in taken:
                raise BindError(f"cannot listen on fd:{address.descriptor} twice")
            if address.descriptor is not None:
                taken.add(address.descriptor)
            scheme = address.scheme or default_scheme
            opened.extend(_open(address, scheme))
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
    if not (count.isdigit() and len(count) < 6):
        raise UsageError(f"LISTEN_FDS={count!r} is not a number of descriptors")
    return [Address(None, descriptor=FIRST_INHERITED + number) for number in range(int(count))]


def _open(address: Address, scheme: str) -> Iterator[Listener]:
    if address.descriptor is not None:
        yield _inherited(address.descriptor, scheme)
    elif address.path is not None:
        yield Listener(bind_path(address.path, BACKLOG), scheme, address.path)
    else:
        for sock in _internet(address, scheme):
            yield Listener(sock, scheme)


def _resolve(address: Address, scheme: str) -> list[Target]:
    """Give the family and the socket address of each that an internet address stands for, IPv4 first."""
    # As bytes, since Python loads its IDNA for any text: 1 ms of a start.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        found = socket.getaddrinfo(host or None, address.port, type=_kind(scheme), flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        name = url(scheme, address.host, address.port or 0)
        raise BindError(f"cannot listen on {name}: {getattr(error, 'strerror', None) or error}") from error
    return sorted({(family, socket_address) for family, _, _, _, socket_address in found})


def _kind(scheme: str) -> int:
    return socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM


def _internet(address: Address, scheme: str) -> list[socket.socket]:
    """Bind each address of the host to the same port; with port 0, to one that is free for all of them."""
    assert address.port is not None
    targets = _resolve(address, scheme)
    kind, port, name = _kind(scheme), address.port, url(scheme, address.host, address.port)
    for attempt in range(PORT_0_ATTEMPTS):
        try:
            return _bind_all(targets, kind, port)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and attempt < PORT_0_ATTEMPTS - 1:
                continue  # free for IPv4, taken for IPv6
            raise BindError(f"cannot listen on {name}: {error.strerror}", HINTS.get(error.errno or 0, "")) from error
    raise AssertionError("the last attempt returns or raises")


def _bind_all(targets: Sequence[Target], kind: int, port: int) -> list[socket.socket]:
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
        _set_options(sock)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket) -> None:
    options = TCP_OPTIONS if sock.type == socket.SOCK_STREAM else ((*PACKET_INFO[sock.family], 1),)
    for option in options:
        sock.setsockopt(*option)


def _inherited(descriptor: int, scheme: str) -> Listener:
    name = f"fd:{descriptor}"
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise BindError(f"cannot listen on {name}: {error.strerror}", "whoever starts gtool has to open it") from error
    os.set_inheritable(descriptor, False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        _set_options(sock)
    if sock.type == socket.SOCK_DGRAM and sock.family != socket.AF_UNIX:
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
