"""What a chat makes of bad input and bad peers: text stays text, nobody is somebody else, and no request ends it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus

from tests.conftest import TIMEOUT_S, run_gtool, skip_unless_all
from tests.e2e.chat import (
    A_BROWSERS,
    FORM,
    JSON,
    LOOPBACK,
    ROOM,
    UNLIMITED,
    Client,
    Reply,
    Script,
    all_messages,
    came_in,
    chat,
    following,
    joined,
    not_started,
    take,
    texts,
    token_of,
    told_by,
)
from tests.e2e.probes import is_dropped
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import ask_bytes, plain, read_answer, wait_until
from tests.e2e.ws import request as request_bytes

SCRIPT = "<script>alert(1)</script>"
HTML = {"Accept": A_BROWSERS}
OTHER_SITE = "http://evil.example"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.db"


@pytest.fixture
def server(path: Path) -> Iterator[GtoolServer]:
    """A chat in a file, as most are; it has to be alive at the end, and without a bug in its log."""
    with chat(*UNLIMITED, store=path) as running:
        yield running
        assert is_well(running)


@pytest.fixture(scope="module")
def everybodys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GtoolServer]:
    with chat(*UNLIMITED, "--allow-new-rooms", store=tmp_path_factory.mktemp("chat") / "chat.db") as running:
        yield running


@pytest.fixture
def shared(everybodys: GtoolServer) -> Iterator[GtoolServer]:
    """One for all tests that are only refused; it has to be alive after each, and without a bug in its log."""
    yield everybodys
    assert is_well(everybodys)


@pytest.fixture(scope="module")
def somebody(everybodys: GtoolServer) -> Client:
    """Who has the name of ann there."""
    return came_in(everybodys, "ann")


@pytest.fixture
def ann(shared: GtoolServer, somebody: Client) -> Client:
    return somebody


def is_well(server: GtoolServer) -> bool:
    """Whether it still answers, and has found no bug in itself."""
    assert server.process.poll() is None, server.err
    assert Client(server).get("/healthz").status == 200
    assert "a bug in gtool" not in server.err, server.err
    return True


def api_post(server: GtoolServer, body: bytes | str, **headers: str) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(server).ask("POST", f"/api/rooms/{ROOM}/messages", body, {"Content-Type": JSON, **given})


def by_each_way(client: Client, text: str) -> list[Reply]:
    """Post it as ann, by the API and by a form."""
    return [client.post(text), client.form(f"/put/{ROOM}/ann", message=text)]


# --- messages


@pytest.mark.parametrize(
    "text", ["", " ", "\n\r\n\t", "\u3000\u2028\u00a0", "\u200b\u2060", "\u202e\u200f", "\0", "\x07\x1b", "\ufeff"]
)
def test_a_message_that_shows_nothing_is_refused(ann: Client, text: str):
    assert [reply.status for reply in by_each_way(ann, text)] == [400, 400]


def test_a_message_of_four_kib_is_kept(server: GtoolServer):
    assert [reply.status for reply in by_each_way(came_in(server, "ann"), "x" * 4096)] == [201, 201]


@pytest.mark.parametrize("text", ["x" * 4097, "x" * 5120, "\u00e9" * 2049, "\N{PILE OF POO}" * 1025])
def test_a_message_of_more_than_four_kib_of_utf_8_is_refused(ann: Client, text: str):
    before = ann.messages()
    replies = by_each_way(ann, text)
    assert [reply.status for reply in replies] == [413, 413]
    assert "4096" in replies[1].text
    assert ann.messages() == before


@pytest.mark.parametrize("character", ["\0", "\x01", "\x07", "\x08", "\x1b", "\x7f", "\x85", "\x9b"])
def test_a_control_character_is_shown_as_one_that_is_none(server: GtoolServer, character: str):
    for reply in by_each_way(came_in(server, "ann"), f"a{character}b"):
        assert reply.json["text"] == "a\N{REPLACEMENT CHARACTER}b"


def test_line_breaks_and_tabs_are_kept(server: GtoolServer):
    assert came_in(server, "ann").post("a\r\nb\rc\n\td").json["text"] == "a\nb\nc\n\td"


def test_invalid_utf_8_in_json_is_refused(server: GtoolServer):
    assert api_post(server, b'{"user": "ann", "text": "a\xff\xfeb"}').status == 400


def test_half_a_surrogate_pair_in_json_is_replaced(server: GtoolServer):
    reply = api_post(server, '{"user": "ann", "text": "a\\ud800b"}')
    assert (reply.status, reply.json["text"]) == (201, "a\N{REPLACEMENT CHARACTER}b")
    with joined(server, since="all") as client:
        assert texts(take(client, 1)) == ["a\N{REPLACEMENT CHARACTER}b"]


def test_invalid_utf_8_in_a_form_is_written_in_a_way_that_is_valid(server: GtoolServer):
    client = came_in(server, "ann")
    reply = client.ask("POST", f"/put/{ROOM}/ann", b"message=a%ff%feb", {"Content-Type": FORM})
    assert (reply.status, reply.json["text"]) == (201, "a%FF%FEb")
    assert texts(client.messages()) == ["a%FF%FEb"]


@pytest.mark.parametrize("where", ["/%ff%fe", "/%00", "/a%0d%0ab", f"/{ROOM}/%ff", "/%ed%a0%80/x", f"/{ROOM}/%00"])
def test_a_path_of_odd_bytes_is_refused_in_a_sentence(shared: GtoolServer, where: str):
    reply = Client(shared).get(where)
    assert reply.status == 404
    assert 10 < len(reply.text) < 200


def test_a_path_of_raw_bytes_is_refused(shared: GtoolServer):
    assert ask_bytes(shared, b"GET /\xff\xfe\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 404


def test_a_query_of_percent_encoded_rubbish_finds_nothing(shared: GtoolServer):
    reply = Client(shared).get("/api/search?q=%ff%e9")
    assert (reply.status, reply.json) == (200, {"messages": []})
    assert Client(shared).get("/api/stream?room=%ff%e9").status == 404


def test_a_query_of_raw_bytes_is_refused(shared: GtoolServer):
    data = b"GET /api/search?q=\xff\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert ask_bytes(shared, data).status == 400


def test_a_right_to_left_mark_stays_where_it_is_and_its_page_isolates_it(server: GtoolServer):
    client = came_in(server, "ann")
    assert client.post("a\u202eb").json["text"] == "a\u202eb"
    page = client.get(f"/{ROOM}/ann", HTML).text
    assert re.search(r'<bdi class="text">a\u202eb</bdi>', page)


# --- text is text


@pytest.mark.parametrize(
    "text", [SCRIPT, '"><img src=x onerror=alert(1)>', "{{ 7*7 }}", "</bdi></li></ol>", "&lt;b&gt;"]
)
def test_a_page_shows_a_message_as_it_is_written(server: GtoolServer, text: str):
    import html

    client = came_in(server, "ann")
    client.said(text)
    page = client.get(f"/{ROOM}/ann", HTML).text
    found = re.search(r'<bdi class="text">(.*?)</bdi>', page, re.DOTALL)
    assert found
    assert "<" not in found[1]
    assert html.unescape(found[1]) == text


def test_a_page_has_a_policy_that_lets_no_inline_script_run(server: GtoolServer):
    client = came_in(server, "ann")
    for path in ("/", "/ann", f"/{ROOM}/ann", "/nope/ann"):
        policy = client.get(path, HTML).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        page = client.get(path, HTML).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=", page), path


PAGES = ("/", "/bob")


@pytest.mark.parametrize(
    "path", [*PAGES, "/api/rooms", "/nope/x", f"/api/rooms/{ROOM}/messages", "/api/ws", "/healthz"]
)
def test_every_answer_has_the_headers_that_make_it_harmless(shared: GtoolServer, path: str):
    headers = Client(shared).get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == ("same-origin" if path in PAGES else "no-referrer")


@pytest.mark.parametrize(
    "where",
    [f"/{quote(SCRIPT, safe='')}", f"/{quote('<b>')}/ann", f"/{ROOM}/{quote('<b>')}", f"/put/{quote('<b>')}/ann"],
)
def test_an_error_shows_markup_as_text(shared: GtoolServer, where: str):
    client = Client(shared)
    for reply in (client.get(where, HTML), client.form(where, HTML, message="x")):
        assert reply.status in (404, 405)
        assert "<b>" not in reply.text
        assert SCRIPT not in reply.text


def test_a_name_with_markup_that_was_not_taken_is_shown_as_text(shared: GtoolServer):
    reply = Client(shared).form("/", name='"><script>alert(1)</script>')
    assert reply.status == 400
    assert "<script>alert" not in reply.text
    assert "&#34;&gt;" in reply.text


def test_json_does_not_become_a_page(server: GtoolServer):
    came_in(server, "ann").said(SCRIPT)
    reply = Client(server).get(f"/api/rooms/{ROOM}/messages", HTML)
    assert reply.headers["Content-Type"] == JSON


def test_an_event_of_several_lines_is_one(server: GtoolServer):
    client = came_in(server, "ann")
    client.said("a\n\ndata: b\nid: 7\n\n\nc\u2028d")
    with following(server, since="all") as events:
        assert texts(told_by(events, 1)) == ["a\n\ndata: b\nid: 7\n\n\nc\u2028d"]


# --- names

NO_NAMES = [
    "",
    " ",
    "a/b",
    "a b",
    "<b>",
    "a\0b",
    "a\nb",
    "a\u202eb",
    "\u200b",
    "..",
    "-a",
    "a.",
    "a" * 33,
    "api",
    "POLL",
    "\u0430pi",
    "a\ud800",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_nobodys(shared: GtoolServer, name: str):
    reply = Client(shared).send("/api/session", {"name": name})
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert Client(shared).form("/", name=name.replace("\ud800", "/")).status == 400
    assert api_post(shared, json.dumps({"user": name, "text": "x"})).status == 400


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_no_rooms(shared: GtoolServer, name: str):
    assert Client(shared).send("/api/rooms", {"name": name}).status == 400


@pytest.mark.parametrize("name", [None, 1, True, ["a"], {"a": 1}, 1.5])
def test_a_name_that_is_no_text_is_refused(shared: GtoolServer, name: Any):
    assert Client(shared).send("/api/session", {"name": name}).status == 400
    if name is not None:
        assert api_post(shared, json.dumps({"user": name, "text": "x"})).status == 400
        assert api_post(shared, json.dumps({"user": "carl", "text": name})).status == 400


@pytest.mark.parametrize(
    "name",
    ["\u00c9lodie", "\u65e5\u672c", "\u0645\u0631\u062d\u0628\u0627", "a.b-c_d", "x" * 32, "\u0928\u0940\u0924\u093e"],
)
def test_names_of_any_script_are_names(server: GtoolServer, name: str):
    client = came_in(server, name)
    assert client.post("me").json["user"] == name
    assert client.get(f"/{ROOM}/{quote(name)}").status == 200


LIKE_ANN = ["ANN", "Ann", "\u0430nn", "\uff41nn", "\U0001d41ann", "ann "]


@pytest.mark.parametrize("name", LIKE_ANN)
def test_a_name_that_looks_like_one_that_is_taken_is_taken(shared: GtoolServer, ann: Client, name: str):
    assert Client(shared).form("/", name=name).status == 409
    assert Client(shared).send("/api/session", {"name": name}).status == 409
    assert api_post(shared, json.dumps({"user": name, "text": "x"})).status == 403
    assert Client(shared).poll(name.strip()).status == 403


def test_a_room_that_looks_like_another_is_refused():
    with chat("--allow-new-rooms", "--room", "news") as server:
        assert [
            Client(server).send("/api/rooms", {"name": name}).status for name in ("NEWS", "n\u0435ws", "\uff4eews")
        ] == [409] * 3


def test_of_rooms_that_look_alike_and_are_made_at_once_there_is_one(path: Path):
    names = ["news", "News", "NEWS", "nEws", "neWs"]
    with chat("--allow-new-rooms", store=path) as server, ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda name: Client(server).send("/api/rooms", {"name": name}), names))
        rooms = [room["name"] for room in Client(server).get("/api/rooms").json["rooms"]]
        assert len(rooms) == 3, rooms


def test_of_those_who_choose_a_name_at_once_one_has_it(server: GtoolServer):
    names = ["ann", "Ann", "ANN", "\u0430nn"] * 3
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda name: Client(server).form("/", name=name).status, names))
    assert sorted(found) == [303, *[409] * 11]


# --- bodies


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "1", "true", "", "{", '{"text": "x"', "{'text': 'x'}", "NaN"])
@pytest.mark.parametrize(
    "path", [f"/api/rooms/{ROOM}/messages", "/api/rooms", "/api/session", f"/api/rooms/{ROOM}/typing"]
)
def test_json_that_is_no_object_is_refused(shared: GtoolServer, path: str, body: str):
    reply = Client(shared).ask("POST", path, body, {"Content-Type": JSON})
    assert (reply.status, "object" in reply.json["error"]) == (400, True)


@pytest.mark.parametrize("body", ["[" * 60_000, '{"a":' * 12_000, '{"text":' + "[" * 20_000 + "]" * 20_000 + "}"])
def test_deep_json_is_refused(shared: GtoolServer, ann: Client, body: str):
    assert api_post(shared, body).status == 400
    assert ann.ask("POST", "/poll/ann", body[:8000], {"Content-Type": JSON}).status == 400


def test_a_number_of_many_digits_is_refused(shared: GtoolServer):
    assert api_post(shared, f'{{"user": "ann", "text": {"1" * 6000}}}').status == 400


@pytest.mark.parametrize(
    "kind", ["text/plain", FORM, "multipart/form-data; boundary=x", "application/xml", "application/jsonp", ""]
)
def test_the_api_takes_json_only(shared: GtoolServer, kind: str):
    reply = api_post(shared, '{"user": "ann", "text": "x"}', Content_Type=kind)
    assert (reply.status, "application/json" in reply.json["error"]) == (415, True)


@pytest.mark.parametrize("kind", ["text/plain", JSON, "multipart/form-data", ""])
def test_a_form_of_another_kind_says_nothing(ann: Client, kind: str):
    assert ann.ask("POST", f"/put/{ROOM}/ann", "message=x", {"Content-Type": kind}).status == 400


def test_a_message_with_fields_of_no_use_is_kept_without_them(server: GtoolServer):
    found = api_post(server, '{"user": "ann", "text": "x", "id": "7:7", "time": 1, "room": "topic2"}').json
    assert (found["room"], found["id"][-2:], found["time"] > 1) == (ROOM, ":1", True)


@pytest.mark.parametrize(
    "where", [f"/api/rooms/{ROOM}/messages", f"/put/{ROOM}/ann", "/poll/ann", "/", "/api/session", "/nope"]
)
def test_a_body_of_a_gigabyte_is_refused_before_it_comes(shared: GtoolServer, ann: Client, where: str):
    lines = [f"{name}: {value}" for name, value in ann.own_headers.items()]
    with plain(shared) as sock:
        sock.sendall(request_bytes(where, *lines, f"Content-Type: {JSON}", f"Content-Length: {1 << 30}", method="POST"))
        sock.sendall(b"x" * 100)
        answer = read_answer(sock)
        assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize(
    ("length", "status"),
    [*((length, 400) for length in ("-1", "x", "1e3", "+5", "5, 6", "")), ("9" * 40, 413)],
)
def test_a_length_that_is_none_is_refused(shared: GtoolServer, length: str, status: int):
    data = request_bytes(
        f"/api/rooms/{ROOM}/messages", f"Content-Type: {JSON}", f"Content-Length: {length}", method="POST"
    )
    assert ask_bytes(shared, data).status == status


def test_a_body_in_chunks_is_refused(shared: GtoolServer):
    lines = (f"Content-Type: {JSON}", "Transfer-Encoding: chunked")
    data = request_bytes(f"/api/rooms/{ROOM}/messages", *lines, method="POST") + b"5\r\nhello\r\n0\r\n\r\n"
    assert ask_bytes(shared, data).status == 411


@pytest.mark.parametrize("room", ['"\\ud800"', '["a", {"b": 1}]', "{}", "[[[[]]]]", "5"])
def test_a_poll_of_rooms_that_are_none_is_refused(ann: Client, room: str):
    assert ann.ask("POST", "/poll/ann", f'{{"room": {room}}}', {"Content-Type": JSON}).status == 404


# --- cursors and numbers

BAD_CURSORS = ["letters", "a:b", ":", "a:-1", "a:1:2", "1", "a:\u0665", "a:" + "9" * 31, "\0:1", "<b>:1", "a" * 5000]


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_cursor_of_letters_is_refused(shared: GtoolServer, ann: Client, cursor: str):
    assert ann.poll("ann", cursor=cursor).status == 400
    assert ann.get(f"/api/rooms/{ROOM}/messages", since=cursor).status == 400
    assert ann.get(f"/api/rooms/{ROOM}/messages", before=cursor).status == 400
    assert ann.get("/api/stream", since=cursor).status == 400
    with pytest.raises(InvalidStatus):
        joined(shared, since=cursor).close()


@pytest.mark.parametrize("limit", ["0", "-1", "x", "501", "1.5", "\u0662", "1e2", "9" * 300, " 5"])
def test_a_limit_that_is_none_is_refused(shared: GtoolServer, limit: str):
    assert Client(shared).get(f"/api/rooms/{ROOM}/messages", limit=limit).status == 400


def test_a_limit_with_zeros_in_front_is_no_way_around_it(shared: GtoolServer):
    reply = Client(shared).get(f"/api/rooms/{ROOM}/messages", limit="000000001999999")
    assert reply.status == 400


@pytest.mark.parametrize(
    ("query", "status"), [("before={}:99999999999999999999", 200), ("limit=000000001999999999999999999999", 400)]
)
def test_a_number_too_large_for_the_store_does_not_end_the_server(shared: GtoolServer, query: str, status: int):
    client = Client(shared)
    epoch = client.get(f"/api/rooms/{ROOM}/messages").json["cursor"].partition(":")[0]
    assert client.get(f"/api/rooms/{ROOM}/messages?{query.format(epoch)}").status == status


@pytest.mark.parametrize("since", ["{}:99999999999999999999", "{}:0000000001", "-999999999999", "-0", "-1.5"])
def test_a_since_far_away_is_answered(shared: GtoolServer, ann: Client, since: str):
    epoch = ann.get(f"/api/rooms/{ROOM}/messages").json["cursor"].partition(":")[0]
    ann.said("x")
    with joined(shared, since=since.format(epoch), room=ROOM) as client:
        assert client.recv(TIMEOUT_S)


@pytest.mark.parametrize("words", ["_", "a OR b", "a* NEAR(b)", "-a", "text:a", "\0a", "^a", "a\u200bb"])
def test_a_search_for_odd_words_finds_what_has_them_or_nothing(shared: GtoolServer, ann: Client, words: str):
    ann.said("something else")
    reply = Client(shared).get("/api/search", q=words)
    assert (reply.status, reply.json["messages"]) == (200, [])


def test_a_search_for_no_words_is_refused(shared: GtoolServer):
    for query in ("", "?q=", "?q=%20%2b", "?q=!!", "?q=%22", "?q=%cd%85", "?q=("):
        assert Client(shared).get(f"/api/search{query}").status == 400


def test_a_search_for_too_many_words_is_refused(shared: GtoolServer):
    assert Client(shared).get("/api/search", q="+".join("a" * 3000)).status == 414


def test_an_empty_idempotency_key_is_no_key(server: GtoolServer):
    client = Client(server)
    found = [client.post("a", headers={"Idempotency-Key": ""}, user="u1") for _ in range(2)]
    assert [reply.status for reply in found] == [201, 201]
    assert found[0].json["id"] != found[1].json["id"]


@pytest.mark.parametrize("key", ["x" * 5000, "\u00e9\u00ff", "a b", '"quoted"'])
def test_any_idempotency_key_is_a_key(server: GtoolServer, key: str):
    client = came_in(server, "ann")
    found = [client.post("once", headers={"Idempotency-Key": key}) for _ in range(2)]
    assert [reply.status for reply in found] == [201, 201]
    assert found[0].json == found[1].json


# --- other sites


def form_lines(client: Client, *lines: str) -> tuple[list[str], bytes]:
    body = b"message=forged"
    cookies = [f"{name}: {value}" for name, value in client.own_headers.items()]
    return [*cookies, f"Content-Type: {FORM}", f"Content-Length: {len(body)}", *lines], body


FOREIGN = [
    "Origin: null",
    f"Origin: {OTHER_SITE}",
    "Origin: http://localhost:1",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
    "Origin: garbage",
]


@pytest.mark.parametrize("line", FOREIGN)
@pytest.mark.parametrize(
    "path", [f"/put/{ROOM}/ann", "/leave", "/", "/poll/ann", "/api/session", f"/api/rooms/{ROOM}/messages"]
)
def test_a_page_of_another_site_can_do_nothing_in_ones_name(shared: GtoolServer, ann: Client, path: str, line: str):
    before = ann.messages()
    lines, body = form_lines(ann, line)
    assert ask_bytes(shared, request_bytes(path, *lines, method="POST") + body).status == 403
    assert ann.messages() == before
    assert ann.get("/api/session").json["names"] == ["ann"]


@pytest.mark.parametrize("line", FOREIGN[:3])
@pytest.mark.parametrize("path", ["/api/ws", "/api/stream", f"/api/rooms/{ROOM}/messages", "/api/presence"])
def test_a_page_of_another_site_can_read_nothing(ann: Client, path: str, line: str):
    name, _, value = line.partition(": ")
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "A" * 22 + "==",
    }
    assert ann.get(path, {name: value, **upgrade}).status == 403


def test_a_link_of_another_site_claims_no_name(shared: GtoolServer):
    reply = Client(shared).get("/zoe", {"Sec-Fetch-Site": "cross-site"})
    assert (reply.status, reply.headers["Set-Cookie"]) == (403, None)
    assert Client(shared).form("/", name="zoe").status == 303


@pytest.mark.parametrize("line", ["Origin: http://localhost", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"])
def test_ones_own_page_can(shared: GtoolServer, ann: Client, line: str):
    lines, body = form_lines(ann, line)
    assert ask_bytes(shared, request_bytes(f"/put/{ROOM}/ann", *lines, method="POST") + body).status == 201


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example"])
@pytest.mark.parametrize("path", ["/", "/ann", "/api/rooms", "/healthz", "/static/room.js", "/api/stream"])
def test_a_host_that_is_not_ours_is_not_served(shared: GtoolServer, path: str, host: str):
    assert ask_bytes(shared, request_bytes(path, f"Host: {host}")).status == 403


def test_an_origin_that_is_allowed_may_post():
    with chat("--allow-origin", "https://pages.example") as server:
        client = came_in(server, "ann")
        assert client.post("x", headers={"Origin": "https://pages.example"}).status == 201


# --- somebody else's name


def test_nobody_else_posts_polls_or_listens_under_a_name_that_is_taken(server: GtoolServer):
    came_in(server, "ann")
    other = came_in(server, "eve")
    statuses = [
        other.post("x", user="ann").status,
        other.form(f"/put/{ROOM}/ann", message="x").status,
        other.poll("ann").status,
        other.get("/ann").status,
        other.get(f"/{ROOM}/ann").status,
        other.send(f"/api/rooms/{ROOM}/typing", {"user": "ann"}).status,
        other.get("/api/stream", as_="ann", **{"as": "ann"}).status,
        other.ask("DELETE", "/api/session?name=ann").status,
        other.form("/leave", name="ann").status,
    ]
    assert statuses == [403] * 9
    assert Client(server).messages() == []


def forged(token: str) -> list[str]:
    key, _, secret = token.partition(".")
    flipped = ("B" if secret[0] == "A" else "A") + secret[1:]
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return [
        f"{key}.{flipped}",
        f"{key}.",
        f"{key}",
        f"{key}.{digest}",
        f".{secret}",
        f"{key}.{secret}x",
        f"{key}.{secret[:-1]}",
        ".",
        "\\377.\\200",
    ]


def test_a_forged_session_is_nobodys(server: GtoolServer):
    client = came_in(server, "ann")
    ((cookie, token),) = client.cookies.items()
    for wrong in forged(token):
        eve = Client(server)
        eve.cookies = {cookie: wrong}
        assert eve.post("x", user="ann").status == 403, wrong
        assert eve.get("/api/session").json["names"] == [], wrong
        assert Script(server, wrong).post("x", user="ann").status == 403, wrong


def test_a_cookie_that_is_none_is_passed_over(server: GtoolServer):
    for cookie in (
        b"\xff\xfe",
        b"gtool_chat_x=\xff.\xfe",
        b"=;=;;",
        b"gtool_chat_" + b"x" * 4000,
        b'gtool_chat_x="\\377',
    ):
        data = b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + cookie + b"\r\n\r\n"
        assert ask_bytes(server, data).status == 200, cookie


def test_many_cookies_are_no_way_to_keep_it_busy(server: GtoolServer):
    token = came_in(server, "ann").cookies.popitem()[1]
    client = Client(server)
    client.cookies = {f"gtool_chat_{number}": token[:-1] + "x" for number in range(700)}
    assert client.get("/api/session").json["names"] == []


def test_a_secret_does_not_stand_in_the_database(path: Path):
    with chat(store=path) as server:
        secret = token_of(server, "ann").partition(".")[2]
    for file in path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_a_secret_does_not_stand_in_the_log():
    with chat() as server:
        secret = token_of(server, "ann").partition(".")[2]
        Client(server).post("x", headers={"Authorization": f"Bearer x.{secret}"}, user="ann")
        server.stop()
        assert secret not in server.err


# --- too much, too slow


def test_a_flood_of_one_user_is_held_to_its_rate():
    with chat() as server:
        client = came_in(server, "ann")
        statuses = [client.post(f"m{number}").status for number in range(60)]
        assert statuses[:20] == [201] * 20
        assert statuses.count(429) >= 20
        assert len(all_messages(server)) == statuses.count(201)


def test_a_head_that_does_not_come_in_time_is_not_waited_for():
    with chat("--handshake-timeout", "500ms") as server, plain(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert read_answer(sock).status == 408
        assert is_dropped(sock)


@pytest.mark.parametrize("path", [f"/api/rooms/{ROOM}/messages", f"/put/{ROOM}/ann", "/poll/ann", "/"])
def test_a_body_that_does_not_come_in_time_is_not_waited_for(path: str):
    with chat("--handshake-timeout", "500ms") as server:
        client = came_in(server, "ann")
        lines = [f"{name}: {value}" for name, value in client.own_headers.items()]
        lines += [f"Content-Type: {JSON if 'api' in path else FORM}", "Content-Length: 50"]
        with plain(server) as sock:
            sock.sendall(request_bytes(path, *lines, method="POST") + b"{")
            assert is_dropped(sock)
        assert is_well(server)


def test_many_slow_heads_hold_up_nobody():
    with chat("--handshake-timeout", "20s") as server:
        slow = [plain(server) for _ in range(200)]
        try:
            for sock in slow:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nX-A:")
            assert came_in(server, "ann").post("x").status == 201
        finally:
            for sock in slow:
                sock.close()


def test_what_a_websocket_says_is_no_message(server: GtoolServer):
    with joined(server) as client:
        client.send('{"text": "x", "user": "ann", "room": "topic1"}')
        client.send(b"\xff\xfe")
        assert client.ping().wait(TIMEOUT_S)
    assert Client(server).messages() == []


# --- the disk


@contextmanager
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        skip_unless_all("a file system can't be mounted here: that takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill_disk(folder: Path) -> Path:
    ballast = folder / "ballast"
    with open(ballast, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return ballast


def post_until_full(server: GtoolServer) -> Reply:
    """The log of a database has room left in its last pages."""
    client = Client(server)
    for number in range(1000):
        reply = client.post(f"{number} {'x' * 4000}", user="much")
        if reply.status != 201:
            return reply
    raise AssertionError("the disk is not full")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[GtoolServer, Path]]:
    """A chat whose disk is full, and what takes the room there."""
    with small_disk(tmp_path) as folder, chat(*UNLIMITED, store=folder / "chat.db") as server:
        came_in(server, "early").said("kept")
        ballast = fill_disk(folder)
        yield server, ballast
        assert "bug" not in server.err


def test_while_the_disk_is_full_a_post_is_answered_503_with_a_reason(full):
    server, _ = full
    reply = post_until_full(server)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert "full" in reply.json["error"]


def test_while_the_disk_is_full_reading_goes_on(full):
    server, _ = full
    post_until_full(server)
    kept = all_messages(server)
    assert kept[0]["text"] == "kept"
    with joined(server, since="all") as client, following(server, since="all") as events:
        assert take(client, len(kept)) == kept
        assert told_by(events, len(kept)) == kept
    assert Client(server).get("/api/search", q="kept").status == 200
    assert Client(server).get("/api/rooms").status == 200


def test_while_the_disk_is_full_health_says_so(full):
    server, _ = full
    post_until_full(server)
    assert Client(server).get("/healthz").status == 503


def test_posting_goes_on_when_there_is_room_again(full):
    server, ballast = full
    post_until_full(server)
    before = all_messages(server)
    ballast.unlink()
    client = Client(server)
    wait_until(lambda: client.post("again", user="much").status == 201, "a post")
    after = all_messages(server)
    assert after[: len(before)] == before
    assert texts(after)[-1] == "again"
    assert client.get("/healthz").status == 200


def test_what_was_refused_while_the_disk_was_full_is_not_there(full):
    server, ballast = full
    reply = post_until_full(server)
    assert reply.status == 503
    count = len(all_messages(server))
    ballast.unlink()
    wait_until(lambda: Client(server).post("again", user="much").status == 201, "a post")
    assert len(all_messages(server)) == count + 1


def test_a_name_that_could_not_be_kept_is_free_when_there_is_room_again(full):
    server, ballast = full
    post_until_full(server)
    assert Client(server).form("/", name="late").status == 503
    ballast.unlink()
    wait_until(lambda: Client(server).post("again", user="much").status == 201, "a post")
    assert Client(server).form("/", name="late").status == 303


def test_who_came_long_ago_can_read_while_the_disk_is_full(tmp_path: Path):
    with small_disk(tmp_path) as folder:
        file = folder / "chat.db"
        with chat(store=file) as server:
            client = came_in(server, "ann")
            client.said("kept")
            server.stop()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("UPDATE claims SET used_at = used_at - 3600")
            connection.commit()
        with chat(*UNLIMITED, store=file) as server:
            client.server = server
            epoch = Client(server).messages()[0]["id"].partition(":")[0]
            fill_disk(folder)
            post_until_full(server)
            assert client.poll("ann", cursor=f"{epoch}:0").status == 200


# --- databases that can't be used


def one_line(err: str) -> str:
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.fixture
def used(path: Path) -> Path:
    """A database that a chat has left."""
    with chat(store=path) as server:
        came_in(server, "ann").said("kept")
        server.stop()
    return path


def test_a_database_that_another_chat_uses_is_left_to_it(path: Path):
    with chat(store=path) as server:
        code, err = not_started("--store", f"sqlite:{path}")
        assert (code, "another gtool uses it" in one_line(err)) == (1, True)
        assert came_in(server, "ann").post("still here").status == 201


def test_a_chat_whose_store_can_not_be_used_never_says_that_it_is_ready(used: Path):
    other_text(used)
    done = run_gtool("chat", "-l", LOOPBACK, "--store", f"sqlite:{used}")
    assert (done.code, done.out) == (1, b"")


@pytest.mark.parametrize("how", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_database_that_another_program_holds_is_left_to_it(used: Path, how: str):
    with closing(sqlite3.connect(used, isolation_level=None)) as connection:
        connection.execute(f"BEGIN {how}")
        before = used.read_bytes()
        code, err = not_started("--store", f"sqlite:{used}")
        assert (code, "locked" in one_line(err)) == (1, True)
        assert used.read_bytes() == before
        connection.execute("ROLLBACK")


def spoil_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 100] = b"\xaa" * 100
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def other_text(path: Path) -> None:
    path.write_text("this is a letter to my mother\n" * 500)


def other_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entries (a)")
        connection.commit()


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")


@pytest.mark.parametrize("spoil", [spoil_pages, cut_off, other_text, other_program, newer])
def test_a_database_that_is_corrupt_or_foreign_is_left_as_it_is(used: Path, spoil: Callable[[Path], None]):
    spoil(used)
    before = used.read_bytes()
    code, err = not_started("--store", f"sqlite:{used}")
    assert (code, str(used) in one_line(err)) == (1, True)
    assert used.read_bytes() == before


def test_a_database_that_may_not_be_written_is_named(used: Path, tmp_path: Path):
    if os.geteuid() == 0:
        folder = Path("/proc/1/chat")
    else:
        folder = tmp_path / "shut"
        folder.mkdir(mode=0o500)
    code, err = not_started("--store", f"sqlite:{folder}/chat.db")
    assert (code, str(folder) in one_line(err)) == (1, True)


def test_a_path_that_is_a_folder_is_named(tmp_path: Path):
    code, err = not_started("--store", f"sqlite:{tmp_path}")
    assert (code, str(tmp_path) in one_line(err)) == (1, True)


def test_a_database_is_its_owners_alone(used: Path):
    assert used.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "store",
    ["nonsense", "sqlite:", "memory:x", "mysql://a/b", "redis://", "redis://h/0?stream=", "redis://h/x?stream=a"],
)
def test_a_store_that_is_none_is_a_usage_error(store: str):
    code, err = not_started("--store", store)
    assert code in (2, 5)
    assert "Traceback" not in err


@pytest.mark.parametrize("store", ["memory:", "sqlite:chat.db"])
def test_several_workers_want_a_store_that_can_be_shared(store: str, tmp_path: Path):
    code, err = not_started("--store", store, "--workers", "2")
    assert (code, "redis://" in err) == (2, True)


@pytest.mark.parametrize("room", ["", "a/b", "api", "<b>", "a" * 33])
def test_a_room_of_no_name_is_a_usage_error(room: str):
    assert not_started("--store", "memory:", "--room", room)[0] == 2


def test_rooms_that_look_alike_are_a_usage_error():
    assert not_started("--store", "memory:", "--room", "news", "--room", "News")[0] == 2


def test_the_database_is_in_the_users_state_directory_by_default(tmp_path: Path):
    from tests.conftest import environment
    from tests.e2e.servers import running

    with running("chat", "-l", LOOPBACK, env=environment(XDG_STATE_HOME=str(tmp_path))) as server:
        came_in(server, "ann").said("kept")
    assert (tmp_path / "gtool" / "chat.db").exists()
    assert shutil.os.stat(tmp_path / "gtool").st_mode & 0o077 == 0
