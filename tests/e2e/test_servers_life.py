"""How a server's life ends: signals, draining, and the limits that it was given."""

from __future__ import annotations

import re
import signal
import socket
import time

import pytest

from tests.e2e.probes import (
    LOOPBACK,
    events,
    exchange,
    is_dropped,
    is_refused,
    is_turned_away,
    stopped,
    wait_for_metric,
)
from tests.e2e.servers import running

ECHO = ("-v", "echo-server", "-l", LOOPBACK)
ECHO_UDP = ("-v", "echo-server", "-l", f"udp://{LOOPBACK}")
FAULTY = (*ECHO, "--latency", "1ms")  # these connections have another driver
PATIENT = ("--drain-timeout", "5m")  # longer than a test may take


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("name", ["echo-server", "hello-server"])
def test_a_signal_with_nothing_open_ends_a_server_at_once_with_0(name, number):
    with running(name, "-l", LOOPBACK, "-l", f"udp://{LOOPBACK}", *PATIENT, listeners=2) as server:
        ended = server.stop(number)
        assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("args", [ECHO, FAULTY])
def test_an_open_connection_is_served_while_the_server_drains(args):
    with running(*args, *PATIENT) as server, server.connect() as client:
        exchange(client)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        exchange(client)
        client.close()
        assert server.ended().code == 0


def test_a_server_that_drains_refuses_new_connections():
    with running(*ECHO, *PATIENT) as server, server.connect() as client:
        exchange(client)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        assert is_refused(server)


def test_draining_is_announced_with_what_is_open_and_how_long_it_may_take():
    with running(*ECHO, "--drain-timeout", "90s") as server, server.connect() as client:
        exchange(client)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        (fields,) = events(server, "draining")
        assert (fields["connections"], fields["timeout_s"]) == ("1", "90.0")


@pytest.mark.parametrize("args", [ECHO, FAULTY])
def test_what_is_open_when_the_drain_timeout_passes_is_closed_cleanly(args):
    with running(*args, "--drain-timeout", "300ms") as server, server.connect() as client:
        exchange(client)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        began = time.monotonic()
        assert client.recv(1) == b""  # not a reset
        assert time.monotonic() - began > 0.25
        assert server.ended().code == 0
        assert [fields["reason"] for fields in events(server, "connection closed")] == ["drained"]


def test_a_tls_handshake_does_not_outlast_the_drain_timeout(certificate):
    args = (*ECHO, "--tls-cert", certificate, "--metrics", LOOPBACK, "--drain-timeout", "100ms")
    with running(*args, listeners=2) as server, server.connect() as silent:
        wait_for_metric(server, "open_connections", 1)
        assert server.stop().code == 0
        assert is_dropped(silent)


@pytest.mark.parametrize("args", [ECHO, FAULTY])
@pytest.mark.parametrize(("second", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_second_signal_ends_a_server_at_once_with_128_and_its_number(args, second, code):
    with running(*args, *PATIENT) as server, server.connect() as client:
        exchange(client)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        assert server.stop(second).code == code


def test_once_serves_one_connection_and_ends_with_it():
    with running(*ECHO, "--once") as server, server.connect() as client:
        exchange(client)
        assert is_turned_away(server)
        exchange(client)
        client.close()
        assert server.ended().code == 0


def test_once_gives_its_only_connection_more_time_than_the_drain_timeout():
    with running(*ECHO, "--once", "--drain-timeout", "0s") as server, server.connect() as client:
        exchange(client)
        assert is_turned_away(server)  # so it has begun to end
        exchange(client)


def test_once_over_a_unix_socket_leaves_no_path(tmp_path):
    with running("echo-server", "-l", f"unix:{tmp_path}/s", "--once") as server:
        with server.connect() as client:
            exchange(client)
        assert server.ended().code == 0
    assert list(tmp_path.iterdir()) == []


def test_max_total_serves_so_many_connections_and_refuses_the_next():
    with running(*ECHO, "--max-total", "3") as server:
        with server.connect() as first, server.connect() as second:
            exchange(first)
            exchange(second)
        with server.connect() as third:
            exchange(third)
            assert is_turned_away(server)
        assert server.ended().code == 0


def test_of_connections_that_come_all_at_once_max_total_are_served():
    with running(*ECHO, "--max-total", "2") as server:
        with stopped(server.process.pid):
            clients = [server.connect() for _ in range(5)]
        exchange(clients[0])
        exchange(clients[1])
        assert [is_dropped(client) for client in clients[2:]] == [True] * 3
        for client in clients:
            client.close()
        assert server.ended().code == 0
        assert len(events(server, "connection open")) == 2


def test_a_datagram_counts_towards_max_total():
    with running(*ECHO_UDP, "--max-total", "2") as server, server.connect() as client:
        exchange(client)
        exchange(client)
        assert server.ended().code == 0


def test_a_datagram_beyond_max_total_is_not_answered():
    with running(*ECHO_UDP, "--max-total", "2") as server, server.connect() as client:
        with stopped(server.process.pid):
            for number in range(4):
                client.send(b"%d" % number)
        assert server.ended().code == 0
        assert [client.recv(9), client.recv(9)] == [b"0", b"1"]
        client.setblocking(False)
        with pytest.raises(OSError, match=r"unavailable|refused"):
            client.recv(9)


def test_connections_and_datagrams_count_together():
    with running(*ECHO, "-l", f"udp://{LOOPBACK}", "--max-total", "2", listeners=2) as server:
        with server.connect(0) as stream, server.connect(1) as datagrams:
            exchange(datagrams)
            exchange(stream)
            assert is_turned_away(server)
        assert server.ended().code == 0


def test_a_refused_connection_does_not_count_towards_max_total():
    with running(*ECHO, "--max-total", "2", "--max-connections", "1") as server:
        with server.connect() as first, server.connect() as refused:
            exchange(first)
            assert is_dropped(refused)
        server.wait_for_log("connection closed")
        with server.connect() as second:
            exchange(second)
        assert server.ended().code == 0


def test_a_failed_handshake_does_not_count_towards_max_total(certificate, trusting):
    with running(*ECHO, "--once", "--tls-cert", certificate) as server:
        with server.connect() as bad:
            bad.sendall(b"this is not TLS\r\n\r\n")
            server.wait_for_log("TLS handshake failed")
        with trusting.wrap_socket(server.connect(), server_hostname="localhost") as client:
            exchange(client)
        assert server.ended().code == 0


def test_duration_ends_a_server_with_0():
    began = time.monotonic()
    with running(*ECHO, "--duration", "300ms") as server:
        assert server.ended().code == 0
        assert time.monotonic() - began > 0.3


def test_when_the_duration_is_over_connections_are_drained():
    with running(*ECHO, "--duration", "300ms", *PATIENT) as server, server.connect() as client:
        exchange(client)
        server.wait_for_log("draining")
        exchange(client)
        client.close()
        assert server.ended().code == 0


def test_a_closed_connection_is_logged_with_its_bytes_and_its_duration():
    with running(*ECHO) as server:
        with server.connect() as client:
            name = f"127.0.0.1:{client.getsockname()[1]}"
            exchange(client, b"12345")
        server.wait_for_log("connection closed")
        (fields,) = events(server, "connection closed")
        assert re.fullmatch(r"0\.\d+", fields.pop("duration_s"))
        assert fields == {"peer": name, "connection": "1", "reason": "closed", "received": "5", "sent": "5"}


def test_a_client_that_resets_is_logged_as_that_and_ends_nothing_else():
    with running(*ECHO) as server, server.connect() as other:
        client = server.connect()
        exchange(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        server.wait_for_log("reason=reset")
        exchange(other)
