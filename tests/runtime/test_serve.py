"""A server's whole life in a process of its own, alone and in workers: the same promises for both."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import ROOT, TIMEOUT_S, environment
from tests.e2e.servers import receive_all

SCRIPT = """
import os, signal, sys
from gtool.echo.run import EchoService
from gtool.echo.run import Settings as EchoSettings
from gtool.errors import GtoolError
from gtool.log import configure
from gtool.runtime.address import parse_address
from gtool.runtime.serve import Plan, serve
from gtool.runtime.settings import Limits, Settings

configure("text", "info")

def run(*listen, limits={}, settings={}, default="127.0.0.1:0", metrics=None, make=None, companion=None, **plan):
    made = Plan(
        Settings(Limits(**limits), **settings),
        tuple(map(parse_address, listen)),
        parse_address(default),
        metrics=metrics and parse_address(metrics),
        **plan,
    )
    try:
        code = serve(made, make or (lambda server: EchoService(EchoSettings(), server)), companion)
    except GtoolError as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    print("code", code, flush=True)

"""

LOOPBACK = '"127.0.0.1:0"'

ALONE_AND_IN_WORKERS = pytest.mark.parametrize("workers", [1, 2])


class Served:
    """A script that serves, and its clients."""

    def __init__(self, script: str, stack: ExitStack, **popen: Any) -> None:
        self._stack = stack
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT + script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
            **{"env": environment(), **popen},
        )

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().rstrip("\n")

    def logged(self, text: str) -> str:
        """Wait for a line of the log that has this in it."""
        assert self.process.stderr
        for line in self.process.stderr:
            if text in line:
                return line
        raise AssertionError(f"{text!r} is not in the log")

    def connect(self, url: str) -> socket.socket:
        if url.startswith("unix:"):
            client, target = socket.socket(socket.AF_UNIX), url[5:]
        else:
            host, port = url.partition("://")[2].rsplit(":", 1)
            client, target = socket.socket(), (host, int(port))
        self._stack.enter_context(client)
        client.settimeout(TIMEOUT_S)
        client.connect(target)
        return client

    def is_served(self, url: str) -> bool:
        with self.connect(url) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            return receive_all(client) == b"hello"

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> list[str]:
        """Stop it; give what it says on stdout until all of its processes have gone."""
        self.signal(signal.SIGTERM)
        return self.rest()

    def rest(self) -> list[str]:
        assert self.process.stdout
        return self.process.stdout.read().splitlines()

    def log(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()  # workers go with their master, or this waits for ever


@pytest.fixture
def start() -> Iterator[Callable[..., Served]]:
    with ExitStack() as stack:

        def run(script: str, **popen: Any) -> Served:
            made = Served(script, stack, **popen)
            stack.callback(made.end)
            return made

        yield run


@ALONE_AND_IN_WORKERS
def test_it_says_where_it_listens_serves_and_ends_well(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers})")
    url = server.line()
    assert re.fullmatch(r"tcp://127\.0\.0\.1:\d+", url)
    assert server.is_served(url)
    assert server.stop() == ["code 0"]


@ALONE_AND_IN_WORKERS
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_to_stop_ends_it_well(start, workers, number):
    server = start(f"run({LOOPBACK}, workers={workers})")
    server.line()
    server.signal(number)
    assert server.rest() == ["code 0"]


@ALONE_AND_IN_WORKERS
def test_a_signal_lets_connections_come_to_their_end(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, settings=dict(drain_timeout=600.0))")
    client = server.connect(server.line())
    client.sendall(b"hello")
    client.recv(5)
    server.signal(signal.SIGTERM)
    server.logged("draining")
    client.sendall(b"still here")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"still here"
    assert server.rest() == ["code 0"]


@ALONE_AND_IN_WORKERS
def test_a_second_signal_ends_it_at_once(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, settings=dict(drain_timeout=600.0))")
    client = server.connect(server.line())
    client.sendall(b"hello")
    client.recv(5)
    server.signal(signal.SIGTERM)
    server.logged("draining")
    server.signal(signal.SIGINT)
    assert server.rest() == ([] if workers == 1 else ["code 130"])
    assert server.process.wait(TIMEOUT_S) == (130 if workers == 1 else 0)


@ALONE_AND_IN_WORKERS
def test_what_holds_on_longer_than_it_may_is_closed(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, settings=dict(drain_timeout=0.05))")
    client = server.connect(server.line())
    client.sendall(b"hello")
    client.recv(5)
    assert server.stop() == ["code 0"]
    assert receive_all(client) == b""


def test_a_signal_that_was_ignored_stays_ignored(start):
    server = start(f"signal.signal(signal.SIGHUP, signal.SIG_IGN); run({LOOPBACK})")
    url = server.line()
    server.signal(signal.SIGHUP)
    assert [server.is_served(url) for _ in range(2)] == [True] * 2


def test_a_signal_before_it_serves_ends_it_well(start):
    kill = "lambda *a, **k: (os.kill(os.getpid(), 15), resolve(*a, **k))[1]"
    server = start(f"import socket; resolve = socket.getaddrinfo; socket.getaddrinfo = {kill}; run({LOOPBACK})")
    assert server.rest()[-1] == "code 0"


def test_a_signal_has_its_own_meaning_again_afterwards(start, refused_port):
    server = start(f'run("127.0.0.1:{refused_port}"); os.kill(os.getpid(), signal.SIGTERM)')
    assert server.rest() == ["code 5"]
    assert server.process.wait(TIMEOUT_S) == -signal.SIGTERM


def test_the_default_address_is_for_who_names_none(start, tmp_path):
    server = start(f'run(default="unix:{tmp_path}/socket")')
    assert server.line() == f"unix:{tmp_path}/socket"


@ALONE_AND_IN_WORKERS
def test_every_address_has_a_line_and_is_served(start, workers, tmp_path):
    server = start(f'run({LOOPBACK}, "unix:{tmp_path}/socket", workers={workers})')
    assert [server.is_served(server.line()) for _ in range(2)] == [True] * 2


@ALONE_AND_IN_WORKERS
def test_the_path_of_a_unix_socket_is_gone_at_the_end(start, workers, tmp_path):
    server = start(f'run("unix:{tmp_path}/socket", workers={workers})')
    server.line()
    server.stop()
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_cannot_be_had_is_said_and_nothing_is_left(start, tmp_path, refused_port):
    server = start(f'run("unix:{tmp_path}/socket", "127.0.0.1:{refused_port}")')
    assert server.rest() == ["code 5"]
    assert f"cannot listen on tcp://127.0.0.1:{refused_port}: Address already in use" in server.log()
    assert list(tmp_path.iterdir()) == []


@ALONE_AND_IN_WORKERS
def test_the_ready_file_says_what_stdout_says(start, workers, tmp_path):
    server = start(f'run({LOOPBACK}, "127.0.0.1:0", workers={workers}, ready_file="{tmp_path}/ready")')
    urls = [server.line(), server.line()]
    assert (tmp_path / "ready").read_text().splitlines() == urls


@ALONE_AND_IN_WORKERS
def test_the_ready_file_goes_with_the_server(start, workers, tmp_path):
    server = start(f'run({LOOPBACK}, workers={workers}, ready_file="{tmp_path}/ready")')
    server.line()
    server.stop()
    assert list(tmp_path.iterdir()) == []


@ALONE_AND_IN_WORKERS
def test_systemds_socket_stands_for_the_default_address(start, workers, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as outer:
        port = outer.getsockname()[1]
        server = start(
            f"os.dup2({outer.fileno()}, 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
            f"run(workers={workers})",
            pass_fds=[outer.fileno()],
        )
        assert (url := server.line()) == f"tcp://127.0.0.1:{port}"
    assert server.is_served(url)


def test_systemds_socket_for_metrics_is_for_metrics_alone(start):
    with socket.create_server(("127.0.0.1", 0)) as outer, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [one.getsockname()[1] for one in (outer, other)]
        server = start(
            f"os.dup2({outer.fileno()}, 63); os.dup2({other.fileno()}, 4); os.dup2(63, 3);"
            f"os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2'); run(metrics='fd:4')",
            pass_fds=[outer.fileno(), other.fileno()],
        )
        assert [server.line(), server.line()] == [f"tcp://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}/metrics"]
    assert server.stop() == ["code 0"]


def test_a_descriptor_is_not_served_and_shows_metrics_as_well(start):
    with socket.create_server(("127.0.0.1", 0)) as outer:
        address = f"'fd:{outer.fileno()}'"
        server = start(f"run({address}, metrics={address})", pass_fds=[outer.fileno()])
        assert server.rest() == ["code 5"]
        assert f"cannot listen on fd:{outer.fileno()} twice" in server.log()


@ALONE_AND_IN_WORKERS
def test_systemd_is_told_of_the_start_and_of_the_stop(start, workers, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(TIMEOUT_S)
        systemd.bind(f"{tmp_path}/notify")
        server = start(f"run({LOOPBACK}, workers={workers})", env=environment(NOTIFY_SOCKET=f"{tmp_path}/notify"))
        assert systemd.recv(100) == b"READY=1"
        server.signal(signal.SIGTERM)
        assert systemd.recv(100) == b"STOPPING=1"


@ALONE_AND_IN_WORKERS
def test_a_duration_ends_it(start, workers):
    assert start(f"run({LOOPBACK}, workers={workers}, duration=0.05)").rest()[1:] == ["code 0"]


@ALONE_AND_IN_WORKERS
def test_a_total_ends_it(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, max_total=3)")
    url = server.line()
    assert [server.is_served(url) for _ in range(3)] == [True] * 3
    assert server.rest() == ["code 0"]


@ALONE_AND_IN_WORKERS
def test_the_counts_are_logged_every_period(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, stats_period_s=0.02)")
    server.line()
    for _ in range(2):
        assert "open=0 accepted=0 refused=0 received=0" in server.logged("stats")


@ALONE_AND_IN_WORKERS
def test_the_counts_are_logged_on_request(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, max_total=100)")
    assert server.is_served(server.line())
    server.logged("connection closed")
    server.signal(signal.SIGUSR1)
    assert "open=0 accepted=1 refused=0" in server.logged("stats")


def test_the_counts_that_are_logged_are_those_of_the_moment(start):
    server = start(f"run({LOOPBACK})")
    client = server.connect(server.line())
    client.sendall(b"hello")
    client.recv(5)
    server.signal(signal.SIGUSR1)
    assert "open=1 accepted=1 refused=0 received=5 sent=5 messages=1" in server.logged("stats")


@ALONE_AND_IN_WORKERS
def test_the_counts_are_served(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, metrics={LOOPBACK})")
    service, metrics = server.line(), server.line()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", metrics)
    assert server.is_served(service)
    server.logged("connection closed")
    with urllib.request.urlopen(metrics, timeout=TIMEOUT_S) as answer:
        assert "gtool_connections_total 1\n" in answer.read().decode()


@ALONE_AND_IN_WORKERS
def test_no_more_connections_are_served_at_once_than_may_be(start, workers):
    server = start(f"run({LOOPBACK}, workers={workers}, limits=dict(max_connections=2))")
    url = server.line()
    held = [server.connect(url) for _ in range(2)]
    for client in held:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
    assert receive_all(server.connect(url)) == b""


def test_the_connections_of_a_worker_that_was_killed_are_not_open_any_more(start):
    server = start(
        f"from gtool.runtime import workers; workers.STABLE_S = 0.0;"
        f"run({LOOPBACK}, workers=2, limits=dict(max_connections=1))"
    )
    pids = {int(re.search(r"pid=(\d+)", server.logged("worker started"))[1]) for _ in range(2)}
    url = server.line()
    client = server.connect(url)
    client.sendall(b"hello")
    client.recv(5)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for _ in pids:
        server.logged("worker started")
    assert server.is_served(url)
    server.logged("connection closed")
    server.signal(signal.SIGUSR1)
    assert "open=0" in server.logged("stats")


def test_connections_of_all_workers_have_different_numbers(start):
    server = start(f"run({LOOPBACK}, workers=2)")
    url = server.line()
    for client in [server.connect(url) for _ in range(64)]:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert len({re.search(r" connection=(\d+)", server.logged("connection open"))[1] for _ in range(64)}) == 64


def test_a_bug_in_a_service_ends_it_and_is_not_hidden(start):
    server = start(f"run({LOOPBACK}, make=lambda server: 1 / 0)")
    server.rest()
    assert server.process.wait(TIMEOUT_S) == 1
    assert "ZeroDivisionError" in server.log()


def test_a_bug_while_it_serves_ends_it_and_is_not_hidden(start):
    server = start(f"run({LOOPBACK}, make=lambda server: object())")
    server.connect(server.line())
    server.rest()
    assert "AttributeError: 'object' object has no attribute 'connect'" in server.log()


def test_its_stdout_may_be_closed(start, tmp_path):
    server = start(f"os.close(1); sys.stdout = None; run({LOOPBACK}, ready_file='{tmp_path}/ready', duration=0.05)")
    server.rest()
    assert "Traceback" not in server.log()


def test_a_reader_of_stdout_that_has_gone_ends_it(start):
    server = start(f"reader, writer = os.pipe(); os.close(reader); os.dup2(writer, 1); run({LOOPBACK}, workers=1)")
    server.process.wait(TIMEOUT_S)
    assert "stdout was closed" in server.log()


@ALONE_AND_IN_WORKERS
def test_a_ready_line_of_what_speaks_http_says_so(start, workers, tmp_path):
    server = start(f'run({LOOPBACK}, "unix:{tmp_path}/socket", workers={workers}, is_web=True)')
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.line())
    assert server.line() == f"unix:{tmp_path}/socket"


def test_a_ready_line_of_what_speaks_http_over_tls_says_so(start, authority, tmp_path):
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    tls = f"dict(tls=server_context('{tmp_path}/cert.pem', None))"
    server = start(f"from gtool.runtime.tls import server_context; run({LOOPBACK}, is_web=True, settings={tls})")
    assert server.line().startswith("https://127.0.0.1:")


# What has come to its end


FINISHING = """
class Finishing(EchoService):
    def __init__(self, server):
        super().__init__(EchoSettings(), server)
        self.server = server

    def connect(self, connection, sock):
        super().connect(connection, sock)
        self.server.finish_all()

"""


@ALONE_AND_IN_WORKERS
def test_a_service_that_has_come_to_its_end_ends_all_with_their_connections(start, workers):
    server = start(f"{FINISHING}run({LOOPBACK}, workers={workers}, make=Finishing, settings=dict(drain_timeout=0.0))")
    client = server.connect(server.line())
    server.logged("stopping")
    client.sendall(b"still here")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"still here"
    assert server.rest() == ["code 0"]


# What works beside the workers


COMPANION = """
import gevent
from gevent.event import Event

class Companion:
    def __init__(self):
        self.over = Event()

    def say(self, *words):
        os.write(1, (" ".join(map(str, words)) + "\\n").encode())

    def run(self):
        self.say("companion", os.getpid())
        self.over.wait(600)
        self.say("over")

    def stop(self):
        self.say("stop")
        self.over.set()

    def finish(self):
        self.say("finish")
        self.over.set()

    def publish(self):
        pass

from gtool.runtime import workers as gtool_workers
gtool_workers.STABLE_S = 0.0
"""


def with_companion(start: Callable[..., Served], options: str) -> tuple[Served, str, int]:
    """Start a server that has a companion: its URL, and the companion's process."""
    server = start(f"{COMPANION}run({LOOPBACK}, companion=Companion, {options})")
    said = sorted(server.line() for _ in range(2))
    return server, said[1], int(said[0].partition(" ")[2])


def test_a_companion_is_a_process_beside_the_workers(start):
    server, url, pid = with_companion(start, "workers=2")
    pids = {int(re.search(r"pid=(\d+)", server.logged("worker started"))[1]) for _ in range(3)}
    assert pid in pids - {server.process.pid}
    assert len(pids) == 3
    assert server.is_served(url)


def test_a_companion_stops_with_the_workers(start):
    server, _, _ = with_companion(start, "workers=2")
    assert server.stop() == ["stop", "over", "code 0"]


def test_a_companion_is_told_when_there_will_be_no_further_connection(start):
    server, url, _ = with_companion(start, "workers=2, max_total=1")
    assert server.is_served(url)
    assert server.rest() == ["finish", "over", "code 0"]


def test_a_companion_that_was_killed_is_replaced(start):
    server, url, pid = with_companion(start, "workers=2")
    os.kill(pid, signal.SIGKILL)
    assert server.line().startswith("companion ")
    assert server.is_served(url)


def test_a_companion_that_was_killed_has_held_no_places_for_connections(start):
    server, url, pid = with_companion(start, "workers=2, limits=dict(max_connections=1)")
    held = server.connect(url)
    held.sendall(b"hello")
    assert held.recv(5) == b"hello"
    os.kill(pid, signal.SIGKILL)
    assert server.line().startswith("companion ")
    assert receive_all(server.connect(url)) == b""


def test_a_companion_goes_when_the_master_is_killed(start):
    server, _, _ = with_companion(start, "workers=2")
    server.process.kill()
    assert server.rest() == ["stop", "over"]


def test_a_single_worker_has_no_companion(start):
    server = start(f"{COMPANION}run({LOOPBACK}, companion=Companion)")
    assert server.is_served(server.line())
    assert server.stop() == ["code 0"]
