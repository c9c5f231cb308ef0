"""`gtool zmq-pingpong serve` as a real process: how it starts, whom it answers, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time

import pytest
import zmq

from tests.conftest import TIMEOUT_S, command, environment, run_gtool
from tests.e2e.zmq_peers import (
    ANY,
    ENGINES,
    ONE_WAY,
    PATTERNS,
    ROUND_TRIPS,
    ask,
    asking,
    document,
    ended,
    ping,
    pinging,
    serving,
    wait_until,
    wait_until_busy,
)

SHORT = ("--count", "60", "--warmup", "5")
AT_ONCE_S = 1.5
both_engines = pytest.mark.parametrize("engine", ENGINES)


def serve_to_its_end(*args):
    return run_gtool("zmq-pingpong", "serve", *args)


@pytest.fixture
def port():
    """A port that was free a moment ago."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return other.getsockname()[1]


def refuses(done, code, *said):
    assert (done.code, done.out) == (code, b"")
    assert done.err.count("\n") == 1
    for text in said:
        assert text in done.err


# Start


@both_engines
def test_the_ready_line_has_the_real_port(engine):
    with serving("--engine", engine) as server:
        assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d+", server.urls[0])
        with server.connect():
            pass


@both_engines
def test_a_server_on_all_interfaces_can_be_pinged(engine):
    with serving("--engine", engine, bind="tcp://*:*") as server:
        port = server.urls[0].rpartition(":")[2]
        for pattern in ("req-rep", "push-pull"):
            assert ping(f"tcp://127.0.0.1:{port}", "--pattern", pattern, *SHORT).code == 0


@both_engines
def test_the_ready_file_is_there_while_it_listens(engine, tmp_path):
    path = tmp_path / "ready"
    with serving("--engine", engine, "--ready-file", path) as server:
        assert path.read_text() == f"{server.urls[0]}\n"
        assert server.stop().code == 0
    assert not path.exists()


def test_a_ready_file_that_cannot_be_written_is_said():
    done = serve_to_its_end("--bind", ANY, "--ready-file", "/none/such/file")
    refuses(done, 23, "cannot write /none/such/file")


@both_engines
def test_a_port_in_use_is_said(engine):
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        done = serve_to_its_end("--bind", endpoint, "--engine", engine)
    refuses(done, 5, f"cannot bind to {endpoint}: Address already in use")


def test_an_address_of_another_machine_is_said():
    refuses(serve_to_its_end("--bind", "tcp://192.0.2.1:*"), 5, "no interface of this machine")


# What it answers


@both_engines
def test_a_plain_req_gets_its_echo(engine):
    with serving("--engine", engine) as server, asking(zmq.REQ, server.urls[0]) as sock:
        for message in ([b"hello"], [b""], [b"of", b"three", b"frames"], [bytes(100_000)]):
            sock.send_multipart(message)
            assert sock.recv_multipart() == message


@both_engines
def test_a_plain_dealer_gets_its_echo(engine):
    with serving("--engine", engine) as server, asking(zmq.DEALER, server.urls[0]) as sock:
        for number in range(100):
            sock.send(b"%d" % number)
        assert [sock.recv() for _ in range(100)] == [b"%d" % number for number in range(100)]


@both_engines
def test_a_client_that_speaks_another_protocol_is_refused_with_a_sentence(engine):
    with serving("--engine", engine) as server, asking(zmq.DEALER, server.urls[0]) as sock:
        answer = ask(sock, "hello", protocol=99, pattern="req-rep", sizes=[32])
    assert answer["error"].endswith("speaks protocol 1, not 99: both sides want the same gtool")


def test_a_pattern_of_a_later_gtool_is_refused_with_a_sentence():
    with serving() as server, asking(zmq.DEALER, server.urls[0]) as sock:
        answer = ask(sock, "hello", protocol=1, pattern="telepathy", sizes=[32])
    assert "the server knows no pattern 'telepathy'" in answer["error"]


def test_a_question_of_a_later_gtool_is_refused_with_a_sentence():
    with serving() as server, asking(zmq.DEALER, server.urls[0]) as sock:
        assert "does not know 'dance'" in ask(sock, "dance")["error"]


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_messages_over_max_size_are_refused_with_a_sentence(engine, pattern):
    with serving("--engine", engine, "--max-size", "1k") as server:
        done = ping(server.urls[0], "--pattern", pattern, "--size", "16,1025", *SHORT)
        refuses(done, 4, "the server takes 1 to 1,024 bytes (its --max-size), not 1025")
        assert ping(server.urls[0], "--pattern", pattern, "--size", "1k", *SHORT).code == 0


@both_engines
@pytest.mark.parametrize("pattern", ROUND_TRIPS)
def test_a_message_over_max_size_ends_its_connection(engine, pattern):
    with serving("--engine", engine, "--max-size", "100k") as server:
        args = ("--plain", "--size", "102401", "--timeout", "300ms", "--pattern", pattern)
        assert ping(server.urls[0], *args, *SHORT).code == 4
        assert ping(server.urls[0], "--plain", "--size", "102400", *SHORT).code == 0


@both_engines
@pytest.mark.parametrize("pattern", ONE_WAY)
def test_one_data_port_is_too_few_for_two_clients_and_it_says_so(engine, pattern, port):
    with serving("--engine", engine, "--data-ports", f"{port}-{port}") as server:
        done = ping(server.urls[0], "--pattern", pattern, "--clients", "2", *SHORT)
        assert done.code == 4
        assert f"the server can bind no socket for it: cannot bind to tcp://127.0.0.1:{port}" in done.err
        assert done.err.count("\n") == 1


@both_engines
@pytest.mark.parametrize("pattern", ONE_WAY)
def test_a_data_port_is_free_again_for_the_next_client(engine, pattern, port):
    with serving("--engine", engine, "--data-ports", f"{port}-{port}") as server:
        for _ in range(3):
            done = ping(server.urls[0], "--pattern", pattern, "--json", *SHORT)
            assert document(done)["rows"][0]["received"] == 60


@both_engines
@pytest.mark.parametrize("ports", ["70000-70001", "65535-65536"])
def test_data_ports_that_are_none_are_refused_at_the_start(engine, ports):
    """Not when the first client comes: it would end the server for all."""
    done = serve_to_its_end("--bind", ANY, "--data-ports", ports, "--engine", engine, "--duration", "0")
    refuses(done, 2, "65535")


def test_a_data_port_serves_each_size_and_engine_in_turn(port):
    with serving("--data-ports", f"{port}-{port}") as server:
        args = ("--pattern", "push-pull", "--size", "16,32", "--engine", "both", "--json")
        rows = document(ping(server.urls[0], *args, *SHORT))["rows"]
    assert [row["received"] for row in rows] == [60] * 4


# Its end


@both_engines
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_when_it_has_nothing_to_do(engine, number):
    with serving("--engine", engine) as server:
        started = time.monotonic()
        assert server.stop(number).code == 0
        assert time.monotonic() - started < AT_ONCE_S


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_signal_ends_it_at_once_when_all_are_done(engine, pattern):
    with serving("--engine", engine) as server:
        assert ping(server.urls[0], "--pattern", pattern, *SHORT).code == 0
        started = time.monotonic()
        assert server.stop().code == 0
        assert time.monotonic() - started < AT_ONCE_S


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_run_that_is_under_way_loses_nothing_when_the_server_is_to_stop(engine, pattern):
    args = ("--json", "--duration", "700ms", "--rate", "2000", "--pattern", pattern)
    with serving("--engine", engine) as server, pinging(server.urls[0], *args) as process:
        server.wait_for_log("client says hello")
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        done = ended(process)
        assert (done.code, done.err) == (0, "")
        [row] = document(done)["rows"]
        assert (row["lost"], row["complete"]) == (0, True)
        assert server.ended().code == 0


@both_engines
def test_a_new_run_is_refused_with_a_sentence_while_the_server_drains(engine):
    with (
        serving("--engine", engine, "--drain-timeout", "1m") as server,
        pinging(server.urls[0], "--duration", "1h") as under_way,
    ):
        wait_until_busy(server)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        refuses(ping(server.urls[0], *SHORT), 4, "does not agree: the server is stopping")
        under_way.send_signal(signal.SIGINT)
        assert server.ended().code == 0


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_run_that_never_ends_is_cut_off_after_the_drain_timeout(engine, pattern):
    args = ("--duration", "1h", "--timeout", "300ms", "--pattern", pattern)
    with serving("--engine", engine, "--drain-timeout", "200ms") as server, pinging(server.urls[0], *args):
        wait_until_busy(server)
        started = time.monotonic()
        assert server.stop().code == 0
        assert 0.15 < time.monotonic() - started < 0.2 + AT_ONCE_S


@both_engines
@pytest.mark.parametrize(("first", "second"), [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_ends_it_at_once(engine, first, second):
    with (
        serving("--engine", engine, "--drain-timeout", "1m") as server,
        pinging(server.urls[0], "--duration", "1h", "--timeout", "300ms"),
    ):
        wait_until_busy(server)
        server.send_signal(first)
        server.wait_for_log("stopping")
        started = time.monotonic()
        assert server.stop(second).code == 128 + second
        assert time.monotonic() - started < AT_ONCE_S


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_once_ends_when_the_client_is_done(engine, pattern):
    with serving("--once", "--engine", engine) as server:
        assert ping(server.urls[0], "--pattern", pattern, *SHORT).code == 0
        assert server.ended().code == 0


@both_engines
def test_once_ends_when_a_client_that_says_no_bye_has_gone(engine):
    with serving("--once", "--engine", engine) as server:
        assert ping(server.urls[0], "--plain", *SHORT).code == 0
        assert server.ended().code == 0


def test_once_waits_for_all_rows_of_a_client():
    with serving("--once") as server:
        args = ("--size", "16,32", "--engine", "both", "--pattern", "push-pull", "--json")
        assert len(document(ping(server.urls[0], *args, *SHORT))["rows"]) == 4
        assert server.ended().code == 0


def test_once_does_not_end_for_one_who_never_says_a_word():
    with serving("--once") as server:
        with server.connect():
            pass
        assert ping(server.urls[0], *SHORT).code == 0
        assert server.ended().code == 0


@both_engines
def test_the_duration_ends_it(engine):
    with serving("--duration", "200ms", "--engine", engine) as server:
        assert server.process.wait(5) == 0


@both_engines
def test_the_duration_lets_a_run_that_is_under_way_end(engine):
    args = ("--json", "--duration", "900ms", "--rate", "1000")
    with serving("--duration", "700ms", "--engine", engine) as server, pinging(server.urls[0], *args) as process:
        row = document(ended(process))["rows"][0]
        assert (row["complete"], row["lost"]) == (True, 0)
        assert server.ended().code == 0


@both_engines
def test_nohup_is_respected(engine):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with serving("--engine", engine, preexec_fn=ignore) as server:
        server.send_signal(signal.SIGHUP)
        assert ping(server.urls[0], *SHORT).code == 0


def test_a_closed_stdout_ends_it_quietly():
    read, write = os.pipe()
    os.close(read)
    args = command("zmq-pingpong", "serve", "--bind", ANY)
    with open(write, "wb") as stdout:
        done = subprocess.run(args, stdout=stdout, stderr=subprocess.PIPE, env=environment(), timeout=TIMEOUT_S)
    assert (done.returncode, done.stderr) == (141, b"")


# Paths


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


@both_engines
def test_its_path_is_removed_at_the_end(engine, path):
    with serving("--engine", engine, bind=f"ipc://{path}") as server:
        assert path.is_socket()
        assert server.stop().code == 0
    assert not path.exists()


@both_engines
def test_the_paths_of_sessions_are_removed_at_the_end_too(engine, path):
    args = ("--duration", "1h", "--pattern", "push-pull", "--clients", "2", "--timeout", "300ms")
    with (
        serving("--engine", engine, "--drain-timeout", "0", bind=f"ipc://{path}") as server,
        pinging(server.urls[0], *args),
    ):
        wait_until_busy(server)
        assert len(list(path.parent.iterdir())) == 3
        assert server.stop().code == 0
    assert list(path.parent.iterdir()) == []


def test_the_path_of_a_dead_server_is_taken_over(path):
    with serving(bind=f"ipc://{path}") as server:
        server.stop(signal.SIGKILL)
    assert path.is_socket()
    with serving(bind=f"ipc://{path}") as server:
        assert ping(server.urls[0], *SHORT).code == 0


def test_the_path_of_a_live_server_is_not_taken(path):
    with serving(bind=f"ipc://{path}") as server:
        refuses(serve_to_its_end("--bind", f"ipc://{path}"), 5, "another server listens there")
        assert ping(server.urls[0], *SHORT).code == 0


def test_a_file_is_not_taken_for_a_path(path):
    path.write_text("precious")
    refuses(serve_to_its_end("--bind", f"ipc://{path}"), 5, "there is a file of another kind")
    assert path.read_text() == "precious"


def test_a_path_in_no_directory_is_said():
    refuses(serve_to_its_end("--bind", "ipc:///none/such"), 5, "No such file or directory")


def test_a_path_that_is_too_long_is_said(tmp_path):
    refuses(serve_to_its_end("--bind", f"ipc://{tmp_path}/{'x' * 120}"), 5, "too long")


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_name_without_a_path_will_do(engine, pattern, tmp_path):
    with serving("--engine", engine, bind="ipc://*", env=environment(TMPDIR=str(tmp_path))) as server:
        done = ping(server.urls[0], "--pattern", pattern, "--json", *SHORT)
        assert document(done)["rows"][0]["received"] == 60


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_abstract_name_will_do(pattern, tmp_path):
    with serving(bind=f"ipc://@{tmp_path}") as server:
        done = ping(server.urls[0], "--pattern", pattern, "--json", *SHORT)
        assert document(done)["rows"][0]["received"] == 60


# Nothing left behind


@both_engines
@pytest.mark.parametrize("pattern", PATTERNS)
def test_many_runs_leave_no_descriptors_open(engine, pattern):
    with serving("--engine", engine) as server:
        descriptors = f"/proc/{server.process.pid}/fd"

        def run():
            assert ping(server.urls[0], "--pattern", pattern, *SHORT).code == 0

        run()
        before = len(os.listdir(descriptors))
        for _ in range(3):
            run()
        wait_until(lambda: len(os.listdir(descriptors)) <= before, "descriptors are left open")
