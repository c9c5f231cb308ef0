"""What one client, or one careless option, must not do to the others: each of these has gone wrong once."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, command, environment
from tests.e2e.probes import LOOPBACK, exchange, is_dropped, workers
from tests.e2e.servers import receive_all, running

UDP = f"udp://{LOOPBACK}"


def test_a_reader_of_chargen_over_tls_keeps_nobody_waiting(certificate: Path, trusting: ssl.SSLContext):
    args = ("echo-server", "--service", "chargen", "--tls-cert", certificate, "-l", LOOPBACK)
    with running(*args) as server:
        one, other = (trusting.wrap_socket(server.connect(), server_hostname="localhost") for _ in range(2))
        with one, other:
            for _ in range(100):
                assert one.recv(1 << 16)
            assert other.recv(10) == b" !\"#$%&'()"[:10]
        assert server.stop(signal.SIGTERM).code == 0


def test_a_client_over_tls_that_has_sent_much_before_loses_nothing(
    certificate: Path, trusting: ssl.SSLContext, tmp_path: Path
):
    said = bytes(range(256)) * 8000
    (tmp_path / "said").write_bytes(said)
    args = ("hello-server", "--message-file", tmp_path / "said", "--count", "0", "--tls-cert", certificate)
    with (
        running(*args, "-l", LOOPBACK) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost") as client,
    ):
        client.sendall(bytes(100_000))
        assert receive_all(client) == said


def test_two_of_our_own_udp_listeners_do_not_answer_each_other():
    with running("echo-server", "-l", UDP, "-l", UDP, listeners=2) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as forger:
            (_, one), (_, other) = server.target(0), server.target(1)
            head = one.to_bytes(2, "big") + other.to_bytes(2, "big") + (8 + 5).to_bytes(2, "big") + b"\0\0"
            forger.sendto(head + b"hello", ("127.0.0.1", 0))
        counts = server.wait_for_counts(refused=1)
        assert int(counts["messages"]) == 0


def test_a_descriptor_that_is_given_twice_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"fd:{listener.fileno()}"
        done = subprocess.run(
            command("echo-server", "-l", name, "-l", name),
            pass_fds=[listener.fileno()],
            capture_output=True,
            timeout=TIMEOUT_S,
            env=environment(),
        )
    assert done.returncode == 5
    assert f"cannot listen on {name} twice".encode() in done.stderr


def test_workers_are_replaced_even_if_the_parent_ignores_their_deaths():
    ignoring = ("sh", "-c", 'trap "" CHLD; exec "$@"', "sh")
    with running("-v", "echo-server", "-l", LOOPBACK, "--workers", "2", under=ignoring) as server:
        workers(server, 2)
        assert server.stop().code == 0


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
def test_a_proxy_header_without_an_address_leaves_the_rules_on_the_one_that_connects(header: bytes):
    args = ("--proxy-protocol", "--allow", "10.0.0.0/8")
    with running("echo-server", "-l", LOOPBACK, *args) as server, server.connect() as client:
        client.sendall(header)
        assert is_dropped(client)


def test_a_request_for_metrics_that_never_ends_ends_nothing_else():
    with running("echo-server", "-l", LOOPBACK, "--metrics", LOOPBACK, listeners=2) as server:
        with server.connect(1) as client:
            client.sendall(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
            receive_all(client)  # until it is given up
        with server.connect() as other:
            exchange(other)
        assert server.stop().code == 0


def test_who_is_in_a_handshake_when_the_last_turn_is_taken_is_refused_and_holds_up_nothing(
    certificate: Path, trusting: ssl.SSLContext
):
    args = ("-v", "echo-server", "-l", LOOPBACK, "--once", "--tls-cert", certificate)
    with running(*args) as server, server.connect() as silent:
        with trusting.wrap_socket(server.connect(), server_hostname="localhost") as client:
            exchange(client)
            assert is_dropped(silent)
        ended = server.ended()
    assert ended.code == 0
    assert "reason=total" in ended.err
