"""GET /metrics over HTTP: what Prometheus, and what others, are told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import pytest
from gevent import socket as green_socket

from gtool.runtime import metrics as metrics_module
from gtool.runtime.address import parse_address
from gtool.runtime.listen import open_listeners
from gtool.runtime.metrics import Metrics
from gtool.runtime.report import exposition
from gtool.runtime.shared import REFUSALS, Counts
from tests.runtime.test_accept import run_exhausted
from tests.servers.looped import failures_raise, receive_all, reset

COUNTS = Counts(1, 2, 3, 4, 5, 6, dict.fromkeys(REFUSALS, 6))
SOON_S = 0.02
TIMEOUT_S = 10


class Served:
    """Metrics that are served, and what they read."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        (self.listener,) = open_listeners([parse_address(address)])
        self.family, self.target = self.listener.socket.family, self.listener.socket.getsockname()
        self.counts = COUNTS
        self.metrics = Metrics(self.listener, lambda: self.counts)

    def connect(self):
        client = green_socket.socket(self.family)
        client.settimeout(TIMEOUT_S)
        client.connect(self.target)
        return client

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Send one request; give the head and the body of the answer."""
        with self.connect() as client:
            client.sendall(request)
            head, _, body = receive_all(client).partition(b"\r\n\r\n")
        return head, body

    def get(self, path: bytes) -> tuple[bytes, bytes]:
        return self.ask(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


@contextmanager
def serving(address: str = "127.0.0.1:0") -> Iterator[Served]:
    with failures_raise():
        made = Served(address)
        try:
            yield made
        finally:
            made.metrics.close()
            gevent.idle()
            made.listener.remove()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as made:
        yield made


def test_the_counts_are_served_as_prometheus_reads_them(served):
    head, body = served.get(b"/metrics")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body.decode() == exposition(COUNTS)
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert b"Content-Length: %d" % len(body) in head


def test_the_counts_are_those_of_the_moment(served):
    served.get(b"/metrics")
    served.counts = COUNTS._replace(accepted=1234)
    assert b"gtool_connections_total 1234\n" in served.get(b"/metrics")[1]


def test_a_query_changes_nothing(served):
    assert served.get(b"/metrics?x=y")[1].decode() == exposition(COUNTS)


@pytest.mark.parametrize("path", [b"/", b"/metrics/", b"/favicon.ico"])
def test_there_is_nothing_else(served, path):
    head, body = served.get(path)
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert body == b"there is only /metrics\n"


def test_a_connection_can_ask_again(served):
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with served.connect() as client:
        client.sendall(request)
        client.sendall(request.replace(b"Host", b"Connection: close\r\nHost"))
        assert receive_all(client).count(b"200 OK") == 2


def test_what_is_no_http_is_refused_and_harms_nobody(served):
    assert served.ask(b"\0\1\2\r\n\r\n")[0].startswith(b"HTTP/1.1 400 ")
    assert served.get(b"/metrics")[0].startswith(b"HTTP/1.1 200 OK")


def test_nothing_is_said_on_stderr(capfd):
    with serving() as served:  # begun when stderr is that of this test
        served.get(b"/metrics")
        served.ask(b"\0\1\2\r\n\r\n")
    assert capfd.readouterr().err == ""


def test_a_client_that_asks_nothing_is_closed_in_time(served, monkeypatch):
    monkeypatch.setattr(metrics_module, "CLIENT_S", SOON_S)
    with served.connect() as client:
        assert receive_all(client) == b""


def test_clients_beyond_the_most_are_closed_until_there_is_room(served):
    silent = [served.connect() for _ in range(metrics_module.CLIENTS)]
    gevent.idle()
    with served.connect() as client:
        assert receive_all(client) == b""
    silent.pop().close()
    gevent.idle()
    assert served.get(b"/metrics")[1].decode() == exposition(COUNTS)
    for client in silent:
        client.close()


@pytest.mark.parametrize("request_", [b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\r\n\r\n"])
def test_a_client_that_goes_away_before_its_answer_harms_nobody(served, request_):
    client = served.connect()
    client.sendall(request_)
    reset(client)
    assert served.get(b"/metrics")[0].startswith(b"HTTP/1.1 200 OK")


def test_a_client_for_whom_there_is_no_descriptor_is_refused_and_harms_nobody():
    assert run_exhausted("""
from gevent import socket as green_socket
from gtool.log import configure
from gtool.runtime.metrics import Metrics
from tests.runtime.test_metrics import COUNTS

configure("text", "error")
metrics = Metrics(listener, lambda: COUNTS)
green = green_socket.socket()
held = fill()
green.settimeout(10)
green.connect(target)
print(green.recv(1))
for number in held:
    os.close(number)
asking = green_socket.create_connection(target)
asking.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
print(asking.recv(15))
""") == ["b''", "b'HTTP/1.1 200 OK'"]


def test_after_the_close_nobody_is_served():
    with serving() as served:
        served.metrics.close()
        with pytest.raises(ConnectionRefusedError):
            green_socket.create_connection(served.target)


def test_closing_it_does_not_wait_for_clients():
    with serving() as served, served.connect() as client:
        gevent.idle()
        started_at = time.monotonic()
        served.metrics.close()
        assert time.monotonic() - started_at < 0.5  # a second is gevent's own
        assert receive_all(client) == b""


def test_a_unix_socket_serves_them_as_well(tmp_path):
    with serving(f"unix:{tmp_path}/socket") as served:
        assert served.get(b"/metrics")[1].decode() == exposition(COUNTS)
