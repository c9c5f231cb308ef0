"""The ends of servers, of workers and of what is on its way: each of these has gone wrong once."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from tests.conftest import TIMEOUT_S
from tests.e2e.probes import (
    LOOPBACK,
    connect_to_both,
    events,
    exchange,
    is_dropped,
    is_refused,
    stopped,
    wait_for_metric,
    workers,
)
from tests.e2e.servers import receive_exactly, running

ECHO = ("-v", "echo-server", "-l", LOOPBACK)
ECHO_UDP = ("-v", "echo-server", "-l", f"udp://{LOOPBACK}")
TWO = (*ECHO, "--workers", "2")
PATIENT = ("--drain-timeout", "5m")


def is_left_open(client):
    """Check that the server does not cut the connection off in the next half second."""
    client.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(TIMEOUT_S)


# With workers


def test_workers_that_drain_refuse_new_connections():
    """The master keeps the listening sockets open: the kernel goes on accepting, and the clients hang."""
    with running(*TWO, *PATIENT) as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            server.send_signal(signal.SIGTERM)
            server.wait_for_log("draining", 2)
            assert is_refused(server)


def test_once_has_workers_refuse_new_connections():
    """The same by --once: a client that comes later hangs until the first one has gone."""
    with running(*TWO, "--once") as server:
        pids = workers(server, 2)
        with stopped(pids[1]):
            client = server.connect()
            exchange(client)
            late = server.connect()  # the other worker listens still
        with client, late:
            assert is_dropped(late)
            deadline = time.monotonic() + TIMEOUT_S
            while not is_refused(server):
                assert time.monotonic() < deadline
            exchange(client)


def test_sigterm_to_all_processes_counts_once():
    """timeout(1), systemd, `docker stop` under tini -g: workers get SIGTERM and the master's word."""
    with running(*TWO, *PATIENT, start_new_session=True) as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            os.killpg(server.process.pid, signal.SIGTERM)
            server.wait_for_log("draining", 2)
            is_left_open(one)
            exchange(one)
            exchange(other)
        assert server.ended().code == 0


def test_sigterm_to_all_processes_just_after_the_start_logs_no_error():
    for _ in range(10):
        with running("echo-server", "-l", LOOPBACK, "--workers", "2", start_new_session=True) as server:
            os.killpg(server.process.pid, signal.SIGTERM)
            ended = server.ended()
            assert (ended.code, ended.err) == (0, "")


def test_a_signal_after_the_duration_is_the_first_one_for_workers():
    with running(*TWO, *PATIENT, "--duration", "500ms") as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            server.wait_for_log("draining", 2)
            server.send_signal(signal.SIGTERM)
            is_left_open(one)
            exchange(one)


def test_a_worker_that_is_told_to_end_does_not_end_the_others():
    with running(*TWO) as server:
        pids = workers(server, 2)
        one, other = connect_to_both(server, pids)
        with one, other:
            os.kill(pids[0], signal.SIGTERM)
            one.close()
            workers(server, 3)  # it is replaced
            exchange(other)


def test_nohup_is_respected_by_workers():
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with running(*TWO, preexec_fn=ignore) as server:
        workers(server, 2)
        server.send_signal(signal.SIGHUP)
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("stats")
        with server.connect() as client:
            exchange(client)
            is_left_open(client)
            assert "draining" not in server.err


def test_totals_do_not_fall_when_a_worker_is_replaced():
    with running(*TWO, "--metrics", LOOPBACK, listeners=2) as server:
        pids = workers(server, 2)
        with stopped(pids[1]), server.connect() as client:
            exchange(client, b"12345")
            wait_for_metric(server, "received_bytes_total", 5)
            os.kill(pids[0], signal.SIGKILL)
        pids = workers(server, 3)
        with stopped(pids[1]), server.connect() as client:
            exchange(client, b"678")
            wait_for_metric(server, "received_bytes_total", 8)


def test_a_replacement_gives_no_number_twice():
    with running(*TWO) as server:
        pids = workers(server, 2)
        for pid_to_stop, count in ((pids[1], 2), (pids[1], 3)):
            with stopped(pid_to_stop), server.connect() as client:
                exchange(client)
            os.kill(workers(server, count)[-1 if count == 3 else 0], signal.SIGKILL)
            workers(server, count + 1)
        numbers = [fields["connection"] for fields in events(server, "connection open")]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_duration_of_0_is_over_at_once(count):
    with running(*ECHO, "--workers", count, "--duration", "0") as server:
        assert server.process.wait(5) == 0


# Signals and TLS


def test_a_signal_after_the_duration_is_the_first_one():
    with running(*ECHO, *PATIENT, "--duration", "300ms") as server, server.connect() as client:
        exchange(client)
        server.wait_for_log("draining")
        server.send_signal(signal.SIGTERM)
        is_left_open(client)
        exchange(client)


def test_tls_is_closed_cleanly_when_the_drain_timeout_passes(certificate, trusting):
    """By close_notify: without it a client must take the stream for cut short (RFC 8446 section 6.1)."""
    args = (*ECHO, "--tls-cert", certificate, "--drain-timeout", "200ms")
    with (
        running(*args) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as client,
    ):
        exchange(client)
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""


def test_tls_is_closed_cleanly_when_it_idles(certificate, trusting):
    args = (*ECHO, "--tls-cert", certificate, "--idle-timeout", "200ms")
    with (
        running(*args) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as client,
    ):
        exchange(client)
        assert client.recv(1) == b""


# Faults


@pytest.mark.parametrize("fault", [("--latency", "100ms"), ("--corrupt-rate", "1")])
def test_the_last_datagram_of_all_is_answered_even_if_late(fault):
    with running(*ECHO_UDP, "--once", *fault) as server, server.connect() as client:
        client.settimeout(3)
        client.send(b"12345")
        assert len(client.recv(9)) == 5


def test_a_late_datagram_still_comes_while_the_server_drains():
    args = (*ECHO_UDP, "--metrics", LOOPBACK, "--latency", "300ms")
    with running(*args, listeners=2) as server, server.connect() as client:
        client.settimeout(3)
        client.send(b"12345")
        wait_for_metric(server, "received_bytes_total", 5)
        server.send_signal(signal.SIGTERM)
        assert client.recv(9) == b"12345"


def test_latency_is_the_same_for_a_stream_of_small_messages():
    """What is on its way is bounded, but not so tightly that reading would wait for it."""
    with running(*ECHO, "--latency", "300ms") as server, server.connect() as client:
        sent, delays = [], []

        def send():
            for _ in range(1000):
                sent.append(time.monotonic())
                client.sendall(b"12345678")
                threading.Event().wait(0.0005)

        sender = threading.Thread(target=send)
        sender.start()
        for number in range(1000):
            receive_exactly(client, 8)
            delays.append(time.monotonic() - sent[number])
        sender.join()
        assert min(delays) >= 0.3
        assert max(delays) < 5


# hello-server


def test_the_time_in_a_line_is_that_at_which_it_is_said():
    """The line is made before the wait, and said after it."""
    args = ("--message", "", "--interval", "1100ms", "--count", "2", "--template", "{time}")
    with running("hello-server", "-l", LOOPBACK, *args) as server, server.connect() as client:
        first, second = receive_exactly(client, 42).splitlines()
        assert first != second


def test_a_template_knows_the_peer_of_a_datagram():
    args = ("--message", "", "--count", "1", "--template", "{peer}")
    with running("hello-server", "-l", f"udp://{LOOPBACK}", *args) as server, server.connect() as client:
        client.send(b"?")
        assert client.recv(99) == b"127.0.0.1:%d\n" % client.getsockname()[1]
