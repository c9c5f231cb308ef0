"""How a chat's messages reach their readers: by poll, event stream and WebSocket; nothing lost, nothing twice."""

from __future__ import annotations

import itertools
import json
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.conftest import TIMEOUT_S
from tests.e2e.chat import (
    FORM,
    ROOM,
    UNLIMITED,
    Client,
    KeptAlive,
    Reply,
    all_messages,
    came_in,
    chat,
    following,
    ids,
    joined,
    kill,
    polled,
    posting,
    stream_path,
    take,
    texts,
    token_of,
    told_by,
    told_to_end,
)
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import CLOSE, SMALL_BUFFER, TEXT, offset, plain, raw, read_answer, reset, wait_until
from tests.e2e.ws import request as request_bytes

BACKLOG = 25
BURST = 30  #: messages that a reader takes of a burst before it goes away
LARGE = 50_000  #: bytes of a message that soon fills all buffers

Read = Callable[[GtoolServer, str, int], list[dict[str, Any]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


# --- three ways to read: from a cursor, that many messages


def by_websocket(server: GtoolServer, since: str, count: int, **query: Any) -> list[dict[str, Any]]:
    with joined(server, since=since, **query) as client:
        return take(client, count)


def by_events(server: GtoolServer, since: str, count: int, **query: Any) -> list[dict[str, Any]]:
    with following(server, since=since, **query) as events:
        return told_by(events, count)


def by_poll(server: GtoolServer, since: str, count: int, **query: Any) -> list[dict[str, Any]]:
    name = f"reader{next(_numbers)}"
    return polled(came_in(server, name), name, count, since, **query)[:count]


_numbers = itertools.count()
READS: list[Read] = [by_websocket, by_events, by_poll]


def start_of(server: GtoolServer) -> str:
    return str(Client(server).get(f"/api/rooms/{ROOM}/messages").json["cursor"])


def say(server: GtoolServer, *what: str, room: str = ROOM) -> list[str]:
    client = Client(server)
    return [client.said(text, room, user="somebody") for text in what]


def numbered(first: int, last: int) -> list[str]:
    return [f"m{number}" for number in range(first, last + 1)]


# --- one sequence


def test_messages_of_all_rooms_are_one_sequence():
    with chat() as server:
        found = [say(server, text, room=room)[0] for text, room in (("a", ROOM), ("b", "topic2"), ("c", ROOM))]
        assert len({id_.partition(":")[0] for id_ in found}) == 1
        assert [offset(id_) for id_ in found] == [1, 2, 3]


@pytest.mark.parametrize("read", READS)
def test_a_reader_of_all_rooms_has_them_in_the_order_of_the_sequence(read: Read):
    with chat(*UNLIMITED) as server:
        start = start_of(server)
        said = [
            say(server, text, room=room)[0] for text, room in zip(numbered(1, 20), itertools.cycle((ROOM, "topic2")))
        ]
        assert ids(read(server, start, 20)) == said


@pytest.mark.parametrize("read", READS)
def test_a_reader_of_a_room_has_what_is_in_that_one_only(read: Callable[..., list[dict[str, Any]]]):
    with chat() as server:
        start = start_of(server)
        say(server, "other", room="topic2")
        say(server, "one")
        say(server, "other", room="topic2")
        say(server, "two")
        assert texts(read(server, start, 2, room=ROOM)) == ["one", "two"]


def test_a_message_is_the_same_wherever_it_is_read():
    with chat(*UNLIMITED) as server:
        start = start_of(server)
        say(server, *numbered(1, 50))
        found = [read(server, start, 50) for read in READS]
        assert found[0] == found[1] == found[2] == Client(server).messages(limit=50)
        assert set(found[0][0]) == {"id", "room", "user", "text", "time"}


@pytest.mark.parametrize("read", READS)
def test_a_reader_that_waits_is_given_what_comes(read: Read):
    with chat() as server, joined(server, room=ROOM) as witness:
        start = start_of(server)
        with background(lambda: read(server, start, 1)) as found:
            say(server, "at last")
            assert texts(found()) == ["at last"]
        assert texts(take(witness, 1)) == ["at last"]


@contextmanager
def background(work: Callable[[], Any]) -> Iterator[Callable[[], Any]]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield lambda: future.result(TIMEOUT_S)


# --- going on after a break, in the middle of it all


@pytest.mark.parametrize("read", READS)
def test_a_reader_that_comes_back_again_and_again_during_a_burst_has_all_and_nothing_twice(read: Read):
    with chat(*UNLIMITED) as server:
        cursor = start_of(server)
        found: list[dict[str, Any]] = []
        with posting(server, count=4):
            for _ in range(8):
                found += read(server, cursor, BURST)
                cursor = found[-1]["id"]
        assert found == all_messages(server)[: len(found)]


def test_a_reader_may_change_from_one_way_to_another_during_a_burst():
    with chat(*UNLIMITED) as server:
        cursor = start_of(server)
        found: list[dict[str, Any]] = []
        with posting(server, count=4):
            for read in READS * 3:
                found += read(server, cursor, BURST)
                cursor = found[-1]["id"]
        assert found == all_messages(server)[: len(found)]


def test_a_reader_comes_back_to_a_sqlite_store_for_more_than_is_kept_in_memory(path: Path):
    with chat(*UNLIMITED, "--max-message", "60k", store=path) as server:
        cursor = start_of(server)
        text = "x" * LARGE
        said = say(server, *[f"{number} {text}" for number in range(400)])  # 20 MB: more than the window
        for read in READS[:2]:
            assert ids(read(server, cursor, 400)) == said


def test_many_readers_of_each_kind_have_all_of_a_burst():
    with chat(*UNLIMITED) as server:
        start = start_of(server)
        with (
            joined(server, room=ROOM, since=start) as socket_,
            following(server, room=ROOM, since=start) as events,
            posting(server, count=10) as posters,
        ):
            wait_until(lambda: len(posters.acknowledged) >= 200)
            posters.end()
            said = all_messages(server)
            assert take(socket_, len(said)) == said
            assert told_by(events, len(said)) == said


# --- polls with a cursor


def test_a_poll_answers_messages_cursor_recovered_and_oldest():
    with chat() as server:
        client, start = came_in(server, "ann"), start_of(server)
        (id_,) = say(server, "hello")
        found = client.poll("ann", cursor=start, room=ROOM).json
        assert set(found) == {"messages", "cursor", "recovered", "oldest"}
        assert (texts(found["messages"]), found["cursor"], found["recovered"]) == (["hello"], id_, True)


def test_two_tabs_with_two_cursors_both_have_all():
    with chat() as server:
        client, start = came_in(server, "ann"), start_of(server)
        for text in ("one", "two"):
            say(server, text)
        tabs = [client.poll("ann", cursor=start, room=ROOM).json for _ in range(2)]
        assert [texts(tab["messages"]) for tab in tabs] == [["one", "two"]] * 2
        say(server, "three")
        assert [texts(client.poll("ann", cursor=tab["cursor"]).json["messages"]) for tab in tabs] == [["three"]] * 2


def test_two_tabs_that_wait_at_once_both_have_what_comes():
    with chat() as server:
        client, start = came_in(server, "ann"), start_of(server)
        with (
            poll_bytes(server, client, "ann", cursor=start) as one,
            poll_bytes(server, client, "ann", cursor=start) as two,
        ):
            say(server, "both")
            assert [texts(read_answer(sock).json["messages"]) for sock in (one, two)] == [["both"]] * 2


def test_the_cursor_of_a_poll_goes_past_what_was_said_in_other_rooms():
    with chat() as server:
        client, start = came_in(server, "ann"), start_of(server)
        say(server, "mine")
        (last,) = say(server, "other", room="topic2")
        found = client.poll("ann", cursor=start, room=ROOM).json
        assert texts(found["messages"]) == ["mine"]
        assert offset(found["cursor"]) == offset(last)


def test_the_same_cursor_is_answered_the_same_again():
    with chat() as server:
        client, start = came_in(server, "ann"), start_of(server)
        say(server, "one", "two")
        assert client.poll("ann", cursor=start).body == client.poll("ann", cursor=start).body


def test_a_poll_may_be_json_or_have_its_fields_in_the_query():
    with chat() as server:
        client, start = came_in(server, "ann"), start_of(server)
        say(server, "one")
        assert texts(client.send("/poll/ann", {"cursor": start, "room": [ROOM]}).json["messages"]) == ["one"]
        assert texts(client.ask("POST", f"/poll/ann?cursor={start}").json["messages"]) == ["one"]


# --- polls without a cursor: the seed's clients


@contextmanager
def poll_bytes(server: GtoolServer, client: Client, user: str, **fields: str) -> Iterator[socket.socket]:
    """Send a poll on a connection of its own, and leave its answer to the caller."""
    body = urlencode(fields)
    lines = [f"{name}: {value}" for name, value in client.own_headers.items()]
    lines += [f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]
    with plain(server) as sock:
        sock.sendall(request_bytes(f"/poll/{user}", *lines, method="POST") + body.encode())
        yield sock


def has_come(sock: socket.socket) -> bool:
    """Whether an answer is there to be read."""
    return bool(select.select([sock], [], [], TIMEOUT_S)[0])


def old_client(server: GtoolServer, name: str = "old") -> Client:
    """One that has joined the room, and knows of no cursors."""
    client = came_in(server, name)
    assert client.get(f"/{ROOM}/{name}").status == 200
    return client


def test_an_old_client_has_what_came_since_it_joined():
    with chat() as server:
        say(server, "before")
        client = old_client(server)
        say(server, "after")
        assert texts(client.poll("old").json["messages"]) == ["after"]


def test_an_old_client_that_waits_has_what_comes():
    with chat() as server:
        client = old_client(server)
        with poll_bytes(server, client, "old") as sock:
            say(server, "now")
            assert texts(read_answer(sock).json["messages"]) == ["now"]


def test_an_old_client_has_what_is_in_the_rooms_that_it_joined_only():
    with chat() as server:
        client = old_client(server)
        say(server, "other", room="topic2")
        say(server, "mine")
        assert texts(client.poll("old").json["messages"]) == ["mine"]


def test_an_old_client_with_a_connection_per_poll_has_all_and_nothing_twice():
    with chat(*UNLIMITED) as server:
        client = old_client(server)
        found: list[dict[str, Any]] = []
        with posting(server, count=3):
            for _ in range(15):
                found += client.poll("old").json["messages"]
        assert found == all_messages(server)[: len(found)]


def test_an_old_client_on_one_connection_has_all_and_nothing_twice():
    with chat(*UNLIMITED) as server:
        client = KeptAlive(server)
        try:
            client.cookies = old_client(server).cookies
            found: list[dict[str, Any]] = []
            with posting(server, count=3):
                for _ in range(15):
                    found += client.poll("old").json["messages"]
        finally:
            client.close()
        assert found == all_messages(server)[: len(found)]


def test_an_old_client_that_closes_before_the_answer_comes_has_it_next_time():
    with chat() as server:
        client = old_client(server)
        with poll_bytes(server, client, "old"):
            wait_until(lambda: "old" in Client(server).get("/api/presence").json["rooms"][ROOM])
        say(server, "lost on the way")
        assert texts(client.poll("old").json["messages"]) == ["lost on the way"]


def test_an_old_client_that_closes_without_reading_the_answer_has_it_next_time():
    with chat() as server:
        client = old_client(server)
        say(server, "lost on the way")
        with poll_bytes(server, client, "old") as sock:
            assert has_come(sock)
        assert texts(client.poll("old").json["messages"]) == ["lost on the way"]


def test_an_old_client_that_is_reset_while_it_waits_has_the_answer_next_time():
    with chat() as server:
        client = old_client(server)
        with poll_bytes(server, client, "old") as sock:
            wait_until(lambda: "old" in Client(server).get("/api/presence").json["rooms"][ROOM])
            reset(sock)
        say(server, "lost on the way")
        assert texts(client.poll("old").json["messages"]) == ["lost on the way"]


def test_an_old_client_that_is_reset_with_the_answer_unread_has_it_next_time():
    with chat() as server:
        client = old_client(server)
        say(server, "lost on the way")
        with poll_bytes(server, client, "old") as sock:
            assert has_come(sock)
            reset(sock)
        assert texts(client.poll("old").json["messages"]) == ["lost on the way"]


def test_an_old_client_that_stops_halfway_through_a_large_answer_has_it_next_time():
    with chat(*UNLIMITED, "--max-message", "60k") as server:
        client = old_client(server)
        said = say(server, *["x" * LARGE] * 200)  # 10 MB: more than the kernel holds
        body = request_bytes(
            "/poll/old", *[f"{name}: {value}" for name, value in client.own_headers.items()], method="POST"
        )
        with plain(server, SMALL_BUFFER) as sock:
            sock.sendall(body.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"))
            assert sock.recv(1000)
        assert ids(client.poll("old").json["messages"]) == said


def test_an_old_client_loses_nothing_of_what_came_since_the_answer_that_it_lost():
    with chat() as server:
        client = old_client(server)
        say(server, "lost on the way")
        with poll_bytes(server, client, "old") as sock:
            assert has_come(sock)
        say(server, "new")
        found = texts(client.poll("old").json["messages"])
        if found == ["lost on the way"]:
            found += texts(client.poll("old").json["messages"])
        assert found == ["lost on the way", "new"]


def test_an_old_client_that_has_read_its_answer_is_not_given_it_again():
    with chat() as server:
        client = old_client(server)
        say(server, "one")
        assert texts(client.poll("old").json["messages"]) == ["one"]
        say(server, "two")
        assert texts(client.poll("old").json["messages"]) == ["two"]


# --- event streams


def test_no_proxy_is_to_hold_an_event_stream_back():
    with chat() as server, following(server) as events:
        assert events.answer.headers["x-accel-buffering"] == "no"
        assert events.answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert events.answer.headers["cache-control"] == "no-store"


def test_an_event_stream_goes_on_after_the_last_event_id():
    with chat() as server:
        said = say(server, *numbered(1, 4))
        with following(server, f"Last-Event-ID: {said[1]}", room=ROOM) as events:
            assert ids(told_by(events, 2)) == said[2:]


def test_the_last_event_id_counts_more_than_since_for_the_url_stays_what_it_was():
    with chat() as server:
        said = say(server, *numbered(1, 4))
        with following(server, f"Last-Event-ID: {said[2]}", room=ROOM, since=said[0]) as events:
            assert ids(told_by(events, 1)) == said[3:]


def test_a_last_event_id_that_is_none_begins_anew_and_says_so():
    with chat() as server:
        (id_,) = say(server, "one")
        with following(server, "Last-Event-ID: garbage", room=ROOM) as events:
            event = events.next()
            assert event
            assert (event.kind, json.loads(event.data)["recovered"]) == ("recovered", False)
            assert ids(told_by(events, 1)) == [id_]


# --- since


@pytest.mark.parametrize("read", READS[:2])
def test_since_all_begins_with_the_first(read: Read):
    with chat() as server:
        said = say(server, *numbered(1, 5))
        assert ids(read(server, "all", 5)) == said


@pytest.mark.parametrize("read", READS[:2])
def test_since_so_many_seconds_begins_with_what_is_no_older(read: Read, path: Path):
    with chat(store=path) as server:
        said = say(server, *numbered(1, 5))
        assert ids(read(server, "-3600", 5)) == said


def test_since_no_seconds_is_from_now_on():
    with chat() as server:
        say(server, "old")
        wait_until(lambda: time.time() - Client(server).messages()[-1]["time"] > 0.1)
        with joined(server, since="-0.05") as client:
            (id_,) = say(server, "new")
            assert ids(take(client, 1)) == [id_]


# --- a cursor that is of no use


def told_lost(server: GtoolServer, since: str) -> dict[str, Any]:
    """What a WebSocket that comes back with this cursor is told first."""
    with joined(server, room=ROOM, since=since) as client:
        first = json.loads(client.recv(TIMEOUT_S))
        assert "recovered" in first, first
        return {**first, "messages": take(client, 1)}


@contextmanager
def trimmed(path: Path | None) -> Iterator[tuple[GtoolServer, list[str]]]:
    """A chat with 40 messages, of which the last 10 are kept; in memory, or in a file."""
    store: Any = path or "memory:"
    if path is None:
        with chat(*UNLIMITED, "--max-messages", "10") as server:
            yield server, say(server, *numbered(1, 40))
        return
    with chat(*UNLIMITED, store=store) as server:
        said = say(server, *numbered(1, 40))
    with chat(*UNLIMITED, "--max-messages", "10", store=store) as server:
        wait_until(lambda: len(all_messages(server)) == 10, "10 messages kept")
        yield server, said


@pytest.fixture(params=["memory", "sqlite"])
def kept_ten(request: pytest.FixtureRequest, path: Path) -> Iterator[tuple[GtoolServer, list[str]]]:
    with trimmed(path if request.param == "sqlite" else None) as found:
        yield found


def test_a_websocket_with_a_cursor_that_is_too_old_is_told_so_and_given_the_backlog(kept_ten):
    server, said = kept_ten
    with joined(server, room=ROOM, since=said[3]) as client:
        first = json.loads(client.recv(TIMEOUT_S))
        assert first["recovered"] is False
        assert ids(take(client, 10)) == said[-10:]


def test_an_event_stream_with_a_cursor_that_is_too_old_is_told_so_and_given_the_backlog(kept_ten):
    server, said = kept_ten
    with following(server, f"Last-Event-ID: {said[3]}", room=ROOM) as events:
        event = events.next()
        assert event
        assert (event.kind, json.loads(event.data)["recovered"]) == ("recovered", False)
        assert ids(told_by(events, 10)) == said[-10:]


def test_a_poll_with_a_cursor_that_is_too_old_is_told_so_and_given_the_backlog(kept_ten):
    server, said = kept_ten
    found = came_in(server, "ann").poll("ann", cursor=said[3], room=ROOM).json
    assert found["recovered"] is False
    assert ids(found["messages"]) == said[-10:]
    assert found["cursor"] == said[-1]


def test_a_list_with_a_cursor_that_is_too_old_is_told_so_and_given_the_backlog(kept_ten):
    server, said = kept_ten
    found = Client(server).get(f"/api/rooms/{ROOM}/messages", since=said[3]).json
    assert found["recovered"] is False
    assert ids(found["messages"]) == said[-10:]


def test_the_cursor_right_before_what_is_kept_can_still_go_on(kept_ten):
    server, said = kept_ten
    found = came_in(server, "ann").poll("ann", cursor=said[29], room=ROOM).json
    assert found["recovered"] is True
    assert ids(found["messages"]) == said[30:]
    assert offset(found["oldest"]) == offset(said[29])


@pytest.mark.parametrize("wrong", ["epoch", "future"])
def test_a_cursor_of_another_epoch_or_the_future_is_not_recovered_and_given_the_backlog(wrong: str):
    with chat(*UNLIMITED) as server:
        said = say(server, *numbered(1, 40))
        epoch = said[0].partition(":")[0]
        cursor = "another:3" if wrong == "epoch" else f"{epoch}:4000"
        client = came_in(server, "ann")
        poll = client.poll("ann", cursor=cursor, room=ROOM).json
        assert (poll["recovered"], ids(poll["messages"])) == (False, said[-BACKLOG:])
        assert told_lost(server, cursor)["messages"][0]["id"] == said[-BACKLOG]
        listed = client.get(f"/api/rooms/{ROOM}/messages", since=cursor).json
        assert (listed["recovered"], ids(listed["messages"])) == (False, said[-BACKLOG:])


def test_who_was_not_recovered_goes_on_with_the_new_cursor():
    with chat() as server:
        say(server, "one")
        client = came_in(server, "ann")
        lost = client.poll("ann", cursor="another:3").json
        say(server, "two")
        found = client.poll("ann", cursor=lost["cursor"]).json
        assert (texts(found["messages"]), found["recovered"]) == (["two"], True)


def test_a_poll_that_is_not_recovered_and_has_no_backlog_is_answered_at_once():
    with chat() as server:
        client = came_in(server, "ann")
        begun = time.monotonic()
        found = client.poll("ann", cursor="another:3").json
        assert (found["recovered"], found["messages"]) == (False, [])
        assert time.monotonic() - begun < 5


# --- a reader that does not read


def fill(server: GtoolServer) -> None:
    """Post until the log tells of a reader that is too slow."""
    client = KeptAlive(server)
    try:
        for number in itertools.count():
            assert number < 2000
            client.said(f"{number} {'x' * LARGE}", user="much")
            if "a reader is too slow" in server.err:
                return
    finally:
        client.close()


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_websocket_that_does_not_read_is_closed_with_a_reason_and_resumes_with_nothing_missing(
    store: str, path: Path
):
    where: Any = path if store == "sqlite" else "memory:"
    with chat(*UNLIMITED, "--max-message", "60k", store=where) as server:
        start = start_of(server)
        had = []
        with raw(server, stream_path("/api/ws", {"room": ROOM, "since": start}), SMALL_BUFFER) as client:
            fill(server)
            while (frame := client.read()).opcode != CLOSE:
                assert frame.opcode == TEXT
                if "id" in (told := json.loads(frame.data)):
                    had.append(told["id"])
        assert frame.code == 1013
        assert b"slow" in frame.data
        said = ids(all_messages(server))
        assert had == said[: len(had)]
        with joined(server, room=ROOM, since=had[-1]) as again:
            assert ids(take(again, len(said) - len(had))) == said[len(had) :]


def test_an_event_stream_that_is_not_read_ends_and_resumes_with_nothing_missing():
    with chat(*UNLIMITED, "--max-message", "60k") as server:
        start = start_of(server)
        with following(server, room=ROOM, since=start, buffer=SMALL_BUFFER) as events:
            fill(server)
            had = ids(told_to_end(events))
        said = ids(all_messages(server))
        assert had == said[: len(had)]
        assert len(had) < len(said)
        with following(server, f"Last-Event-ID: {had[-1]}", room=ROOM) as again:
            assert ids(told_by(again, len(said) - len(had))) == said[len(had) :]


def test_a_reader_that_does_not_read_holds_up_nobody():
    with chat(*UNLIMITED, "--max-message", "60k") as server:
        start = start_of(server)
        query = {"room": ROOM, "since": start}
        with (
            raw(server, stream_path("/api/ws", query), SMALL_BUFFER),
            joined(server, **query) as other,
            background(lambda: take(other, 50)) as found,
        ):
            say(server, *["x" * LARGE] * 50)
            assert len(found()) == 50


# --- the end of the machine


def restarted(path: Path, *args: str) -> Any:
    return chat(*UNLIMITED, *args, store=path)


def test_what_was_acknowledged_before_a_kill_during_a_burst_is_there_after_it(path: Path):
    with restarted(path) as server, posting(server, count=20) as posters:
        wait_until(lambda: len(posters.acknowledged) >= 300, "300 posts")
        kill(server)
        posters.end()
    with restarted(path) as server:
        found = {message["text"]: message["id"] for message in all_messages(server)}
        assert posters.acknowledged.items() <= found.items()


def test_a_retry_after_a_kill_says_nothing_twice(path: Path):
    with restarted(path) as server, posting(server, count=20) as posters:
        wait_until(lambda: len(posters.acknowledged) >= 300, "300 posts")
        kill(server)
        posters.end()
    assert posters.unanswered
    with restarted(path) as server:
        replies = posters.retry(server)
        assert {reply.status for reply in replies.values()} == {201}
        said = texts(all_messages(server))
        assert len(said) == len(set(said))
        assert set(said) == {*posters.acknowledged, *posters.unanswered}


def test_a_retry_of_what_was_acknowledged_before_a_kill_has_the_same_id(path: Path):
    with restarted(path) as server, posting(server, count=20) as posters:
        wait_until(lambda: len(posters.acknowledged) >= 100, "100 posts")
        kill(server)
        posters.end()
    with restarted(path) as server:
        for text in list(posters.acknowledged)[-20:]:
            reply = posters.again(server, text)
            assert (reply.status, reply.json["id"]) == (201, posters.acknowledged[text])
            assert reply.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("read", READS[:2])
def test_a_reader_goes_on_with_its_cursor_after_a_kill(read: Read, path: Path):
    with restarted(path) as server, posting(server, count=20) as posters:
        had = read(server, "all", 100)
        kill(server)
        posters.end()
    with restarted(path) as server:
        said = all_messages(server)
        had += read(server, had[-1]["id"], len(said) - len(had)) if len(said) > len(had) else []
        assert had == said


def test_an_id_is_given_once_though_the_last_messages_were_deleted_before_a_restart(path: Path):
    with restarted(path) as server:
        (first,) = say(server, "gone soon")
    with restarted(path, "--retain", "1ms") as server:
        wait_until(lambda: not all_messages(server))
    with restarted(path) as server:
        (second,) = say(server, "new")
        assert offset(second) > offset(first)


def test_a_restart_keeps_messages_with_their_ids(path: Path):
    with restarted(path) as server:
        say(server, *numbered(1, 5))
        before = all_messages(server)
        server.stop()
    with restarted(path) as server:
        assert all_messages(server) == before


def test_a_restart_keeps_rooms(path: Path):
    with restarted(path, "--allow-new-rooms") as server:
        assert Client(server).send("/api/rooms", {"name": "builds"}).status == 201
        server.stop()
    with restarted(path) as server:
        assert [room["name"] for room in Client(server).get("/api/rooms").json["rooms"]] == [ROOM, "topic2", "builds"]


def test_a_restart_keeps_claims(path: Path):
    with restarted(path) as server:
        client, token = came_in(server, "ann"), token_of(server, "bot")
        kill(server)
    with restarted(path) as server:
        client.server = server
        assert client.post("still me").json["user"] == "ann"
        assert Client(server).post("not me", user="ann").status == 403
        assert Client(server).post("me", headers={"Authorization": f"Bearer {token}"}).json["user"] == "bot"


def test_a_kill_and_a_restart_leave_a_whole_database(path: Path):
    import sqlite3

    with restarted(path) as server, posting(server, count=5) as posters:
        wait_until(lambda: len(posters.acknowledged) >= 50, "50 posts")
        kill(server)
        posters.end()
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
    finally:
        connection.close()


def test_search_finds_what_was_said_before_a_kill(path: Path):
    with restarted(path) as server:
        (id_,) = say(server, "the quick brown fox")
        kill(server)
    with restarted(path) as server:
        assert ids(Client(server).get("/api/search", q="brown").json["messages"]) == [id_]


# --- what a reader has when the process ends


def test_no_reader_of_memory_believes_after_a_restart_that_it_missed_nothing():
    with chat() as server:
        (id_,) = say(server, "gone")
    with chat() as server:
        assert re.fullmatch(r"[\w-]+:\d+", id_)
        reply: Reply = came_in(server, "ann").poll("ann", cursor=id_)
        assert reply.json["recovered"] is False
