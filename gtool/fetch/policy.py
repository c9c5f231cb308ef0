"""Which addresses `--deny-private` refuses. Pure; asked about every address after resolution."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four bytes


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, looked at through every IPv6 disguise of IPv4."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (IPv4Address(ip.packed[12:]) if ip in NAT64 else None)
        if embedded is not None:
            ip = embedded
    return ip.is_global and not ip.is_multicast
