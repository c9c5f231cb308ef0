"""ws-feed in several processes: one feed, one sequence of ids, whoever serves it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException

from tests.conftest import TIMEOUT_S, environment
from tests.e2e.probes import stopped, wait_until_ended, workers
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import (
    FAST,
    TEXT,
    connect,
    end_input,
    events_of,
    fed_by_hand,
    feed,
    latest,
    metrics,
    put,
    raw,
    receive,
    receive_json,
    receive_to_end,
    wait_until,
)

THREE = ("--workers", "3")
VERBOSE = ("-v",)


@contextmanager
def only(pid: int, pids: list[int]) -> Iterator[None]:
    """Have this process accept what comes: the others are stopped meanwhile."""
    with ExitStack() as stack:
        for other in pids:
            if other != pid:
                stack.enter_context(stopped(other))
        yield


def processes(server: GtoolServer) -> tuple[list[int], int]:
    """The three workers, and the process that feeds them."""
    *serving, feeder = workers(server, 4)
    return serving, feeder


def latest_of_each(server: GtoolServer, pids: list[int]) -> list[dict[str, Any]]:
    found = []
    for pid in pids:
        with only(pid, pids):
            found.append(latest(server))
    return found


def test_all_workers_tell_the_same_walk_by_the_same_ids():
    with feed(*THREE, *FAST, options=VERBOSE) as server, ExitStack() as stack:
        pids, _ = processes(server)
        clients = []
        for pid in pids:
            with only(pid, pids):
                clients.append(stack.enter_context(connect(server, "/?since=all&envelope=1")))
        one, other, third = ({message["id"]: message for message in receive_json(client, 60)} for client in clients)
        common = one.keys() & other.keys() & third.keys()
        assert len(common) > 20
        assert all(one[id_] == other[id_] == third[id_] for id_ in common)


def test_all_workers_tell_every_line_of_stdin():
    lines = [str(number) for number in range(500)]
    with fed_by_hand(*THREE, options=VERBOSE) as server, ExitStack() as stack:
        pids, _ = processes(server)
        clients = []
        for pid in pids:
            with only(pid, pids):
                clients.append(stack.enter_context(connect(server, "/?since=all&envelope=1")))
        put(server, *lines)
        received = [receive_json(client, 500) for client in clients]
        assert [message["data"] for message in received[0]] == lines
        assert received[0] == received[1] == received[2]


def test_a_client_can_resume_at_another_worker():
    with fed_by_hand(*THREE, options=VERBOSE) as server:
        pids, _ = processes(server)
        put(server, *(str(number) for number in range(90)))
        since = "all"
        received = []
        for pid in itertools.islice(itertools.cycle(pids), 9):
            with only(pid, pids), connect(server, f"/?since={since}&envelope=1", close_timeout=0.1) as client:
                messages = receive_json(client, 10)
            received += [message["data"] for message in messages]
            since = messages[-1]["id"]
        assert received == [str(number) for number in range(90)]


def test_latest_is_the_same_from_each_worker():
    with fed_by_hand(*THREE, options=VERBOSE) as server:
        pids, _ = processes(server)
        put(server, "a", "b")

        def all_are_there() -> list[dict[str, Any]] | None:
            found = latest_of_each(server, pids)
            return found if all(one["data"] == "b" for one in found) else None

        first, *others = wait_until(all_are_there)
        assert others == [first, first]


def test_a_worker_that_is_killed_is_replaced_and_its_successor_serves_the_backlog():
    with fed_by_hand(*THREE, options=VERBOSE) as server:
        pids, _ = processes(server)
        put(server, *"abc")
        before = latest_of_each(server, pids)[1]["id"]
        os.kill(pids[0], signal.SIGKILL)
        successor = workers(server, 5)[4]
        pids[0] = successor
        with only(successor, pids), connect(server, "/?since=all&envelope=1") as client:
            put(server, "d")
            messages = receive_json(client, 4)
        assert [message["data"] for message in messages] == [*"abcd"]
        assert messages[0]["id"].partition(":")[0] == before.partition(":")[0]


def test_a_worker_that_is_killed_takes_its_own_clients_with_it_only():
    with feed(*THREE, *FAST, options=VERBOSE) as server, ExitStack() as stack:
        pids, _ = processes(server)
        clients = []
        for pid in pids[:2]:
            with only(pid, pids):
                clients.append(stack.enter_context(connect(server, close_timeout=0.1)))
        os.kill(pids[0], signal.SIGKILL)
        assert receive_to_end(clients[0])[1] is None
        receive(clients[1], 50)


def test_when_the_process_that_reads_the_source_is_killed_the_feed_comes_back():
    with feed(*THREE, *FAST, options=VERBOSE) as server:
        _, feeder = processes(server)
        with connect(server) as client:
            client.recv(TIMEOUT_S)
            os.kill(feeder, signal.SIGKILL)

        def comes() -> bool:
            broken = suppress(OSError, WebSocketException)  # by a worker that ends
            with broken, connect(server, close_timeout=0.1) as client:
                client.recv(TIMEOUT_S)
                return True
            return False

        wait_until(comes, "the feed")
        assert server.process.poll() is None
        assert "Traceback" not in server.err
        assert server.stop().code == 0


def test_with_at_eof_close_all_get_everything_and_all_processes_end():
    lines = [f"{number} {'.' * 500}" for number in range(2000)]
    with fed_by_hand(*THREE, "--at-eof", "close", "--backlog", "5000", options=VERBOSE) as server, ExitStack() as stack:
        pids, feeder = processes(server)
        clients = []
        for pid in pids:
            with only(pid, pids):
                clients.append(stack.enter_context(connect(server, "/?since=all")))
        put(server, *lines)
        end_input(server)
        for client in clients:
            assert receive_to_end(client) == (lines, 1000)
        assert server.ended().code == 0
        wait_until_ended([*pids, feeder])


def test_with_at_eof_close_workers_without_clients_end_too():
    with fed_by_hand(*THREE, "--at-eof", "close", options=VERBOSE) as server:
        processes(server)
        put(server, "to nobody")
        end_input(server)
        assert server.ended().code == 0


def test_with_at_eof_stay_all_workers_serve_the_backlog():
    with fed_by_hand(*THREE, options=VERBOSE) as server:
        pids, _ = processes(server)
        put(server, *"abc")
        end_input(server)
        server.wait_for_log("the source has ended")
        for pid in pids:
            with only(pid, pids), connect(server, "/?since=all") as client:
                assert receive(client, 3) == [*"abc"]


def test_a_signal_tells_all_clients_of_all_workers_and_ends_all_processes():
    with feed(*THREE, *FAST, options=VERBOSE) as server, ExitStack() as stack:
        pids, feeder = processes(server)
        clients = []
        for pid in pids:
            with only(pid, pids):
                clients.append(stack.enter_context(connect(server)))
        stream = stack.enter_context(events_of(server))
        assert stream.take(1)[0].kind == "message"
        server.send_signal(signal.SIGTERM)
        assert [receive_to_end(client)[1] for client in clients] == [1001] * 3
        list(stream)  # which has an end
        assert server.ended().code == 0
        wait_until_ended([*pids, feeder])


def test_a_signal_to_all_processes_as_of_a_terminal_is_one_to_end_well():
    with feed(*THREE, *FAST, options=VERBOSE, start_new_session=True) as server, ExitStack() as stack:
        pids, feeder = processes(server)
        clients = []
        for pid in pids:
            with only(pid, pids):
                clients.append(stack.enter_context(connect(server)))
        with stopped(pids[0]):
            os.killpg(server.process.pid, signal.SIGINT)
            wait_until_ended(pids[1:])
            os.kill(feeder, 0)
        assert [receive_to_end(client)[1] for client in clients] == [1001] * 3
        ended = server.ended()
        assert ended.code == 0
        assert " ERROR " not in ended.err
        wait_until_ended([*pids, feeder])


def test_nothing_is_left_when_the_master_is_killed():
    with feed(*THREE, "--command", "echo $$; exec sleep 1000", options=VERBOSE) as server:
        pids, feeder = processes(server)
        with connect(server, "/?since=all") as client:
            command = int(client.recv(TIMEOUT_S))
        server.stop(signal.SIGKILL)
        wait_until_ended([*pids, feeder, command])


def test_a_command_runs_once_for_all_workers():
    with feed(*THREE, "--command", "echo $$; exec sleep 1000", options=VERBOSE) as server:
        pids, _ = processes(server)
        found = set()
        for pid in pids:
            with only(pid, pids), connect(server, "/?since=all") as client:
                found.add(client.recv(TIMEOUT_S))
        assert len(found) == 1
        assert server.stop().code == 0
        wait_until_ended([int(found.pop())])


def test_echo_needs_no_process_that_feeds():
    with feed("--echo", *THREE, options=VERBOSE) as server:
        for pid in (pids := workers(server, 3)):
            with only(pid, pids), raw(server) as client:
                client.send(TEXT, b"x")
                assert client.read_text() == "x"
        assert server.stop().code == 0


def test_metrics_are_those_of_all_workers():
    with fed_by_hand(*THREE, options=VERBOSE) as server, ExitStack() as stack:
        pids, _ = processes(server)
        for pid in pids:
            with only(pid, pids):
                stack.enter_context(raw(server))
        wait_until(lambda: metrics(server)["open_connections"] == 4)  # and the one that asks


def test_a_walk_with_a_seed_is_the_same_in_workers():
    walks = []
    for words in ([], THREE):
        with feed(*FAST, "--seed", "3", *words) as server, connect(server, "/?since=all&envelope=1") as client:
            messages = receive_json(client, 40)
            walks.append([json.loads(message["data"]) for message in messages])
    assert walks[0] == walks[1]


def test_nothing_of_the_processes_stays_in_the_file_system(tmp_path: Path):
    with feed(*THREE, *FAST, options=VERBOSE, env=environment(TMPDIR=str(tmp_path))) as server:
        processes(server)
        with connect(server) as client:
            client.recv(TIMEOUT_S)
        assert server.stop().code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_flood_of_lines_reaches_a_reader_of_a_worker_whole():
    """A file comes at once: whoever reads gets all of it, or is told what it has missed."""
    count = 20_000
    words = (*THREE, "--at-eof", "close", "--backlog", str(count))
    with fed_by_hand(*words, options=VERBOSE) as server:
        processes(server)
        with connect(server, "/?since=all&envelope=1") as client:
            put(server, *(str(number) for number in range(count)))
            end_input(server)
            messages = [json.loads(text) for text in receive_to_end(client)[0]]
        dropped = sum(message.get("dropped", 0) for message in messages)
        received = [int(message["data"]) for message in messages if "data" in message]
        assert len(received) + dropped == count
        assert received == sorted(set(received))


def test_a_source_that_is_fast_is_not_held_up_by_workers_that_are_too():
    """In some runs each hundredth message takes a second: there are five of them."""
    lines = [f"{number} {'.' * 500}" for number in range(2000)]
    for _ in range(5):
        with fed_by_hand(*THREE, "--at-eof", "close", options=VERBOSE) as server:
            processes(server)
            with connect(server, "/?since=all") as client:
                begun = time.monotonic()
                put(server, *lines)
                end_input(server)
                assert len(receive_to_end(client)[0]) > 0
                assert time.monotonic() - begun < 5


def test_a_worker_that_hears_late_that_it_is_to_stop_says_good_bye_too():
    with feed(*THREE, *FAST, options=VERBOSE) as server:
        pids, feeder = processes(server)
        with only(pids[0], pids):
            client = connect(server)
        with client:
            with stopped(pids[0]):
                server.send_signal(signal.SIGTERM)
                wait_until_ended(pids[1:])
                time.sleep(1)
                os.kill(feeder, 0)  # it is there as long as there is somebody to feed
            assert receive_to_end(client)[1] == 1001
        ended = server.ended()
        assert ended.code == 0
        assert " ERROR " not in ended.err
        wait_until_ended([feeder])


def test_a_worker_that_hangs_does_not_keep_the_others_from_ending():
    with feed(*THREE, *FAST, "--drain-timeout", "1s", options=VERBOSE) as server:
        pids, feeder = processes(server)
        with stopped(pids[0]):
            assert server.stop().code in (0, 1)
            wait_until_ended([*pids, feeder])


def test_a_worker_that_hangs_is_waited_for_once_and_no_more():
    lines = [f"{number} {'.' * 500}" for number in range(2000)]
    with fed_by_hand(*THREE, "--backlog", "5000", options=VERBOSE) as server:
        pids, _ = processes(server)
        with only(pids[1], pids):
            client = connect(server)
        with client, stopped(pids[0]):
            begun = time.monotonic()
            put(server, *lines)
            assert receive(client, 2000) == lines
            assert time.monotonic() - begun < 5  # of 20 groups


def test_a_worker_that_has_hung_is_waited_for_again_once_it_has_caught_up():
    words = (*THREE, "--backlog", "300", "--at-eof", "close")
    with fed_by_hand(*words, options=VERBOSE) as server:
        pids, _ = processes(server)
        with only(pids[0], pids):
            client = connect(server, "/?envelope=1")
        with client:
            with stopped(pids[0]):
                put(server, *(str(number).ljust(3000) for number in range(1000)))
                with only(pids[1], pids):
                    wait_until(lambda: latest(server)["data"].strip() == "999")
            messages = []
            while not messages or messages[-1].get("data", "").strip() != "999":
                messages.append(json.loads(client.recv(TIMEOUT_S)))
            rest_of_it = [str(number).ljust(3000) for number in range(1000, 5000)]
            writer = threading.Thread(target=lambda: (put(server, *rest_of_it), end_input(server)))
            writer.start()  # who does not read meanwhile is slow
            rest = [json.loads(text) for text in receive_to_end(client)[0]]
            writer.join()
        assert sum(message.get("dropped", 1) for message in messages) == 1000
        assert [int(message.get("data", -1)) for message in rest] == list(range(1000, 5000))


def test_a_server_that_is_stopped_while_it_starts_ends_at_once():
    for _ in range(10):
        with feed(*THREE, *FAST, options=VERBOSE, listeners=0) as server:
            processes(server)
            begun = time.monotonic()
            ended = server.stop()
            assert ended.code == 0
            assert " ERROR " not in ended.err
            assert time.monotonic() - begun < 4


def test_what_a_worker_that_was_held_up_has_missed_is_told_to_its_clients():
    count = 600
    words = ("--workers", "2", "--backlog", "100", "--at-eof", "close")
    with fed_by_hand(*words, options=VERBOSE) as server:
        *pids, _ = workers(server, 3)
        with only(pids[0], pids):
            client = connect(server, "/?envelope=1")
        with client:
            with stopped(pids[0]):
                put(server, *(str(number).ljust(3000) for number in range(count)))
                wait_until(lambda: latest(server)["data"].strip() == str(count - 1))
            end_input(server)
            messages = [json.loads(text) for text in receive_to_end(client)[0]]
        assert sum(message.get("dropped", 1) for message in messages) == count
