"""Two processes that serve the same rooms, with a real redis-server between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.e2e.chat import (
    ROOM,
    UNLIMITED,
    Client,
    Script,
    all_messages,
    came_in,
    chat,
    following,
    ids,
    joined,
    kill,
    note,
    polled,
    posting,
    take,
    texts,
    token_of,
    told_by,
)
from tests.e2e.redis_server import RedisServer, redis_server_fixture  # noqa: F401  for the arguments of tests
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import wait_until

pytestmark = pytest.mark.needs("redis-server")

STREAM = "rooms"


def serving(redis_server: RedisServer, *args: str) -> Any:
    return chat(*UNLIMITED, *args, store=redis_server.url(STREAM))


def wait_until_loaded(server: GtoolServer) -> GtoolServer:
    wait_until(lambda: Client(server).get("/healthz").status == 200, "health")
    return server


@contextmanager
def two(redis_server: RedisServer, *args: str) -> Iterator[tuple[GtoolServer, GtoolServer]]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(serving(redis_server, *args)) for _ in range(2))
        yield wait_until_loaded(one), wait_until_loaded(other)


@pytest.fixture
def pair(redis_server: RedisServer) -> Iterator[tuple[GtoolServer, GtoolServer]]:
    with two(redis_server, "--allow-new-rooms") as found:
        yield found
        assert not any("a bug in gtool" in server.err for server in found)


def start_of(server: GtoolServer) -> str:
    return str(Client(server).get(f"/api/rooms/{ROOM}/messages").json["cursor"])


# --- messages


def test_what_is_posted_at_one_is_read_at_the_other_by_each_way_with_the_same_ids(pair):
    one, other = pair
    reader, start = came_in(other, "reader"), start_of(other)
    with joined(other, room=ROOM, since=start) as socket_, following(other, room=ROOM, since=start) as events:
        said = [Client(one).said(f"m{number}", user="ann") for number in range(10)]
        assert ids(take(socket_, 10)) == ids(told_by(events, 10)) == ids(polled(reader, "reader", 10, start)) == said


def test_both_have_one_order(pair):
    one, other = pair
    with posting(one, other, count=6) as posters:
        wait_until(lambda: len(posters.acknowledged) >= 200, "200 posts")
    wait_until(lambda: len(all_messages(one)) == len(all_messages(other)) == len(posters.acknowledged))
    assert all_messages(one) == all_messages(other)


def test_a_poster_finds_its_own_message_at_once(pair):
    one, _ = pair
    client = Client(one)
    for number in range(20):
        id_ = client.said(f"m{number}", user="ann")
        assert ids(client.messages(limit=1)) == [id_]


def test_a_reader_changes_from_one_to_the_other_during_a_burst(pair):
    cursor = start_of(pair[0])
    found: list[dict[str, Any]] = []
    with posting(*pair, count=4):
        for server in itertools.islice(itertools.cycle(pair), 8):
            with joined(server, room=ROOM, since=cursor) as client:
                found += take(client, 30)
            cursor = found[-1]["id"]
    assert found == all_messages(pair[0])[: len(found)]


def test_search_and_history_at_one_have_what_was_posted_at_the_other(pair):
    one, other = pair
    id_ = Client(one).said("a brown fox", user="ann")
    wait_until(lambda: ids(Client(other).messages()) == [id_])
    assert ids(Client(other).get("/api/search", q="brown").json["messages"]) == [id_]


def test_a_process_that_starts_later_has_what_was_said_before(redis_server):
    with serving(redis_server) as one:
        id_ = Client(one).said("before", user="ann")
        kill(one)
    with serving(redis_server) as later:
        wait_until_loaded(later)
        assert ids(Client(later).messages()) == [id_]


def test_an_idempotency_key_counts_at_both(pair):
    found = [Client(server).post("once", headers={"Idempotency-Key": "k"}, user="ann") for server in pair]
    assert [reply.status for reply in found] == [201, 201]
    assert found[0].json["id"] == found[1].json["id"]
    assert found[1].headers["Idempotency-Replayed"] == "true"
    assert len(all_messages(pair[0])) == 1


def test_an_idempotency_key_of_another_message_is_a_conflict_at_both(pair):
    for server, text, status in zip(pair, ("a", "b"), (201, 422), strict=True):
        assert Client(server).post(text, headers={"Idempotency-Key": "k"}, user="ann").status == status


# --- who is where


def test_who_is_at_one_is_present_at_the_other(pair):
    one, other = pair
    ann = came_in(one, "ann")
    with joined(other, room=ROOM) as witness:
        with joined(one, ann, room=ROOM, as_="ann"):
            note(witness, "presence", lambda told: told["users"] == ["ann"])
        note(witness, "presence", lambda told: told["users"] == [])


def test_who_types_at_one_is_seen_at_the_other(pair):
    one, other = pair
    ann = came_in(one, "ann")
    with joined(other, room=ROOM) as witness:
        assert ann.send(f"/api/rooms/{ROOM}/typing", {}).status == 204
        assert note(witness, "typing") == {"room": ROOM, "user": "ann"}


# --- names and rooms


def test_a_name_that_is_claimed_at_one_is_taken_at_the_other(pair):
    one, other = pair
    token_of(one, "ann")
    assert Client(other).form("/", name="Ann").status == 409
    assert Client(other).post("x", user="ann").status == 403


def test_a_session_of_one_is_good_at_the_other(pair):
    one, other = pair
    assert Script(other, token_of(one, "ann")).post("x").json["user"] == "ann"


def test_a_session_is_good_at_the_other_though_that_has_just_looked_for_the_name(pair):
    one, other = pair
    assert Client(other).poll("ann").status == 404
    assert Script(other, token_of(one, "ann")).post("x", user="ann").status == 201


def test_nobody_posts_under_a_name_that_was_just_claimed_at_the_other(pair):
    one, other = pair
    assert Client(other).post("still free", user="ann").status == 201
    token_of(one, "ann")
    assert Client(other).post("not mine", user="ann").status == 403


def test_of_those_who_choose_a_name_at_both_at_once_one_has_it(pair):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda server: Client(server).form("/", name="ann").status, pair * 5))
    assert sorted(found) == [303, *[409] * 9]


def test_a_name_that_was_given_back_at_one_is_soon_free_at_the_other(pair):
    one, other = pair
    assert came_in(one, "ann").form("/leave", name="ann").status == 303
    wait_until(lambda: Client(other).form("/", name="ann").status == 303, "a free name")


def test_a_room_that_is_made_at_one_is_there_at_the_other(pair):
    one, other = pair
    assert Client(one).send("/api/rooms", {"name": "builds"}).status == 201
    wait_until(lambda: Client(other).post("x", "builds", user="ann").status == 201, "the room")


# --- the end of one


def test_what_one_acknowledged_before_it_was_killed_is_at_the_other(redis_server):
    with two(redis_server) as (one, other), posting(one, other, count=20) as posters:
        wait_until(lambda: len(posters.acknowledged) >= 200, "200 posts")
        kill(one)
        wait_until(lambda: posters.unanswered, "a poster that noticed")
        posters.end()
        wait_until(lambda: posters.acknowledged.keys() <= set(texts(all_messages(other))), "all that was acknowledged")
        replies = posters.retry(other)
        assert {reply.status for reply in replies.values()} == {201}
        said = texts(all_messages(other))
        assert sorted(said) == sorted({*posters.acknowledged, *posters.unanswered})


def test_readers_of_one_that_was_killed_go_on_at_the_other_with_their_cursor(redis_server):
    with two(redis_server) as (one, other):
        start = start_of(one)
        with posting(other, count=4):
            with joined(one, room=ROOM, since=start) as client:
                had = take(client, 50)
                kill(one)
            with following(other, f"Last-Event-ID: {had[-1]['id']}", room=ROOM) as events:
                had += told_by(events, 50)
        assert had == all_messages(other)[: len(had)]


# --- Redis away and back


def test_while_redis_is_away_posts_are_503_and_reading_goes_on(redis_server, pair):
    one, _ = pair
    client = came_in(one, "ann")
    client.said("kept")
    redis_server.kill()
    reply = client.post("lost")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert texts(Client(one).messages()) == ["kept"]
    with joined(one, since="all") as socket_, following(one, since="all") as events:
        assert texts(take(socket_, 1)) == texts(told_by(events, 1)) == ["kept"]
    assert texts(client.poll("ann", cursor=f"{start_of(one).partition(':')[0]}:0").json["messages"]) == ["kept"]


def test_while_redis_is_away_health_is_503_and_then_200_again(redis_server, pair):
    one, _ = pair
    redis_server.kill()
    wait_until(lambda: Client(one).get("/healthz").status == 503, "trouble")
    redis_server.start()
    wait_until_loaded(one)


def test_readers_miss_nothing_when_redis_is_back(redis_server, pair):
    one, other = pair
    with joined(other, room=ROOM) as client:
        Client(one).said("before", user="ann")
        redis_server.kill()
        assert Client(one).post("lost", user="ann").status == 503
        redis_server.start()
        wait_until(
            lambda: Client(one).post("after", headers={"Idempotency-Key": "k"}, user="ann").status == 201, "a post"
        )
        assert texts(take(client, 2)) == ["before", "after"]


def test_a_new_name_while_redis_is_away_is_503_and_free_later(redis_server, pair):
    one, _ = pair
    redis_server.kill()
    assert Client(one).form("/", name="ann").status == 503
    redis_server.start()
    wait_until(lambda: Client(one).form("/", name="ann").status == 303, "a free name")


# --- what others have written into the stream


@pytest.mark.parametrize(
    "fields",
    [
        ("data", "no topic"),
        pytest.param(("data", "no json", "topic", ROOM), id="no json"),
        pytest.param(("data", "[1, 2]", "topic", ROOM), id="no object"),
        pytest.param(("data", '{"text": 5}', "topic", ROOM), id="no message"),
        pytest.param(("data", b"\xff\xfe", "topic", ROOM), id="no utf-8"),
        pytest.param(("other", "x"), id="no data"),
        pytest.param(("data", "", "topic", ROOM), id="empty"),
    ],
)
def test_a_foreign_entry_in_the_stream_is_no_message(redis_server, pair, fields):
    one, other = pair
    redis_server.call("XADD", STREAM, "*", *fields)
    id_ = Client(one).said("mine", user="ann")
    client = came_in(other, "bob")
    wait_until(lambda: id_ in other_ids(other), "the message")
    assert texts(Client(other).messages()) == ["mine"]
    assert client.get(f"/{ROOM}/bob", {"Accept": "text/html"}).status == 200
    assert Client(other).get("/api/search", q="mine").status == 200
    with joined(other, since="all") as socket_:
        assert texts(take(socket_, 1)) == ["mine"]


def other_ids(server: GtoolServer) -> str:
    return Client(server).get(f"/api/rooms/{ROOM}/messages").text
