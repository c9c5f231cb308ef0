"""The starts of servers, and their last descriptors: each of these has gone wrong once."""

from __future__ import annotations

import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, command, environment
from tests.e2e.probes import descriptors, exchange, is_dropped
from tests.e2e.servers import running

LOOPBACK = "127.0.0.1:0"
FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 48; exec "$@"', "sh")


@pytest.mark.parametrize("options", [["--tls-cert"], ["--latency", "1ms"], ["--proxy-protocol"]])
def test_the_first_connection_may_be_the_one_that_takes_the_last_descriptor(options: list[str], certificate: Path):
    words = [*options, *([certificate] if "--tls-cert" in options else [])]
    with running("echo-server", "-l", LOOPBACK, *words) as server:
        server.counts()  # it has begun to serve
        pid = server.process.pid
        limit = descriptors(pid) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
        with server.connect() as client:
            client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)
            is_dropped(client)
        server.wait_for_counts(open=0)  # and not exit code 70, for a module that could not be read


def test_a_server_that_has_just_run_full_has_refused_nobody():
    with running("echo-server", "-l", LOOPBACK, under=FEW_DESCRIPTORS) as server, ExitStack() as stack:
        while descriptors(server.process.pid) < 48:
            exchange(stack.enter_context(server.connect()))
        assert server.counts()["refused"] == 0
        assert "no descriptor" not in server.err


def test_address_rules_are_about_datagrams_too():
    with running("echo-server", "-l", f"udp://{LOOPBACK}", "--deny", "127.0.0.1") as server, server.connect() as client:
        client.send(b"hello")
        server.wait_for_counts(refused=1)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)


def test_of_servers_that_start_at_once_on_a_stale_path_one_gets_it(tmp_path: Path):
    for number in range(10):
        path = tmp_path / f"{number}.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        words = command("echo-server", "-l", f"unix:{path}", "--duration", "2s")
        started = [
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
            for _ in range(4)
        ]
        ready = []
        for process in started:
            assert process.stdout
            ready.append(process.stdout.readline())
        for process in started:
            process.kill()
            process.communicate()
        assert len([line for line in ready if line]) == 1


SIGNAL_AFTER = """
import os, signal, socket, sys
method, number = sys.argv[1:3]
del sys.argv[1:3]
class Socket(socket.socket):
    pass
def then_signal(self, *args):
    getattr(super(Socket, self), method)(*args)
    os.kill(os.getpid(), int(number))
setattr(Socket, method, then_signal)
socket.socket = Socket
from gtool.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("method", ["bind", "listen", "setblocking"])
def test_a_signal_between_bind_and_ready_removes_the_path(number: int, method: str, tmp_path: Path):
    path = tmp_path / "echo.sock"
    words = [sys.executable, "-c", SIGNAL_AFTER, method, str(int(number)), "echo-server", "-l", f"unix:{path}"]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=TIMEOUT_S)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not path.exists()


def test_sigint_while_python_starts_gtool_makes_no_traceback():
    """The console script, or `python -m gtool`, imports click for 10 ms before it treats signals."""
    code = (
        "import builtins, os, signal, sys; real = builtins.__import__\n"
        "def importing(name, *args, **kwargs):\n"
        "    if name == 'click': builtins.__import__ = real; os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *args, **kwargs)\n"
        "builtins.__import__ = importing\n"
        "import runpy; runpy.run_module('gtool', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, env=environment(), timeout=TIMEOUT_S
    )
    assert done.stderr == b""
    assert done.returncode in (-signal.SIGINT, 130)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_start_up_leaves_nothing_behind(number: int, tmp_path: Path):
    path = tmp_path / "echo.sock"
    for delay_ms in range(0, 160, 8):  # the whole of a start-up, and a little of what follows
        words = command("echo-server", "-l", f"unix:{path}", "--workers", "2")
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        time.sleep(delay_ms / 1000)  # nothing to wait for: any moment has to do
        process.send_signal(number)
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert err == b""
        assert process.returncode in (0, -number), f"after {delay_ms} ms"
        assert not path.exists()
