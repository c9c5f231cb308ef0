"""One worker: it accepts within its limits, counts, closes what is idle, and drains when it is to stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from ipaddress import ip_network

import gevent
import pytest

from gtool.echo.run import EchoService
from gtool.echo.run import Settings as EchoSettings
from gtool.errors import Interrupted
from gtool.log import NOTICE
from gtool.runtime import server as runtime_server
from gtool.runtime.settings import Limits, Settings
from tests.servers.looped import Looped, end_input, exchange, looped, receive_all, send_apart

SOON_S = 0.02
LONG_S = 600
UDP = "udp://127.0.0.1:0"


class Records(logging.Handler):
    """What is logged: level, event, fields."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, str, dict[str, object]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.levelno, record.getMessage(), vars(record)["fields"]))

    def fields(self, event: str) -> list[dict[str, object]]:
        return [fields for _, said, fields in self.seen if said == event]


@pytest.fixture
def records() -> Iterator[Records]:
    made, logger = Records(), logging.getLogger("gtool")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(made)
    yield made
    logger.removeHandler(made)
    logger.setLevel(before)


def echo(server):
    return EchoService(EchoSettings(), server)


def limited(**limits) -> Settings:
    return Settings(Limits(**limits), drain_timeout=SOON_S)


def refusals(server: Looped) -> dict[str, int]:
    return {reason: count for reason, count in server.counts.refused.items() if count}


def is_served(server: Looped, number: int = 0) -> bool:
    with server.connect(number) as client:
        try:
            return exchange(client, [b"hello"]) == b"hello"
        except OSError:
            return False


def test_each_listener_is_served(tmp_path):
    with looped(echo, "127.0.0.1:0", "[::1]:0", f"unix:{tmp_path}/socket") as server:
        assert [is_served(server, number) for number in range(3)] == [True] * 3


def test_connections_are_numbered_in_their_order():
    with looped(echo) as server:
        for _ in range(3):
            is_served(server)
        assert [connection.number for connection in server.server.opened] == [1, 2, 3]


def test_a_connection_knows_its_peer():
    with looped(echo) as server, server.connect() as client:
        exchange(client, [])
        assert server.server.opened[0].peer == "{}:{}".format(*client.getsockname())


@pytest.mark.parametrize("name", [b"\0gtool-test", b"/client"])
def test_a_unix_client_may_have_a_name_of_any_kind(tmp_path, name):
    """An abstract one is bytes to Python, one with a path a str, and most have none."""
    with looped(echo, f"unix:{tmp_path}/socket") as server, server.socket() as client:
        client.bind(name if name[:1] == b"\0" else str(tmp_path).encode() + name)
        client.connect(server.target())
        assert exchange(client, [b"hello"]) == b"hello"


def test_open_connections_are_counted():
    with looped(echo) as server, server.connect() as one, server.connect():
        gevent.idle()
        assert (server.counts.open, server.counts.accepted) == (2, 2)
        end_input(one)
        server.reason()
        assert (server.counts.open, server.counts.accepted) == (1, 2)


def test_bytes_of_connections_that_are_open_count_as_well():
    with looped(echo) as server, server.connect() as client:
        exchange(client, [b"gone"])
        server.reason()
        with server.connect() as other:
            send_apart(other, [b"here"])
            assert (server.counts.received, server.counts.sent, server.counts.messages) == (8, 8, 2)


def test_no_more_connections_are_served_at_once_than_may_be():
    with looped(echo, settings=limited(max_connections=2)) as server:
        with server.connect(), server.connect():
            gevent.idle()
            with server.connect() as third:
                assert receive_all(third) == b""
            assert refusals(server) == {"full": 1}
        server.reason()
        assert is_served(server)


def test_an_address_has_no_more_connections_at_once_than_may_be():
    with looped(echo, settings=limited(max_connections_per_ip=1)) as server:
        with server.connect():
            gevent.idle()
            assert not is_served(server)
            assert refusals(server) == {"full_for_ip": 1}
        server.reason()
        assert is_served(server)


def test_an_address_that_is_denied_is_refused():
    with looped(echo, settings=limited(deny=(ip_network("127.0.0.0/8"),))) as server:
        assert not is_served(server)
        assert (refusals(server), server.counts.accepted) == ({"denied": 1}, 0)


def test_an_address_of_the_other_family_is_served_by_its_own_rules():
    with looped(echo, "127.0.0.1:0", "[::1]:0", settings=limited(deny=(ip_network("127.0.0.0/8"),))) as server:
        assert [is_served(server, 0), is_served(server, 1)] == [False, True]


def test_address_rules_are_not_for_unix_sockets(tmp_path):
    with looped(echo, f"unix:{tmp_path}/socket", settings=limited(allow=(ip_network("192.0.2.0/24"),))) as server:
        assert is_served(server)


def test_connections_come_no_faster_than_they_may():
    with looped(echo, settings=limited(max_accept_rate=0.001)) as server:
        assert [is_served(server) for _ in range(3)] == [True, False, False]
        assert refusals(server) == {"rate": 2}


def test_an_idle_connection_is_closed_and_a_busy_one_is_not():
    with looped(echo, settings=Settings(idle_timeout=1.0)) as server, server.connect() as client, server.connect():
        gevent.idle()
        server.server.opened[0].active_at -= 1.0
        assert (server.reason(), receive_all(client)) == ("idle", b"")
        assert server.counts.open == 1


def test_without_an_idle_time_out_none_is_closed():
    with looped(echo) as server, server.connect():
        gevent.sleep(SOON_S)
        assert server.counts.open == 1


def test_stopping_refuses_new_connections():
    with looped(echo) as server:
        target = server.target()
        server.stop()
        with server.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(target)


def test_stopping_lets_connections_come_to_their_end():
    with looped(echo, settings=Settings(drain_timeout=LONG_S)) as server, server.connect() as client:
        gevent.idle()
        server.server.stop()
        gevent.idle()
        assert exchange(client, [b"still here"]) == b"still here"
        server.wait()


def test_stopping_waits_for_them_only_so_long():
    with looped(echo, settings=Settings(drain_timeout=SOON_S)) as server, server.connect() as client:
        gevent.idle()
        server.stop()
        assert (receive_all(client), server.reason()) == (b"", "drained")


def test_stopping_with_no_connection_waits_for_nothing():
    with looped(echo, settings=Settings(drain_timeout=LONG_S)) as server:
        server.stop()


def test_draining_is_logged_with_what_it_waits_for(records):
    with looped(echo, settings=Settings(drain_timeout=SOON_S)) as server, server.connect():
        gevent.idle()
        server.stop()
    ((level, fields),) = [(level, fields) for level, event, fields in records.seen if event == "draining"]
    assert (level, fields["connections"], fields["timeout_s"]) == (NOTICE, 1, SOON_S)


def test_an_interruption_drains():
    with looped(echo, settings=Settings(drain_timeout=LONG_S)) as server, server.connect() as client:
        gevent.idle()
        gevent.get_hub().loop.run_callback(server.running.throw, Interrupted(2))
        gevent.idle()
        assert exchange(client, [b"still here"]) == b"still here"
        server.wait()


def test_a_duration_ends_it():
    with looped(echo, duration=SOON_S) as server:
        server.wait()


def test_a_duration_ends_it_by_draining():
    with looped(echo, duration=SOON_S, settings=Settings(drain_timeout=LONG_S)) as server, server.connect() as client:
        gevent.sleep(2 * SOON_S)
        assert exchange(client, [b"still here"]) == b"still here"
        server.wait()


def test_after_the_last_of_all_connections_it_ends():
    with looped(echo, max_total=2) as server:
        assert [is_served(server), is_served(server)] == [True, True]
        server.wait()
        assert server.counts.accepted == 2


def test_the_last_of_all_connections_may_take_its_time():
    with looped(echo, max_total=1, settings=Settings(drain_timeout=0.0)) as server, server.connect() as client:
        gevent.idle()
        gevent.sleep(SOON_S)
        assert exchange(client, [b"still here"]) == b"still here"
        server.wait()


def test_nobody_can_connect_after_the_last_of_all():
    with looped(echo, max_total=1) as server, server.connect():
        gevent.idle()
        with server.socket() as late, pytest.raises(ConnectionRefusedError):
            late.connect(server.target())


def test_who_connects_with_the_last_of_all_is_not_served():
    with looped(echo, max_total=1) as server:
        one, other = server.socket(), server.socket()
        for client in (one, other):
            client.connect(server.target())  # both wait when the server comes to accept
        gevent.idle()
        server.server.stop()
        assert server.counts.accepted == 1


def test_a_refused_connection_is_none_of_the_total():
    settings = limited(deny=(ip_network("127.0.0.0/8"),))
    with looped(echo, "127.0.0.1:0", "[::1]:0", max_total=1, settings=settings) as server:
        assert [is_served(server, 0), is_served(server, 0), is_served(server, 1)] == [False, False, True]
        server.wait()


def test_datagrams_are_of_the_total():
    with looped(echo, UDP, max_total=2) as server, server.connect() as client:
        for _ in range(3):
            client.send(b"hello")
        server.wait()
        assert [client.recv(10), client.recv(10)] == [b"hello"] * 2
        assert server.counts.messages == 2


def test_counts_of_datagrams_stay_when_it_has_stopped():
    with looped(echo, UDP) as server, server.connect() as client:
        client.send(b"hello")
        client.recv(10)
        server.stop()
        assert (server.counts.received, server.counts.messages) == (5, 1)


def test_a_connection_is_logged_from_beginning_to_end(records):
    with looped(echo) as server, server.connect() as client:
        exchange(client, [b"hello"])
        server.reason()
        peer = "{}:{}".format(*client.getsockname())
    (opened,), (closed,) = records.fields("connection open"), records.fields("connection closed")
    assert opened == {"peer": peer, "connection": 1}
    duration_s = closed.pop("duration_s")
    assert closed == {"peer": peer, "connection": 1, "reason": "closed", "received": 5, "sent": 5}
    assert 0 <= duration_s < 10


def test_a_refused_connection_is_logged_with_the_reason(records):
    with looped(echo, settings=limited(deny=(ip_network("127.0.0.0/8"),))) as server, server.connect() as client:
        receive_all(client)
        peer = "{}:{}".format(*client.getsockname())
    assert records.fields("connection refused") == [{"peer": peer, "reason": "denied"}]


def test_datagrams_that_are_not_answered_are_logged_seldom(records):
    with looped(echo, UDP) as server:
        for _ in range(100):
            server.server.admits_datagram(("127.0.0.1", 7), is_client=False)
        assert refusals(server) == {"datagram": 100}
    assert len(records.fields("a datagram from a service port is not answered")) == 1


def test_what_goes_wrong_at_the_start_leaves_nothing():
    class Broken(runtime_server.Service):
        def datagrams(self, listener):
            raise ValueError("no")

    def run():
        with looped(lambda server: Broken(), "127.0.0.1:0", UDP) as server:
            server.wait()

    with pytest.raises(ValueError, match="no"):
        run()


# The service


class Told(EchoService):
    """Keeps what it is told."""

    def __init__(self, server) -> None:
        super().__init__(EchoSettings(), server)
        self.server = server
        self.told: list[str] = []

    def drain(self) -> None:
        self.told.append("drain")

    def close(self) -> None:
        self.told.append("close")


def test_a_service_may_leave_out_what_it_has_none_of():
    service = runtime_server.Service()
    service.drain()
    service.close()
    with pytest.raises(NotImplementedError, match="a command without connections"):
        service.connect(None, None)
    with pytest.raises(NotImplementedError, match="a command without datagrams"):
        service.datagrams(None)


@pytest.fixture
def told() -> list[Told]:
    """The services that are made."""
    return []


@pytest.fixture
def make(told):
    return lambda server: told.append(Told(server)) or told[-1]


def test_a_service_is_told_to_drain_where_there_is_something_that_goes_on(make, told):
    with looped(make, settings=Settings(drain_timeout=LONG_S)) as server, server.connect() as client:
        gevent.idle()
        server.server.stop()
        gevent.idle()
        assert told[0].told == ["drain"]
        exchange(client, [])
        server.wait()
    assert told[0].told == ["drain", "close"]


def test_a_service_without_connections_is_only_closed(make, told):
    with looped(make):
        pass
    assert told[0].told == ["close"]


def test_a_service_is_closed_whatever_goes_wrong(make, told):
    def run():
        with looped(make) as server:
            server.running.throw(ValueError("mine"))
            server.wait()

    with pytest.raises(ValueError, match="mine"):
        run()
    assert told[0].told == ["close"]


def test_connections_that_a_service_ends_when_it_drains_are_not_waited_for(make, told):
    with looped(make, settings=Settings(drain_timeout=LONG_S)) as server, server.connect() as client:
        gevent.idle()
        told[0].drain = lambda: server.server.opened[0].driver.close("good bye")
        server.stop()
        assert (receive_all(client), server.reason()) == (b"", "good bye")


def test_messages_that_were_dropped_are_counted():
    with looped(echo) as server:
        for count in (2, 3):
            server.server.dropped(count)
        assert server.counts.dropped == 5


def test_the_counts_are_those_of_the_moment():
    with looped(echo) as server, server.connect() as client:
        send_apart(client, [b"hello"])
        counts = server.server.counts()
        assert (counts.open, counts.received, counts.messages) == (1, 5, 1)


def test_a_service_that_has_come_to_its_end_ends_the_server_with_its_connections():
    with looped(echo, settings=Settings(drain_timeout=0.0)) as server, server.connect() as client:
        gevent.idle()
        server.server.finish_all()
        with server.socket() as late, pytest.raises(ConnectionRefusedError):
            late.connect(server.target())
        assert exchange(client, [b"still here"]) == b"still here"
        server.wait()


def test_a_service_that_has_come_to_its_end_ends_at_once_where_there_is_no_connection():
    with looped(echo) as server:
        server.server.finish_all()
        server.wait()


def test_that_one_has_come_to_its_end_is_told_to_the_others():
    calls = []
    with looped(echo) as server:
        server.server._on_last = lambda: calls.append("last call")
        server.server.finish_all()
        server.wait()
    assert calls == ["last call"]
