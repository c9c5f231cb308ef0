"""The JSON API, request by request; what goes on after its request is in test_streams.py and test_polls.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from gtool.chat.chat import Settings as ChatSettings
from gtool.chat.run import Settings
from gtool.chat.store import InMemory
from tests.chat.served import Served, serving

MESSAGES = "/api/rooms/a/messages"
FREE = ChatSettings(rate=0, allows_new_rooms=True, max_rooms=4)


@pytest.fixture
def chat() -> Iterator[Served]:
    with serving(Settings(chat=FREE)) as made:
        yield made


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json["error"]


# --- rooms


def test_rooms_are_listed_with_their_newest_message_and_how_many_are_there(chat):
    (last,) = chat.say("hello")
    chat.websocket("/api/ws?room=a", chat.claim("bob"))
    assert chat.get("/api/rooms").json == {
        "rooms": [{"name": "a", "newest": last, "users": 1}, {"name": "b", "newest": None, "users": 0}]
    }


def test_a_room_can_be_made(chat):
    answer = chat.post_json("/api/rooms", {"name": "c"})
    assert (answer.status, answer.json) == (201, {"name": "c", "newest": None, "users": 0})
    assert [room["name"] for room in chat.get("/api/rooms").json["rooms"]] == ["a", "b", "c"]


def test_a_room_that_is_there_is_given(chat):
    assert chat.post_json("/api/rooms", {"name": "a"}).status == 200


@pytest.mark.parametrize("name", ["", "a/b", "<b>", None, 5, ["x"], "x" * 33, "api"])
def test_a_room_wants_a_name(chat, name):
    assert chat.post_json("/api/rooms", {"name": name}).status == 400


# --- posting


def test_a_post_is_answered_with_the_message(chat):
    answer = chat.post_json(MESSAGES, {"text": " ä ", "user": "bob"})
    message = answer.json
    assert (answer.status, list(message)) == (201, ["id", "time", "room", "user", "text"])
    assert (message["room"], message["user"], message["text"]) == ("a", "bob", "ä")


def test_without_a_user_it_is_the_sessions(chat):
    assert chat.post_json(MESSAGES, {"text": "x"}, chat.claim("Bob")).json["user"] == "Bob"


def test_without_a_user_and_a_session_nobody_posts(chat):
    status, error = refusal(chat.post_json(MESSAGES, {"text": "x"}))
    assert (status, "it is not said who posts" in error) == (401, True)


@pytest.mark.parametrize("user", ["bob", "BOB", "b\u043eb"])
def test_under_a_name_that_is_claimed_nobody_else_posts(chat, user):
    chat.claim("bob")
    assert chat.post_json(MESSAGES, {"text": "x", "user": user}).status == 403


def test_a_key_posts_once(chat):
    answers = [
        chat.post_json(MESSAGES, {"text": "x", "user": "bob"}, "Idempotency-Key: k") for _ in range(3)
    ]  # fmt: skip
    assert {(answer.status, answer.json["id"]) for answer in answers} == {(201, answers[0].json["id"])}
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]
    assert chat.get(MESSAGES).texts == ["x"]


def test_a_key_is_for_one_message(chat):
    chat.post_json(MESSAGES, {"text": "x", "user": "bob"}, "Idempotency-Key: k")
    assert chat.post_json(MESSAGES, {"text": "y", "user": "bob"}, "Idempotency-Key: k").status == 422


def test_a_key_is_its_users_own(chat):
    for user in ("bob", "anna"):
        chat.post_json(MESSAGES, {"text": "x", "user": user}, "Idempotency-Key: k")
    assert chat.get(MESSAGES).texts == ["x", "x"]


@pytest.mark.parametrize("text", ["", " ", "\n", "\u200b", "\u202e", None, 5, ["x"], {"a": 1}, True])
def test_a_text_is_wanted(chat, text):
    assert chat.post_json(MESSAGES, {"text": text, "user": "bob"}).status == 400


def test_a_text_that_is_too_long_is_refused(chat):
    assert refusal(chat.post_json(MESSAGES, {"text": "x" * 5000, "user": "bob"})) == (
        413,
        "a message has up to 4096 bytes",
    )


@pytest.mark.parametrize(
    "body", [b"", b"rubbish", b"[]", b"1", b"null", b'"x"', b'{"text": "x"', b"\xff", b"[" * 60_000, b'{"a": NaN']
)
def test_an_object_is_wanted(chat, body):
    answer = chat.ask("POST", MESSAGES, "Content-Type: application/json", body=body)
    assert (answer.status, "a JSON object is wanted" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_json_has_to_be_said_to_be_json(chat, kind):
    answer = chat.ask("POST", MESSAGES, f"Content-Type: {kind}", body=b'{"text": "x", "user": "bob"}')
    assert refusal(answer) == (415, "Content-Type: application/json is wanted")


@pytest.mark.parametrize("room", ["none", "a%2Fb", "%00", "%FF", "..", "<b>"])
def test_a_room_that_there_is_not_is_not_found(chat, room):
    assert chat.post_json(f"/api/rooms/{room}/messages", {"text": "x", "user": "bob"}).status == 404


def test_a_room_is_found_by_a_name_that_can_not_be_told_from_its_own(chat):
    assert chat.post_json("/api/rooms/A/messages", {"text": "x", "user": "bob"}).json["room"] == "a"


@pytest.mark.parametrize("text", ["<script>", "a\nb", '"', "\u202eabc", "日本", "\\", "😀"])
def test_text_is_text(chat, text):
    chat.say(text)
    assert chat.get(MESSAGES).texts == [text]


# --- lists


@pytest.fixture
def ids(chat) -> list[str]:
    found = []
    for number in range(6):
        found += chat.say(f"m{number}", room="ab"[number % 2])
    return found


def test_a_list_is_the_last_messages_of_the_room_in_order(chat, ids):
    answer = chat.get(MESSAGES)
    assert (answer.texts, answer.json["cursor"], answer.json["recovered"]) == (["m0", "m2", "m4"], ids[-1], True)


def test_a_list_has_as_many_as_wanted(chat, ids):
    assert chat.get(f"{MESSAGES}?limit=2").texts == ["m2", "m4"]


def test_before_an_id_there_are_older_ones(chat, ids):
    assert chat.get(f"{MESSAGES}?before={ids[4]}&limit=1").texts == ["m2"]


def test_since_an_id_there_are_newer_ones(chat, ids):
    assert chat.get(f"{MESSAGES}?since={ids[0]}").texts == ["m2", "m4"]


def test_since_all_there_are_all(chat, ids):
    assert chat.get(f"{MESSAGES}?since=all").texts == ["m0", "m2", "m4"]


def test_pages_are_gone_through_by_the_cursor(chat, ids):
    texts, cursor = [], "all"
    while found := (answer := chat.get(f"{MESSAGES}?since={cursor}&limit=1")).texts:
        texts += found
        cursor = answer.json["cursor"]
    assert texts == ["m0", "m2", "m4"]


@pytest.mark.parametrize("since", ["other:1", "EPOCH:999"])
def test_since_an_id_that_is_not_kept_is_said_to_be_so(chat, ids, since):
    answer = chat.get(f"{MESSAGES}?since={since.replace('EPOCH', ids[0].partition(':')[0])}")
    assert (answer.json["recovered"], answer.texts) == (False, ["m0", "m2", "m4"])


def test_before_an_id_that_is_of_other_messages_there_is_nothing(chat, ids):
    assert chat.get(f"{MESSAGES}?before=other:3").status == 410


@pytest.mark.parametrize("query", ["since=x", "before=x", "since=1", "since=a%20b:1", "before=:1"])
def test_an_id_that_is_none_is_refused(chat, query):
    status, error = refusal(chat.get(f"{MESSAGES}?{query}"))
    assert (status, "is no id" in error) == (400, True)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "501", "1.5", "1" * 100, "%C2%B2", "+1"])
@pytest.mark.parametrize("path", [MESSAGES, "/api/search"])
def test_a_limit_is_a_number_that_is_not_too_large(chat, path, limit):
    status, error = refusal(chat.get(f"{path}?q=x&limit={limit}"))
    assert (status, error) == (400, "limit: a number from 1 to 500 is wanted")


# --- search


def test_search_finds_words_in_all_rooms_the_newest_first(chat):
    chat.say("red apple")
    chat.say("green apples", room="b")
    chat.say("pear")
    assert chat.get("/api/search?q=apple").texts == ["green apples", "red apple"]


def test_search_finds_messages_with_all_of_the_words(chat):
    chat.say("red apple", "green apple")
    assert chat.get("/api/search?q=RED+apple").texts == ["red apple"]


def test_search_may_be_in_some_rooms(chat):
    chat.say("apple one")
    chat.say("apple two", room="b")
    assert chat.get("/api/search?q=apple&room=b").texts == ["apple two"]


def test_search_goes_on_before_an_id(chat):
    last = chat.say("apple 1", "apple 2", "apple 3")[-1]
    assert chat.get(f"/api/search?q=apple&before={last}&limit=1").texts == ["apple 2"]


@pytest.mark.parametrize("query", ["", "?q=", "?q=%20", "?q=*", "?q=%22", "?q=--"])
def test_search_wants_words(chat, query):
    assert refusal(chat.get(f"/api/search{query}")) == (400, "q: words to look for are wanted")


@pytest.mark.parametrize("path", ["/api/search?q=x&room=none", "/api/presence?room=none"])
def test_a_room_that_is_asked_for_has_to_be_there(chat, path):
    assert chat.get(path).status == 404


# --- who is here


def test_presence_is_by_room(chat):
    chat.websocket("/api/ws?room=a", chat.claim("bob"))
    assert chat.get("/api/presence").json == {"rooms": {"a": ["bob"], "b": []}, "counts": {"a": 1, "b": 0}}
    assert chat.get("/api/presence?room=b").json == {"rooms": {"b": []}, "counts": {"b": 0}}


def test_typing_is_told_to_those_in_the_room(chat):
    there, elsewhere = chat.websocket("/api/ws?room=a"), chat.websocket("/api/ws?room=b")
    answer = chat.post_json("/api/rooms/a/typing", {}, chat.claim("bob"))
    chat.say("after", room="b", user="carl")
    assert (answer.status, there.note("typing")) == (204, {"room": "a", "user": "bob"})
    while "text" not in (told := elsewhere.json()):
        assert "typing" not in told


def test_nobody_types_under_the_name_of_somebody_else(chat):
    chat.claim("bob")
    assert chat.post_json("/api/rooms/a/typing", {"user": "bob"}).status == 403


# --- sessions


def test_a_session_is_a_token_and_a_cookie(chat):
    answer = chat.post_json("/api/session", {"name": "bob"})
    assert (answer.status, answer.json["name"]) == (201, "bob")
    for proof in (f"Authorization: Bearer {answer.json['token']}", answer.cookie):
        assert chat.get("/api/session", proof).json == {"names": ["bob"]}


def test_a_cookie_is_for_requests_of_the_site_only(chat):
    cookie = chat.post_json("/api/session", {"name": "bob"}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("name", ["bob", "Bob", " bob "])
def test_a_name_that_is_taken_is_not_given_again(chat, name):
    chat.claim("bob")
    assert refusal(chat.post_json("/api/session", {"name": name}))[0] == 409


@pytest.mark.parametrize("name", ["", "a/b", "<script>", "api", "x" * 33, None, 5, ["x"]])
def test_a_name_that_is_none_is_refused(chat, name):
    assert chat.post_json("/api/session", {"name": name}).status == 400


@pytest.mark.parametrize(
    "proof", ["", "Authorization: Bearer x", "Authorization: Bearer Ym9i.x", "Cookie: gtool_chat_x=Ym9i.x"]
)
def test_without_a_proof_there_is_no_name(chat, proof):
    chat.claim("bob")
    assert chat.get("/api/session", *([proof] if proof else [])).json == {"names": []}


def test_a_session_that_has_ended_is_one_no_more(chat):
    who = chat.claim("bob")
    assert chat.ask("DELETE", "/api/session", who).status == 204
    assert chat.get("/api/session", who).json == {"names": []}
    chat.claim("bob")


def test_of_several_sessions_one_can_be_ended(chat):
    cookies = [chat.post_json("/api/session", {"name": name}).cookie for name in ("anna", "bob")]
    both = f"{cookies[0]}; {cookies[1].removeprefix('Cookie: ')}"
    assert chat.ask("DELETE", "/api/session?name=anna", both).status == 204
    assert chat.get("/api/session", both).json == {"names": ["bob"]}


def test_nobody_ends_the_session_of_somebody_else(chat):
    who = chat.claim("bob")
    assert chat.ask("DELETE", "/api/session?name=bob", chat.claim("anna")).status == 403
    assert chat.get("/api/session", who).json == {"names": ["bob"]}


# --- answers


@pytest.mark.parametrize("path", ["/api/rooms", MESSAGES, "/api/search?q=x", "/api/presence", "/api/session"])
def test_what_changes_is_not_stored(chat, path):
    headers = chat.get(path).headers
    assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")


def test_what_can_not_be_kept_is_to_be_tried_again():
    from gtool.streams.log import Unavailable

    class Full(InMemory):
        def post(self, *args: Any) -> Any:
            raise Unavailable("the disk is full")

    with serving(store=Full(["a"], None, 10)) as chat:
        answer = chat.post_json(MESSAGES, {"text": "x", "user": "bob"})
        assert refusal(answer) == (503, "the store is away: the disk is full")
        assert (answer.headers["retry-after"], chat.get(MESSAGES).texts) == ("1", [])


def test_a_room_with_an_odd_name_is_reached():
    with serving(store=InMemory(["über.room-1"], None, 10)) as chat:
        chat.say("x", room="über.room-1")
        assert chat.get(f"/api/rooms/{quote('über.room-1')}/messages").texts == ["x"]
