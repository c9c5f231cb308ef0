"""The store in Redis: two processes' stores, in one, over a real server that comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import time
from typing import Any

import gevent
import pytest
import simplejson

import gtool.chat.in_redis
from gtool.chat.claims import KEPT_S, Claim
from gtool.chat.in_redis import InRedis
from gtool.chat.messages import pack
from gtool.streams.log import Unavailable
from gtool.streams.redis import follower as follower_module
from gtool.streams.redis.location import parse_location
from tests.conftest import TIMEOUT_S
from tests.e2e.redis_server import RedisServer, redis_server_fixture  # noqa: F401  for the arguments of tests
from tests.e2e.relay import relaying
from tests.streams.redis.followed import wait_until

pytestmark = pytest.mark.needs("redis-server")


class Opened:
    """A store that runs, and what it was told."""

    def __init__(self, url: str, rooms: list[str], retain_s: float | None, most: int) -> None:
        self.store = InRedis(parse_location(url, "chat"), rooms, retain_s, most)
        self.notes: list[Any] = []
        self._greenlet = gevent.spawn(self.store.run, self.notes.append)

    def loaded(self) -> InRedis:
        wait_until(lambda: self.store.is_loaded, "the messages that are there")
        return self.store

    def close(self) -> None:
        self._greenlet.kill()
        self.store.close()


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    return redis_server.url("chat")


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    monkeypatch.setattr(gtool.chat.in_redis, "AGAIN_S", 0.01)
    monkeypatch.setattr(follower_module, "BLOCK_MS", 100)


@contextmanager
def opened(url: str, rooms: tuple[str, ...] = ("a", "b"), retain_s: float | None = None, most: int = 100) -> Any:
    made = Opened(url, list(rooms), retain_s, most)
    try:
        made.loaded()
        yield made
    finally:
        made.close()


@pytest.fixture
def two(url) -> Iterator[tuple[Opened, Opened]]:
    with ExitStack() as stack:
        yield stack.enter_context(opened(url)), stack.enter_context(opened(url))


def post(store: InRedis, text: str, key: str | None = None, room: str = "a") -> tuple[Any, bool]:
    return store.post(room, pack(room, "bob", text), key)


def texts(store: InRedis, room: str = "a") -> list[str]:
    return [simplejson.loads(entry.data)["text"] for entry in store.history(room, None, 100)]


def claim(name: str = "bob", digest: str = "d", used_at: float | None = None) -> Claim:
    return Claim(name.lower(), name, digest, time() if used_at is None else used_at)


# --- messages


def test_what_is_posted_can_be_read_at_once(url):
    with opened(url) as one:
        entry, is_new = post(one.store, "x")
        assert (is_new, texts(one.store), one.store.log.newest_offset) == (True, ["x"], entry.offset)


def test_what_is_posted_at_one_is_read_at_the_other_in_the_same_order(two):
    one, other = two
    entries = [post((one, other)[number % 2].store, str(number))[0] for number in range(10)]
    for opened_ in two:
        wait_until(lambda found=opened_.store: len(texts(found)) == 10, "ten messages")
    logs = [
        [(entry.offset, entry.time, entry.data, entry.topic) for entry in made.store.log.read(0, 99)] for made in two
    ]
    assert logs[0] == logs[1]
    assert [entry.offset for entry in entries] == [offset for offset, *_ in logs[0]]


def test_messages_that_were_there_are_there_after_a_restart(url):
    with opened(url) as one:
        post(one.store, "1")
        post(one.store, "2", room="b")
    with opened(url) as again:
        assert (texts(again.store, "a"), texts(again.store, "b")) == (["1"], ["2"])


def test_two_processes_tell_the_same_ids(two):
    assert two[0].store.log.epoch == two[1].store.log.epoch


def test_a_key_posts_once_wherever(two):
    one, other = two
    first, is_new = post(one.store, "x", "key")
    again, is_new_again = post(other.store, "x", "key")
    assert (is_new, is_new_again, first.offset, first.data) == (True, False, again.offset, again.data)
    assert (again.topic, again.time) == ("a", first.time)


def test_without_a_key_the_same_is_said_twice(url):
    with opened(url) as one:
        assert [post(one.store, "x")[1] for _ in range(2)] == [True, True]
        assert texts(one.store) == ["x", "x"]


def test_a_key_is_known_though_its_message_is_kept_no_more(redis_server, url):
    with opened(url) as one:
        first, _ = post(one.store, "x", "key")
        redis_server.trim("chat", 0)
        again, is_new = post(one.store, "x", "key")
        assert (again.offset, is_new, redis_server.length("chat")) == (first.offset, False, 0)


def test_a_key_is_not_remembered_for_ever(redis_server, url):
    with opened(url) as one:
        post(one.store, "x", "key")
    assert 0 < redis_server.call("TTL", "chat:post:key") <= gtool.chat.in_redis.KEY_S


class Lost:
    """Loses the answer to the first post, with its connection."""

    def __init__(self) -> None:
        self.is_lost = threading.Event()
        self._has_asked = threading.Event()

    def up(self, data: bytes) -> bytes:
        if b"EVAL" in data and not self.is_lost.is_set():
            self._has_asked.set()
        return data

    def down(self, data: bytes) -> bytes | None:
        if self._has_asked.is_set() and not self.is_lost.is_set() and b"-" in data and b"NOSCRIPT" not in data:
            self.is_lost.set()
            return None
        return data


@pytest.mark.parametrize("key", ["key", None])
def test_what_is_posted_is_there_once_though_the_answer_was_lost(redis_server, key):
    lost = Lost()
    with (
        relaying(redis_server.port, lost.up, lost.down) as relay,
        opened(redis_server.url("chat", port=relay.port)) as one,
    ):
        post(one.store, "x", key)
        assert lost.is_lost.is_set()
        wait_until(lambda: texts(one.store) == ["x"], "the message")
        assert redis_server.length("chat") == 1


def test_only_the_last_messages_are_kept_about(redis_server, url):
    with opened(url, most=10) as one:
        for number in range(300):
            post(one.store, str(number))
        assert (texts(one.store), redis_server.length("chat") < 300) == (
            [str(number) for number in range(290, 300)],
            True,
        )


def test_what_is_too_old_is_deleted(redis_server, url, monkeypatch):
    monkeypatch.setattr(gtool.chat.in_redis, "TRIM_S", 0.02)
    for number in range(300):  # Redis deletes whole nodes only
        redis_server.call("XADD", "chat", f"1-{number + 1}", "data", pack("a", "b", "x"), "topic", "a")
    with opened(url, retain_s=3600.0) as one:
        wait_until(lambda: redis_server.length("chat") < 300, "a trim")
        wait_until(lambda: texts(one.store) == [], "a trim of the mirror")
        post(one.store, "new")
        assert texts(one.store) == ["new"]


# --- entries of others


@pytest.mark.parametrize(
    "fields", [("data", "rubbish"), ("x", "y"), ("data", "rubbish", "topic", "none"), ("topic", "")], ids=str
)
def test_an_entry_that_is_of_no_room_is_in_none(redis_server, url, fields):
    with opened(url) as one:
        redis_server.call("XADD", "chat", "*", *fields)
        post(one.store, "x")
        assert [texts(one.store, room) for room in "ab"] == [["x"], []]


@pytest.mark.parametrize("data", ["rubbish", "", "{}", "[]", '{"text": 5}', "\xff"])
def test_an_entry_of_a_room_that_is_no_message_is_left_out(redis_server, url, data):
    with opened(url) as one:
        redis_server.call("XADD", "chat", "*", "data", data, "topic", "a")
        post(one.store, "x")
        assert len(one.store.history("a", None, 10)) == 1


# --- claims


def test_a_claim_is_one_for_all(two):
    one, other = two
    assert one.store.put_claim(claim())
    assert not other.store.put_claim(claim(digest="another"))
    found = other.store.find_claim("bob")
    assert found
    assert (found.name, found.digest) == ("bob", "d")


def test_of_two_who_claim_a_name_at_once_one_has_it(two):
    claims = [gevent.spawn(made.store.put_claim, claim(digest=str(number))) for number, made in enumerate(two)]
    assert sorted(one.get(timeout=TIMEOUT_S) for one in claims) == [False, True]


def test_whose_a_claim_is_may_use_it_anywhere(two):
    one, other = two
    one.store.put_claim(claim())
    assert other.store.put_claim(claim())


def test_a_name_that_nobody_has_is_nobodys(url):
    with opened(url) as one:
        assert one.store.find_claim("bob") is None


def test_a_claim_that_is_let_go_is_free_for_all_soon(two, monkeypatch):
    monkeypatch.setattr(gtool.chat.in_redis, "CLAIM_S", 0.0)
    one, other = two
    one.store.put_claim(claim())
    assert other.store.find_claim("bob")
    one.store.drop_claim(claim())
    assert (one.store.find_claim("bob"), other.store.find_claim("bob")) == (None, None)
    assert other.store.put_claim(claim(digest="another"))


def test_a_claim_lasts_as_long_after_its_last_use(redis_server, url):
    with opened(url) as one:
        one.store.put_claim(claim())
        redis_server.call("EXPIRE", "chat:claim:bob", 100)
        one.store.put_claim(claim())
        assert KEPT_S - 10 < redis_server.call("TTL", "chat:claim:bob") <= KEPT_S


def test_claims_survive_a_restart(url):
    with opened(url) as one:
        one.store.put_claim(claim("Bob"))
    with opened(url) as again:
        found = again.store.find_claim("bob")
        assert found
        assert (found.name, found.is_over(time())) == ("Bob", False)


def test_claims_that_are_remembered_have_a_bound(url, monkeypatch):
    monkeypatch.setattr(gtool.chat.in_redis, "CLAIMS", 3)
    with opened(url) as one:
        for number in range(10):
            one.store.put_claim(claim(f"user{number}"))
        assert len(one.store._found) == 3


# --- rooms and notes


def test_a_new_room_is_one_for_all(two):
    one, other = two
    wait_until(lambda: has_listened(one, other), "both to listen")
    one.store.add_room("new")
    wait_until(lambda: "new" in other.store.rooms(), "the room")
    assert list(one.store.rooms()) == ["a", "b", "new"]


def test_rooms_survive_a_restart(url):
    with opened(url) as one:
        one.store.add_room("new")
    with opened(url) as again:
        wait_until(lambda: "new" in again.store.rooms(), "the room")


def has_listened(*made: Opened) -> bool:
    made[0].store.tell({"ping": 1})
    return all({"ping": 1} in one.notes for one in made)


def test_what_one_tells_is_told_to_all(two):
    one, other = two
    wait_until(lambda: has_listened(one, other), "both to listen")
    one.store.tell({"room": "ä", "note": {"typing": {"user": "bob"}}})
    wait_until(lambda: {"room": "ä", "note": {"typing": {"user": "bob"}}} in other.notes, "the note")


@pytest.mark.parametrize("data", ["rubbish", "[1]", "5", "\xff", ""])
def test_a_note_that_is_none_is_passed_over(redis_server, url, data):
    with opened(url) as one:
        wait_until(lambda: has_listened(one), "it to listen")
        redis_server.call("PUBLISH", "chat:notes", data.encode("latin-1"))
        redis_server.call("PUBLISH", "chat:notes", '{"x": 1}')
        with gevent.Timeout(2):
            while {"x": 1} not in one.notes:
                gevent.sleep(0.01)


# --- Redis away, and back


def test_while_redis_is_away_nothing_can_be_posted_and_that_is_said(redis_server, url):
    with opened(url) as one:
        post(one.store, "before")
        redis_server.kill()
        with pytest.raises(Unavailable):
            post(one.store, "x")
        assert (one.store.trouble.startswith("cannot "), texts(one.store)) == (True, ["before"])
        redis_server.start()
        wait_until(lambda: _can_post(one.store, "after"), "Redis to be back")
        wait_until(lambda: not one.store.trouble, "an end of the trouble")
        assert texts(one.store) == ["before", "after"]
        wait_until(lambda: has_listened(one), "it to listen again")  # as in come_back()


def come_back(redis_server: RedisServer, one: Opened) -> None:
    """Start Redis again, and wait for all connections: one that is being made when a test ends stays open."""
    redis_server.start()
    one.notes.clear()
    wait_until(lambda: has_listened(one), "it to listen again")
    wait_until(lambda: _can_post(one.store, "last") and not one.store.trouble, "an end of the trouble")


def _can_post(store: InRedis, text: str) -> bool:
    try:
        post(store, text, "once")
    except Unavailable:
        return False
    return True


def test_what_others_post_after_it_is_back_comes(redis_server, two):
    one, other = two
    post(one.store, "1")
    redis_server.kill()
    wait_until(lambda: other.store.trouble, "trouble")
    redis_server.start()
    wait_until(lambda: _can_post(one.store, "2"), "Redis to be back")
    wait_until(lambda: texts(one.store) == texts(other.store) == ["1", "2"], "both")
    wait_until(lambda: has_listened(one, other), "both to listen again")  # as in come_back()


def test_notes_come_again_after_it_is_back(redis_server, two):
    one, other = two
    wait_until(lambda: has_listened(one, other), "both to listen")
    redis_server.kill()
    wait_until(lambda: one.store.trouble and other.store.trouble, "trouble")
    redis_server.start()
    other.notes.clear()
    wait_until(lambda: has_listened(one, other), "both to listen again")


WRITES: list[Callable[[InRedis], object]] = [
    lambda store: store.put_claim(claim()),
    lambda store: store.drop_claim(claim()),
    lambda store: store.add_room("new"),
    lambda store: store.find_claim("never asked for"),
]


@pytest.mark.parametrize("write", WRITES, ids=["put_claim", "drop_claim", "add_room", "find_claim"])
def test_while_redis_is_away_that_is_an_error_that_may_pass(redis_server, url, write):
    with opened(url) as one:
        redis_server.kill()
        with pytest.raises(Unavailable):
            write(one.store)
        assert "new" not in one.store.rooms()
        come_back(redis_server, one)


def test_while_redis_is_away_a_claim_that_is_known_is_one(redis_server, url, monkeypatch):
    monkeypatch.setattr(gtool.chat.in_redis, "CLAIM_S", 0.0)
    with opened(url) as one:
        one.store.put_claim(claim())
        redis_server.kill()
        assert one.store.find_claim("bob")
        come_back(redis_server, one)


def test_while_redis_is_away_telling_is_no_error(redis_server, url):
    with opened(url) as one:
        redis_server.kill()
        one.store.tell({"x": 1})
        come_back(redis_server, one)


def test_rooms_of_a_store_that_opens_while_redis_is_away_are_there_when_it_is_back(redis_server, url, monkeypatch):
    monkeypatch.setattr(gtool.chat.in_redis, "ROOMS_S", 0.05)
    monkeypatch.setattr(gtool.chat.in_redis, "TRIES", 1)
    redis_server.kill()
    made = Opened(url, ["own"], None, 10)
    try:
        wait_until(lambda: made.store.trouble.startswith("cannot write"), "a room that can't be written")
        come_back(redis_server, made)
        wait_until(lambda: b"own" in redis_server.call("SMEMBERS", "chat:rooms"), "the room")
    finally:
        made.close()


def test_a_store_that_opens_while_redis_is_away_is_loaded_when_it_is_back(redis_server, url):
    with opened(url) as one:
        post(one.store, "x")
    redis_server.kill()
    made = Opened(url, ["a"], None, 10)
    try:
        wait_until(lambda: made.store.trouble, "trouble")
        assert not made.store.is_loaded
        redis_server.start()
        assert texts(made.loaded()) == ["x"]
        wait_until(lambda: has_listened(made), "it to listen")  # as in come_back()
    finally:
        made.close()
