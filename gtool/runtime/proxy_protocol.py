"""The PROXY protocol, versions 1 and 2: the header by which a load balancer tells the real client's address. Pure.

Source: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, sections 2.1 and 2.2.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

V1_PREFIX = b"PROXY "
V1_MAX_BYTES = 107  #: with the CRLF
PORT = re.compile(rb"0|[1-9]\d{0,4}")
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEAD_BYTES = 16
V2_MAX_BYTES = 4096  #: addresses take 36 bytes at most; the rest is for TLVs
LOCAL, PROXY = 0, 1
V2_ADDRESSES = {1: "!4s4sHH", 2: "!16s16sHH"}  #: address family -> layout: source, target, their ports


class ProxyError(Exception):
    """The peer has sent something that is no PROXY header."""


class Header(NamedTuple):
    """`ip` is None where the header names none: UNKNOWN, LOCAL (a health check), a Unix socket."""

    length: int  #: of the header, in bytes; what follows is the client's
    ip: IPv4Address | IPv6Address | None = None
    port: int = 0


def parse(data: bytes) -> Header | None:
    """Read the header that `data` begins with; None if there is more to come; ProxyError if there is none."""
    if data[: len(V2_SIGNATURE)] == V2_SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if data[: len(V1_PREFIX)] == V1_PREFIX[: len(data)]:
        return _parse_v1(data)
    raise ProxyError("no PROXY header")


def _parse_v1(data: bytes) -> Header | None:
    line, end, _ = data[:V1_MAX_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= V1_MAX_BYTES:
            raise ProxyError("oversized PROXY header")
        return None
    length = len(line) + 2
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(length)
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("malformed PROXY header")
    _, family, source, target, source_port, target_port = words
    _read_ip(family, target)
    _read_port(target_port)
    return Header(length, _read_ip(family, source), _read_port(source_port))


def _read_ip(family: bytes, word: bytes) -> IPv4Address | IPv6Address:
    try:
        if b"%" not in word:  # a scope, which Python takes and the protocol has not
            return _plain(IPv4Address(word.decode()) if family == b"TCP4" else IPv6Address(word.decode()))
    except ValueError:
        pass
    raise ProxyError("malformed PROXY header")


def _read_port(word: bytes) -> int:
    if not PORT.fullmatch(word) or int(word) > 65535:
        raise ProxyError("malformed PROXY header")
    return int(word)


def _plain(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Give an IPv4 address as one, lest rules on it be passed by as `::ffff:10.0.0.1` (RFC 4291 section 2.5.5.2)."""
    return (isinstance(ip, IPv6Address) and ip.ipv4_mapped) or ip


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < V2_HEAD_BYTES:
        return None
    version_and_command, family_and_transport, size = struct.unpack("!BBH", data[12:V2_HEAD_BYTES])
    version, command = version_and_command >> 4, version_and_command & 15
    if version != 2 or command not in (LOCAL, PROXY):
        raise ProxyError("malformed PROXY header")
    length = V2_HEAD_BYTES + size
    if length > V2_MAX_BYTES:
        raise ProxyError("oversized PROXY header")
    if len(data) < length:
        return None
    family = family_and_transport >> 4
    if command == LOCAL or family not in V2_ADDRESSES:
        return Header(length)
    try:
        source, _, port, _ = struct.unpack_from(V2_ADDRESSES[family], data[:length], V2_HEAD_BYTES)
    except struct.error as error:
        raise ProxyError("malformed PROXY header") from error
    return Header(length, _plain(ip_address(source)), port)
