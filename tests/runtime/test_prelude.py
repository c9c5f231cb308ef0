"""Before a connection's own bytes: the PROXY header, to the byte, and the TLS handshake; or an end that is told."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.runtime import server as runtime_server
from gtool.runtime.greenlets import FunctionDriver, green
from gtool.runtime.prelude import read_header
from gtool.runtime.proxy_protocol import V2_SIGNATURE, ProxyError
from gtool.runtime.settings import Limits, Settings
from tests.servers.looped import Looped, exchange, looped, receive_all, reset, secure, send_apart, server_tls

LOOPBACK = (ip_network("127.0.0.0/8"),)
V1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 5000 80\r\n"
V2 = V2_SIGNATURE + b"\x21\x11\x00\x0c" + bytes([203, 0, 113, 9, 192, 0, 2, 1, 0x13, 0x88, 0, 80])
LOCAL = V2_SIGNATURE + b"\x20\x00\x00\x00"
SOON_S = 0.02


class Echo(runtime_server.Service):
    """Answers what has come, by a greenlet."""

    def __init__(self, server):
        pass

    def connect(self, connection, sock):
        FunctionDriver(connection, sock if connection.is_tls else green(sock), self.serve)

    def serve(self, stream):
        while data := stream.read():
            stream.write(data)
        return "served"


def proxied(limits: Limits = Limits(), **options) -> Settings:  # noqa: B008
    return Settings(limits, proxy_from=LOOPBACK, drain_timeout=0.05, **options)


@pytest.fixture(scope="module")
def tls(authority, tmp_path_factory):
    return server_tls(authority, tmp_path_factory.mktemp("tls"))


def refusals(server: Looped) -> dict[str, int]:
    return {reason: count for reason, count in server.counts.refused.items() if count}


@given(header=st.sampled_from([V1, V2, LOCAL]), rest=st.binary(max_size=40), data=st.data())
@settings(derandomize=True, deadline=None, max_examples=60)
def test_a_header_is_read_to_the_byte_wherever_it_is_cut(header, rest, data):
    whole = header + rest
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole)), max_size=6)) | {len(whole)})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reader = gevent.spawn(read_header, ours)
        for start, end in zip([0, *cuts], cuts, strict=False):
            theirs.send(whole[start:end])
            gevent.idle()
        assert reader.get(timeout=10).length == len(header)
        ours.setblocking(True)
        assert (ours.recv(100) if rest else b"") == rest


def test_a_header_that_the_peer_cuts_short_is_an_error():
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.send(V1[:20])
        with pytest.raises(ProxyError, match="PROXY header cut short"):
            read_header(ours)


@pytest.mark.parametrize("header", [V1, V2])
def test_the_peer_is_whom_the_header_names(header):
    with looped(Echo, settings=proxied()) as server, server.connect() as client:
        assert exchange(client, [header, b"hello"]) == b"hello"
        assert server.server.opened[0].peer == "203.0.113.9:5000"


def test_the_peer_is_the_proxy_where_the_header_names_none():
    with looped(Echo, settings=proxied()) as server, server.connect() as client:
        exchange(client, [LOCAL])
        assert server.server.opened[0].peer == "{}:{}".format(*client.getsockname())


def test_the_header_is_no_byte_of_the_connections():
    with looped(Echo, settings=proxied()) as server, server.connect() as client:
        exchange(client, [V1 + b"hello"])
        assert server.counts.received == 5


def test_what_is_no_header_is_refused():
    with looped(Echo, settings=proxied()) as server, server.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):  # nothing of it is read
            receive_all(client)
        assert (server.reason(), refusals(server)) == ("no PROXY header", {"proxy": 1})
        assert server.server.opened == []


def test_a_header_that_never_comes_is_refused_in_time():
    with looped(Echo, settings=proxied(handshake_timeout=SOON_S)) as server, server.connect() as client:
        client.sendall(V1[:10])
        assert (server.reason(), refusals(server)) == ("timed out", {"proxy": 1})


def test_a_time_out_is_over_when_the_connections_own_bytes_begin():
    with looped(Echo, settings=proxied(handshake_timeout=SOON_S)) as server, server.connect() as client:
        send_apart(client, [V1])
        gevent.sleep(2 * SOON_S)
        assert exchange(client, [b"hello"]) == b"hello"


def test_a_peer_that_resets_before_its_header_leaves_nothing():
    with looped(Echo, settings=proxied()) as server:
        client = server.connect()
        send_apart(client, [V1[:10]])
        reset(client)
        assert (server.reason(), server.counts.open, refusals(server)) == ("reset", 0, {"proxy": 1})


def test_who_is_no_proxy_is_refused():
    elsewhere = Settings(proxy_from=(ip_network("203.0.113.0/24"),))
    with looped(Echo, settings=elsewhere) as server, server.connect() as client:
        assert receive_all(client) == b""
        assert refusals(server) == {"proxy": 1}


def test_a_unix_socket_is_of_a_proxy(tmp_path):
    with looped(Echo, f"unix:{tmp_path}/socket", settings=proxied()) as server, server.connect() as client:
        assert exchange(client, [V1, b"hello"]) == b"hello"


def test_address_rules_are_for_whom_the_header_names():
    denying = proxied(Limits(deny=(ip_network("203.0.113.0/24"),)))
    with looped(Echo, settings=denying) as server:
        with server.connect() as client:
            assert exchange(client, [V1]) == b""
        assert refusals(server) == {"denied": 1}
        with server.connect() as client:
            assert exchange(client, [V1.replace(b"203.0.113", b"198.51.100"), b"hello"]) == b"hello"


def test_a_limit_per_address_is_for_whom_the_header_names():
    with looped(Echo, settings=proxied(Limits(max_connections_per_ip=1))) as server:
        with server.connect() as one:
            send_apart(one, [V1])
            with server.connect() as other:
                assert exchange(other, [V1]) == b""
            with server.connect() as another:
                assert exchange(another, [V1.replace(b".9 ", b".8 "), b"hello"]) == b"hello"
        assert refusals(server) == {"full_for_ip": 1}


def test_the_place_of_one_that_ends_is_free_again():
    with looped(Echo, settings=proxied(Limits(max_connections_per_ip=1))) as server:
        for _ in range(3):
            with server.connect() as client:
                assert exchange(client, [V1, b"hello"]) == b"hello"
            server.reason()


def test_one_that_is_refused_gives_its_place_back():
    limits = Limits(max_connections=1, deny=(ip_network("203.0.113.0/24"),))
    with looped(Echo, settings=proxied(limits)) as server:
        for _ in range(3):
            with server.connect() as client:
                exchange(client, [V1])
            server.reason()
        assert refusals(server) == {"denied": 3}


def test_one_that_never_sends_a_header_has_a_place_as_well():
    with looped(Echo, settings=proxied(Limits(max_connections=1))) as server, server.connect():
        gevent.idle()
        with server.connect() as client:
            assert receive_all(client) == b""
        assert refusals(server) == {"full": 1}


def test_tls_comes_after_the_header(tls, authority):
    with looped(Echo, settings=proxied(tls=tls), default_scheme="tls") as server:
        sock = server.connect()
        sock.sendall(V1)
        with secure(sock, authority) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        assert server.server.opened[0].peer == "203.0.113.9:5000"


def test_what_is_no_tls_is_refused(tls):
    with looped(Echo, settings=Settings(tls=tls), default_scheme="tls") as server, server.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert server.reason().startswith("TLS: ")
        assert (server.server.opened, refusals(server)) == ([], {"tls": 1})


def test_a_handshake_that_does_not_come_is_refused_in_time(tls):
    in_time = Settings(tls=tls, handshake_timeout=SOON_S)
    with looped(Echo, settings=in_time, default_scheme="tls") as server, server.connect():
        assert (server.reason(), refusals(server)) == ("timed out", {"tls": 1})


def test_a_handshake_that_does_not_come_holds_up_no_other(tls, authority):
    with looped(Echo, settings=Settings(tls=tls), default_scheme="tls") as server, server.connect():
        gevent.idle()
        with secure(server.connect(), authority) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_a_peer_that_closes_in_the_handshake_leaves_nothing(tls):
    with looped(Echo, settings=Settings(tls=tls), default_scheme="tls") as server:
        client = server.connect()
        send_apart(client, [b"\x16\x03\x01"])
        client.close()
        server.reason()
        assert (server.counts.open, refusals(server)) == (0, {"tls": 1})


def test_a_server_that_stops_ends_what_has_not_begun():
    with looped(Echo, settings=proxied()) as server, server.connect() as client:
        gevent.idle()
        server.stop()
        assert (receive_all(client), server.reason()) == (b"", "drained")


def test_an_idle_connection_need_not_send_its_header_first():
    with looped(Echo, settings=proxied(idle_timeout=SOON_S)) as server, server.connect():
        assert server.reason() == "idle"
