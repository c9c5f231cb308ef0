"""The chat server as a whole: what works with what, and how it ends."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

import gtool.chat.presence
import gtool.chat.run
import gtool.live.delivery
from gtool.chat.chat import Settings as ChatSettings
from gtool.chat.run import Settings, run
from gtool.chat.store import InMemory
from gtool.chat.streams import LOADING
from gtool.runtime.address import parse_address
from gtool.runtime.serve import Plan
from gtool.runtime.settings import Settings as ServerSettings
from gtool.web.guard import Guard
from tests.chat.served import CLOSE, Served, serving, wait_until
from tests.servers.looped import looped, receive_all

DRAINED = ServerSettings(drain_timeout=600.0)


class Store(InMemory):
    """One that remembers what becomes of it, and tells two processes what they say to each other."""

    def __init__(self, others: list[Store] | None = None) -> None:
        super().__init__(["a", "b"], None, 1000)
        self.others = [] if others is None else others
        self.others.append(self)
        self.is_run = self.is_closed = False
        self.on_note: Any = None

    def run(self, on_note: Any) -> None:
        self.is_run, self.on_note = True, on_note
        super().run(on_note)

    def tell(self, note: Any) -> None:
        for other in self.others:
            if other.on_note:
                other.on_note(note)

    def close(self) -> None:
        self.is_closed = True


def test_what_is_posted_comes_to_websockets_and_event_streams():
    with serving() as chat:
        websocket, events = chat.websocket(), chat.events()
        chat.say("hello")
        assert (websocket.text(), "hello" in events.message()["data"]) == ("hello", True)


def test_it_stands_under_its_path():
    with serving(Settings(base_path="/below")) as chat:
        assert (chat.get("/below/api/rooms").status, chat.get("/api/rooms").status) == (200, 404)


def test_a_name_that_is_chosen_under_a_path_is_for_that_path():
    with serving(Settings(base_path="/below")) as chat:
        assert "Path=/below" in chat.get("/below/bob").headers["set-cookie"]


def test_the_settings_are_the_chats():
    with serving(Settings(chat=ChatSettings(max_message=3))) as chat:
        assert chat.post_json("/api/rooms/a/messages", {"text": "long", "user": "bob"}).status == 413


def test_the_guard_is_the_sites():
    with serving(Settings(guard=Guard(token="secret"))) as chat:
        assert chat.get("/api/rooms").status == 401


@pytest.mark.parametrize("path", ["/static/live.js", "/static/site.js"])
def test_the_files_of_the_pages_are_served(path):
    with serving() as chat:
        assert chat.get(path).headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_head_has_to_come_in_time():
    with serving(Settings(head_timeout=0.05)) as chat, chat.server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert b"408" in receive_all(client)


# --- what it says of itself


def test_it_is_healthy_while_its_store_is():
    with serving() as chat:
        assert (chat.get("/healthz").status, chat.get("/healthz").body) == (200, b"ok\n")


def test_what_is_wrong_with_the_store_is_said():
    store = Store()
    store.trouble = "the disk is full"
    with serving(store=store) as chat:
        assert (chat.get("/healthz").status, chat.get("/healthz").text) == (503, "the disk is full\n")


def test_while_messages_are_loaded_that_is_said():
    store = Store()
    store.is_loaded = False
    with serving(store=store) as chat:
        assert (chat.get("/healthz").status, chat.get("/healthz").text) == (503, f"{LOADING}\n")
        store.is_loaded = True
        assert chat.get("/healthz").status == 200


def test_the_last_message_is_among_the_figures():
    with serving() as chat:
        chat.say("1", "2")
        assert "gtool_chat_last_offset 2" in chat.get("/metrics").text.splitlines()


def test_messages_that_are_delivered_are_counted():
    with serving() as chat:
        websocket = chat.websocket()
        chat.say("1", "2")
        assert [websocket.text(), websocket.text()] == ["1", "2"]
        assert "gtool_messages_total 2" in chat.get("/metrics").text.splitlines()


# --- what goes on by itself


def test_the_store_is_run():
    store = Store()
    with serving(store=store):
        wait_until(lambda: store.is_run)


def test_who_comes_and_goes_is_told(monkeypatch):
    monkeypatch.setattr(gtool.chat.run, "TOLD_S", 0.01)
    with serving() as chat:
        watcher = chat.websocket("/api/ws?room=a")
        with chat.websocket("/api/ws?room=a", chat.claim("anna")).sock:
            while watcher.note("presence") != {"room": "a", "users": ["anna"], "count": 1}:
                pass
        while watcher.note("presence") != {"room": "a", "users": [], "count": 0}:
            pass


def test_a_slow_reader_is_seen_to(monkeypatch):
    seen: list[int] = []
    monkeypatch.setattr(gtool.live.delivery, "CHECK_S", 0.01)
    monkeypatch.setattr("gtool.live.delivery.Delivery.check", lambda _: seen.append(1))
    with serving():
        wait_until(lambda: len(seen) > 1)


@pytest.fixture
def two(monkeypatch) -> Any:
    """Two processes with one store, as far as they can tell."""
    monkeypatch.setattr(gtool.chat.run, "TOLD_S", 0.01)
    monkeypatch.setattr(gtool.chat.run, "OTHERS_S", 0.02)
    stores: list[Store] = []
    first, second = Store(stores), Store(stores)
    second._claims = first._claims
    with serving(store=first) as one, serving(store=second) as other:
        wait_until(lambda: first.on_note and second.on_note)
        yield one, other


def test_who_is_at_another_process_is_here(two: tuple[Served, Served]):
    one, other = two
    one.websocket("/api/ws?room=a", one.claim("anna"))
    wait_until(lambda: other.get("/api/presence?room=a").json["rooms"] == {"a": ["anna"]})


def test_who_was_at_another_process_that_is_silent_is_here_no_more(monkeypatch, two: tuple[Served, Served]):
    """It may have been killed."""
    monkeypatch.setattr(gtool.chat.presence, "HEARD_S", 0.5)
    one, other = two
    watcher = other.websocket("/api/ws?room=a")
    one.websocket("/api/ws?room=a", one.claim("anna"))
    while watcher.note("presence")["users"] != ["anna"]:
        pass
    monkeypatch.setattr(Store, "tell", lambda store, note: None)
    while watcher.note("presence")["users"] != []:
        pass


def test_who_types_at_another_process_is_told(two: tuple[Served, Served]):
    one, other = two
    reader = other.websocket("/api/ws?room=a")
    one.post_json("/api/rooms/a/typing", {"user": "anna"})
    assert reader.note("typing") == {"room": "a", "user": "anna"}


# --- the end


def test_stopping_says_good_bye_to_readers():
    with serving(settings=DRAINED) as chat:
        websocket, events = chat.websocket(), chat.events()
        chat.server.server.stop()
        assert websocket.frame() == (CLOSE, (1001).to_bytes(2, "big") + b"the server stops")
        assert b"event: " not in receive_all(events.sock)
        websocket.sock.close()
        events.sock.close()
        chat.server.wait()


def test_stopping_answers_long_polls():
    with serving(settings=DRAINED) as chat:
        who = chat.claim("bob")
        polling = gevent.spawn(chat.ask, "POST", "/poll/bob?room=a", who)
        wait_until(lambda: chat.get("/api/presence?room=a").json["rooms"] == {"a": ["bob"]})
        chat.server.server.stop()
        answer = polling.get(timeout=5)
        assert (answer.status, answer.texts) == (200, [])
        chat.server.wait()


def test_the_store_is_closed_at_the_end():
    store = Store()
    with serving(store=store):
        pass
    assert store.is_closed


def test_a_store_that_fails_ends_it():
    class Broken(Store):
        def run(self, on_note: Any) -> None:
            raise RuntimeError("cannot be")

    def served() -> None:
        with serving(store=Broken()):
            gevent.idle()

    with pytest.raises(RuntimeError, match="cannot be"):
        served()


# --- in which processes


def test_the_store_is_opened_where_it_is_needed_and_the_exit_code_is_the_servers(monkeypatch):
    made: list[Any] = []

    def serve(plan: Plan, make_service: Any) -> int:
        assert opened == []
        with looped(make_service) as server:
            made.append(server)
            assert len(opened) == 1
        return 7

    opened: list[Store] = []

    def open_store() -> Store:
        opened.append(Store())
        return opened[-1]

    monkeypatch.setattr(gtool.chat.run, "serve", serve)
    assert run(Plan(ServerSettings(), (), parse_address("127.0.0.1:0")), Settings(), open_store) == 7
    assert made
