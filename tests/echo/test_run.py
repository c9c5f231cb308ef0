"""Which driver has a connection, over each kind of socket, before and after what comes first."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.echo.faults import After, Faults
from gtool.echo.plain import Plain
from gtool.echo.run import EchoService, Settings
from gtool.runtime.greenlets import FunctionDriver
from gtool.runtime.proxy_protocol import V2_SIGNATURE
from gtool.runtime.settings import Settings as ServerSettings
from tests.runtime.scripts import output_of
from tests.servers.looped import Looped, exchange, looped, receive_exactly, secure, send_apart, server_tls

LOOPBACK = (ip_network("127.0.0.0/8"),)
UDP = "udp://127.0.0.1:0"

fixed = settings(derandomize=True, deadline=None, max_examples=60)
ports = st.integers(0, 65535)
v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6)


def v1(family, source, target, port, target_port):
    return f"PROXY {family} {source} {target} {port} {target_port}\r\n".encode()


def v2(family, source, target, port, target_port, tlvs):
    body = source.packed + target.packed + struct.pack("!HH", port, target_port) + tlvs
    return V2_SIGNATURE + bytes([0x21, family << 4 | 1]) + struct.pack("!H", len(body)) + body


headers = st.one_of(
    st.builds(v1, st.just("TCP4"), v4, v4, ports, ports),
    st.builds(v1, st.just("TCP6"), v6, v6, ports, ports),
    st.just(b"PROXY UNKNOWN\r\n"),
    st.builds(v2, st.just(1), v4, v4, ports, ports, st.binary(max_size=300)),
    st.builds(v2, st.just(2), v6, v6, ports, ports, st.binary(max_size=300)),
    st.just(V2_SIGNATURE + b"\x20\x00\x00\x00"),
)


@st.composite
def cut(draw, wholes):
    """A header, a payload, and both as chunks, cut anywhere."""
    header, payload = draw(wholes), draw(st.binary(max_size=300))
    whole = header + payload
    cuts = sorted(draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    return payload, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


def echo(**options):
    return lambda server: EchoService(Settings(**options), server)


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[Looped]:
    with looped(echo(), settings=ServerSettings(proxy_from=LOOPBACK, drain_timeout=0.05)) as server:
        yield server


@pytest.fixture(scope="module")
def tls(authority, tmp_path_factory):
    return server_tls(authority, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def behind_proxy_with_tls(tls) -> Iterator[Looped]:
    proxied = ServerSettings(proxy_from=LOOPBACK, tls=tls, drain_timeout=0.05)
    with looped(echo(), settings=proxied, default_scheme="tls") as server:
        yield server


@given(cut(headers))
@settings(fixed, max_examples=150)
def test_what_comes_after_a_proxy_header_comes_back_wherever_it_is_cut(behind_proxy, example):
    payload, chunks = example
    with behind_proxy.connect() as client:
        assert exchange(client, chunks) == payload
    assert behind_proxy.reason() == "closed"


@given(cut(headers))
@settings(fixed, max_examples=25)
def test_tls_begins_right_after_the_header(behind_proxy_with_tls, authority, example):
    payload, chunks = example
    header = b"".join(chunks)[: -len(payload) or None]
    sock = behind_proxy_with_tls.connect()
    send_apart(sock, [header[: len(header) // 2], header[len(header) // 2 :]])
    with secure(sock, authority) as client:
        client.sendall(payload + b"\n")
        assert receive_exactly(client, len(payload) + 1) == payload + b"\n"
        client.unwrap()
    assert behind_proxy_with_tls.reason() == "closed"


def test_the_header_tells_who_the_peer_is(behind_proxy):
    with behind_proxy.connect() as client:
        exchange(client, [v1("TCP6", ip_address("2001:db8::1"), ip_address("::1"), 5000, 80)])
    behind_proxy.reason()
    assert behind_proxy.server.opened[-1].peer == "[2001:db8::1]:5000"


def test_without_faults_no_greenlet_serves_a_connection():
    with looped(echo()) as server, server.connect() as client:
        send_apart(client, [b"hello"])
        assert isinstance(server.server.opened[0].driver, Plain)


PLAIN = """
import sys
from gtool.echo.run import EchoService, Settings
from gtool.runtime.address import parse_address
from gtool.runtime.serve import Plan, serve
from gtool.runtime.settings import Settings as ServerSettings

plan = Plan(ServerSettings(), (), parse_address("127.0.0.1:0"), duration=0.0)
serve(plan, lambda server: EchoService(Settings(), server))
print(*sys.modules)
"""


def test_a_plain_server_loads_nothing_that_only_others_need():
    others = {"encodings.idna", "ipaddress", "pprint", "random", "ssl", "gevent.queue", "gevent.socket"}
    others |= {"gtool.echo.greenlets", "gtool.runtime.datagrams", "gtool.runtime.greenlets", "gtool.runtime.prelude"}
    loaded = set(output_of(PLAIN)[-1].split())
    assert "gtool.echo.plain" in loaded
    assert others & loaded == set()


def test_with_faults_a_greenlet_does():
    with looped(echo(faults=Faults(latency=0.01))) as server, server.connect() as client:
        assert exchange(client, [b"hello"]) == b"hello"
        assert isinstance(server.server.opened[0].driver, FunctionDriver)


def test_over_tls_a_greenlet_does(tls, authority):
    with (
        looped(echo(), settings=ServerSettings(tls=tls), default_scheme="tls") as server,
        secure(server.connect(), authority) as client,
    ):
        client.sendall(b"hello")
        assert receive_exactly(client, 5) == b"hello"
        assert isinstance(server.server.opened[0].driver, FunctionDriver)


def test_the_same_connections_meet_the_faults_for_the_same_seed():
    def drivers(seed):
        with looped(echo(faults=Faults(latency=1e-6, toxicity=0.5), seed=seed)) as server:
            for _ in range(20):
                with server.connect() as client:
                    exchange(client, [b"hello"])
                server.reason()
            return [type(connection.driver) for connection in server.server.opened]

    first = drivers(1)
    assert set(first) == {Plain, FunctionDriver}
    assert first == drivers(1) != drivers(2)


def test_the_same_bytes_are_changed_for_the_same_seed():
    def received(seed):
        with looped(echo(faults=Faults(corrupt_rate=0.1), seed=seed)) as server, server.connect() as client:
            return exchange(client, [bytes(1000)])

    assert received(1) == received(1) != received(2)


def test_a_fault_over_tls_is_met_too(tls, authority):
    with (
        looped(
            echo(faults=Faults(close_after=After(size=3))), settings=ServerSettings(tls=tls), default_scheme="tls"
        ) as server,
        secure(server.connect(), authority) as client,
    ):
        client.sendall(b"hello")
        assert receive_exactly(client, 3) == b"hel"
        assert client.recv(10) == b""


@pytest.mark.parametrize("options", [{}, {"faults": Faults(latency=1e-6)}])
@pytest.mark.parametrize(("service", "said"), [("discard", rb""), ("daytime", rb"\w+, .*-UTC\r\n")])
def test_each_driver_has_the_service_that_was_asked_for(service, said, options):
    with looped(echo(service=service, **options)) as server, server.connect() as client:
        assert re.fullmatch(said, exchange(client, [b"hello"]))


@given(st.lists(st.binary(max_size=1400), min_size=1, max_size=10))
@settings(fixed, max_examples=25)
def test_datagrams_come_back_as_they_are(datagrams_server, datagrams):
    with datagrams_server.connect() as client:
        for data in datagrams:
            client.send(data)
        assert [client.recv(2000) for _ in datagrams] == datagrams


@pytest.fixture(scope="module")
def datagrams_server() -> Iterator[Looped]:
    with looped(echo(), UDP) as server:
        yield server


def test_datagrams_have_the_service_that_was_asked_for():
    with looped(echo(service="time"), UDP) as server:
        client = server.connect()
        client.send(b"")
        assert len(client.recv(100)) == 4


def test_datagrams_meet_the_faults():
    with looped(echo(faults=Faults(corrupt_rate=1.0)), UDP) as server:
        client = server.connect()
        client.send(bytes(10))
        assert 0 not in client.recv(100)


def test_a_datagram_from_the_servers_own_port_is_answered_only_on_request():
    """It comes from another address then: two echo services on the same port would answer each other for ever."""
    for any_source in (False, True):
        with looped(echo(any_source=any_source), UDP) as server:
            other = server.socket()
            other.bind(("127.0.0.2", server.target()[1]))
            other.sendto(b"hello", server.target())
            gevent.idle()
            assert server.counts.messages == any_source


def test_datagrams_and_streams_are_served_at_once():
    with looped(echo(), UDP, "127.0.0.1:0") as server:
        datagrams, stream = server.connect(0), server.connect(1)
        datagrams.send(b"datagram")
        assert exchange(stream, [b"stream"]) == b"stream"
        assert datagrams.recv(100) == b"datagram"
