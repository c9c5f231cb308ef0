"""Servers of several processes: one port, one set of limits, one end; and nothing left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.e2e.probes import (
    LOOPBACK,
    connect_to_both,
    events,
    exchange,
    is_dropped,
    is_refused,
    stopped,
    wait_for_metric,
    wait_until_ended,
    workers,
)
from tests.e2e.servers import running

TWO = ("-v", "echo-server", "--workers", "2")
ECHO = (*TWO, "-l", LOOPBACK)
PATIENT = ("--drain-timeout", "5m")  # longer than a test may take
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def orphans() -> Iterator[Callable[[], dict[int, int]]]:
    """Have orphans become our children: `orphans()` gives what had to be reaped, and its exit code. prctl(2)."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0

    def reap() -> dict[int, int]:
        found = {}
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                found[pid] = os.waitstatus_to_exitcode(status)
        return found

    yield reap
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    reap()


def test_each_worker_serves_the_same_port():
    with running(*ECHO) as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            exchange(one, os.urandom(1_000_000))
            exchange(other, os.urandom(1_000_000))


def test_each_connection_has_a_number_of_its_own():
    with running(*ECHO) as server:
        for client in connect_to_both(server, workers(server, 2)):
            client.close()
        server.wait_for_log("connection closed", 2)
        assert {fields["connection"] for fields in events(server, "connection open")} == {"1", "2"}


def test_a_worker_that_is_killed_is_replaced_and_the_others_connections_go_on():
    with running(*ECHO) as server:
        pids = workers(server, 2)
        lost, kept = connect_to_both(server, pids)
        with lost, kept:
            os.kill(pids[0], signal.SIGKILL)
            assert is_dropped(lost)
            replacement = workers(server, 3)[2]
            exchange(kept)
        with stopped(pids[1]), server.connect() as client:
            exchange(client)  # it can be the replacement only
        assert replacement not in pids
        (death,) = events(server, "a worker has ended")
        assert death == {"worker": "0", "pid": str(pids[0]), "how": "killed by SIGKILL", "replaced": "True"}


def test_sigterm_drains_all_workers_and_leaves_no_process(orphans):
    with running(*ECHO, *PATIENT) as server:
        pids = workers(server, 2)
        one, other = connect_to_both(server, pids)
        with one, other:
            server.send_signal(signal.SIGTERM)
            server.wait_for_log("draining", 2)
            exchange(one)
            exchange(other)
        assert server.ended().code == 0
        assert "ERROR" not in server.err
        assert orphans() == {}


def test_when_the_drain_timeout_passes_all_workers_close_cleanly(orphans):
    with running(*ECHO, "--drain-timeout", "200ms") as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            server.send_signal(signal.SIGTERM)
            assert [one.recv(1), other.recv(1)] == [b"", b""]
            assert server.ended().code == 0
        assert [fields["reason"] for fields in events(server, "connection closed")] == ["drained", "drained"]


def test_a_worker_that_hangs_is_killed_when_the_drain_timeout_is_long_over(orphans):
    with running(*ECHO, "--drain-timeout", "0s") as server, server.connect() as client:
        exchange(client)
        with stopped(workers(server, 2)[0]):
            assert server.stop().code == 0
        assert orphans() == {}


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_kills_all_workers(second, code):
    with running(*ECHO, *PATIENT) as server:
        pids = workers(server, 2)
        one, other = connect_to_both(server, pids)
        with one, other:
            server.send_signal(signal.SIGTERM)
            server.wait_for_log("draining", 2)
            assert server.stop(second).code == code
            wait_until_ended(pids)


def test_ctrl_c_goes_to_all_processes_and_counts_once(orphans):
    with running(*ECHO, *PATIENT, start_new_session=True) as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            os.killpg(server.process.pid, signal.SIGINT)
            server.wait_for_log("draining", 2)
            exchange(one)
            exchange(other)
        assert server.ended().code == 0
        assert orphans() == {}


def test_sigusr1_to_all_processes_kills_none():
    with running(*ECHO, start_new_session=True) as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            os.killpg(server.process.pid, signal.SIGUSR1)
            server.wait_for_log("stats")
            exchange(one)
            exchange(other)


def test_workers_end_when_their_master_is_killed(orphans):
    with running(*ECHO) as server:
        pids = workers(server, 2)
        server.process.kill()
        wait_until_ended(pids)
        assert is_refused(server)


def test_workers_drain_when_their_master_is_killed(orphans):
    with running(*ECHO, *PATIENT) as server:
        pids = workers(server, 2)
        one, other = connect_to_both(server, pids)
        with one, other:
            server.process.kill()
            server.wait_for_log("draining", 2)
            exchange(one)
            exchange(other)
        wait_until_ended(pids)


def test_workers_do_not_outlive_a_master_that_is_killed_while_they_drain(orphans):
    with running(*ECHO, *PATIENT) as server:
        pids = workers(server, 2)
        one, other = connect_to_both(server, pids)
        with one, other:
            server.send_signal(signal.SIGTERM)
            server.wait_for_log("draining", 2)
            server.process.kill()
            wait_until_ended(pids)


def test_max_connections_is_for_all_workers_together():
    with running(*ECHO, "--max-connections", "2") as server:
        pids = workers(server, 2)
        with stopped(pids[1]), server.connect() as one, server.connect() as other:
            exchange(one)
            exchange(other)
            with stopped(pids[0]):
                os.kill(pids[1], signal.SIGCONT)
                with server.connect() as refused:
                    assert is_dropped(refused)  # by a worker that has no connection at all
        server.wait_for_log("reason=full")


def test_a_place_that_is_free_again_is_free_for_all_workers():
    with running(*ECHO, "--max-connections", "1") as server:
        for client in connect_to_both_in_turn(server, workers(server, 2)):
            exchange(client)


def connect_to_both_in_turn(server, pids):
    for number in (0, 1):
        with stopped(pids[1 - number]), server.connect() as client:
            yield client
        server.wait_for_log("connection closed", number + 1)


def test_the_places_of_a_worker_that_was_killed_are_free_again():
    with running(*ECHO, "--max-connections", "1", "--metrics", LOOPBACK, listeners=2) as server:
        pids = workers(server, 2)
        with stopped(pids[1]), server.connect() as client:
            exchange(client)
            os.kill(pids[0], signal.SIGKILL)
            server.wait_for_log("a worker has ended")
        wait_for_metric(server, "open_connections", 0)
        with server.connect() as client:
            exchange(client)


def test_once_is_one_connection_of_all_workers(orphans):
    with running(*ECHO, "--once") as server:
        with server.connect() as client:
            exchange(client)
        assert server.ended().code == 0
        assert len(events(server, "connection open")) == 1
        assert orphans() == {}


def test_max_total_counts_the_connections_of_all_workers():
    with running(*ECHO, "--max-total", "2") as server:
        for client in connect_to_both(server, workers(server, 2)):
            client.close()
        assert server.ended().code == 0


def test_max_total_counts_the_datagrams_of_all_workers():
    with running(*TWO, "-l", f"udp://{LOOPBACK}", "--max-total", "2") as server, server.connect() as client:
        pids = workers(server, 2)
        for number in (0, 1):
            with stopped(pids[number]):
                exchange(client)
        assert server.ended().code == 0


def test_workers_share_a_unix_socket_and_leave_no_path(tmp_path):
    with running(*TWO, "-l", f"unix:{tmp_path}/s") as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            exchange(one)
            exchange(other)
        assert server.stop().code == 0
    assert list(tmp_path.iterdir()) == []


def test_workers_share_an_inherited_socket():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        with running(*TWO, "-l", f"fd:{descriptor}", pass_fds=[descriptor]) as server:
            assert server.target() == listener.getsockname()
            one, other = connect_to_both(server, workers(server, 2))
            with one, other:
                exchange(one)
                exchange(other)


def test_workers_share_a_socket_for_datagrams():
    with running(*TWO, "-l", f"udp://{LOOPBACK}") as server, server.connect() as client:
        for pid in workers(server, 2):
            with stopped(pid):
                exchange(client)


def test_workers_serve_tls(certificate, trusting):
    with running(*ECHO, "--tls-cert", certificate) as server:
        for pid in workers(server, 2):
            with stopped(pid), trusting.wrap_socket(server.connect(), server_hostname="localhost") as client:
                exchange(client)


def test_workers_end_after_the_duration(orphans):
    with running(*ECHO, "--duration", "300ms", *PATIENT) as server:
        one, other = connect_to_both(server, workers(server, 2))
        with one, other:
            server.wait_for_log("draining", 2)
            exchange(one)
            exchange(other)
        assert server.ended().code == 0
        assert orphans() == {}


def test_workers_end_after_the_duration_without_a_connection(orphans):
    with running(*ECHO, "--duration", "200ms") as server:
        assert server.ended().code == 0
        assert orphans() == {}


def test_the_address_is_announced_once_and_workers_say_nothing_on_stdout():
    with running(*ECHO) as server:
        pids = workers(server, 2)
        os.kill(pids[0], signal.SIGKILL)
        workers(server, 3)
        assert server.stop().code == 0
        assert server.process.stdout.read() == b""


def test_one_worker_is_one_process():
    with running("-v", "echo-server", "--workers", "1", "-l", LOOPBACK) as server, server.connect() as client:
        exchange(client)
        with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as file:
            assert file.read() == ""
