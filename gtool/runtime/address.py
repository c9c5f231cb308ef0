"""Where a server listens: addresses as users write them, and as the ready line says them. Pure.

host:port   :port (all interfaces)   [::1]:port   unix:/path   fd:3   tcp://…   tls://…   udp://…
"""

from __future__ import annotations

import re
from typing import NamedTuple

SCHEMES = ("tcp", "tls", "udp")
SCHEME_AND_REST = re.compile(r"(?:([A-Za-z]+)://)?(.*)", re.DOTALL)
HOST_AND_PORT = re.compile(r"(?:\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[^\]\s]+)?)\]|([^\[\]:/\s]*)):(\d{1,5})", re.ASCII)
UNIX_PATH_BYTES = 107  #: what struct sockaddr_un holds, less the NUL


class Address(NamedTuple):
    """Exactly one of port, path and descriptor is there. `scheme` is None where the user did not say."""

    scheme: str | None
    host: str = ""
    port: int | None = None
    path: str | None = None
    descriptor: int | None = None


def parse_address(text: str) -> Address:
    """Read an address; ValueError, with the reason, if it is none."""
    match = SCHEME_AND_REST.fullmatch(text)
    assert match  # it takes any text
    scheme, rest = match[1] and match[1].lower(), match[2]
    if scheme is not None and scheme not in SCHEMES:
        raise ValueError(f"{scheme}:// is not one of {', '.join(f'{name}://' for name in SCHEMES)}")
    kind, colon, value = rest.partition(":")
    if colon and kind in ("unix", "fd"):
        if scheme == "udp" and kind == "unix":
            raise ValueError("datagrams over Unix sockets are not served")
        return _unix(scheme, value) if kind == "unix" else _descriptor(scheme, value)
    return _host_and_port(scheme, rest)


def url(scheme: str, host: str, port: int) -> str:
    """What the ready line says of an internet address: `tcp://127.0.0.1:8000`, `udp://[::1]:8000`."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def peer_name(address: tuple[str, int] | tuple[str, int, int, int] | str | bytes) -> str:
    """Tell a socket's peer as logs do: `127.0.0.1:5000`, `[::1]:5000`, `unix`, whatever name that one has."""
    if not isinstance(address, tuple):
        return "unix"
    host = plain_host(address[0])
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def plain_host(host: str) -> str:
    """Undo what a socket for both families does to IPv4 addresses: `::ffff:1.2.3.4` (RFC 4291 section 2.5.5.2)."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def _unix(scheme: str | None, path: str) -> Address:
    if not path:
        raise ValueError("there is no path")
    if len(path.encode(errors="surrogateescape")) > UNIX_PATH_BYTES:
        raise ValueError(f"the path of a Unix socket has {UNIX_PATH_BYTES} bytes at most")
    if "\0" in path:
        raise ValueError("a path has no NUL in it")
    return Address(scheme, path=path)


def _descriptor(scheme: str | None, value: str) -> Address:
    if not (value.isascii() and value.isdigit() and len(value) < 8):
        raise ValueError("fd: wants a number, as fd:3")
    return Address(scheme, descriptor=int(value))


def _host_and_port(scheme: str | None, text: str) -> Address:
    match = HOST_AND_PORT.fullmatch(text)
    if match is None:
        if text.count(":") > 1 and not text.startswith("["):
            raise ValueError("an IPv6 address wants brackets, as [::1]:8000")
        raise ValueError("it wants a host and a port, as 127.0.0.1:8000 or :8000")
    port = int(match[3])
    if port > 65535:
        raise ValueError(f"port {port} is over 65535")
    return Address(scheme, match[1] or match[2] or "", port)
