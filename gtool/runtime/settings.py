"""What every server can be told about whom it serves, and for how long. Times are seconds; None is for ever, or all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ssl  # 4 ms of a start, for those that speak TLS
    from ipaddress import IPv4Network, IPv6Network

    Network = IPv4Network | IPv6Network


class Limits(NamedTuple):
    """Whom a server admits. A rate is connections per second, with bursts of one second's."""

    max_connections: int | None = None
    max_connections_per_ip: int | None = None
    max_accept_rate: float | None = None
    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


class Settings(NamedTuple):
    limits: Limits = Limits()
    idle_timeout: float | None = None
    handshake_timeout: float | None = 10.0
    drain_timeout: float = 5.0
    proxy_from: tuple[Network, ...] | None = None  #: who may send a PROXY header; None: nobody does
    tls: ssl.SSLContext | None = None
