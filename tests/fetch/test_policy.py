"""Which addresses --deny-private refuses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.fetch.policy import is_public

fixed = settings(derandomize=True, deadline=None, max_examples=300)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",  # carrier-grade NAT, RFC 6598
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",  # where clouds keep their credentials
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12:3456::1",
        "fec0::1",  # site-local, RFC 3879
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "64:ff9b:1::a00:1",  # local-use NAT64, RFC 8215
    ],
)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
    ],
)
def test_a_public_address_is_allowed(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:127.0.0.1",
        "::ffff:a00:1",
        "::ffff:224.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::192.168.0.1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "::127.0.0.1",  # IPv4-compatible, RFC 4291 section 2.5.5.1
        "::10.0.0.1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    ],
)
def test_ipv6_is_no_disguise_for_a_private_address(address):
    assert not is_public(address)


@fixed
@given(st.ip_addresses(v=4) | st.sampled_from(["127.0.0.1", "10.1.2.3", "8.8.8.8", "224.0.0.1"]).map(IPv4Address))
def test_mapped_nat64_and_6to4_are_judged_as_what_is_inside(ip):
    disguises = [
        IPv6Address(0xFFFF << 32 | int(ip)),
        IPv6Address(0x64FF9B << 96 | int(ip)),
        IPv6Address(0x2002 << 112 | int(ip) << 80 | 1),
    ]
    assert [is_public(str(address)) for address in disguises] == [is_public(str(ip))] * 3


@pytest.mark.parametrize("address", ["fe80::1%eth0", "::1%1", "::ffff:10.0.0.1%lo"])
def test_a_zone_does_not_hide_an_address(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["", "%", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "8.8.8.8.8", "8.8.8.8:80", "[::1]", "8.8.8.8 ", "::g"],
)
def test_what_is_no_address_is_refused(address):
    assert not is_public(address)
