"""ws-feed over Redis: many processes, one feed; and a server that is killed, held, or was never there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from gtool.streams.redis.location import parse_location
from gtool.streams.redis.publisher import LEAST_KEPT
from tests.conftest import TIMEOUT_S, Result, command, environment, run_gtool
from tests.e2e.redis_server import RedisServer, redis_server_fixture  # noqa: F401  for the arguments of tests
from tests.e2e.relay import relaying
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import (
    ask,
    connect,
    end_input,
    fed_by_hand,
    feed,
    latest,
    put,
    receive_json,
    wait_until,
)

pytestmark = pytest.mark.needs("redis-server")

STREAM = "feed"
FAST = ("--interval", "10ms")
LISTEN = ("-l", "127.0.0.1:0")
HASTE_S = 0.1  #: for the closing of a client that has not read all it was sent


# --- what the tests share


@pytest.fixture
def source(redis_server: RedisServer) -> tuple[str, str]:
    return ("--source", redis_server.url(STREAM))


@pytest.fixture
def publish(redis_server: RedisServer) -> tuple[str, str]:
    return ("--publish", redis_server.url(STREAM))


def records(server: GtoolServer, count: int, path: str = "/?since=all&envelope=1") -> list[dict[str, Any]]:
    with connect(server, path) as client:
        return receive_json(client, count)


def data_of(found: list[dict[str, Any]]) -> list[str]:
    return [record["data"] for record in found]


def steps_of(found: list[dict[str, Any]]) -> list[int]:
    """The x of a walk's messages."""
    return [json.loads(record["data"])["x"] for record in found]


def wait_for_latest(server: GtoolServer, data: str) -> dict[str, Any]:
    return wait_until(lambda: (found := latest(server))["data"] == data and found, f"{data!r} at {server.urls}")


def wait_for_health(server: GtoolServer, status: int) -> str:
    return wait_until(lambda: (found := ask(server, "/healthz")).status == status and found.text, f"a {status}")


def tail(server: GtoolServer, *args: str | Path) -> Result:
    return run_gtool("ws-tail", server.urls[0], *args)


def refused(*args: str | Path, **variables: str) -> tuple[int, str]:
    """Run a ws-feed that does not come up: its exit code and its one line."""
    done = run_gtool("ws-feed", *LISTEN, *args, **variables)
    assert (done.out, done.err.count("\n")) == (b"", 1), done
    return done.code, done.err


def messages(first: int, last: int) -> list[str]:
    return [f"m{number}" for number in range(first, last + 1)]


# --- one feed at many places


def test_two_processes_tell_the_same(redis_server, source):
    redis_server.add(STREAM, "a", "b")
    with feed(*source) as one, feed(*source) as other:
        wait_for_latest(one, "b")
        wait_for_latest(other, "b")
        redis_server.add(STREAM, "c")
        found = [records(server, 3) for server in (one, other)]
        assert found[0] == found[1]
        assert data_of(found[0]) == ["a", "b", "c"]


def test_a_reader_goes_on_at_the_second_where_it_stopped_at_the_first(redis_server, source, tmp_path):
    state = ("--state", tmp_path / "id", "--strict")
    redis_server.add(STREAM, *messages(1, 5))
    with feed(*source) as one, feed(*source) as other:
        for server in (one, other):
            wait_for_latest(server, "m5")
        assert tail(one, "--since", "all", "--count", "3", *state) == Result(0, b"m1\nm2\nm3\n", "")
        redis_server.add(STREAM, "m6")
        assert tail(other, "--count", "3", *state) == Result(0, b"m4\nm5\nm6\n", "")


def test_a_reader_goes_on_where_it_stopped_after_the_feed_was_restarted(redis_server, source):
    redis_server.add(STREAM, *messages(1, 5))
    with feed(*source) as server:
        third = records(server, 5)[2]["id"]
    with feed(*source) as server:
        wait_for_latest(server, "m5")
        assert data_of(records(server, 2, f"/?since={third}&envelope=1")) == ["m4", "m5"]


def test_a_reader_that_is_there_before_the_backlog_is_gets_no_gap_and_no_double(redis_server, source):
    """Clients come back at once when a feed is restarted: the backlog may not have been read then."""
    for first in range(0, 60_000, 10_000):
        redis_server.at_once(*[("XADD", STREAM, "*", "data", f"m{first + number}") for number in range(10_000)])
    backlog = ("--backlog", "50000")
    with feed(*source, *backlog) as server:
        first = wait_for_latest(server, "m59999")
    with feed(*source, *backlog) as server, connect(server, f"/?since={first['id']}&envelope=1") as client:
        redis_server.add(STREAM, "new")
        assert json.loads(client.recv(TIMEOUT_S)).get("data") == "new"


def test_a_reader_that_is_there_before_the_backlog_is_gets_only_what_is_new(redis_server, source):
    for first in range(0, 60_000, 10_000):
        redis_server.at_once(*[("XADD", STREAM, "*", "data", f"m{first + number}") for number in range(10_000)])
    with feed(*source, "--backlog", "50000") as server, connect(server) as client:
        wait_for_latest(server, "m59999")
        redis_server.add(STREAM, "new")
        assert client.recv(TIMEOUT_S) == "new"


def test_a_cursor_from_before_the_backlog_is_not_recovered(redis_server, source):
    redis_server.add(STREAM, *messages(1, 9))
    with feed(*source) as server:
        first = records(server, 9)[0]["id"]
    with feed(*source, "--backlog", "3") as server:
        wait_for_latest(server, "m9")
        found = records(server, 4, f"/?since={first}&envelope=1")
    assert found[0]["recovered"] is False
    assert data_of(found[1:]) == ["m7", "m8", "m9"]


def test_a_cursor_from_before_a_trimmed_stream_is_not_recovered(redis_server, source):
    redis_server.add(STREAM, *messages(1, 9))
    with feed(*source) as server:
        first = records(server, 9)[0]["id"]
    redis_server.trim(STREAM, 3)
    with feed(*source) as server:
        wait_for_latest(server, "m9")
        assert records(server, 1, f"/?since={first}&envelope=1")[0].get("recovered") is False


def test_a_process_that_was_held_tells_what_was_trimmed_meanwhile(redis_server, source):
    with feed(*source) as server, connect(server, "/?envelope=1") as client:
        redis_server.add(STREAM, "m1")
        assert receive_json(client, 1)[0]["data"] == "m1"
        server.send_signal(signal.SIGSTOP)
        adding = [("XADD", STREAM, "*", "data", message) for message in messages(2, 50)]
        redis_server.at_once(*adding, ("XTRIM", STREAM, "MAXLEN", 2))
        server.send_signal(signal.SIGCONT)
        found = receive_json(client, 2)
        while found[-1].get("data") != "m50":
            found += receive_json(client, 1)
        assert len(found) == 49 or any("dropped" in record for record in found)


def test_entries_of_others_are_json(redis_server, source):
    redis_server.call("XADD", STREAM, "*", "room", "Küche", "t", "21")
    with feed(*source) as server:
        assert json.loads(records(server, 1)[0]["data"]) == {"room": "Küche", "t": "21"}


def test_bytes_that_are_no_text_become_text(redis_server, source):
    redis_server.add(STREAM, b"\xff\0x")
    with feed(*source) as server:
        assert data_of(records(server, 1)) == ["\ufffd\0x"]


def test_entries_with_ids_in_microseconds_can_be_tailed(redis_server, source):
    redis_server.call("XADD", STREAM, "1795000000000000-0", "data", "a")
    with feed(*source) as server:
        assert tail(server, "--since", "all", "--count", "1") == Result(0, b"a\n", "")


def test_a_unix_socket_is_a_place_too(redis_server):
    redis_server.add(STREAM, "a")
    with feed("--source", redis_server.unix_url(STREAM)) as server:
        assert data_of(records(server, 1)) == ["a"]


def test_workers_follow_each_for_itself(redis_server, source):
    redis_server.add(STREAM, "a")
    with feed(*source, "--workers", "2") as server:
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(server, "/?since=all&envelope=1")) for _ in range(12)]
            first = [receive_json(client, 1)[0] for client in clients]
            redis_server.add(STREAM, "b")
            second = [receive_json(client, 1)[0] for client in clients]
        assert len({record["id"] for record in first}) == len({record["id"] for record in second}) == 1
        assert {record["data"] for record in first + second} == {"a", "b"}


# --- publishing


def test_lines_are_published_and_followed_elsewhere(publish, source):
    with fed_by_hand(*publish) as server, feed(*source) as elsewhere:
        put(server, *messages(1, 3))
        assert records(server, 3) == (found := records(elsewhere, 3))
        assert data_of(found) == messages(1, 3)


def test_a_walk_is_published_and_followed_elsewhere(publish, source):
    with feed(*FAST, *publish), feed(*source) as elsewhere:
        assert steps_of(records(elsewhere, 100)) == list(range(100))


def test_two_may_publish_into_one_feed(publish):
    with fed_by_hand(*publish) as one, fed_by_hand(*publish) as other:
        put(one, "a")
        wait_for_latest(other, "a")
        put(other, "b")
        wait_for_latest(one, "b")
        assert records(one, 2) == records(other, 2)


def test_a_walk_flat_out_loses_nothing_silently(publish, source):
    walk = ("--interval", "0", "--backlog", "50")
    with feed(*walk, *publish), feed(*source) as elsewhere, connect(elsewhere, "/?envelope=1") as client:
        last, silent = None, 0
        has_note = False
        for record in receive_json(client, 5_000):
            if "data" not in record:
                has_note = True
                continue
            step = json.loads(record["data"])["x"]
            silent += last is not None and step != last + 1 and not has_note
            last, has_note = step, False
        assert silent == 0


def test_lines_that_are_not_utf_8_are_published_as_text(publish, source):
    with fed_by_hand(*publish) as server, feed(*source) as elsewhere:
        put(server, b"\xff\xfe")
        assert data_of(records(elsewhere, 1)) == ["\ufffd\ufffd"]


def test_the_stream_is_kept_to_about_the_backlog(redis_server, publish):
    with fed_by_hand(*publish, "--backlog", "15000") as server:
        put(server, *messages(1, 20_000))
        wait_for_latest(server, "m20000")
        assert 15_000 <= redis_server.length(STREAM) <= 15_500


def test_the_stream_is_kept_longer_than_a_short_backlog_for_those_who_fell_behind(redis_server, publish):
    with fed_by_hand(*publish, "--backlog", "50") as server:
        put(server, *messages(1, 12_000))
        wait_for_latest(server, "m12000")
        assert LEAST_KEPT <= redis_server.length(STREAM) <= LEAST_KEPT + 500


def test_the_workers_have_what_one_process_publishes(publish):
    with fed_by_hand(*publish, "--workers", "2") as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server, "/?since=all&envelope=1")) for _ in range(12)]
        put(server, *messages(1, 5))
        found = [receive_json(client, 5) for client in clients]
        assert data_of(found[0]) == messages(1, 5)
        assert all(one == found[0] for one in found)


def test_with_workers_a_line_is_published_once(redis_server, publish):
    with fed_by_hand(*publish, "--workers", "2") as server:
        put(server, *messages(1, 5))
        wait_for_latest(server, "m5")
        assert redis_server.length(STREAM) == 5


def test_with_workers_a_cursor_from_before_the_backlog_is_not_recovered(redis_server, publish):
    for first in range(0, 40_000, 10_000):
        redis_server.at_once(*[("XADD", STREAM, "*", "data", f"m{first + number}") for number in range(10_000)])
    epoch = parse_location(publish[1]).epoch
    with fed_by_hand(*publish, "--workers", "2", "--backlog", "20000") as server:
        for _ in range(8):  # each worker will have been asked
            wait_for_latest(server, "m39999")
            with connect(server, f"/?since={epoch}:1&envelope=1", close_timeout=HASTE_S) as client:
                assert receive_json(client, 1)[0].get("recovered") is False


def test_at_the_end_of_input_readers_have_all_and_are_closed(publish):
    with fed_by_hand(*publish, "--at-eof", "close") as server:
        started = subprocess.Popen(
            command("ws-tail", server.urls[0], "--since", "all"), stdout=subprocess.PIPE, env=environment()
        )
        with started as process:
            put(server, *messages(1, 200))
            assert process.stdout.readline() == b"m1\n"
            end_input(server)
            out = process.stdout.read().decode().split()
            assert (process.wait(TIMEOUT_S), out) == (0, messages(2, 200))
        assert server.ended().code == 0


def test_at_the_end_of_input_of_workers_readers_have_all_and_are_closed(publish):
    with fed_by_hand(*publish, "--at-eof", "close", "--workers", "2") as server:
        started = subprocess.Popen(
            command("ws-tail", server.urls[0], "--since", "all"), stdout=subprocess.PIPE, env=environment()
        )
        with started as process:
            put(server, *messages(1, 200))
            assert process.stdout.readline() == b"m1\n"
            end_input(server)
            out = process.stdout.read().decode().split()
            assert (process.wait(TIMEOUT_S), out) == (0, messages(2, 200))
        assert server.ended().code == 0


def test_the_end_waits_for_a_redis_that_is_away(redis_server, publish):
    with fed_by_hand(*publish, "--at-eof", "close") as server:
        put(server, "m1")
        wait_for_latest(server, "m1")
        redis_server.kill()
        put(server, "m2")
        end_input(server)
        server.wait_for_log("redis is away")
        redis_server.start()
        assert server.ended().code == 0
    assert redis_server.length(STREAM) == 2


def newest_of(redis_server: RedisServer) -> dict[bytes, bytes]:
    return redis_server.call("XREVRANGE", STREAM, "+", "-", "COUNT", 1)[0][1]


def losing_an_answer(redis_server: RedisServer, message: bytes) -> Callable[[bytes], bytes | None]:
    """Cut, once, before the answer to the XADD of a message."""
    seen = []

    def down(data: bytes) -> bytes | None:
        is_answer = data.count(b"+QUEUED") == 1  # to a MULTI of one; what XREAD answers is an array
        if is_answer and not seen and message in newest_of(redis_server).values():
            seen.append(data)
            return None
        return data

    return down


def test_the_end_comes_when_the_last_line_was_written_twice(redis_server):
    with (
        relaying(redis_server.port, down=losing_an_answer(redis_server, b"m2")) as relay,
        fed_by_hand("--publish", redis_server.url(STREAM, port=relay.port), "--at-eof", "close") as server,
    ):
        put(server, "m1")
        wait_for_latest(server, "m1")
        put(server, "m2")
        end_input(server)
        wait_until(lambda: redis_server.length(STREAM) == 3, "m2 written twice")
        assert server.ended().code == 0


def test_a_signal_ends_it_while_redis_is_away(redis_server, publish):
    with fed_by_hand(*publish) as server:
        wait_for_health(server, 200)
        redis_server.kill()
        put(server, "m1")
        server.wait_for_log("redis is away to=")
        ended = server.stop()
        assert (ended.code, "messages are lost: they were not written" in ended.err) == (0, True)


# --- Redis that goes away and comes back


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_redis_that_is_killed_and_restarted_loses_and_repeats_nothing(redis_server, publish, source, workers):
    with (
        feed(*FAST, *publish, "--workers", workers) as server,
        feed(*source) as elsewhere,
        connect(server, "/?since=all&envelope=1") as here,
        connect(elsewhere, "/?since=all&envelope=1") as there,
    ):
        found = [receive_json(here, 30), receive_json(there, 30)]
        redis_server.kill()
        wait_for_health(elsewhere, 503)
        redis_server.start()
        found = [found[0] + receive_json(here, 170), found[1] + receive_json(there, 170)]
        assert [steps_of(one) for one in found] == [list(range(200))] * 2
        assert found[0] == found[1]


def test_health_says_that_redis_is_away_and_that_it_is_back(redis_server, source):
    with feed(*source) as server:
        wait_for_health(server, 200)
        redis_server.kill()
        assert f"cannot read {redis_server.url(STREAM)}: " in wait_for_health(server, 503)
        redis_server.start()
        wait_for_health(server, 200)
        assert "redis answers again" in server.wait_for_log("redis answers again")


def test_health_of_workers_that_are_fed_says_that_redis_is_away(redis_server, publish):
    with feed(*FAST, *publish, "--workers", "2") as server:
        wait_until(lambda: latest(server)["data"])
        redis_server.kill()
        server.wait_for_log("redis is away")
        wait_for_health(server, 503)


def test_health_says_that_redis_takes_nothing(redis_server, publish):
    with fed_by_hand(*publish) as server:
        wait_for_health(server, 200)
        redis_server.call("CONFIG", "SET", "maxmemory", 1)
        put(server, "m1")
        server.wait_for_log("redis refuses to=")
        wait_for_health(server, 503)


def test_a_message_that_redis_does_not_take_is_not_logged(redis_server, publish):
    with fed_by_hand(*publish) as server:
        wait_for_health(server, 200)
        redis_server.call("CONFIG", "SET", "maxmemory", 1)
        put(server, "private")
        assert "private" not in server.wait_for_log("redis refuses to=")


def test_what_redis_did_not_take_is_written_once_it_does(redis_server, publish):
    with fed_by_hand(*publish) as server:
        wait_for_health(server, 200)
        redis_server.call("CONFIG", "SET", "maxmemory", 1)
        put(server, "m1", "m2")
        server.wait_for_log("redis refuses to=")
        redis_server.call("CONFIG", "SET", "maxmemory", 0)
        assert data_of(records(server, 2)) == ["m1", "m2"]


def test_readers_stay_connected_while_redis_is_away(redis_server, source):
    with feed(*source) as server, connect(server) as client:
        redis_server.kill()
        wait_for_health(server, 503)
        redis_server.start()
        redis_server.add(STREAM, "a")
        assert client.recv(TIMEOUT_S) == "a"


def test_new_readers_are_served_while_redis_is_away(redis_server, source):
    redis_server.add(STREAM, "a", "b")
    with feed(*source) as server:
        wait_for_latest(server, "b")
        redis_server.kill()
        wait_for_health(server, 503)
        assert data_of(records(server, 2)) == ["a", "b"]


def test_a_redis_that_is_held_loses_and_repeats_nothing(redis_server, publish, source):
    with (
        feed(*FAST, *publish),
        feed(*source) as elsewhere,
        connect(elsewhere, "/?since=all&envelope=1") as client,
    ):
        found = receive_json(client, 30)
        redis_server.hold()
        wait_for_health(elsewhere, 503)
        redis_server.go_on()
        wait_for_health(elsewhere, 200)
        found += receive_json(client, 1000)
        assert steps_of(found) == list(range(1030))


def test_a_worker_that_dies_while_redis_is_away_is_replaced_by_one_that_knows_what_it_lacks(redis_server, source):
    redis_server.add(STREAM, *messages(1, 5))
    with feed(*source, "--workers", "2") as server:
        second = records(server, 5)[1]["id"]
        redis_server.kill()
        for worker in children(server.process.pid):
            os.kill(int(worker), signal.SIGKILL)
        wait_until(lambda: len(children(server.process.pid)) == 2)
        with ThreadPoolExecutor() as pool:
            coming = pool.submit(connect_when_loaded, server, f"/?since={second}&envelope=1")
            redis_server.start()
            with coming.result(TIMEOUT_S) as client:
                assert data_of(receive_json(client, 3)) == ["m3", "m4", "m5"]


def not_loading(is_cut: list[object]) -> Callable[[bytes], bytes | None]:
    """Cut, for as long as the list is not empty, where a stream is loaded."""
    return lambda data: None if is_cut and b"XINFO" in data else data


@pytest.mark.parametrize("option", ["--source", "--publish"])
def test_health_says_that_redis_went_away_before_the_backlog_was_read(redis_server, option):
    with (
        relaying(redis_server.port, up=not_loading([True])) as relay,
        feed(option, redis_server.url(STREAM, port=relay.port)) as server,
    ):
        server.wait_for_log("redis is away")
        assert "cannot read redis://" in wait_for_health(server, 503)


@pytest.mark.parametrize("option", ["--source", "--publish"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_redis_that_went_away_before_the_backlog_was_read_is_waited_for(redis_server, option, workers):
    redis_server.add(STREAM, *messages(1, 3))
    is_cut: list[object] = [True]
    walk = ("--interval", "1h") if option == "--publish" else ()
    with (
        relaying(redis_server.port, up=not_loading(is_cut)) as relay,
        feed(*walk, option, redis_server.url(STREAM, port=relay.port), "--workers", workers) as server,
    ):
        server.wait_for_log("redis is away")
        wait_for_health(server, 503)
        with pytest.raises(InvalidStatus, match="HTTP 503"):
            connect(server, "/?since=all")
        assert ask(server, "/sse").status == 503
        is_cut.clear()
        with connect_when_loaded(server, "/?since=all&envelope=1") as client:
            assert data_of(receive_json(client, 3)) == messages(1, 3)


def test_a_signal_ends_it_before_the_backlog_was_read(redis_server, source):
    with (
        relaying(redis_server.port, up=not_loading([True])) as relay,
        feed("--source", redis_server.url(STREAM, port=relay.port)) as server,
    ):
        server.wait_for_log("redis is away")
        assert server.stop().code == 0


def connect_when_loaded(server: GtoolServer, path: str) -> ClientConnection:
    """Come back until the feed has what was there before."""

    def try_it() -> ClientConnection | None:
        try:
            return connect(server, path)
        except (OSError, EOFError):
            return None
        except InvalidStatus as error:
            if error.response.status_code == 503:
                return None
            raise

    client: ClientConnection = wait_until(try_it, "a connection")
    return client


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


# --- Redis that was never there


def test_redis_that_is_not_there_is_exit_5_and_one_line(refused_port):
    code, said = refused("--source", f"redis://127.0.0.1:{refused_port}/0?stream=feed")
    assert (code, f"cannot use redis://127.0.0.1:{refused_port}/0?stream=feed: " in said) == (5, True)


def test_redis_that_is_not_there_to_publish_to_is_exit_5_and_one_line(refused_port):
    assert refused("--publish", f"redis://127.0.0.1:{refused_port}/0?stream=feed")[0] == 5


def test_redis_that_does_not_answer_is_exit_5_and_one_line(redis_server, source):
    redis_server.hold()
    assert refused(*source)[0] == 5


def test_a_server_that_is_no_redis_is_exit_5_and_one_line(peer):
    server = peer(lambda connection, head: None)
    assert refused("--source", f"redis://{server.host}/0?stream=feed&socket_timeout=1")[0] == 5


def test_a_key_of_another_type_is_exit_2(redis_server, source):
    redis_server.call("LPUSH", STREAM, "x")
    code, said = refused(*source)
    assert (code, "is a list, not a stream" in said) == (2, True)


def test_a_database_that_is_not_there_is_exit_5(redis_server):
    assert refused("--source", redis_server.url(STREAM, 99))[0] == 5


@pytest.mark.parametrize("option", ["--source", "--publish"])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "feed",
        "http://h/0?stream=x",
        "redis://h/0",
        "redis://h:x/0?stream=x",
        "redis://[::1/0?stream=x",
    ],
)
def test_a_bad_url_is_exit_2(option, url):
    assert refused(option, url)[0] == 2


@pytest.mark.parametrize(
    "args",
    [
        ("--source", "redis://h/0?stream=x", "--publish", "redis://h/0?stream=x"),
        ("--source", "redis://h/0?stream=x", "--stdin"),
        ("--source", "redis://h/0?stream=x", "--echo"),
        ("--publish", "redis://h/0?stream=x", "--echo"),
    ],
)
def test_what_does_not_go_together_is_exit_2(args):
    assert refused(*args)[0] == 2


def test_without_the_package_redis_there_is_a_hint(tmp_path):
    (tmp_path / "redis.py").write_text("raise ImportError('no redis here')")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    code, said = refused("--source", "redis://h/0?stream=x", PYTHONPATH=path)
    assert (code, "pip install 'gtool[redis]'" in said) == (2, True)


def test_without_the_package_redis_the_rest_works(tmp_path):
    (tmp_path / "redis.py").write_text("raise ImportError('no redis here')")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    with fed_by_hand(env=environment(PYTHONPATH=path)) as server:
        put(server, "a")
        wait_for_latest(server, "a")


# --- passwords


@pytest.fixture
def guarded(redis_server: RedisServer) -> RedisServer:
    """It wants the password s3cret."""
    redis_server.call("CONFIG", "SET", "requirepass", "s3cret")
    redis_server.password = "s3cret"
    return redis_server


def test_a_password_opens_redis(guarded):
    guarded.add(STREAM, "a")
    with feed("--source", guarded.url(STREAM).replace("//", "//:s3cret@")) as server:
        assert data_of(records(server, 1)) == ["a"]


def test_without_the_password_it_is_exit_5(guarded):
    code, said = refused("--source", guarded.url(STREAM))
    assert (code, "Authentication required" in said) == (5, True)


def test_a_wrong_password_is_exit_5_and_not_shown(guarded):
    code, said = refused("--source", guarded.url(STREAM).replace("//", "//:wr0ng@"))
    assert (code, "wr0ng" in said) == (5, False)


@pytest.mark.parametrize("option", ["--source", "--publish"])
def test_the_password_is_not_logged_when_redis_goes_and_comes_back(redis_server, option):
    redis_server = guarded_by_file(redis_server)
    url = redis_server.url(STREAM).replace("//", "//:s3cret@")
    with feed(*FAST[: 2 * (option == "--publish")], option, url, options=("-vv",)) as server:
        wait_for_health(server, 200)
        redis_server.kill()
        said = wait_for_health(server, 503)
        redis_server.start()
        wait_for_health(server, 200)
        assert "s3cret" not in said + server.stop().err


def guarded_by_file(redis_server: RedisServer) -> RedisServer:
    """Have it want the password after a restart too."""
    redis_server.close()
    redis_server.require("s3cret")
    redis_server.start()
    return redis_server


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@127.0.0.1:1/0",
        "redis://:s3cret@127.0.0.1:x/0?stream=a",
        "redis://:s3cret@127.0.0.1:1/0?stream=a",
        "http://:s3cret@127.0.0.1:1/0?stream=a",
        "redis://:s3cret@[::1/0?stream=a",
        "redis://:s3cret#@127.0.0.1:1/0?stream=a",
    ],
)
def test_the_password_is_not_shown_when_the_url_is_no_good(url):
    assert "s3cret" not in run_gtool("ws-feed", *LISTEN, "--source", url).err
