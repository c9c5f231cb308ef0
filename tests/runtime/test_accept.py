"""Connections are taken as they come; and refused, not left hanging, when there are no descriptors."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import gevent
import pytest
from gevent.event import Event

from gtool.runtime import accept as accept_module
from gtool.runtime.accept import Acceptor
from gtool.runtime.address import parse_address
from gtool.runtime.listen import open_listeners
from tests.conftest import ROOT, TIMEOUT_S, environment
from tests.servers.looped import failures_raise


class Acceptance:
    """An acceptor, and what it has taken."""

    def __init__(self, address: str) -> None:
        (self.listener,) = open_listeners([parse_address(address)])
        self.target = self.listener.socket.getsockname()
        self.taken: list[socket.socket] = []
        self.addresses: list[object] = []
        self.has_taken = Event()
        self.exhausted = 0
        self.clients: list[socket.socket] = []
        self.acceptor = Acceptor(self.listener, self.take, self.note_exhausted)

    def take(self, listener, sock, address):
        assert listener is self.listener
        self.taken.append(sock)
        self.addresses.append(address)
        self.has_taken.set()

    def note_exhausted(self):
        self.exhausted += 1

    def connect(self) -> socket.socket:
        client = socket.socket(self.listener.socket.family)
        self.clients.append(client)
        client.connect(self.target)
        return client

    def close(self) -> None:
        self.acceptor.close()
        self.listener.remove()
        for sock in (*self.taken, *self.clients):
            sock.close()


@pytest.fixture
def acceptance() -> Iterator[Acceptance]:
    with failures_raise():
        made = Acceptance("127.0.0.1:0")
        yield made
        made.close()


def test_a_connection_is_taken_with_its_peers_address(acceptance):
    client = acceptance.connect()
    assert acceptance.has_taken.wait(10)
    assert acceptance.addresses == [client.getsockname()]


def test_a_taken_socket_does_not_block(acceptance):
    acceptance.connect()
    assert acceptance.has_taken.wait(10)
    assert not acceptance.taken[0].getblocking()


def test_many_are_taken_in_the_order_in_which_they_connected(acceptance):
    clients = [acceptance.connect() for _ in range(100)]
    gevent.idle()
    assert acceptance.addresses == [client.getsockname() for client in clients]


def test_a_turn_takes_only_so_many_and_the_rest_come_next(acceptance, monkeypatch):
    """The other sockets are to have their turn, and other workers their share."""
    monkeypatch.setattr(accept_module, "ACCEPTS_PER_TURN", 3)
    for _ in range(7):
        acceptance.connect()
    assert acceptance.has_taken.wait(10)
    assert len(acceptance.taken) == 3
    gevent.idle()
    assert len(acceptance.taken) == 7


def test_a_unix_connection_is_taken_too(tmp_path):
    with failures_raise():
        acceptance = Acceptance(f"unix:{tmp_path}/socket")
        acceptance.connect()
        assert acceptance.has_taken.wait(10)
        acceptance.close()


def test_who_connects_after_the_close_is_refused(acceptance):
    acceptance.acceptor.close()
    with pytest.raises(ConnectionRefusedError):
        acceptance.connect()


def test_closing_it_twice_is_closing_it_once(acceptance):
    acceptance.acceptor.close()
    acceptance.acceptor.close()


def test_what_is_taken_may_close_it(acceptance):
    """The last connection that a server is to serve does: those in line behind it are not taken."""

    def take(listener, sock, address):
        acceptance.taken.append(sock)
        acceptance.acceptor.close()

    acceptance.acceptor._take = take
    for _ in range(3):
        acceptance.connect()
    gevent.idle()
    assert len(acceptance.taken) == 1


EXHAUSTED = """
import os, resource, socket
import gevent
from gevent.event import Event
from gevent.hub import get_hub
from gtool.runtime import accept
from gtool.runtime.accept import Acceptor
from gtool.runtime.address import parse_address
from gtool.runtime.listen import open_listeners

taken, exhausted, happened = [], [], Event()

def take(listener, sock, address):
    taken.append(sock)
    happened.set()

def note():
    exhausted.append(1)
    happened.set()

def wait():
    happened.wait(10)
    happened.clear()

def fill():
    # Leave not one descriptor.
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return held

get_hub()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
listener, = open_listeners([parse_address("127.0.0.1:0")])
target = listener.socket.getsockname()
client, other = socket.socket(), socket.socket()
"""

LEAVE = """
print(end="", flush=True)
os._exit(0)  # what is open is nobody's business
"""


def run_exhausted(script: str) -> list[str]:
    """Run a script with few descriptors to its end, which must be a good one: the lines it prints."""
    done = subprocess.run(
        [sys.executable, "-c", EXHAUSTED + script + LEAVE],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=ROOT,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_without_descriptors_a_client_is_refused_not_left_hanging():
    assert run_exhausted("""
acceptor = Acceptor(listener, take, note)
held = fill()
client.settimeout(10)
client.connect(target)
wait()
print(client.recv(1), len(taken), len(exhausted))
""") == ["b'' 0 1"]


def test_the_next_one_is_refused_as_well():
    assert run_exhausted("""
acceptor = Acceptor(listener, take, note)
held = fill()
for one in (client, other):
    one.settimeout(10)
    one.connect(target)
    wait()
    print(one.recv(1), len(taken), len(exhausted))
""") == ["b'' 0 1", "b'' 0 2"]


def test_with_descriptors_again_connections_are_taken_again():
    assert run_exhausted("""
acceptor = Acceptor(listener, take, note)
held = fill()
client.connect(target)
wait()
for number in held:
    os.close(number)
other.connect(target)
wait()
print(len(taken), len(exhausted))
""") == ["1 1"]


def test_without_a_spare_descriptor_even_it_waits_and_takes_them_later():
    assert run_exhausted("""
accept.PAUSE_S = 0.05
held = fill()
acceptor = Acceptor(listener, take, note)
client.connect(target)
wait()
gevent.sleep(0.01)  # it does not try again and again meanwhile
print(len(taken), len(exhausted))
for number in held:
    os.close(number)
while not taken:
    wait()
print(len(taken))
""") == ["0 1", "1"]


def test_it_can_be_closed_while_it_waits_for_descriptors():
    assert run_exhausted("""
held = fill()
acceptor = Acceptor(listener, take, note)
client.connect(target)
wait()
acceptor.close()
os.close(held.pop())
gevent.sleep(2 * accept.PAUSE_S)
print(len(taken))
""") == ["0"]


def test_closing_it_gives_back_its_spare_descriptor():
    assert run_exhausted("""
before = len(os.listdir("/proc/self/fd"))
acceptor = Acceptor(listener, take, note)
acceptor.close()
print(len(os.listdir("/proc/self/fd")) - before)
""") == ["-1"]  # the listener's is gone too
