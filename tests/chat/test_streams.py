"""WebSockets and event streams: where they begin, of which rooms they are, and who is there by them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import time

import pytest

import gtool.chat.run
import gtool.web.server
import gtool.web.sse
from gtool.chat.messages import SUBPROTOCOL
from gtool.chat.run import Settings
from gtool.chat.store import InMemory
from gtool.chat.streams import LOADING
from gtool.streams.log import Entry, Unavailable
from gtool.web.guard import Guard
from tests.chat.served import CLOSE, UPGRADE, Served, serving, wait_until
from tests.servers.looped import receive_exactly

OFFER = f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"
WS, SSE = "/api/ws", "/api/stream"
EVENTS = "text/event-stream; charset=utf-8"


@pytest.fixture
def chat() -> Iterator[Served]:
    with serving() as made:
        yield made


@pytest.fixture
def ids(chat) -> list[str]:
    """Of four messages, in two rooms."""
    return [chat.say(f"m{number}", room="ab"[number % 2])[0] for number in range(4)]


def texts(chat: Served, path: str, count: int, *lines: str) -> list[str]:
    websocket = chat.websocket(path, *lines)
    return [websocket.text() for _ in range(count)]


# --- messages


def test_both_carry_the_same_messages_with_the_same_ids(chat):
    websocket, events = chat.websocket(), chat.events()
    (id_,) = chat.say("ä\nb")
    message, event = websocket.json(), events.message()
    assert (message["id"], event["id"], json.loads(event["data"])) == (id_, id_, message)
    assert (message["room"], message["user"], message["text"]) == ("a", "bob", "ä\nb")


def test_an_event_stream_says_something_when_nothing_is_said(monkeypatch):
    monkeypatch.setattr(gtool.web.sse, "HEARTBEAT_S", 0.01)
    monkeypatch.setattr(gtool.web.server, "TICK_S", 0.01)
    with serving() as chat:
        assert receive_exactly(chat.events().sock, 3) == b":\n\n"


def test_without_a_room_there_are_all_of_them_in_one_order(chat, ids):
    assert texts(chat, f"{WS}?since=all", 4) == ["m0", "m1", "m2", "m3"]


def test_only_rooms_that_are_asked_for_are_told(chat, ids):
    assert texts(chat, f"{WS}?since=all&room=b", 2) == ["m1", "m3"]


def test_rooms_may_be_several(chat, ids):
    assert texts(chat, f"{WS}?since=all&room=b&room=a", 4) == ["m0", "m1", "m2", "m3"]


@pytest.mark.parametrize("path", [WS, SSE])
@pytest.mark.parametrize("query", ["room=none", "room=a&room=none", "in=none", "room=%FF", "room=../a"])
def test_a_room_that_there_is_not_is_not_found(chat, path, query):
    assert chat.get(f"{path}?{query}", *(UPGRADE if path == WS else ())).status == 404


# --- where they begin


def test_without_since_they_begin_with_what_comes(chat, ids):
    websocket = chat.websocket()
    chat.say("new")
    assert websocket.text() == "new"


def test_since_an_id_they_begin_after_it(chat, ids):
    assert texts(chat, f"{WS}?since={ids[1]}", 2) == ["m2", "m3"]


def test_last_event_id_is_where_a_browser_goes_on(chat, ids):
    events = chat.events(f"{SSE}?since=all", f"Last-Event-ID: {ids[2]}")
    assert events.message()["id"] == ids[3]


def test_since_so_long_ago_they_begin_with_what_is_no_older():
    class Dated(InMemory):
        def offset_at(self, time_s: float) -> int:
            asked.append(time() - time_s)
            return 2

    asked: list[float] = []
    with serving(store=Dated(["a"], None, 10)) as chat:
        chat.say(*"1234")
        assert texts(chat, f"{WS}?since=-3600.000", 2) == ["3", "4"]
        assert asked == [pytest.approx(3600, abs=5)]


@pytest.mark.parametrize("since", ["-0", "-0.5", "-3600", "-100000000"])
def test_a_time_is_in_seconds(chat, since):
    assert chat.websocket(f"{WS}?since={since}").answer.status == 101


@pytest.mark.parametrize("since", ["x", "1", "-", "-x", "-1h", "--1", "-1e3", "-1.1234567", "a:b", "ALL", "-%C2%B2"])
@pytest.mark.parametrize("path", [WS, SSE])
def test_what_is_neither_an_id_nor_a_time_is_refused(chat, path, since):
    answer = chat.get(f"{path}?since={since}", *(UPGRADE if path == WS else ()))
    assert (answer.status, "is no id" in answer.text) == (400, True)


def test_where_they_begin_is_told_in_the_answer(chat, ids):
    epoch = ids[0].partition(":")[0]
    begins = {"": ids[3], "?since=all": f"{epoch}:0", f"?since={ids[1]}": ids[1], "?since=-3600": f"{epoch}:0"}
    assert {query: chat.websocket(f"{WS}{query}").answer.headers["gtool-cursor"] for query in begins} == begins


@pytest.mark.parametrize("since", ["other:1", "EPOCH:99"])
def test_an_id_that_can_not_be_gone_on_from_gets_the_backlog_and_is_told_so(chat, ids, since):
    epoch = ids[0].partition(":")[0]
    websocket = chat.websocket(f"{WS}?since={since.replace('EPOCH', epoch)}")
    assert websocket.json() == {"recovered": False, "oldest": f"{epoch}:0"}
    assert [websocket.text() for _ in range(4)] == ["m0", "m1", "m2", "m3"]


def test_a_store_that_is_away_has_a_reader_that_can_not_go_on_come_back():
    class Away(InMemory):
        def history(self, *_: object) -> list[Entry]:
            raise Unavailable("it is away")

    with serving(store=Away(["a"], None, 10)) as chat:
        first, data = chat.websocket(f"{WS}?since=other:1").frame()
        assert (first, data[2:]) == (CLOSE, b"it is away")


def test_an_event_stream_is_told_by_an_event_of_its_own_kind(chat, ids):
    event = chat.events(f"{SSE}?since=other:1").event()
    assert (event["event"], json.loads(event["data"])["recovered"], "id" in event) == ("recovered", False, False)


# --- the answer


def test_an_event_stream_is_not_stored_nor_buffered(chat):
    headers = chat.events().answer.headers
    assert (headers["content-type"], headers["x-accel-buffering"]) == (EVENTS, "no")
    assert "no-store" in headers["cache-control"]


def test_a_head_opens_no_event_stream(chat):
    answer = chat.ask("HEAD", SSE)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, EVENTS, b"")


@pytest.mark.parametrize(("offer", "chosen"), [(SUBPROTOCOL, SUBPROTOCOL), (f"x, {SUBPROTOCOL}", SUBPROTOCOL)])
def test_our_subprotocol_is_agreed_on(chat, offer, chosen):
    headers = chat.websocket(WS, f"Sec-WebSocket-Protocol: {offer}").answer.headers
    assert headers["sec-websocket-protocol"] == chosen


@pytest.mark.parametrize("lines", [(), ("Sec-WebSocket-Protocol: other",)])
def test_no_other_subprotocol_is_agreed_on(chat, lines):
    assert "sec-websocket-protocol" not in chat.websocket(WS, *lines).answer.headers


def test_without_an_upgrade_there_is_no_websocket(chat):
    assert chat.get(WS).status in (400, 426)


@pytest.mark.parametrize("path", [WS, SSE])
def test_while_messages_are_loaded_readers_are_to_come_back(path):
    store = InMemory(["a"], None, 10)
    store.is_loaded = False
    with serving(store=store) as chat:
        answer = chat.get(path, *(UPGRADE if path == WS else ()))
        assert (answer.status, answer.text) == (503, f"{LOADING}\n")


# --- who is there


def present(chat: Served) -> dict[str, list[str]]:
    return {room: users for room, users in chat.get("/api/presence").json["rooms"].items() if users}


def test_who_reads_under_a_name_is_in_the_rooms_that_it_reads(chat):
    chat.websocket(f"{WS}?room=a", chat.claim("bob"))
    assert present(chat) == {"a": ["bob"]}


def test_who_reads_all_rooms_is_in_those_that_it_says(chat):
    chat.websocket(f"{WS}?in=b", chat.claim("bob"))
    assert present(chat) == {"b": ["bob"]}


def test_who_reads_without_a_name_is_nowhere(chat):
    chat.websocket(f"{WS}?room=a")
    assert present(chat) == {}


def test_who_has_several_names_says_which(chat):
    cookies = [chat.post_json("/api/session", {"name": name}).cookie for name in ("anna", "bob")]
    both = f"{cookies[0]}; {cookies[1].removeprefix('Cookie: ')}"
    chat.websocket(f"{WS}?room=a&as=bob", both)
    assert present(chat) == {"a": ["bob"]}


@pytest.mark.parametrize(("name", "status"), [("bob", 403), ("none", 404)])
@pytest.mark.parametrize("path", [WS, SSE])
def test_nobody_reads_under_a_name_that_is_not_its_own(chat, path, name, status):
    chat.claim("bob")
    answer = chat.get(f"{path}?room=a&as={name}", chat.claim("anna"), *(UPGRADE if path == WS else ()))
    assert answer.status == status


@pytest.mark.parametrize("kind", ["websocket", "events"])
def test_who_has_gone_is_there_no_more(chat, kind):
    path = f"{WS if kind == 'websocket' else SSE}?room=a"
    getattr(chat, kind)(path, chat.claim("bob")).sock.close()
    wait_until(lambda: present(chat) == {})


def test_who_is_there_is_told_at_the_begin(chat, monkeypatch):
    monkeypatch.setattr(gtool.chat.run, "TOLD_S", 600.0)
    chat.websocket(f"{WS}?room=a", chat.claim("bob"))
    assert chat.websocket(f"{WS}?room=a").json() == {"presence": {"room": "a", "users": ["bob"], "count": 1}}


def test_what_a_reader_says_is_nothing_to_anybody(chat):
    websocket = chat.websocket()
    websocket.sock.sendall(b"\x81\x82\0\0\0\0hi")
    chat.say("x")
    assert websocket.text() == "x"


# --- who may


@pytest.mark.parametrize("path", [WS, SSE])
def test_a_private_server_wants_its_token(path):
    with serving(Settings(guard=Guard(token="secret"))) as chat:
        lines = UPGRADE if path == WS else ()
        assert chat.get(path, *lines).status == 401
        assert (chat.websocket if path == WS else chat.events)(f"{path}?token=secret").answer.status in (101, 200)


@pytest.mark.parametrize("path", [WS, SSE])
def test_a_page_of_another_site_reads_nothing(chat, path):
    assert chat.get(path, "Origin: https://evil.example", *(UPGRADE if path == WS else ())).status == 403
