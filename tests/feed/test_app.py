"""What stands at which path, who may have it, and what a reader's wish comes to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from gtool.feed.app import LOADING, App
from gtool.feed.echo import Echo
from gtool.live.delivery import Delivery
from gtool.live.reader import Bounds
from gtool.streams.memory import MemoryLog
from gtool.web.guard import Guard
from gtool.web.pages import Pages
from gtool.web.site import Site, Status

KEY = "AAECAwQFBgcICQoLDA0ODw=="
UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": KEY,
}
ORIGIN = "https://example.com"


class Answer(NamedTuple):
    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status[:3])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Stream:
    """What stands for a WebSocket or an event stream; it takes all that is written."""

    def __init__(self, window_bits: int = 0) -> None:
        self.window_bits = window_bits
        self.is_open = True
        self.written = b""
        self.channel = SimpleNamespace(waiting=0, connection=SimpleNamespace(messages=0))
        self.listener: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self, code: int, reason: str) -> None:
        self.is_open = False


class Handler:
    """What stands for the connection that a request has come on."""

    def __init__(self) -> None:
        self.warnings: list[dict[str, Any]] = []
        self.connection = SimpleNamespace(warn=lambda event, **fields: self.warnings.append(fields))
        self.opened: dict[str, Any] | None = None
        self.max_message = 0

    def open_websocket(
        self, open_: Callable[..., Any], max_message: int, headers: Sequence[tuple[str, str]], subprotocol: str
    ) -> None:
        self.max_message = max_message
        self.opened = {"kind": "websocket", "open": open_, "headers": dict(headers), "subprotocol": subprotocol}

    def open_stream(self, stream: Any, begin: Callable[[], None], headers: Sequence[tuple[str, str]]) -> None:
        self.opened = {"kind": "events", "stream": stream, "begin": begin, "headers": dict(headers)}


class Feed:
    """An application with a log, and requests to it."""

    def __init__(
        self,
        guard: Guard = Guard(),  # noqa: B008
        base_path: str = "",
        is_echo: bool = False,
        max_message: int = 1234,
    ) -> None:
        self.log = MemoryLog(3, 10_000, "epoch")
        self.delivery = Delivery(self.log, Bounds(), lambda count: None)
        self.trouble = ""
        self.is_loaded = True
        pages = Pages("gtool.feed")
        app = App(self.delivery, guard, pages, max_message, is_echo, lambda: self.is_loaded)
        status = Status(lambda: self.trouble, lambda: "gtool_x 1\n")
        self.app = Site(app, guard, base_path, pages, status)
        self.handler = Handler()

    def put(self, *messages: str) -> None:
        for message in messages:
            self.log.append(message.encode())

    def ask(self, path: str = "/", query: str = "", method: str = "GET", **headers: str) -> Answer:
        self.handler = Handler()
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "gtool.handler": self.handler,
            "gtool.local_host": "192.0.2.7",
        }
        environ |= {
            f"HTTP_{name.upper().replace('-', '_')}": value for name, value in ({"host": "localhost"} | headers).items()
        }
        said: list[Any] = []
        body = b"".join(self.app(environ, lambda status, fields: said.extend([status, dict(fields)])))
        return Answer(*(said or ["", {}]), body)

    def open(self, query: str = "", **headers: str) -> tuple[dict[str, Any], Stream]:
        """Open a WebSocket; what the handler is told, and what the reader gets."""
        self.ask("/", query, **{**UPGRADE, **headers})
        assert self.handler.opened is not None
        stream = Stream()
        self.handler.opened["open"](stream)
        return self.handler.opened, stream


@pytest.fixture
def make() -> Iterator[Callable[..., Feed]]:
    made: list[Feed] = []

    def run(*args: Any, **options: Any) -> Feed:
        made.append(Feed(*args, **options))
        return made[-1]

    yield run
    for one in made:
        one.delivery.close()


@pytest.fixture
def feed(make) -> Feed:
    return make()


# Paths


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/static/page.js", "text/javascript; charset=utf-8"),
        ("/static/live.js", "text/javascript; charset=utf-8"),
        ("/latest", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
    ],
)
def test_each_path_has_its_kind_of_answer(feed, path, content_type):
    answer = feed.ask(path)
    assert (answer.status, answer.headers["Content-Type"]) == ("200 OK", content_type)


@pytest.mark.parametrize(
    "path", ["/none", "/sse/", "/static/none.js", "/static/index.html", "/static/../app.py", "//", ""]
)
def test_what_is_not_there_is_not_found(feed, path):
    assert feed.ask(path).code == 404


@pytest.mark.parametrize("path", ["/", "/sse", "/latest", "/none"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_but_to_get(feed, path, method):
    answer = feed.ask(path, method=method)
    assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/latest", "/metrics", "/healthz", "/static/page.js"])
def test_a_head_is_the_answer_without_its_body(feed, path):
    assert (feed.ask(path, method="HEAD").code, feed.ask(path, method="HEAD").body) == (200, b"")


def test_the_counts_are_served(feed):
    assert feed.ask("/metrics").body == b"gtool_x 1\n"


def test_healthy_is_200_and_trouble_is_503_and_says_what_it_is(feed):
    assert (feed.ask("/healthz").status, feed.ask("/healthz").body) == ("200 OK", b"ok\n")
    feed.trouble = "cannot read that"
    assert (feed.ask("/healthz").status, feed.ask("/healthz").body) == (
        "503 Service Unavailable",
        b"cannot read that\n",
    )


# While it is being loaded


@pytest.mark.parametrize(("path", "headers"), [("/", UPGRADE), ("/sse", {})])
@pytest.mark.parametrize("query", ["", "since=all", "since=epoch:1", "since=none"])
def test_until_the_feed_is_loaded_readers_are_told_to_come_back(feed, path, headers, query):
    feed.is_loaded = False
    answer = feed.ask(path, query, **headers)
    assert (answer.status, answer.body) == ("503 Service Unavailable", f"{LOADING}\n".encode())
    assert feed.handler.opened is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_browser_that_comes_back_before_the_feed_is_loaded_is_told_so_too(feed, method):
    feed.is_loaded = False
    assert feed.ask("/sse", method=method, last_event_id="epoch:1").code == 503


def test_when_the_feed_has_been_loaded_readers_are_served(feed):
    feed.is_loaded = False
    feed.ask("/", **UPGRADE)
    feed.put("1", "2")
    feed.is_loaded = True
    _, stream = feed.open("since=epoch:1")
    assert stream.written == b"\x81\x012"


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/metrics"])
def test_what_shows_no_messages_is_served_while_the_feed_is_being_loaded(feed, path):
    feed.is_loaded = False
    assert feed.ask(path).code == 200


def test_who_may_not_read_is_told_that_first_though_the_feed_is_being_loaded(make):
    feed = make(Guard(token="secret"))
    feed.is_loaded = False
    assert feed.ask("/sse").code == 401


@pytest.mark.parametrize("path", ["/latest", "/metrics", "/healthz"])
def test_what_changes_is_not_stored(feed, path):
    assert feed.ask(path).headers["Cache-Control"] == "no-store"


# The latest


def test_the_latest_is_the_last_message_with_its_id(feed):
    feed.put("one", "two")
    latest = feed.ask("/latest").json
    assert (latest["id"], latest["data"]) == ("epoch:2", "two")


def test_where_there_is_none_its_id_can_be_gone_on_from(feed):
    assert feed.ask("/latest").json == {"id": "epoch:0", "time": None, "data": None}


def test_after_a_loss_there_is_none(feed):
    feed.put("one")
    feed.log.lose(7)
    assert feed.ask("/latest").json == {"id": "epoch:7", "time": None, "data": None}


# Under a path


@pytest.fixture
def below(make) -> Feed:
    return make(base_path="/a/feed")


@pytest.mark.parametrize("path", ["/a/feed/", "/a/feed/latest", "/a/feed/healthz", "/a/feed/static/page.js"])
def test_under_a_path_everything_stands_there(below, path):
    assert below.ask(path).code == 200


@pytest.mark.parametrize(
    "path", ["/", "/latest", "/healthz", "/a/feedlatest", "/a/feed2/", "/feed/", "/static/page.js"]
)
def test_under_a_path_there_is_nothing_elsewhere(below, path):
    assert below.ask(path).code == 404


def test_the_path_without_its_slash_leads_to_the_one_with_it(below):
    answer = below.ask("/a/feed", "since=all")
    assert (answer.code, answer.headers["Location"]) == (308, "feed/?since=all")


# Who may


@pytest.mark.parametrize("path", ["/", "/healthz", "/static/page.js", "/sse", "/none"])
def test_a_host_that_is_not_ours_gets_nothing(feed, path):
    assert feed.ask(path, host="evil.example").code == 403


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "192.0.2.7"])
def test_our_own_names_and_the_address_that_was_connected_to_are_served(feed, host):
    assert feed.ask("/latest", host=host).code == 200


@pytest.mark.parametrize("path", ["/", "/sse", "/latest", "/metrics"])
def test_a_page_of_another_site_gets_nothing(feed, path):
    assert feed.ask(path, origin=ORIGIN).code == 403


def test_why_somebody_is_refused_is_logged(feed):
    feed.ask("/latest", origin=ORIGIN)
    assert f"{ORIGIN!r} is not allowed" in feed.handler.warnings[0]["reason"]


def test_a_page_that_is_allowed_may_read_the_answer(make):
    headers = make(Guard(origins=frozenset([ORIGIN]))).ask("/latest", origin=ORIGIN).headers
    assert (headers["Access-Control-Allow-Origin"], headers["Vary"]) == (ORIGIN, "Origin")


def test_a_page_that_is_allowed_may_read_the_events(make):
    feed = make(Guard(origins=frozenset([ORIGIN])))
    feed.ask("/sse", origin=ORIGIN)
    headers = feed.handler.opened["headers"]
    assert (headers["Access-Control-Allow-Origin"], headers["Vary"]) == (ORIGIN, "Origin")


def test_who_names_no_origin_is_told_of_none(make):
    feed = make(Guard(origins=frozenset("*")))
    assert "Access-Control-Allow-Origin" not in feed.ask("/latest").headers


@pytest.mark.parametrize("path", ["/", "/sse", "/latest", "/metrics"])
def test_without_the_token_there_is_nothing(make, path):
    answer = make(Guard(token="secret")).ask(path)
    assert (answer.code, answer.headers["WWW-Authenticate"], answer.headers["Connection"]) == (401, "Bearer", "close")


@pytest.mark.parametrize(("query", "headers"), [("", {"authorization": "Bearer secret"}), ("token=secret", {})])
def test_with_the_token_there_is(make, query, headers):
    assert make(Guard(token="secret")).ask("/latest", query, **headers).code == 200


@pytest.mark.parametrize("path", ["/healthz", "/static/page.js"])
def test_what_is_no_secret_needs_no_token(make, path):
    assert make(Guard(token="secret")).ask(path).code == 200


def test_who_may_not_read_opens_no_websocket(make):
    feed = make(Guard(token="secret"))
    assert feed.ask("/", **UPGRADE).code == 401
    assert feed.handler.opened is None


# Readers


def test_a_websocket_begins_with_what_comes_next_and_is_told_after_what(feed):
    feed.put("old")
    told, stream = feed.open()
    feed.put("new")
    stream.listener.pull()
    assert (told["headers"], stream.written) == ({"Gtool-Cursor": "epoch:1"}, b"\x81\x03new")


def test_what_comes_between_the_answer_and_the_first_write_is_not_missed(feed):
    feed.ask("/", **UPGRADE)
    feed.put("new")
    stream = Stream()
    feed.handler.opened["open"](stream)
    assert stream.written == b"\x81\x03new"


@pytest.mark.parametrize(("query", "cursor", "written"), [
    ("since=epoch:2", "epoch:2", b"\x81\x013\x81\x014"),
    ("since=epoch%3A2", "epoch:2", b"\x81\x013\x81\x014"),
    ("since=epoch:1&since=epoch:3", "epoch:3", b"\x81\x014"),
    ("since=all", "epoch:1", b"\x81\x012\x81\x013\x81\x014"),
    ("since=", "epoch:4", b""),
    ("since=epoch:0", "epoch:0", b"\x81\x012\x81\x013\x81\x014"),
    ("since=other:4", "other:4", b"\x81\x012\x81\x013\x81\x014"),
])  # fmt: skip
def test_a_websocket_begins_where_it_is_to(feed, query, cursor, written):
    feed.put("1", "2", "3", "4")
    told, stream = feed.open(query)
    assert (told["headers"]["Gtool-Cursor"], stream.written) == (cursor, written)


@pytest.mark.parametrize("text", ["1", "epoch", "epoch:x", "epoch:-1", "a b:1", "ALL"])
@pytest.mark.parametrize("path", ["/sse", "/"])
def test_an_id_that_is_none_is_told(feed, path, text):
    answer = feed.ask(path, f"since={text}", **UPGRADE)
    assert answer.code == 400
    assert b"is no id" in answer.body


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_envelopes_are_given_on_request(feed, value):
    _, stream = feed.open(f"since=all&envelope={value}")
    feed.put("x")
    stream.listener.pull()
    assert json.loads(stream.written[2:])["id"] == "epoch:1"


@pytest.mark.parametrize("query", ["envelope=0", "envelope=", "envelope=no", ""])
def test_without_a_request_messages_are_bare(feed, query):
    _, stream = feed.open(query)
    feed.put("x")
    stream.listener.pull()
    assert stream.written == b"\x81\x01x"


@pytest.mark.parametrize(
    ("offer", "chosen", "has_envelope"),
    [
        ("gtool.envelope", "gtool.envelope", True),
        ("chat, gtool.envelope", "gtool.envelope", True),
        ("chat, superchat", "chat", False),
        ("", "", False),
    ],
)
def test_a_subprotocol_that_is_offered_is_chosen_and_ours_is_envelopes(feed, offer, chosen, has_envelope):
    told, stream = feed.open(sec_websocket_protocol=offer)
    feed.put("x")
    stream.listener.pull()
    assert (told["subprotocol"], stream.written != b"\x81\x01x") == (chosen, has_envelope)


def test_messages_are_compressed_as_the_websocket_has_agreed(feed):
    feed.ask("/", **UPGRADE)
    stream = Stream(window_bits=15)
    feed.handler.opened["open"](stream)
    feed.put("x" * 1000)
    stream.listener.pull()
    assert stream.written[0] == 0xC1


def test_a_message_of_a_client_has_a_bound(feed):
    feed.open()
    assert feed.handler.max_message == 1234


@pytest.mark.parametrize(("is_echo", "bound"), [(False, 1 << 16), (True, 1 << 20)])
def test_a_client_that_nobody_listens_to_may_say_little_however_long_messages_may_be(make, is_echo, bound):
    feed = make(is_echo=is_echo, max_message=1 << 20)
    feed.ask("/", **UPGRADE)
    assert feed.handler.max_message == bound


def begun(feed: Feed, query: str = "", **headers: str) -> tuple[dict[str, str], bytes]:
    """Open an event stream: what it is told, and what it gets at once."""
    feed.ask("/sse", query, **headers)
    opened = feed.handler.opened
    assert opened is not None
    stream, written = opened["stream"], bytearray()
    stream.channel = SimpleNamespace(
        waiting=0, is_open=True, connection=SimpleNamespace(messages=0), write=written.extend
    )
    opened["begin"]()
    return opened["headers"], bytes(written)


def test_an_event_stream_is_one_that_nobody_buffers(feed):
    headers, _ = begun(feed)
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")


def test_an_event_stream_begins_where_it_is_to(feed):
    feed.put("1", "2")
    headers, written = begun(feed, "since=epoch:1")
    assert (headers["Gtool-Cursor"], written) == ("epoch:1", b"id: epoch:2\ndata: 2\n\n")


def test_a_browser_that_comes_back_says_where_it_was_whatever_its_url_says(feed):
    feed.put("1", "2", "3")
    _, written = begun(feed, "since=all", last_event_id="epoch:2")
    assert written == b"id: epoch:3\ndata: 3\n\n"


def test_a_browser_whose_last_id_is_none_begins_anew_and_is_told_so(feed):
    """It would not come back after an error."""
    feed.put("1")
    _, written = begun(feed, last_event_id="7")
    assert written.startswith(b'event: recovered\ndata: {"recovered": false')


# --echo


def test_an_echo_server_has_a_websocket_for_each_and_no_envelopes(make):
    feed = make(is_echo=True)
    feed.ask("/", **UPGRADE, sec_websocket_protocol="gtool.envelope")
    assert isinstance(feed.handler.opened["open"](Stream()), Echo)
    assert feed.handler.opened["subprotocol"] == ""


def test_an_echo_server_has_no_page(make):
    feed = make(is_echo=True)
    feed.ask("/")
    assert feed.handler.opened["kind"] == "websocket"  # and the handler says that an upgrade is wanted
