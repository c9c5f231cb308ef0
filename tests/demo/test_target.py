"""The server that fetch is shown on."""

from __future__ import annotations

from gevent import socket

from gtool.demo.target import BODY, Target, serving
from gtool.runtime.address import parse_address
from tests.conftest import TIMEOUT_S


def test_it_answers_and_notes_when():
    with serving() as target:
        address = parse_address(target.url.replace("http:", "tcp:"))
        for count in (1, 2):
            with socket.create_connection((address.host, address.port)) as sock:
                sock.sendall(b"GET /a HTTP/1.0\r\n\r\n")
                answer = sock.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(BODY)
            assert len(target.came_at) == count
        assert target.rate > 0


def test_a_connection_ends_with_it():
    with socket.socket() as sock:
        sock.settimeout(TIMEOUT_S)
        with serving() as target:
            address = parse_address(target.url.replace("http:", "tcp:"))
            sock.connect((address.host, address.port))
            sock.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
            received = b""
            while not received.endswith(BODY):
                received += sock.recv(4096)
        assert sock.recv(1) == b""


def test_rates_are_those_between_the_first_and_the_last():
    target = Target()
    assert target.rate == 0
    target.came_at = [10.0]
    assert target.rate == 0
    target.came_at = [10.0, 10.25, 10.5]
    assert target.rate == 4
