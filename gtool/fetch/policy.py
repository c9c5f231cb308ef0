"""Which addresses `--deny-private` refuses. Pure; asked about every address after resolution."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

#: an IPv4 address is in the last four bytes of these: NAT64 (RFC 6052), IPv4-compatible (RFC 4291 section 2.5.5.1)
EMBEDDING = IPv6Network("64:ff9b::/96"), IPv6Network("::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")  # all of IPv6 that IANA has given out


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, looked at through every IPv6 disguise of IPv4."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if embedded is None and any(ip in network for network in EMBEDDING):
            embedded = IPv4Address(ip.packed[12:])
        if embedded is not None:
            ip = embedded
        elif ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast
