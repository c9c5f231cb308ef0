"""To whom a request goes, who may make it, and how it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import gtool.chat.app
from gtool.chat.run import Settings
from gtool.chat.store import InMemory
from gtool.streams.log import Unavailable
from gtool.web.guard import Guard
from tests.chat.served import Served, serving

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
SAY = "/api/rooms/a/messages"
MESSAGE = {"text": "x", "user": "bob"}


@pytest.fixture
def chat() -> Iterator[Served]:
    with serving() as made:
        yield made


@pytest.fixture
def private() -> Iterator[Served]:
    with serving(Settings(guard=Guard(token="secret"))) as made:
        yield made


# --- what goes where


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/bob", 200),
        ("GET", "/a/bob", 200),
        ("GET", "/api/rooms", 200),
        ("GET", "/api/stream?room=none", 404),
        ("GET", "/none/of/these", 404),
        ("GET", "/none/bob", 404),
        ("GET", "/api/none", 404),
        ("POST", "/poll/bob", 404),
        ("DELETE", "/api/rooms", 405),
        ("PUT", "/", 405),
    ],
)
def test_each_path_has_its_answer(chat, method, path, status):
    assert chat.ask(method, path).status == status


def test_what_can_be_done_instead_is_told(chat):
    assert chat.ask("DELETE", "/api/rooms").headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize("path", ["/", "/bob", "/a/bob", "/api/rooms", "/none/of/these", "/api/none"])
def test_no_answer_is_taken_for_something_else(chat, path):
    headers = chat.get(path).headers
    assert (headers["x-content-type-options"], headers["cross-origin-resource-policy"]) == ("nosniff", "same-origin")
    assert "no-referrer" in headers["referrer-policy"] or headers["referrer-policy"] == "same-origin"


# --- how it is refused


def test_below_api_a_refusal_is_json(chat):
    answer = chat.get("/api/none", BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert list(answer.json) == ["error"]


def test_below_api_a_refusal_at_the_door_is_json(private):
    assert "the token is missing" in private.get("/api/rooms").json["error"]


def test_to_a_browser_a_refusal_is_a_page_that_runs_nothing(chat):
    answer = chat.get("/none/%3Cscript%3Ealert(1)%3C%2Fscript%3E", BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert ("<script>alert" in answer.text, "content-security-policy" in answer.headers) == (False, True)


def test_to_a_script_a_refusal_is_a_sentence(chat):
    answer = chat.get("/none/bob")
    assert (answer.headers["content-type"], answer.text) == (
        "text/plain; charset=utf-8",
        "there is no room none\n",
    )


@pytest.mark.parametrize("path", [SAY, "/put/a/bob", "/", "/api/session"])
def test_a_body_that_is_too_long_is_not_read(chat, path):
    sock = chat.send("POST", path, f"Content-Length: {1 << 30}", "Content-Type: application/json", "Connection: close")
    assert sock.recv(15).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("size", [gtool.chat.app.MOST_SENT, gtool.chat.app.MOST_SENT + 1])
def test_a_body_has_up_to_64_kib(chat, size):
    body = b'{"user": "bob", "text": "' + b" " * (size - 28) + b'x"}'
    answer = chat.ask("POST", SAY, "Content-Type: application/json", body=body)
    assert (len(body), "a request has up to" in answer.text) == (
        size,
        size > gtool.chat.app.MOST_SENT,
    )


def test_a_store_that_is_away_is_to_be_tried_again():
    class Away(InMemory):
        def find_claim(self, key: str) -> Any:
            raise Unavailable("no answer")

    with serving(store=Away(["a"], None, 10)) as chat:
        for answer in (
            chat.post_json(SAY, MESSAGE),
            chat.get("/api/rooms", "Authorization: Bearer YQ.b"),
            chat.get("/bob"),
            chat.ask("POST", "/poll/bob"),
            chat.get("/api/stream?as=bob"),
        ):
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert "the store is away: no answer" in answer.text


# --- who may


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "rubbish"])
@pytest.mark.parametrize("path", ["/", "/api/rooms", "/bob"])
def test_a_page_of_another_site_gets_nothing(chat, path, origin):
    assert chat.get(path, f"Origin: {origin}").status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "rubbish"])
def test_a_form_of_another_site_is_not_taken(chat, site):
    who = chat.claim("bob")
    for path in ("/put/a/bob", "/leave", "/"):
        answer = chat.post_form(path, who, f"Sec-Fetch-Site: {site}", message="x", name="bob")
        assert (answer.status, "a form of another site can't be sent here" in answer.text) == (403, True)
    assert chat.get(SAY).texts == []


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_form_of_our_own_is_taken(chat, site):
    assert chat.post_form("/put/a/bob", chat.claim("bob"), f"Sec-Fetch-Site: {site}", message="x").status < 400


@pytest.mark.parametrize("path", ["/", "/api/rooms"])
def test_a_link_of_another_site_may_lead_here(chat, path):
    assert chat.get(path, "Sec-Fetch-Site: cross-site").status == 200


def test_a_host_that_is_not_ours_gets_nothing(chat):
    assert chat.get("/", "Host: evil.example").status == 403


@pytest.mark.parametrize("path", ["/bob", "/a/bob", "/api/rooms", SAY, "/api/search?q=x", "/api/stream", "/api/none"])
def test_a_private_server_shows_nothing_without_its_token(private, path):
    answer = private.get(path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("path", ["/put/a/bob", "/poll/bob", SAY, "/api/session", "/api/rooms"])
def test_a_private_server_takes_nothing_without_its_token(private, path):
    assert private.post_json(path, MESSAGE | {"name": "bob"}).status == 401


def test_where_one_chooses_a_name_is_open(private):
    assert private.get("/").status == 200


@pytest.mark.parametrize("way", ["Authorization: Bearer secret", "?token=secret"])
def test_with_the_token_one_may_enter(private, way):
    answer = private.get("/api/rooms" + way) if way[0] == "?" else private.get("/api/rooms", way)
    assert answer.status == 200


def test_a_session_is_enough_to_enter(private):
    answer = private.post_json("/api/session", {"name": "bob"}, "Authorization: Bearer secret")
    assert private.get("/api/rooms", answer.cookie).status == 200
