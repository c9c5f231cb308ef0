"""Datagrams with faults: real ones, over loopback."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

from gtool.echo import datagrams as datagrams_module
from gtool.echo.faults import Faults
from gtool.echo.run import EchoService
from gtool.echo.run import Settings as EchoSettings
from gtool.runtime.settings import Settings
from tests.servers.looped import looped

UDP = "udp://127.0.0.1:0"
LATENCY_S = 0.03
SIZES = range(40)


def faulty(seed: int = 0, service: str = "echo", **faults: float) -> Callable[..., EchoService]:
    return lambda server: EchoService(EchoSettings(service=service, faults=Faults(**faults), seed=seed), server)


def exchange(make_service: Callable[..., EchoService], sizes: range = SIZES) -> list[bytes]:
    """Send a datagram of each size; give those that have come back a little after the last was due."""
    with looped(make_service, UDP) as server:
        client = server.connect()
        for size in sizes:
            client.send(bytes([size]) * size)
        return receive_until_silence(client)


def receive_until_silence(client, silence_s: float = 3 * LATENCY_S) -> list[bytes]:
    received = []
    client.settimeout(silence_s)
    try:
        while True:
            received.append(client.recv(1 << 16))
    except TimeoutError:
        return received


def test_latency_holds_back_each_datagram_and_no_less():
    with looped(faulty(latency=LATENCY_S), UDP) as server:
        client = server.connect()
        started_at = time.monotonic()
        client.send(b"hello")
        assert client.recv(10) == b"hello"
        assert time.monotonic() - started_at >= LATENCY_S


def test_latency_alone_keeps_their_order():
    assert exchange(faulty(latency=LATENCY_S)) == [bytes([size]) * size for size in SIZES]


def test_jitter_lets_them_overtake_each_other():
    received = exchange(faulty(latency=LATENCY_S / 2, jitter=LATENCY_S / 2))
    whole = [bytes([size]) * size for size in SIZES]
    assert received != whole
    assert sorted(received) == sorted(whole)


def test_some_are_lost_and_the_others_come_whole():
    received = exchange(faulty(drop_rate=0.5))
    assert 0 < len(received) < len(SIZES)
    assert all(data == bytes([len(data)]) * len(data) for data in received)


def test_the_same_seed_loses_the_same():
    assert exchange(faulty(seed=7, drop_rate=0.5)) == exchange(faulty(seed=7, drop_rate=0.5))


def test_another_seed_loses_others():
    assert exchange(faulty(seed=7, drop_rate=0.5)) != exchange(faulty(seed=8, drop_rate=0.5))


def test_all_may_be_lost():
    assert exchange(faulty(drop_rate=1.0)) == []


def test_bytes_are_changed_and_their_number_is_not():
    (received,) = exchange(faulty(corrupt_rate=1.0), range(40, 41))
    assert len(received) == 40
    assert 40 not in received


def test_what_is_late_is_bounded_and_the_rest_is_lost(monkeypatch):
    monkeypatch.setattr(datagrams_module, "MAX_LATE", 5)
    assert exchange(faulty(latency=LATENCY_S)) == [bytes([size]) * size for size in SIZES[:5]]


def test_what_was_late_makes_room_for_more(monkeypatch):
    monkeypatch.setattr(datagrams_module, "MAX_LATE", 5)
    with looped(faulty(latency=LATENCY_S), UDP) as server:
        client = server.connect()
        for _ in range(3):
            for _ in range(5):
                client.send(b"hello")
            assert receive_until_silence(client) == [b"hello"] * 5


def test_each_goes_back_to_its_own_sender():
    with looped(faulty(latency=LATENCY_S), UDP) as server:
        one, other = server.connect(), server.connect()
        one.send(b"one")
        other.send(b"other")
        assert (other.recv(10), one.recv(10)) == (b"other", b"one")


def test_datagrams_count_as_they_leave():
    with looped(faulty(latency=LATENCY_S), UDP) as server:
        client = server.connect()
        client.send(b"hello")
        gevent.idle()
        before = server.counts
        client.recv(10)
        after = server.counts
    assert (before.received, before.sent, before.messages) == (5, 0, 0)
    assert (after.received, after.sent, after.messages) == (5, 5, 1)


def test_a_server_that_stops_sends_those_on_their_way():
    with looped(faulty(latency=LATENCY_S), UDP, settings=Settings(drain_timeout=10.0)) as server:
        client = server.connect()
        client.send(b"hello")
        gevent.idle()
        server.stop()
        assert client.recv(10) == b"hello"
        server.wait()


def test_a_server_whose_time_is_up_leaves_them():
    with looped(faulty(latency=10.0), UDP, settings=Settings(drain_timeout=0.0)) as server:
        server.connect().send(b"hello")
        gevent.idle()
        server.stop()
        server.wait()
        assert server.counts.sent == 0


def test_what_has_no_answer_has_none_late_either():
    with looped(faulty(service="discard", latency=LATENCY_S), UDP) as server:
        client = server.connect()
        client.send(b"hello")
        assert receive_until_silence(client) == []
        assert server.counts.received == 5
