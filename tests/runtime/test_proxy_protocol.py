"""PROXY headers: whole or in pieces, of any kind, and whatever else a peer may send."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.runtime.proxy_protocol import V1_MAX_BYTES, V2_MAX_BYTES, V2_SIGNATURE, Header, ProxyError, parse

fixed = settings(derandomize=True, deadline=None, max_examples=300)

STREAM, LOCAL, PROXY = 1, 0x20, 0x21
PORTS = st.integers(0, 65535)
IPS = {4: st.ip_addresses(v=4), 6: st.ip_addresses(v=6).filter(lambda ip: ip.ipv4_mapped is None)}


def v2(command: int = PROXY, family: int = 1, body: bytes = bytes(12), length: int | None = None) -> bytes:
    head = struct.pack("!BBH", command, family << 4 | STREAM, len(body) if length is None else length)
    return V2_SIGNATURE + head + body


@st.composite
def v1_headers(draw: st.DrawFn) -> tuple[bytes, Header]:
    version = draw(st.sampled_from([4, 6]))
    source, target = draw(IPS[version]), draw(IPS[version])
    port = draw(PORTS)
    line = f"PROXY TCP{version} {source} {target} {port} {draw(PORTS)}\r\n".encode()
    return line, Header(len(line), source, port)


@st.composite
def v2_headers(draw: st.DrawFn) -> tuple[bytes, Header]:
    version, port = draw(st.sampled_from([4, 6])), draw(PORTS)
    source, target = draw(IPS[version]), draw(IPS[version])
    ports = struct.pack("!HH", port, draw(PORTS))
    extra = draw(st.binary(max_size=40))  # TLVs, which are skipped
    header = v2(family=1 if version == 4 else 2, body=source.packed + target.packed + ports + extra)
    return header, Header(len(header), source, port)


@st.composite
def nameless_headers(draw: st.DrawFn) -> tuple[bytes, Header]:
    """Headers that name no address: UNKNOWN, LOCAL, Unix sockets, families that are not known."""
    text = draw(st.from_regex(rb"( [ -~]{0,60})?", fullmatch=True))
    body = draw(st.binary(max_size=300))
    family = draw(st.sampled_from([0, 3, *range(4, 16)]))
    headers = [b"PROXY UNKNOWN" + text + b"\r\n", v2(LOCAL, draw(st.integers(0, 15)), body), v2(PROXY, family, body)]
    header = draw(st.sampled_from(headers))
    return header, Header(len(header))


HEADERS = v1_headers() | v2_headers() | nameless_headers()


# Any header


@fixed
@given(header=HEADERS, following=st.binary(max_size=20))
def test_a_header_in_any_pieces_is_none_until_it_is_whole_and_what_follows_is_left_alone(header, following):
    data, found = header
    assert [parse(data[:size]) for size in range(len(data))] == [None] * len(data)
    assert parse(data + following) == found


@fixed
@given(data=st.binary(max_size=60), prefix=st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, v2()[:13]]))
def test_whatever_comes_raises_nothing_but_a_proxy_error(data, prefix):
    try:
        found = parse(prefix + data)
    except ProxyError:
        return
    assert found is None or 0 < found.length <= len(prefix + data)


@fixed
@given(header=HEADERS, position=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_header_with_a_wrong_byte_raises_nothing_but_a_proxy_error(header, position, byte):
    data = bytearray(header[0])
    data[position % len(data)] = byte
    try:
        parse(bytes(data))
    except ProxyError:
        return


# Version 1


def test_version_1_tells_the_source():
    assert parse(b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n") == Header(42, IPv4Address("192.0.2.1"), 56324)


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP6 ::ffff:10.0.0.1 ::1 5 6\r\n",
        v2(family=2, body=IPv6Address("::ffff:10.0.0.1").packed + IPv6Address("::1").packed + b"\0\5\0\6"),
    ],
)
def test_a_mapped_address_is_the_one_that_rules_are_for(header):
    parsed = parse(header)
    assert parsed
    assert (parsed.ip, parsed.port) == (IPv4Address("10.0.0.1"), 5)


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY ",
        b"PROXY TCP4",
        b"PROXY TCP5 1.1.1.1 1.1.1.1 1 1",
        b"PROXY tcp4 1.1.1.1 1.1.1.1 1 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1",
        b"PROXY TCP4  1.1.1.1 1.1.1.1 1 1",
        b"PROXY TCP4 ::1 ::1 1 1",
        b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1",
        b"PROXY TCP4 1.1.1.256 1.1.1.1 1 1",
        b"PROXY TCP4 1.1.1.1 nobody 1 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 http 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1",
        b"PROXY TCP4 1.1.1.\xff 1.1.1.1 1 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1_0 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 x",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 99999",
        b"PROXY TCP6 fe80::1%\x1b ::1 1 1",
        b"PROXY UNKNOWNS",
    ],
)
def test_a_line_that_is_no_header_is_malformed(line):
    with pytest.raises(ProxyError, match="malformed"):
        parse(line + b"\r\n")


def test_a_line_of_the_greatest_length_is_one():
    line = b"PROXY UNKNOWN".ljust(V1_MAX_BYTES - 2) + b"\r\n"
    assert parse(line) == Header(V1_MAX_BYTES)


@pytest.mark.parametrize("end", [b"", b"\r\n"])
def test_a_longer_line_is_none(end):
    with pytest.raises(ProxyError, match="oversized"):
        parse(b"PROXY UNKNOWN".ljust(V1_MAX_BYTES) + end)


# Version 2


def test_version_2_tells_the_source():
    body = IPv6Address("2001:db8::1").packed + IPv6Address("::2").packed + struct.pack("!HH", 56324, 443)
    assert parse(v2(family=2, body=body)) == Header(52, IPv6Address("2001:db8::1"), 56324)


@pytest.mark.parametrize(("family", "body"), [(1, bytes(12)), (2, bytes(36)), (1, b""), (0, b"")])
def test_a_health_check_names_nobody_whatever_its_addresses_are(family, body):
    assert parse(v2(LOCAL, family, body)) == Header(16 + len(body))


@pytest.mark.parametrize("command", [0x10, 0x11, 0x22, 0x2F, 0x30, 0x00, 0xFF])
def test_another_version_or_command_is_malformed(command):
    with pytest.raises(ProxyError, match="malformed"):
        parse(v2(command))


@pytest.mark.parametrize(("family", "size"), [(1, 0), (1, 11), (2, 12), (2, 35)])
def test_addresses_that_are_cut_short_are_malformed(family, size):
    with pytest.raises(ProxyError, match="malformed"):
        parse(v2(family=family, body=bytes(size)) + bytes(50))


def test_one_of_the_greatest_length_is_read():
    data = v2(body=bytes(V2_MAX_BYTES - 16))
    assert parse(data) == Header(V2_MAX_BYTES, IPv4Address(0), 0)


@pytest.mark.parametrize("length", [V2_MAX_BYTES - 15, 65535])
def test_a_longer_one_is_refused_before_it_has_come(length):
    with pytest.raises(ProxyError, match="oversized"):
        parse(v2(length=length))


# Neither


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"P\0", b"PROXYTCP4", b"\r\n\r\n\0\r\nQUIT\r", b"\x16\x03\x01"]
)
def test_anything_else_is_no_header_and_that_is_said_at_once(data):
    with pytest.raises(ProxyError, match="no PROXY header"):
        parse(data)
