"""The chat server by its requests and answers: the seed's routes, the JSON API, who may do what how often, the end."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.chat import (
    A_BROWSERS,
    FORM,
    ROOM,
    UNLIMITED,
    Client,
    Reply,
    Script,
    came_in,
    chat,
    following,
    ids,
    joined,
    note,
    take,
    take_to_end,
    texts,
    token_of,
    told_by,
)
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import metrics, plain, read_answer, wait_until
from tests.e2e.ws import request as request_bytes

HTML = {"Accept": A_BROWSERS}
SECRET = "wh1sper-it"


@pytest.fixture(params=["memory", "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GtoolServer]:
    store = tmp_path / "chat.db" if request.param == "sqlite" else "memory:"
    with chat(store=store) as running:
        yield running
        assert "a bug in gtool" not in running.err


def rooms_of(server: GtoolServer) -> list[str]:
    return [room["name"] for room in Client(server).get("/api/rooms").json["rooms"]]


# --- the seed's routes


def test_the_first_page_asks_for_a_name(server):
    reply = Client(server).get("/")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert '<input id="name" name="name"' in reply.text


def test_who_has_chosen_a_name_is_sent_to_the_rooms(server):
    client = Client(server)
    reply = client.form("/", name="ann")
    assert (reply.status, reply.headers["Location"]) == (303, "./ann")
    page = client.get("/ann").text
    assert all(f'href="./{room}/ann"' in page for room in (ROOM, "topic2"))


def test_a_room_shows_its_last_25_messages():
    with chat(*UNLIMITED) as server:
        client = came_in(server, "ann")
        said = [client.said(f"m{number}") for number in range(30)]
        client.said("elsewhere", "topic2")
        page = client.get(f"/{ROOM}/ann").text
        assert re.findall(r'data-id="([^"]+)"', page) == said[-25:]


def test_a_put_is_answered_with_the_message_and_its_id(server):
    reply = came_in(server, "ann").form(f"/put/{ROOM}/ann", message="hello")
    assert reply.status == 201
    assert set(reply.json) == {"id", "room", "user", "text", "time"}
    assert (reply.json["room"], reply.json["user"], reply.json["text"]) == (ROOM, "ann", "hello")
    assert abs(reply.json["time"] - time.time()) < 60


def test_a_browsers_form_is_sent_back_to_the_room(server):
    client = came_in(server, "ann")
    reply = client.form(f"/put/{ROOM}/ann", HTML, message="hello")
    assert (reply.status, reply.headers["Location"]) == (303, f"../../{ROOM}/ann")


def test_a_form_that_is_sent_twice_says_its_message_once(server):
    client = came_in(server, "ann")
    found = re.search(r'name="key" value="([^"]+)"', client.get(f"/{ROOM}/ann").text)
    assert found
    assert [client.form(f"/put/{ROOM}/ann", HTML, message="once", key=found[1]).status for _ in range(2)] == [303, 303]
    assert texts(client.messages()) == ["once"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nope/ann"), ("POST", "/put/nope/ann"), ("POST", "/poll/nobody"), ("POST", f"/put/{ROOM}/nobody"),
     ("POST", "/poll/ann?room=nope"), ("GET", "/api/rooms/nope/messages"), ("POST", "/api/rooms/nope/messages"),
     ("GET", "/api/presence?room=nope"), ("GET", "/api/search?q=x&room=nope"), ("GET", "/api/stream?room=nope"),
     ("GET", "/api/stream?as=nobody"), ("GET", "/api/nope"), ("GET", "/a/b/c"), ("POST", "/api/rooms/nope/typing")],
)  # fmt: skip
def test_an_unknown_room_user_or_page_is_404_in_a_sentence(method: str, path: str):
    with chat() as server:
        client = came_in(server, "ann")
        if "/api/" in path and method == "POST":
            reply = client.send(path, {"text": "x"})
        else:
            reply = client.ask(method, path, "message=x" if method == "POST" else None, {"Content-Type": FORM})
        assert reply.status == 404
        assert "there is no " in reply.text


def test_a_way_of_asking_that_there_is_not_is_405_and_says_which_there_are(server):
    reply = Client(server).ask("PUT", "/api/rooms")
    assert (reply.status, "POST" in reply.headers["Allow"]) == (405, True)


# --- the API


def test_rooms_are_listed_with_what_is_newest_and_how_many_are_there(server):
    id_ = came_in(server, "ann").said("x")
    assert Client(server).get("/api/rooms").json == {
        "rooms": [{"name": ROOM, "newest": id_, "users": 0}, {"name": "topic2", "newest": None, "users": 0}]
    }


def test_a_list_is_the_last_messages_in_order():
    with chat(*UNLIMITED) as server:
        said = [came_in(server, "ann").said("m")]
        said += [Client(server).said("m", user="bob") for _ in range(60)]
        found = Client(server).get(f"/api/rooms/{ROOM}/messages").json
        assert (ids(found["messages"]), found["cursor"], found["recovered"]) == (said[-50:], said[-1], True)


def test_a_list_goes_back_before_and_on_after_an_id():
    with chat(*UNLIMITED) as server:
        client = came_in(server, "ann")
        said = [client.said(f"m{number}") for number in range(10)]
        assert ids(client.messages(before=said[5], limit=3)) == said[2:5]
        assert ids(client.messages(since=said[5], limit=3)) == said[6:9]
        page = client.get(f"/api/rooms/{ROOM}/messages", since=said[5], limit=3).json
        assert page["cursor"] == said[8]
        assert ids(client.messages(since="all")) == said
        assert client.messages(since=said[-1]) == []


def test_before_an_id_of_another_epoch_there_is_nothing_any_more(server):
    assert Client(server).get(f"/api/rooms/{ROOM}/messages", before="another:5").status == 410


def test_search_finds_words_and_their_beginnings_in_all_rooms_or_some_the_newest_first(server):
    client = came_in(server, "ann")
    one, two = client.said("The Quick brown fox"), client.said("quickly now, fox", "topic2")
    client.said("nothing of it")
    assert ids(client.get("/api/search", q="quick FOX").json["messages"]) == [two, one]
    assert ids(client.get("/api/search", q="quick", room="topic2").json["messages"]) == [two]
    assert ids(client.get("/api/search", q="quick", limit=1).json["messages"]) == [two]
    assert ids(client.get("/api/search", q="quick", before=two).json["messages"]) == [one]
    assert client.get("/api/search", q="quick slow").json["messages"] == []


def test_who_reads_a_room_is_present_for_as_long(server):
    client = came_in(server, "ann")
    with joined(server, room=ROOM) as witness:
        with joined(server, client, room=ROOM, as_="ann"):
            note(witness, "presence", lambda told: told["users"] == ["ann"])
            assert client.get("/api/presence", room=ROOM).json["rooms"] == {ROOM: ["ann"]}
        note(witness, "presence", lambda told: told["users"] == [])
    assert client.get("/api/presence").json["rooms"] == {ROOM: [], "topic2": []}


def test_who_has_two_tabs_is_present_until_the_last_is_closed(server):
    client = came_in(server, "ann")
    with joined(server, client, room=ROOM, as_="ann"):
        with joined(server, client, room=ROOM, as_="ann"):
            pass
        wait_until(lambda: metrics(server)["open_connections"] == 2)
        assert client.get("/api/presence", room=ROOM).json["rooms"][ROOM] == ["ann"]


@pytest.mark.timeout(90)
def test_who_polls_no_more_is_present_no_more():
    with chat() as server, joined(server, room=ROOM) as witness:
        client = came_in(server, "ann")
        cursor = client.get(f"/api/rooms/{ROOM}/messages").json["cursor"]
        client.said("x")
        assert client.poll("ann", room=ROOM, cursor=cursor).status == 200
        note(witness, "presence", lambda told: told["users"] == ["ann"])
        note(witness, "presence", lambda told: told["users"] == [])


def test_who_types_is_told_to_those_in_the_room_only(server):
    client = came_in(server, "ann")
    with joined(server, room=ROOM) as here, joined(server, room="topic2") as elsewhere:
        assert client.send(f"/api/rooms/{ROOM}/typing", {}).status == 204
        assert note(here, "typing") == {"room": ROOM, "user": "ann"}
        client.send("/api/rooms/topic2/typing", {})
        assert note(elsewhere, "typing") == {"room": "topic2", "user": "ann"}


def test_a_session_is_begun_shown_and_ended(server):
    client = Client(server)
    reply = client.send("/api/session", {"name": "ann"})
    assert (reply.status, set(reply.json), reply.json["name"]) == (201, {"name", "token"}, "ann")
    assert client.get("/api/session").json == {"names": ["ann"]}
    assert client.ask("DELETE", "/api/session").status == 204
    assert client.cookies == {}
    assert Client(server).send("/api/session", {"name": "ann"}).status == 201


def test_health_is_ok(server):
    assert Client(server).get("/healthz").text == "ok\n"


def test_metrics_count_messages(server):
    came_in(server, "ann").said("x")
    assert metrics(server)["chat_last_offset"] == 1


# --- a post that is sent again


def keyed(client: Client, text: str, key: str = "k", **fields: str) -> Reply:
    return client.post(text, headers={"Idempotency-Key": key}, **fields)


def test_a_retry_has_the_answer_of_the_first_and_says_so(server):
    client = came_in(server, "ann")
    first, second = keyed(client, "once"), keyed(client, "once")
    assert (first.status, second.status) == (201, 201)
    assert first.json == second.json
    assert (first.headers["Idempotency-Replayed"], second.headers["Idempotency-Replayed"]) == (None, "true")
    assert len(client.messages()) == 1


@pytest.mark.parametrize("other", [{"text": "two"}, {"text": "one", "room": "topic2"}])
def test_another_message_with_the_same_key_is_a_conflict(other: dict[str, str]):
    with chat() as server:
        client = came_in(server, "ann")
        keyed(client, "one")
        room = other.get("room", ROOM)
        assert client.post(other["text"], room, {"Idempotency-Key": "k"}).status == 422


def test_keys_of_two_users_are_two(server):
    assert [keyed(Client(server), "x", user=name).status for name in ("ann", "bob")] == [201, 201]
    assert len(Client(server).messages()) == 2


def test_retries_at_once_say_it_once(tmp_path: Path):
    with chat(*UNLIMITED, store=tmp_path / "chat.db") as server, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: keyed(Client(server), "once", user="ann"), range(32)))
        assert {reply.status for reply in found} == {201}
        assert len({reply.json["id"] for reply in found}) == 1
        assert len(Client(server).messages()) == 1


# --- how often, how long, how many


def test_a_user_may_post_20_at_once_and_is_told_how_long_to_wait():
    with chat("--post-rate", "1/m") as server:
        client = came_in(server, "ann")
        assert [client.post("x").status for _ in range(21)] == [201] * 20 + [429]
        reply = client.post("x")
        assert 1 <= int(reply.headers["Retry-After"]) <= 60
        assert came_in(server, "bob").post("x").status == 201


def test_who_waits_as_long_as_it_is_told_may_post_again():
    with chat("--post-rate", "2/s", "--post-burst", "1") as server:
        client = came_in(server, "ann")
        client.said("x")
        assert client.post("x").headers["Retry-After"] == "1"
        wait_until(lambda: client.post("x").status == 201, "a post")


def test_an_address_may_post_ten_times_what_a_user_may():
    with chat("--post-rate", "1/m", "--post-burst", "2") as server:
        client = Client(server)
        statuses = [client.post("x", user=f"u{number}").status for number in range(22)]
        assert statuses == [201] * 20 + [429] * 2


def test_a_form_and_the_api_share_a_users_rate():
    with chat("--post-rate", "1/m", "--post-burst", "1") as server:
        client = came_in(server, "ann")
        client.said("x")
        assert client.form(f"/put/{ROOM}/ann", message="x").status == 429


def test_the_longest_message_can_be_chosen():
    with chat("--max-message", "10") as server:
        client = came_in(server, "ann")
        assert [client.post("x" * size).status for size in (10, 11)] == [201, 413]


def test_a_message_longer_than_64k_can_be_allowed():
    with chat("--max-message", "200k") as server:
        assert came_in(server, "ann").post("x" * 100_000).status == 201


def test_no_more_messages_are_kept_than_max_messages():
    with chat(*UNLIMITED, "--max-messages", "5") as server:
        said = [Client(server).said(f"m{number}", user="ann") for number in range(12)]
        assert ids(Client(server).messages(since="all")) == said[-5:]


def test_what_is_older_than_retain_is_gone_after_a_restart(tmp_path: Path):
    path = tmp_path / "chat.db"
    with chat(store=path) as server:
        Client(server).said("old", user="ann")
        server.stop()
    with chat("--retain", "1ms", store=path) as server:
        wait_until(lambda: Client(server).messages(since="all") == [], "nothing")
        assert Client(server).get("/api/search", q="old").json["messages"] == []


# --- rooms


def test_rooms_are_those_of_the_options():
    with chat("--room", "builds", "--room", "lunch") as server:
        assert rooms_of(server) == ["builds", "lunch"]


def test_new_rooms_are_refused_unless_allowed(server):
    assert Client(server).send("/api/rooms", {"name": "builds"}).status == 403


def test_a_new_room_is_201_and_200_when_it_is_there_already():
    with chat("--allow-new-rooms") as server:
        found = [Client(server).send("/api/rooms", {"name": "builds"}) for _ in range(2)]
        assert [reply.status for reply in found] == [201, 200]
        assert found[0].json == {"name": "builds", "newest": None, "users": 0}
        assert came_in(server, "ann").post("x", "builds").status == 201


def test_there_are_no_more_than_max_rooms():
    with chat("--allow-new-rooms", "--max-rooms", "3") as server:
        assert [Client(server).send("/api/rooms", {"name": name}).status for name in ("a", "b")] == [201, 403]


def test_an_address_makes_five_rooms_at_once_at_most():
    with chat("--allow-new-rooms") as server:
        found = [Client(server).send("/api/rooms", {"name": f"r{number}"}) for number in range(6)]
        assert [reply.status for reply in found] == [201] * 5 + [429]
        assert found[-1].headers["Retry-After"]


# --- names


def test_a_cookie_is_for_the_server_only(server):
    reply = Client(server).form("/", name="ann")
    cookie = reply.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert "Secure" not in cookie


def test_two_names_in_one_browser_are_both_its_own(server):
    client = came_in(server, "ann")
    assert client.form("/", name="bob").status == 303
    assert sorted(client.get("/api/session").json["names"]) == ["ann", "bob"]
    for name in ("ann", "bob"):
        assert client.post("x", user=name).json["user"] == name
        assert client.form(f"/put/{ROOM}/{name}", message="y").json["user"] == name
    assert client.post("who?").status == 401


def test_a_name_that_is_left_is_free_and_its_session_no_good(server):
    client = came_in(server, "ann")
    old = dict(client.cookies)
    assert client.form("/leave", name="ann").status == 303
    assert client.cookies == {}
    again = came_in(server, "ann")
    client.cookies = old
    assert client.post("x", user="ann").status == 403
    assert again.post("x").status == 201


def test_a_link_to_a_room_claims_a_free_name(server):
    client = Client(server)
    assert client.get(f"/{ROOM}/ann").status == 200
    assert client.form(f"/put/{ROOM}/ann", message="x").status == 201


def test_a_script_posts_under_a_name_that_nobody_has(server):
    assert Client(server).post("x", user="ci").json["user"] == "ci"
    assert Client(server).post("x").status == 401


def test_a_bearer_token_is_a_session(server):
    script = Script(server, token_of(server, "bot"))
    assert script.post("x").json["user"] == "bot"
    with joined(server, script, room=ROOM, as_="bot"):
        wait_until(lambda: script.get("/api/presence", room=ROOM).json["rooms"][ROOM] == ["bot"])


# --- a private server


@pytest.fixture
def private(tmp_path: Path) -> Iterator[GtoolServer]:
    (tmp_path / "token").write_text(f"{SECRET}\n")
    with chat("--token", tmp_path / "token") as server:
        yield server


@pytest.mark.parametrize(
    "path",
    [
        "/ann",
        f"/{ROOM}/ann",
        "/api/rooms",
        f"/api/rooms/{ROOM}/messages",
        "/api/search?q=x",
        "/api/presence",
        "/api/session",
        "/api/stream",
        "/metrics",
        "/nope",
        "//",
        "/./",
    ],
)
def test_a_private_server_tells_strangers_nothing(private, path: str):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {SECRET}"}):
        reply = Client(private).get(path, headers)
        assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "path", [f"/put/{ROOM}/ann", "/poll/ann", "/api/session", f"/api/rooms/{ROOM}/messages", "/leave", "/api/rooms"]
)
def test_a_private_server_takes_nothing_from_strangers(private, path: str):
    assert Client(private).send(path, {"name": "eve", "user": "eve", "text": "x"}).status == 401
    assert Client(private).form(path, name="eve", message="x").status == 401


def test_a_private_server_opens_no_websocket_to_strangers(private):
    with pytest.raises(InvalidStatus, match="401"):
        joined(private).close()


@pytest.mark.parametrize("path", ["/", "/healthz", "/static/page.css"])
def test_the_door_of_a_private_server_is_open(private, path: str):
    assert Client(private).get(path).status == 200


def test_a_browser_comes_in_by_the_form_with_the_token(private):
    client = Client(private)
    assert [client.form("/", name="ann", token=token).status for token in ("", "wrong")] == [401, 401]
    assert client.cookies == {}
    assert client.form("/", name="ann", token=SECRET).status == 303
    assert client.post("x").status == 201
    with joined(private, client, room=ROOM, since="all") as socket_:
        assert texts(take(socket_, 1)) == ["x"]


def test_a_script_comes_in_with_the_token_as_bearer(private):
    script = Script(private, SECRET)
    assert script.post("x", user="ci").status == 201
    with following(private, f"Authorization: Bearer {SECRET}", since="all") as events:
        assert texts(told_by(events, 1)) == ["x"]
    assert Client(private).get("/metrics", {"Authorization": f"Bearer {SECRET}"}).status == 200


def test_a_session_is_enough_to_come_in(private):
    token = Script(private, SECRET).send("/api/session", {"name": "bot"}).json["token"]
    assert Script(private, token).post("x").json["user"] == "bot"


def test_a_session_that_was_given_back_is_not_enough(private):
    token = Script(private, SECRET).send("/api/session", {"name": "bot"}).json["token"]
    assert Script(private, token).ask("DELETE", "/api/session").status == 204
    assert Script(private, token).get("/api/rooms").status == 401


# --- below a path, over TLS


def test_all_is_there_below_a_base_path():
    with chat("--base-path", "/chat") as server:
        reply = Client(server).form("/chat/", name="ann")
        assert (reply.status, "Path=/chat" in reply.headers["Set-Cookie"]) == (303, True)
        client = came_in(server, "bob", base="/chat")
        assert client.get("/bob").status == 200
        assert client.form(f"/put/{ROOM}/bob", message="x").status == 201
        assert client.poll("bob", cursor="another:1").status == 200
        assert client.get("/healthz").status == 200
        with joined(server, client, base="/chat", since="all") as socket_:
            assert texts(take(socket_, 1)) == ["x"]
        assert Client(server).get("/bob").status == 404


def test_over_tls_a_cookie_is_for_tls_only(certificate: Path, trusting: ssl.SSLContext):
    with chat("--tls-cert", certificate) as server:
        client = Client(server, trusting=trusting)
        assert "Secure" in client.form("/", name="ann").headers["Set-Cookie"]
        assert client.post("x").status == 201
        assert texts(client.poll("ann", cursor="another:1").json["messages"]) == ["x"]


# --- the end


def test_a_websocket_is_told_that_the_server_goes_and_it_ends_with_0(server):
    with joined(server, room=ROOM) as client:
        client.ping().wait()
        ended = server.stop()
        assert take_to_end(client)[1] == 1001
    assert ended.code == 0


def test_a_poll_that_waits_is_answered_at_once_when_the_server_goes(server):
    client = came_in(server, "ann")
    cursor = client.get(f"/api/rooms/{ROOM}/messages").json["cursor"]
    body = urlencode({"cursor": cursor, "room": ROOM})
    lines = [f"{name}: {value}" for name, value in client.own_headers.items()]
    with plain(server) as sock:
        lines += [f"Content-Type: {FORM}", f"Content-Length: {len(body)}"]
        sock.sendall(request_bytes("/poll/ann", *lines, method="POST") + body.encode())
        wait_until(lambda: client.get("/api/presence").json["rooms"][ROOM] == ["ann"])
        begun = time.monotonic()
        ended = server.stop()
        answer = read_answer(sock)
        assert time.monotonic() - begun < 5
    assert (answer.status, answer.json["messages"], answer.json["cursor"]) == (200, [], cursor)
    assert ended.code == 0


def test_an_event_stream_ends_with_the_server(server):
    with following(server, room=ROOM) as events:
        assert server.stop().code == 0
        assert [event for event in events if event.kind == "message"] == []
