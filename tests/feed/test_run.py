"""The whole of ws-feed on the loop of the tests, over real sockets; and in which processes what is made."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
import simplejson
from gevent.queue import Queue

import gtool.feed.run
import gtool.live.delivery
from gtool.errors import GtoolError, Interrupted
from gtool.feed.app import LOADING
from gtool.feed.fed import Fed
from gtool.feed.feeder import Feeder
from gtool.feed.run import FeedService, Settings, run
from gtool.feed.supply import Own
from gtool.live.reader import Bounds
from gtool.runtime.address import parse_address
from gtool.runtime.serve import Plan
from gtool.runtime.settings import Settings as ServerSettings
from tests.servers.looped import TIMEOUT_S, Looped, looped, receive_all, receive_exactly

DRAINED = ServerSettings(drain_timeout=600.0)
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==",
)
CLOSE = 0x88


class Source:
    """Puts what a test says; None is its end."""

    def __init__(self) -> None:
        self.messages: Queue[bytes | None] = Queue()
        self.is_closed = False

    def run(self, put: Any) -> None:
        while (data := self.messages.get()) is not None:
            put(data)

    def close(self) -> None:
        self.is_closed = True

    def put(self, *messages: str) -> None:
        for message in messages:
            self.messages.put(message.encode())
        gevent.idle()

    def end(self) -> None:
        self.messages.put(None)
        gevent.idle()


class Feed:
    """A feed that runs, and its source."""

    def __init__(self, server: Looped, source: Source) -> None:
        self.server = server
        self.source = source
        self.put = source.put

    def request(self, path: str, *lines: str, method: str = "GET") -> Any:
        """Send a request on a connection of its own."""
        sock = self.server.connect(buffer_bytes=4096)
        sock.sendall("\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode())
        return sock

    def ask(self, path: str) -> bytes:
        """The body at a path."""
        return receive_all(self.request(path, "Connection: close")).partition(b"\r\n\r\n")[2]

    def open(self, path: str = "/") -> Any:
        """Open a WebSocket: its socket, behind the answer's head."""
        return self.streaming(self.request(path, *UPGRADE), b"101")

    def events(self, path: str = "/sse") -> Any:
        return self.streaming(self.request(path), b"200")

    def streaming(self, sock: Any, status: bytes) -> Any:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive_exactly(sock, 1)
        assert head.startswith(b"HTTP/1.1 " + status), head
        gevent.idle()
        return sock


def read_frame(sock: Any) -> tuple[int, bytes]:
    first, size = receive_exactly(sock, 2)
    assert size < 126
    return first, receive_exactly(sock, size)


@pytest.fixture
def feed() -> Any:
    """Run a feed while the block runs: `with feed(Settings()) as made`."""

    @contextmanager
    def running(feed_settings: Settings = Settings(), **options: Any) -> Iterator[Feed]:  # noqa: B008
        source = Source()
        with looped(lambda server: FeedService(feed_settings, server, Own(source)), **options) as server:
            yield Feed(server, source)
        assert source.is_closed

    return running


def test_websockets_and_event_streams_get_what_comes(feed):
    with feed() as made:
        websocket, events = made.open(), made.events()
        made.put("hello")
        assert read_frame(websocket) == (0x81, b"hello")
        assert b"data: hello\n\n" in events.recv(1000)


def test_the_settings_bound_what_is_kept(feed):
    with feed(Settings(backlog=2)) as made:
        made.put("1", "2", "3")
        websocket = made.open("/?since=all")
        assert [read_frame(websocket)[1] for _ in range(2)] == [b"2", b"3"]


#: more than the kernel holds for a client that does not read
FLOOD = "x" * 100_000


def test_the_settings_are_the_bounds_of_readers(feed):
    with feed(Settings(bounds=Bounds("close", 0)), buffer_bytes=4096) as made:
        websocket = made.open()
        made.put(FLOOD, "1", "2")
        assert b"too slow: resume with ?since=" in receive_all(websocket)[-40:]


def test_a_slow_reader_is_seen_to_though_it_reads_nothing(feed, monkeypatch):
    monkeypatch.setattr(gtool.live.delivery, "CHECK_S", 0.02)
    with feed(Settings(bounds=Bounds("drop", 0)), buffer_bytes=4096) as made:
        made.open()
        made.put(FLOOD, "1", "2", "3")
        with gevent.Timeout(TIMEOUT_S):
            while made.server.counts.dropped < 2:
                gevent.sleep(0.01)


def test_a_message_that_is_too_long_closes(feed):
    with feed(Settings(max_message=10)) as made:
        websocket = made.open()
        websocket.sendall(b"\x81\x8b\0\0\0\0" + b"x" * 11)
        first, data = read_frame(websocket)
        assert (first, data[:2]) == (CLOSE, (1009).to_bytes(2, "big"))


def test_an_echo_server_echoes(feed):
    with feed(Settings(is_echo=True)) as made:
        websocket = made.open()
        websocket.sendall(b"\x81\x82\0\0\0\0hi")
        assert read_frame(websocket) == (0x81, b"hi")


def test_it_stands_under_its_path(feed):
    with feed(Settings(base_path="/feed")) as made:
        made.put("x")
        assert simplejson.loads(made.ask("/feed/latest"))["data"] == "x"


def test_the_messages_of_the_feed_are_counted_and_those_delivered(feed):
    with feed() as made:
        websocket = made.open()
        made.put("a", "b")
        read_frame(websocket)
        lines = made.ask("/metrics").decode().splitlines()
        assert "gtool_feed_messages_total 2" in lines
        assert "gtool_messages_total 2" in lines


def test_it_is_healthy_while_its_supply_is(feed):
    with feed() as made:
        assert made.ask("/healthz") == b"ok\n"


# What is there before


class Loading(Own):
    """A supply that is loaded when a test says so."""

    is_loaded = False


def served_after(supply: Any) -> bool:
    """Whether the supply was loaded when the service was ready to serve."""
    seen: list[bool] = []

    def make_service(server: Any) -> FeedService:
        service = FeedService(Settings(), server, supply)
        seen.append(supply.is_loaded)
        return service

    with looped(make_service):
        pass
    return seen[0]


def test_it_waits_for_what_was_there_before_it_serves(monkeypatch):
    monkeypatch.setattr(gtool.feed.run, "LOAD_S", 600.0)
    supply = Loading(Source())
    gevent.spawn_later(0.03, setattr, supply, "is_loaded", True)
    with gevent.Timeout(TIMEOUT_S):
        assert served_after(supply)


def test_it_waits_only_so_long_for_it_and_serves_when_it_is_there(monkeypatch):
    monkeypatch.setattr(gtool.feed.run, "LOAD_S", 0.02)
    source = Source()
    supply = Loading(source)
    with looped(lambda server: FeedService(Settings(), server, supply)) as server:
        made = Feed(server, source)
        assert made.ask("/healthz") == f"{LOADING}\n".encode()
        assert receive_all(made.request("/sse")).startswith(b"HTTP/1.1 503 ")
        supply.is_loaded = True
        assert made.ask("/healthz") == b"ok\n"
        websocket = made.open()
        made.put("x")
        assert read_frame(websocket) == (0x81, b"x")


def test_what_is_wrong_with_a_supply_is_said_rather_than_that_it_is_being_loaded(monkeypatch):
    monkeypatch.setattr(gtool.feed.run, "LOAD_S", 0.0)
    source = Source()
    supply = Loading(source)
    supply.trouble = "redis is away"
    with looped(lambda server: FeedService(Settings(), server, supply)) as server:
        assert Feed(server, source).ask("/healthz") == b"redis is away\n"


def test_a_signal_while_it_waits_stops_it(monkeypatch):
    monkeypatch.setattr(gtool.feed.run, "LOAD_S", 600.0)
    main = gevent.getcurrent()
    gevent.spawn_later(0.03, gevent.kill, main, Interrupted(signal.SIGTERM))
    source = Source()
    with (
        gevent.Timeout(TIMEOUT_S),
        looped(lambda server: FeedService(Settings(), server, Loading(source))) as server,
    ):
        server.wait()
    assert source.is_closed


def test_it_does_not_wait_for_a_supply_that_has_failed(monkeypatch):
    monkeypatch.setattr(gtool.feed.run, "LOAD_S", 600.0)

    class Broken(Source):
        def run(self, put: Any) -> None:
            raise GtoolError("cannot be")

    with gevent.Timeout(TIMEOUT_S), pytest.raises(GtoolError, match="cannot be"):
        served_after(Loading(Broken()))


def test_a_head_has_to_come_in_time(feed):
    with feed(Settings(head_timeout=0.05)) as made, made.server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert b"408" in receive_all(client)


# The end


def test_at_the_end_of_the_source_it_serves_on(feed):
    with feed() as made:
        made.put("x")
        made.source.end()
        assert simplejson.loads(made.ask("/latest"))["data"] == "x"
        websocket = made.open("/?since=all")
        assert read_frame(websocket) == (0x81, b"x")


def test_at_the_end_of_the_source_it_closes_all_and_ends_if_it_is_to(feed):
    with feed(Settings(closes_at_end=True)) as made:
        websocket, events = made.open(), made.events()
        made.put("x")
        made.source.end()
        assert [read_frame(websocket) for _ in range(2)] == [
            (0x81, b"x"),
            (CLOSE, (1000).to_bytes(2, "big") + b"the feed has ended"),
        ]
        assert receive_all(events).endswith(b"data: x\n\n")
        websocket.close()
        events.close()
        made.server.wait()


def test_at_the_end_of_the_source_who_waits_with_a_connection_without_a_request_holds_up_nothing(feed):
    with feed(Settings(closes_at_end=True)) as made:
        idle = made.server.connect()
        gevent.idle()
        made.source.end()
        assert receive_all(idle) == b""
        made.server.wait()


def test_stopping_says_good_bye(feed):
    with feed(Settings(), settings=DRAINED) as made:
        websocket, events = made.open(), made.events()
        made.server.server.stop()
        assert read_frame(websocket) == (CLOSE, (1001).to_bytes(2, "big") + b"the server stops")
        assert receive_all(events) == b""
        websocket.close()
        events.close()
        made.server.wait()


def test_when_it_stops_no_more_is_taken_from_the_source(feed):
    with feed(Settings(), settings=DRAINED) as made:
        websocket = made.open()
        made.server.server.stop()
        gevent.idle()
        made.put("late")
        assert len(made.source.messages) == 1
        assert read_frame(websocket)[0] == CLOSE
        websocket.close()
        made.server.wait()


def test_what_goes_wrong_in_a_supply_is_not_hidden():
    class Broken(Source):
        def run(self, put: Any) -> None:
            raise GtoolError("cannot be")

    def running() -> None:
        with looped(lambda server: FeedService(Settings(), server, Own(Broken()))):
            gevent.idle()

    with pytest.raises(GtoolError, match="cannot be"):
        running()


# In which processes


@pytest.fixture
def served(monkeypatch):
    """What the server is made of: the function that makes a service, and the one that makes a companion."""
    seen: list[Any] = []

    def serve(plan: Plan, make_service: Any, make_companion: Any = None) -> int:
        seen.extend([make_service, make_companion])
        return 7

    monkeypatch.setattr(gtool.feed.run, "serve", serve)
    return seen


def planned(workers: int) -> Plan:
    return Plan(ServerSettings(), (), parse_address("127.0.0.1:0"), workers=workers)


@pytest.mark.parametrize(("workers", "is_shared"), [(1, False), (1, True), (2, True)])
def test_who_can_have_a_supply_of_its_own_has_no_companion(served, workers, is_shared):
    assert run(planned(workers), Settings(), lambda: Own(Source()), is_shared) == 7
    assert served[1] is None


def test_a_supply_that_can_be_had_once_is_had_by_a_companion(served):
    supplies = []
    assert run(planned(2), Settings(), lambda: supplies.append(1) or Own(Source()), False) == 7
    assert served[1] is not None
    assert supplies == []  # it is made where it is needed, after the fork


def test_the_companion_feeds_the_workers(monkeypatch):
    """All in one process here."""
    seen: list[Any] = []

    def serve(plan: Plan, make_service: Any, make_companion: Any = None) -> int:
        feeder = make_companion()
        running = gevent.spawn(feeder.run)
        with looped(make_service) as server:
            made = Feed(server, source)
            websocket = made.open()
            made.put("x")
            seen.extend([feeder, read_frame(websocket)])
        feeder.stop()
        running.get(timeout=TIMEOUT_S)
        return 0

    source = Source()
    monkeypatch.setattr(gtool.feed.run, "serve", serve)
    assert run(planned(2), Settings(backlog=5), lambda: Own(source), False) == 0
    assert (type(seen[0]), seen[1], seen[0]._log.most) == (Feeder, (0x81, b"x"), 5)


def test_nothing_is_left_of_where_processes_meet(monkeypatch):
    paths: list[str] = []

    class Kept(Fed):
        def __init__(self, path: str) -> None:
            paths.append(path)
            super().__init__(path)

        def open_log(self, most: int, most_bytes: int) -> Any:
            self.close()
            raise GtoolError("enough")

    def serve(plan: Plan, make_service: Any, make_companion: Any = None) -> int:
        with pytest.raises(GtoolError, match="enough"):
            make_service(None)
        assert os.path.exists(paths[0])
        return 0

    monkeypatch.setattr(gtool.feed.run, "Fed", Kept)
    monkeypatch.setattr(gtool.feed.run, "serve", serve)
    run(planned(2), Settings(), lambda: Own(Source()), False)
    assert not os.path.exists(os.path.dirname(paths[0]))
