"""The pages without JavaScript: a name, the rooms, a room, and a form."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from markupsafe import escape

from gtool.chat.run import Settings
from gtool.chat.store import InMemory
from gtool.web.guard import Guard
from tests.chat.served import Served, serving

HTML = "Accept: text/html"
SAY = "/api/rooms/a/messages"


@pytest.fixture
def chat() -> Iterator[Served]:
    with serving() as made:
        yield made


@pytest.fixture
def bob(chat) -> str:
    return chat.claim("bob")


# --- a name


def test_the_first_page_has_a_form_for_a_name(chat):
    page = chat.get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert re.search(r'<form[^>]*method="post"[^>]*>.*<input[^>]*name="name"', page.text, re.DOTALL)


def test_who_chooses_a_name_is_sent_to_the_rooms_with_its_session(chat):
    answer = chat.post_form("/", name="bob")
    assert (answer.status, answer.headers["location"]) == (303, "./bob")
    assert chat.get("/api/session", answer.cookie).json == {"names": ["bob"]}


def test_a_name_of_any_letters_is_sent_on_too(chat):
    assert chat.post_form("/", name="jürgen").headers["location"] == "./j%C3%BCrgen"


def test_a_session_is_out_of_reach_of_scripts_and_other_sites(chat):
    cookie = chat.post_form("/", name="bob").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize(
    ("name", "status"), [("", 400), ("a/b", 400), ("<script>alert(1)</script>", 400), ("bob", 409)]
)
def test_a_name_that_can_not_be_had_is_asked_for_again(chat, bob, name, status):
    page = chat.post_form("/", name=name)
    assert (page.status, 'role="alert"' in page.text, "<script>alert" in page.text) == (status, True, False)


def test_who_has_a_name_may_go_on_under_it(chat, bob):
    assert "./bob" in chat.get("/", bob).text
    assert chat.post_form("/", bob, name="bob").headers["location"] == "./bob"


def test_going_to_a_name_that_is_free_claims_it(chat):
    answer = chat.get("/bob")
    assert (answer.status, chat.get("/api/session", answer.cookie).json) == (200, {"names": ["bob"]})


def test_going_to_ones_own_name_claims_nothing_anew(chat, bob):
    assert "set-cookie" not in chat.get("/bob", bob).headers


@pytest.mark.parametrize("path", ["/bob", "/a/bob"])
def test_nobody_goes_to_the_name_of_somebody_else(chat, bob, path):
    assert chat.get(path).status == 403


@pytest.mark.parametrize("path", ["/bob", "/a/bob"])
def test_a_link_of_another_site_claims_no_name(chat, path):
    assert chat.get(path, "Sec-Fetch-Site: cross-site").status == 403


def test_leaving_gives_the_name_back(chat, bob):
    answer = chat.post_form("/leave", bob, name="bob")
    assert (answer.status, answer.headers["location"]) == (303, "./")
    assert chat.get("/api/session", bob).json == {"names": []}


def test_nobody_gives_the_name_of_somebody_else_back(chat, bob):
    assert chat.post_form("/leave", chat.claim("anna"), name="bob").status == 403


# --- the rooms


def test_the_rooms_are_links(chat, bob):
    page = chat.get("/bob", bob).text
    assert all(f"./{room}/bob" in page for room in "ab")


def test_who_is_in_a_room_is_shown(chat, bob):
    chat.websocket("/api/ws?room=a", chat.claim("anna"))
    assert "anna" in chat.get("/bob", bob).text


# --- a room


def test_a_room_shows_its_last_25_messages(chat, bob):
    for number in range(30):
        chat.say(f"message-{number}.", user=f"user{number}")
    page = chat.get("/a/bob", bob).text
    assert re.findall(r"message-(\d+)\.", page) == [str(number) for number in range(5, 30)]


def test_a_room_shows_only_its_own(chat, bob):
    chat.say("elsewhere", room="b", user="anna")
    assert "elsewhere" not in chat.get("/a/bob", bob).text


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\"'><img src=x>", "</textarea>", "{{ 7*7 }}", "&amp;"])
def test_markup_in_a_message_is_text(chat, bob, text):
    before = chat.get("/a/bob", bob).text
    chat.say(text, user="anna")
    page = chat.get("/a/bob", bob).text
    assert str(escape(text)) in page
    assert page.count("<script") == before.count("<script")
    assert page.count("</textarea>") == before.count("</textarea>")
    assert "<img" not in page


def test_a_room_that_there_is_not_is_not_found(chat, bob):
    assert chat.get("/none/bob", bob).status == 404


def test_a_page_runs_no_script_of_its_own_text(chat, bob):
    page = chat.get("/a/bob", bob)
    policy = page.headers["content-security-policy"]
    assert ("unsafe-inline" in policy, "default-src" in policy) == (False, True)
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|javascript:", page.text)


@pytest.mark.parametrize("path", ["/", "/bob", "/a/bob"])
def test_pages_are_not_stored(chat, bob, path):
    assert chat.get(path, bob).headers["cache-control"] == "no-store"


# --- the form of a room


def test_a_form_says_something_and_goes_back_to_the_room(chat, bob):
    answer = chat.post_form("/put/a/bob", bob, HTML, message="hello")
    assert (answer.status, answer.headers["location"]) == (303, "../../a/bob")
    assert chat.get(SAY).texts == ["hello"]


def test_a_script_is_answered_with_the_message(chat, bob):
    answer = chat.post_form("/put/a/bob", bob, message="hello")
    assert (answer.status, answer.json["text"], answer.json["user"]) == (201, "hello", "bob")


def test_a_form_that_is_sent_twice_says_it_once(chat, bob):
    key = re.search(r'name="key" value="([^"]+)"', chat.get("/a/bob", bob).text)
    assert key
    for _ in range(2):
        assert chat.post_form("/put/a/bob", bob, HTML, message="hello", key=key[1]).status == 303
    assert chat.get(SAY).texts == ["hello"]


def test_each_form_has_a_key_of_its_own(chat, bob):
    keys = {re.search(r'name="key" value="([^"]+)"', chat.get("/a/bob", bob).text)[1] for _ in range(3)}  # type: ignore[index]
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("path", "status"), [("/put/a/bob", 403), ("/put/none/bob", 404), ("/put/a/none", 404), ("/put/a/%3Cb%3E", 404)]
)
def test_nobody_says_something_as_somebody_else(chat, bob, path, status):
    assert chat.post_form(path, chat.claim("anna"), message="hello").status == status


@pytest.mark.parametrize(("message", "status"), [("", 400), (" \n", 400), ("x" * 5000, 413)])
def test_what_is_no_message_is_refused(chat, bob, message, status):
    assert chat.post_form("/put/a/bob", bob, message=message).status == status


# --- below a path, and in private


def test_pages_below_a_path_lead_nowhere_else():
    with serving(Settings(base_path="/below"), InMemory(["a"], None, 10)) as chat:
        who = chat.get("/below/bob").cookie
        for path in ("/below/", "/below/bob", "/below/a/bob"):
            assert not re.search(r'(href|src|action)="/', chat.get(path, who).text)


@pytest.mark.parametrize(("token", "status"), [("secret", 303), ("wrong", 401), ("", 401), ("ä", 401)])
def test_a_private_server_asks_for_its_token_with_the_name(token, status):
    with serving(Settings(guard=Guard(token="secret"))) as chat:
        assert 'name="token"' in chat.get("/").text
        assert chat.post_form("/", name="bob", token=token).status == status
