"""What ws-feed delivers: every message once and in order, or an honest word about what is missing."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.conftest import TIMEOUT_S
from tests.e2e.probes import resident_bytes
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    RSV1,
    SMALL_BUFFER,
    TEXT,
    Raw,
    ask,
    ask_bytes,
    connect,
    end_input,
    events_of,
    fed_by_hand,
    feed,
    inflated,
    latest,
    metrics,
    offset,
    plain,
    put,
    put_bytes,
    raw,
    read_answer,
    receive,
    receive_json,
    receive_to_end,
    upgrading,
    wait_for_metric,
    wait_until,
)

BAD_IDS = ["abc", "1", ":1", "a:", "a:b", "a:-1", "a:1:2", "a%20b:1", "a:1.5", f"a:{10**30}", f"{'e' * 65}:1", "ä:1"]
LINE_BYTES = 100_000
#: more than the buffers of the kernel hold for a client that does not read
FLOOD = 250
LAST_READ_FAST = 87  #: of 100; the rest takes longer to read than a peer has to close when it has read all


def fill(server: GtoolServer, *lines: str) -> str:
    """Put lines, and wait until they are there; give the id of the last."""
    put(server, *lines)
    wait_until(lambda: latest(server)["data"] == lines[-1], f"{lines[-1]!r} at /latest")
    return str(latest(server)["id"])


def long_line(number: int) -> str:
    return f"{number:06}".ljust(LINE_BYTES, ".")


def numbers(messages: Iterable[str]) -> list[int]:
    return [int(message[:6]) for message in messages]


# --- ids


def test_ids_are_an_epoch_and_an_offset_that_grows_by_one():
    with fed_by_hand() as server, connect(server, "/?envelope=1") as client:
        put(server, *"abc")
        ids = [message["id"] for message in receive_json(client, 3)]
        (epoch,) = {id_.partition(":")[0] for id_ in ids}
        assert ids == [f"{epoch}:1", f"{epoch}:2", f"{epoch}:3"]


def test_each_run_has_an_epoch_of_its_own():
    epochs = set()
    for _ in range(2):
        with fed_by_hand() as server:
            epochs.add(fill(server, "a").partition(":")[0])
    assert len(epochs) == 2


def test_an_envelope_has_the_id_the_time_and_the_data():
    with fed_by_hand() as server, connect(server, "/?envelope=1") as client:
        before = time.time()
        put(server, 'a "quote" and an €')
        message = json.loads(client.recv(TIMEOUT_S))
        assert list(message) == ["id", "time", "data"]
        assert message["data"] == 'a "quote" and an €'
        assert before - 0.001 <= message["time"] <= time.time() + 0.001


@pytest.mark.parametrize(
    "query", ["envelope=1", "envelope=true", "envelope=yes", "envelope=1&since=all", "x=y&envelope=1"]
)
def test_an_envelope_is_asked_for_in_the_query(query: str):
    with fed_by_hand() as server, connect(server, f"/?{query}") as client:
        put(server, "a")
        assert json.loads(client.recv(TIMEOUT_S))["data"] == "a"


@pytest.mark.parametrize("query", ["", "?envelope=0", "?envelope=", "?envelope"])
def test_a_client_that_asks_for_no_envelope_sees_exactly_the_payload(query: str):
    with fed_by_hand() as server, connect(server, f"/{query}") as client:
        put(server, '{"id": 1}')
        assert client.recv(TIMEOUT_S) == '{"id": 1}'


def test_ids_are_the_same_for_all_and_at_every_door():
    with fed_by_hand() as server, connect(server, "/?envelope=1") as client, events_of(server) as stream:
        put(server, "a")
        id_ = json.loads(client.recv(TIMEOUT_S))["id"]
        (event,) = stream.take(1)
        assert event.id == latest(server)["id"] == id_


# --- resuming


def test_a_client_without_since_gets_what_comes_from_now_on():
    with fed_by_hand() as server:
        fill(server, "old")
        with connect(server) as client:
            put(server, "new")
            assert client.recv(TIMEOUT_S) == "new"


def test_since_all_begins_with_all_that_is_kept():
    with fed_by_hand() as server:
        fill(server, *"abc")
        with connect(server, "/?since=all") as client:
            put(server, "d")
            assert receive(client, 4) == [*"abcd"]


def test_since_an_id_begins_with_what_comes_after_it():
    with fed_by_hand() as server:
        id_ = fill(server, *"abc")
        fill(server, *"de")
        with connect(server, f"/?since={id_}") as client:
            put(server, "f")
            assert receive(client, 3) == [*"def"]


def test_since_the_newest_id_begins_with_the_next_message():
    with fed_by_hand() as server:
        id_ = fill(server, "a")
        with connect(server, f"/?since={id_}&envelope=1") as client:
            put(server, "b")
            assert json.loads(client.recv(TIMEOUT_S))["data"] == "b"


def test_an_id_in_percent_encoding_is_the_same_id():
    with fed_by_hand() as server:
        id_ = fill(server, "a")
        fill(server, "b")
        with connect(server, f"/?since={id_.replace(':', '%3A')}") as client:
            assert client.recv(TIMEOUT_S) == "b"


def test_the_place_before_the_first_message_is_an_id_too():
    with fed_by_hand() as server:
        id_ = latest(server)["id"]
        assert offset(id_) == 0
        with connect(server, f"/?since={id_}&envelope=1") as client:
            put(server, "a")
            assert json.loads(client.recv(TIMEOUT_S))["data"] == "a"


def test_the_oldest_id_that_can_be_resumed_from_is_the_one_before_all_that_is_kept():
    with fed_by_hand("--backlog", "2") as server:
        epoch = fill(server, *"abcde").partition(":")[0]
        with connect(server, f"/?since={epoch}:3&envelope=1") as client:
            assert [message["data"] for message in receive_json(client, 2)] == [*"de"]


@pytest.mark.parametrize("gone", ["{epoch}:2", "{epoch}:99", "other:4", "{epoch}:0"])
def test_who_comes_with_an_id_that_is_gone_is_told_so_and_given_what_is_kept(gone: str):
    with fed_by_hand("--backlog", "2") as server:
        epoch = fill(server, *"abcde").partition(":")[0]
        with connect(server, f"/?since={gone.format(epoch=epoch)}&envelope=1") as client:
            note, *messages = receive_json(client, 3)
            assert note == {"recovered": False, "oldest": f"{epoch}:3"}
            assert [message["data"] for message in messages] == [*"de"]


def test_a_bare_client_with_an_id_that_is_gone_sees_payloads_only():
    with fed_by_hand("--backlog", "2") as server:
        fill(server, *"abcde")
        with connect(server, "/?since=other:1") as client:
            assert receive(client, 2) == [*"de"]


def test_who_comes_with_an_id_of_another_run_before_the_first_message_is_told_so():
    with fed_by_hand() as server, connect(server, "/?since=other:5&envelope=1") as client:
        put(server, "a")
        note, message = receive_json(client, 2)
        assert note["recovered"] is False
        assert message["data"] == "a"
        assert offset(note["oldest"]) <= offset(message["id"])


def test_an_event_stream_with_an_id_that_is_gone_is_told_so_in_an_event_of_its_own():
    with fed_by_hand("--backlog", "2") as server:
        epoch = fill(server, *"abcde").partition(":")[0]
        with events_of(server, "/sse", f"Last-Event-ID: {epoch}:1") as stream:
            note, *messages = stream.take(3)
            assert note.kind == "recovered"
            assert json.loads(note.data) == {"recovered": False, "oldest": f"{epoch}:3"}
            assert [message.data for message in messages] == [*"de"]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_what_is_no_id_is_refused_before_the_upgrade(bad: str):
    with fed_by_hand() as server:
        answer = ask_bytes(server, upgrading(f"/?since={bad}"))
        assert answer.status == 400
        assert "since" in answer.text


def test_an_event_stream_since_what_is_no_id_is_refused():
    with fed_by_hand() as server:
        assert ask(server, "/sse?since=x").status == 400


def test_an_event_stream_whose_last_event_id_is_none_of_ours_is_told_so():
    """A browser would not come back after an error."""
    with fed_by_hand() as server:
        fill(server, "a")
        with events_of(server, "/sse", "Last-Event-ID: x") as stream:
            note, message = stream.take(2)
            assert json.loads(note.data)["recovered"] is False
            assert message.data == "a"


def test_an_event_stream_resumes_by_last_event_id():
    with fed_by_hand() as server:
        id_ = fill(server, *"ab")
        fill(server, *"cd")
        with events_of(server, "/sse", f"Last-Event-ID: {id_}") as stream:
            put(server, "e")
            assert [event.data for event in stream.take(3)] == [*"cde"]


def test_an_event_source_that_reconnects_to_its_url_goes_on_where_it_was():
    """A browser repeats the URL as it was and adds the header: the header is newer (WHATWG HTML section 9.2.3)."""
    with fed_by_hand() as server:
        id_ = fill(server, *"ab")
        with events_of(server, "/sse?since=all", f"Last-Event-ID: {id_}") as stream:
            put(server, "c")
            assert stream.take(1)[0].data == "c"


# --- event streams


def test_an_event_stream_has_the_payload_and_its_id():
    with fed_by_hand() as server, events_of(server) as stream:
        assert stream.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.answer.headers["cache-control"] == "no-store"
        put(server, "grüße €")
        assert stream.take(1) == [("message", latest(server)["id"], "grüße €")]


def test_an_event_stream_in_an_envelope_has_ids_inside_too():
    with fed_by_hand() as server, events_of(server, "/sse?envelope=1") as stream:
        put(server, "a")
        (event,) = stream.take(1)
        assert json.loads(event.data) == {"id": event.id, "time": latest(server)["time"], "data": "a"}


@pytest.mark.parametrize("line", ["", " leading", "data: x", ": comment", "id: 7", "a\rb"])
def test_no_message_is_taken_for_a_field_of_the_stream(line: str):
    with fed_by_hand() as server, events_of(server) as stream:
        put(server, line)
        assert stream.take(1)[0].data == line.replace("\r", "\n")


def test_an_event_stream_resumes_with_since_too():
    with fed_by_hand() as server:
        fill(server, *"ab")
        with events_of(server, "/sse?since=all") as stream:
            assert [event.data for event in stream.take(2)] == [*"ab"]


# --- no gap, nothing twice


def test_subscribers_who_come_and_go_while_messages_pour_in_miss_nothing_and_see_nothing_twice():
    count, readers = 6000, 8
    seen: list[list[int]] = [[] for _ in range(readers)]
    stopped_early = threading.Event()

    def read(server: GtoolServer, number: int) -> None:
        seeded = random.Random(number)
        since = "all"
        while (not seen[number] or seen[number][-1] < count) and not stopped_early.is_set():
            with connect(server, f"/?envelope=1&since={since}", close_timeout=0) as client:
                for _ in range(seeded.randrange(1, 2 * count // 5)):
                    message = json.loads(client.recv(TIMEOUT_S))
                    seen[number].append(int(message["data"]))
                    since = message["id"]
                    if seen[number][-1] == count:
                        return

    with fed_by_hand("--backlog", str(count)) as server:
        threads = [threading.Thread(target=read, args=(server, number)) for number in range(readers)]
        for thread in threads:
            thread.start()
        for start in range(1, count, 50):
            put(server, *(str(number) for number in range(start, start + 50)))
        for thread in threads:
            thread.join(TIMEOUT_S)
        stopped_early.set()
        assert seen == [list(range(1, count + 1))] * readers


def test_event_streams_that_come_and_go_while_messages_pour_in_miss_nothing_and_see_nothing_twice():
    count, readers = 4000, 4
    seen: list[list[int]] = [[] for _ in range(readers)]

    def read(server: GtoolServer, number: int) -> None:
        seeded = random.Random(number)
        lines: list[str] = []
        while not seen[number] or seen[number][-1] < count:
            with events_of(server, "/sse" if lines else "/sse?since=all", *lines) as stream:
                for event in stream.take(min(count - len(seen[number]), seeded.randrange(1, count // 2))):
                    seen[number].append(int(event.data))
                    lines = [f"Last-Event-ID: {event.id}"]

    with fed_by_hand("--backlog", str(count)) as server:
        threads = [threading.Thread(target=read, args=(server, number)) for number in range(readers)]
        for thread in threads:
            thread.start()
        for start in range(1, count, 50):
            put(server, *(str(number) for number in range(start, start + 50)))
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert seen == [list(range(1, count + 1))] * readers


def test_those_who_come_while_the_walk_runs_flat_out_see_every_step_from_where_they_begin():
    with feed("--interval", "1ms") as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server, close_timeout=0.1)) for _ in range(30)]
        for client in clients:
            steps = [step["x"] for step in receive_json(client, 200)]
            assert steps == list(range(steps[0], steps[0] + 200))


def test_a_long_backlog_is_replayed_whole_whatever_the_bound_for_slow_clients():
    """A reader at what it came back for is not slow: 20 MB wait for it, and --slow-size is 64 KB."""
    words = ("--backlog-size", "40M", "--slow-size", "64k")
    with fed_by_hand(*words) as server:
        put(server, *(long_line(number) for number in range(200)))
        wait_until(lambda: (latest(server)["data"] or "")[:6] == "000199")
        with connect(server, "/?since=all") as client:
            assert numbers(receive(client, 200)) == list(range(200))


# --- slow clients


def stall(server: GtoolServer, client: Any, count: int = FLOOD) -> None:
    """Have more come up than the kernel keeps for those who do not read; `client` is one who does."""
    for number in range(count):
        put(server, long_line(number))
        assert client.recv(TIMEOUT_S)[:6] == f"{number:06}"


def account(messages: Iterable[dict[str, Any]]) -> tuple[int, int, bool]:
    """Count what was received and what was said to be dropped, and whether each gap was said where it is."""
    received = dropped = position = 0
    fits = True
    for message in messages:
        if "dropped" in message:
            dropped += message["dropped"]
            position += message["dropped"]
        else:
            received += 1
            position += 1
            fits = fits and offset(message["id"]) == position
    return received, dropped, fits


def read_slowly_to_close(client: Raw, has_more_to_say: bool) -> tuple[list[int], int]:
    """Read the last of it at a pace that leaves megabytes with the server's kernel for seconds after it has ended."""
    received: list[int] = []
    while (frame := client.read()).opcode != CLOSE:
        if frame.opcode == TEXT:
            received.append(int(frame.data[:6]))
            time.sleep(0.3 if len(received) > LAST_READ_FAST else 0)
            if has_more_to_say and len(received) % 4 == 0:
                client.send(PING, b"!")
    return received, frame.code


def read_to_close(client: Raw) -> tuple[list[dict[str, Any]], int]:
    messages = []
    while (frame := client.read()).opcode != CLOSE:
        messages.append(json.loads(frame.data))
    return messages, frame.code


@pytest.mark.parametrize("slow", ["drop", "latest"])
def test_what_a_slow_client_misses_is_told_where_it_is_missing(slow: str):
    with (
        fed_by_hand("--slow", slow, "--at-eof", "close") as server,
        raw(server, "/?envelope=1", buffer=SMALL_BUFFER) as slow_one,
        connect(server) as client,
    ):
        stall(server, client)
        end_input(server)
        messages, code = read_to_close(slow_one)
        received, dropped, fits = account(messages)
        assert fits
        assert dropped > 0
        assert received + dropped == FLOOD
        assert code == 1000
        slow_one.send(CLOSE, b"\x03\xe8")


@pytest.mark.parametrize("slow", ["drop", "latest"])
def test_what_a_slow_event_stream_misses_is_told_in_an_event_of_its_own(slow: str):
    with (
        fed_by_hand("--slow", slow, "--at-eof", "close") as server,
        events_of(server, buffer=SMALL_BUFFER) as stream,
        connect(server) as client,
    ):
        stall(server, client)
        end_input(server)
        events = list(stream)
        dropped = [json.loads(event.data)["dropped"] for event in events if event.kind == "dropped"]
        assert dropped
        assert sum(event.kind == "message" for event in events) + sum(dropped) == FLOOD
        assert {event.kind for event in events} == {"message", "dropped"}


def test_with_drop_a_slow_client_misses_the_oldest_and_gets_the_last_of_slow_size():
    with (
        fed_by_hand("--slow-size", "1M", "--at-eof", "close") as server,
        raw(server, "/?envelope=1", buffer=SMALL_BUFFER) as slow_one,
        connect(server) as client,
    ):
        stall(server, client)
        end_input(server)
        messages, _ = read_to_close(slow_one)
        last = max(index for index, message in enumerate(messages) if "dropped" in message)
        kept = len(messages) - last - 1
        assert kept * LINE_BYTES <= 1 << 20
        assert kept >= 9
        slow_one.send(CLOSE, b"\x03\xe8")


def test_with_latest_a_slow_client_skips_to_the_newest_message():
    with (
        fed_by_hand("--slow", "latest", "--at-eof", "close") as server,
        raw(server, "/?envelope=1", buffer=SMALL_BUFFER) as slow_one,
        connect(server) as client,
    ):
        stall(server, client)
        end_input(server)
        messages, _ = read_to_close(slow_one)
        assert "dropped" in messages[-2]
        assert messages[-1]["data"][:6] == f"{FLOOD - 1:06}"
        slow_one.send(CLOSE, b"\x03\xe8")


def test_with_close_a_slow_client_misses_nothing_is_closed_with_1013_and_can_resume():
    with (
        fed_by_hand("--slow", "close") as server,
        raw(server, "/?envelope=1", buffer=SMALL_BUFFER) as slow_one,
        connect(server) as client,
    ):
        stall(server, client)
        messages, code = read_to_close(slow_one)
        assert code == 1013
        received, dropped, fits = account(messages)
        assert fits
        assert dropped == 0
        assert received < FLOOD
        with connect(server, f"/?since={messages[-1]['id']}") as again:
            assert numbers(receive(again, FLOOD - received)) == list(range(received, FLOOD))


def test_with_close_a_slow_event_stream_ends_and_can_resume():
    with (
        fed_by_hand("--slow", "close") as server,
        events_of(server, buffer=SMALL_BUFFER) as stream,
        connect(server) as client,
    ):
        stall(server, client)
        events = list(stream)
        assert numbers(event.data for event in events) == list(range(len(events)))
        assert len(events) < FLOOD
        with events_of(server, "/sse", f"Last-Event-ID: {events[-1].id}") as again:
            rest = again.take(FLOOD - len(events))
            assert numbers(event.data for event in rest) == list(range(len(events), FLOOD))


def test_a_bare_slow_client_sees_payloads_only():
    with (
        fed_by_hand("--at-eof", "close") as server,
        raw(server, buffer=SMALL_BUFFER) as slow_one,
        connect(server) as client,
    ):
        stall(server, client)
        end_input(server)
        payloads = []
        while (frame := slow_one.read()).opcode != CLOSE:
            payloads.append(frame.data)
        assert {len(payload) for payload in payloads} == {LINE_BYTES}
        assert len(payloads) < FLOOD
        slow_one.send(CLOSE, b"\x03\xe8")


def test_what_was_dropped_is_counted_for_all():
    with (
        fed_by_hand() as server,
        raw(server, "/?envelope=1", buffer=SMALL_BUFFER),
        connect(server) as client,
    ):
        assert metrics(server)["dropped_messages_total"] == 0
        stall(server, client)
        wait_until(lambda: metrics(server)["dropped_messages_total"] > 0)


def test_stalled_clients_slow_nobody():
    """Each message is with the reader before the next is written: the time is that of all ways together."""
    with fed_by_hand() as server, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(raw(server, buffer=SMALL_BUFFER))
        with connect(server) as client:
            stall(server, client, 150)  # the kernel's buffers are full from here on
            begun = time.monotonic()
            for number in range(200):
                put(server, str(number))
                assert client.recv(TIMEOUT_S) == str(number)
            assert time.monotonic() - begun < 10


def test_stalled_clients_take_no_more_memory_than_their_bound():
    with fed_by_hand("--backlog-size", "4M") as server, ExitStack() as stack:
        stalled = [stack.enter_context(raw(server, buffer=SMALL_BUFFER)) for _ in range(20)]
        with connect(server) as client:
            stall(server, client, 100)
            before = resident_bytes(server.process.pid)
            stall(server, client, 300)
            assert resident_bytes(server.process.pid) - before < (16 << 20)
        assert len(stalled) == 20


def test_a_client_that_was_slow_and_reads_again_gets_what_comes_now():
    with (
        fed_by_hand() as server,
        raw(server, "/?envelope=1", buffer=SMALL_BUFFER) as slow_one,
        connect(server) as client,
    ):
        stall(server, client)
        while json.loads(slow_one.read().data).get("data", "")[:6] != f"{FLOOD - 1:06}":
            pass
        put(server, "now")
        assert json.loads(slow_one.read().data)["data"] == "now"


# --- compression


def test_a_client_that_asks_for_compression_gets_the_same_messages():
    lines = ["short", "x" * 255, "y" * 256, json.dumps({"a": list(range(5000))}), "€" * 70_000]
    with fed_by_hand() as server, connect(server, compression="deflate") as client, connect(server) as other:
        put(server, *lines)
        assert receive(client, 5) == receive(other, 5) == lines


def test_a_long_message_is_smaller_on_the_wire_for_those_who_ask():
    line = "compressible " * 1000
    with fed_by_hand() as server, raw(server, Sec_WebSocket_Extensions="permessage-deflate") as client:
        assert client.answer.headers["sec-websocket-extensions"].startswith("permessage-deflate")
        put(server, line)
        frame = client.read()
        assert frame.first == FIN | RSV1 | TEXT
        assert len(frame.data) < len(line) / 10
        assert inflated(frame.data).decode() == line


def test_a_message_that_is_compressed_stands_for_itself():
    """Nothing is kept from one message to the next, or those who join later could not read them."""
    line = "compressible " * 1000
    with fed_by_hand() as server, raw(server, Sec_WebSocket_Extensions="permessage-deflate") as client:
        assert "server_no_context_takeover" in client.answer.headers["sec-websocket-extensions"]
        put(server, line, line)
        assert [inflated(client.read().data).decode() for _ in range(2)] == [line, line]


@pytest.mark.parametrize("bits", range(9, 16))
def test_a_client_with_a_small_window_is_sent_what_it_can_read(bits: int):
    seeded = random.Random(bits)
    line = "".join(seeded.choices("abcdefgh", k=50_000))
    offer = f"permessage-deflate; server_max_window_bits={bits}"
    with fed_by_hand() as server, raw(server, Sec_WebSocket_Extensions=offer) as client:
        put(server, line)
        frame = client.read()
        assert frame.first & RSV1
        assert zlib.decompressobj(-bits).decompress(frame.data + b"\0\0\xff\xff").decode() == line


def test_clients_with_and_without_compression_and_envelope_get_each_what_they_have_asked_for():
    line = "mixed " * 100
    with fed_by_hand() as server, ExitStack() as stack:
        ways = [(path, compression) for path in ("/", "/?envelope=1") for compression in (None, "deflate")]
        clients = [stack.enter_context(connect(server, path, compression=way)) for path, way in ways]
        put(server, line)
        received = [client.recv(TIMEOUT_S) for client in clients]
        assert received[:2] == [line, line]
        assert [json.loads(text)["data"] for text in received[2:]] == [line, line]


# --- good-byes


def test_a_client_that_says_good_bye_is_answered_with_its_code():
    with fed_by_hand() as server, raw(server) as client:
        client.send(CLOSE, b"\x03\xe9bye")
        assert client.read_close() == (FIN | CLOSE, b"\x03\xe9bye")


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 4999])
def test_each_code_that_may_be_sent_comes_back(code: int):
    with feed("--echo") as server, raw(server) as client:
        client.send(CLOSE, code.to_bytes(2, "big"))
        assert client.read_close().code == code


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_a_code_that_must_not_be_sent_is_a_protocol_error(code: int):
    with feed("--echo") as server, raw(server) as client:
        client.send(CLOSE, code.to_bytes(2, "big"))
        assert client.read_close().code == 1002


def test_a_good_bye_without_a_code_is_answered_without_one():
    with feed("--echo") as server, raw(server) as client:
        client.send(CLOSE)
        assert client.read_close() == (FIN | CLOSE, b"")


def test_nothing_comes_after_the_good_bye():
    with feed("--interval", "0") as server, raw(server) as client:
        client.send(CLOSE, b"\x03\xe8")
        assert client.read_close().code == 1000


def test_what_a_client_says_to_a_feed_is_read_and_forgotten():
    with fed_by_hand() as server, raw(server) as client:
        for _ in range(50):
            client.send(TEXT, b"x" * 10_000)
            client.send(BINARY, b"y" * 10_000)
        client.send(PING, b"p")
        put(server, "line")
        assert sorted([client.read().opcode, client.read().opcode]) == [TEXT, 10]


def test_readers_that_have_gone_are_forgotten():
    with feed("--interval", "1ms") as server:
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connect(server, close_timeout=0.1))
            for _ in range(20):
                stack.enter_context(events_of(server))
            wait_for_metric(server, "open_connections", 40 + 1)  # and the one that asks
        wait_for_metric(server, "open_connections", 1)


def test_a_client_that_has_shut_down_its_side_without_a_word_is_let_go():
    with fed_by_hand() as server, raw(server) as client:
        client.sock.shutdown(socket.SHUT_WR)
        wait_for_metric(server, "open_connections", 1)  # the one that asks
        assert client.sock.recv(100) == b""


def test_a_server_that_comes_back_tells_that_it_is_another():
    with fed_by_hand() as server:
        id_ = fill(server, "a")
        assert server.stop(signal.SIGTERM).code == 0
    with fed_by_hand() as server, connect(server, f"/?since={id_}&envelope=1") as client:
        assert json.loads(client.recv(TIMEOUT_S))["recovered"] is False


def test_the_last_words_of_a_stopping_server_come_after_all_that_was_said_before():
    with fed_by_hand() as server, connect(server) as client:
        put(server, *(str(number) for number in range(100)))
        assert receive(client, 100) == [str(number) for number in range(100)]
        server.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed):
            client.recv(TIMEOUT_S)
        assert client.close_code == 1001


def test_half_a_line_is_no_message_yet():
    with fed_by_hand() as server, connect(server) as client:
        put_bytes(server, b"half")
        put_bytes(server, b" and half\nrest")
        assert client.recv(TIMEOUT_S) == "half and half"
        assert latest(server)["data"] == "half and half"


def test_the_epoch_says_nothing_about_the_machine_and_can_stand_in_a_url():
    with fed_by_hand() as server:
        assert re.fullmatch(r"[0-9A-Za-z_-]{8,64}:1", fill(server, "a"))


def test_all_get_the_end_of_the_feed_even_those_who_came_for_the_backlog():
    with fed_by_hand("--at-eof", "close", "--backlog", "5000") as server:
        lines = [f"{number} {'.' * 2000}" for number in range(3000)]
        fill(server, *lines)
        with connect(server, "/?since=all") as client:
            end_input(server)
            assert receive_to_end(client) == (lines, 1000)
        assert server.ended().code == 0


@pytest.mark.parametrize(
    "has_more_to_say",
    [
        False,
        True,
    ],
    ids=["silent", "pinging"],
)
def test_a_reader_that_is_slow_at_the_end_of_the_feed_still_gets_all(has_more_to_say: bool):
    with fed_by_hand("--at-eof", "close", "--backlog-size", "40M") as server:
        fill(server, *(long_line(number) for number in range(100)))
        with raw(server, "/?since=all", buffer=SMALL_BUFFER) as slow_one:
            end_input(server)
            assert read_slowly_to_close(slow_one, has_more_to_say) == (list(range(100)), 1000)
            slow_one.send(CLOSE, b"\x03\xe8")
        assert server.ended().code == 0


def test_an_event_stream_that_is_slow_at_the_end_of_the_feed_still_gets_all():
    with fed_by_hand("--at-eof", "close", "--backlog-size", "40M") as server:
        fill(server, *(long_line(number) for number in range(100)))
        with events_of(server, "/sse?since=all", buffer=SMALL_BUFFER) as stream:
            end_input(server)
            received = []
            for event in stream:
                received.append(int(event.data[:6]))
                time.sleep(0.3 if len(received) > LAST_READ_FAST else 0)
            assert received == list(range(100))
        assert server.ended().code == 0


def test_over_tls_a_reader_that_is_slow_at_the_end_of_the_feed_still_gets_all(
    certificate: Path, trusting: ssl.SSLContext
):
    with fed_by_hand("--at-eof", "close", "--backlog-size", "40M", "--tls-cert", certificate) as server:
        put(server, *(long_line(number) for number in range(100)))
        with plain(server, SMALL_BUFFER) as sock, trusting.wrap_socket(sock, server_hostname="localhost") as secure:
            secure.sendall(upgrading("/?since=all"))
            slow_one = Raw(secure, read_answer(secure))
            assert slow_one.answer.status == 101
            end_input(server)
            assert read_slowly_to_close(slow_one, False) == (list(range(100)), 1000)
        assert server.ended().code == 0
