"""Who may connect: limits and address rules. Does no I/O but for the tickets that workers share."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gtool.runtime.settings import Limits
from gtool.runtime.shared import Tickets

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from gtool.runtime.settings import Network

    IpAddress = IPv4Address | IPv6Address


class Gate:
    """Says for which reason (one of shared.REFUSALS) a connection is refused, and counts those that are not.

    One per worker. Of all limits `free` alone is shared by the workers; a rate is each one's part of it.
    """

    def __init__(self, limits: Limits, free: Tickets | None = None, workers: int = 1) -> None:
        self._limits = limits
        self._free = free
        self._by_ip: Counter[IpAddress] = Counter()
        self._rate = limits.max_accept_rate / workers if limits.max_accept_rate else None
        self._burst = max(1.0, self._rate or 0)
        self._tokens = self._burst
        self._refilled_at = 0.0
        self.wants_ip = bool(limits.allow or limits.deny or limits.max_connections_per_ip)

    def allows(self, ip: IpAddress | None) -> bool:
        """Apply the address rules alone."""
        return ip is None or is_allowed(ip, self._limits.allow, self._limits.deny)

    def admit(self, ip: IpAddress | None, now: float) -> str | None:
        """Count a connection in, or give the reason. `ip` is None for a Unix socket: no address rule is on it."""
        reason = self._refusal(ip) or self.enter(now)
        if not reason:
            self._count(ip)
        return reason

    def enter(self, now: float) -> str | None:
        """Take a place for a connection whose address is not known yet: admit_late() is to follow."""
        if self._rate and not self._has_token(now):
            return "rate"
        if self._free and not self._free.take():
            return "full"
        self._tokens -= 1
        return None

    def admit_late(self, ip: IpAddress | None) -> str | None:
        """Count in a connection that has its place already, or give the reason; it has to leave then."""
        reason = self._refusal(ip)
        if not reason:
            self._count(ip)
        return reason

    def leave(self, ip: IpAddress | None = None) -> None:
        """Give a place back, of a connection from `ip` if that was admitted."""
        if self._free:
            self._free.give_back()
        if ip is not None and ip in self._by_ip:
            self._by_ip[ip] -= 1
            if not self._by_ip[ip]:
                del self._by_ip[ip]

    def _refusal(self, ip: IpAddress | None) -> str | None:
        if not self.allows(ip):
            return "denied"
        most = self._limits.max_connections_per_ip
        return "full_for_ip" if ip is not None and most is not None and self._by_ip[ip] >= most else None

    def _count(self, ip: IpAddress | None) -> None:
        if ip is not None and self._limits.max_connections_per_ip is not None:
            self._by_ip[ip] += 1

    def _has_token(self, now: float) -> bool:
        assert self._rate
        self._tokens = min(self._burst, self._tokens + (now - self._refilled_at) * self._rate)
        self._refilled_at = now
        return self._tokens >= 1


def is_allowed(ip: IpAddress, allow: tuple[Network, ...], deny: tuple[Network, ...]) -> bool:
    """Apply the most specific rule that matches, as xinetd does; of two equal ones, `deny`.

    An address that no rule matches is allowed unless there is an allow list.
    """
    allowed = _closest(ip, allow)
    denied = _closest(ip, deny)
    if denied is None:
        return allowed is not None or not allow
    return allowed is not None and allowed > denied


def _closest(ip: IpAddress, networks: tuple[Network, ...]) -> int | None:
    return max((network.prefixlen for network in networks if ip in network), default=None)
