"""What every web-facing tool has at its door: its base path, its files, its health and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from gtool.runtime.report import EXPOSITION_TYPE
from gtool.web.guard import HEADERS, Guard, Refusal, guard_for
from gtool.web.pages import Pages
from gtool.web.respond import Environ, Refused, StartResponse, respond
from gtool.web.site import NO_PAGE, Site, Status, check

ORIGIN = "https://example.com"
GUARDED = Guard(token="s3cret")
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]


class Answer(NamedTuple):
    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> int:
        return int(self.status[:3])


class Door:
    """A site around an application that notes what reaches it."""

    def __init__(self, guard: Guard = Guard(), base_path: str = "") -> None:  # noqa: B008
        self.trouble = ""
        self.warnings: list[dict[str, Any]] = []
        self.seen: list[Environ] = []
        self.answer: Callable[[Environ, StartResponse], Iterable[bytes]] = lambda environ, start: respond(
            environ, start, "200 OK", "the application"
        )
        status = Status(lambda: self.trouble, lambda: "gtool_x 1\n")
        self.site = Site(self._apply, guard, base_path, Pages("gtool.feed"), status)

    def _apply(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.seen.append(environ)
        return self.answer(environ, start_response)

    def ask(self, path: str = "/", method: str = "GET", query: str = "", **headers: str) -> Answer:
        warn = lambda event, **fields: self.warnings.append({"event": event, **fields})  # noqa: E731
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "SCRIPT_NAME": "",
            "QUERY_STRING": query,
            "gtool.handler": SimpleNamespace(connection=SimpleNamespace(warn=warn)),
            "gtool.local_host": "192.0.2.7",
            **{f"HTTP_{name.upper()}": text for name, text in ({"host": "localhost"} | headers).items()},
        }
        said: list[Any] = []
        body = b"".join(self.site(environ, lambda status, fields: said.extend([status, dict(fields)])))
        return Answer(*said, body)


@pytest.fixture
def door() -> Door:
    return Door()


# What is the application's


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path", ["/", "/room/bob", "//", "/healthz/", "/healthzz", "/metrics/x", "/HEALTHZ", "", "/\xc3\xa4"]
)
def test_what_is_not_the_sites_is_the_applications(door, method, path):
    answer = door.ask(path, method)
    assert (answer.status, [environ["PATH_INFO"] for environ in door.seen]) == ("200 OK", [path])


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/static/page.js"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_the_site_only_shows_can_not_be_changed_there(door, path, method):
    door.ask(path, method)
    assert len(door.seen) == 1


def test_what_the_application_refuses_is_said_in_a_sentence_with_its_headers(door):
    def refuse(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise Refused("429 Too Many Requests", "not so fast", [("Retry-After", "3")])

    door.answer = refuse
    answer = door.ask()
    assert (answer.status, answer.body, answer.headers["Retry-After"]) == (
        "429 Too Many Requests",
        b"not so fast\n",
        "3",
    )


def test_a_bug_of_the_application_is_not_hidden(door):
    def fail(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise KeyError("a bug")

    door.answer = fail
    with pytest.raises(KeyError):
        door.ask()


# The base path


@pytest.mark.parametrize("base_path", ["/chat", "/a/b", "/chat.x"])
@pytest.mark.parametrize("path", ["/", "/x/y", "//", "/chat/"])
def test_the_application_finds_its_paths_without_the_base_path(base_path, path):
    door = Door(base_path=base_path)
    door.ask(base_path + path)
    assert [(environ["SCRIPT_NAME"], environ["PATH_INFO"]) for environ in door.seen] == [(base_path, path)]


def test_without_a_base_path_the_application_has_all(door):
    door.ask("/x")
    assert [(environ["SCRIPT_NAME"], environ["PATH_INFO"]) for environ in door.seen] == [("", "/x")]


@pytest.mark.parametrize(
    "path", ["/", "/x", "/chatroom", "/chat2/", "/x/chat/", "//chat/", "/Chat/", "", "/healthz", "/metrics"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_outside_of_the_base_path_there_is_nothing(path, method):
    door = Door(base_path="/chat")
    answer = door.ask(path, method)
    assert (answer.code, answer.body.decode(), door.seen) == (404, f"{NO_PAGE}\n", [])


@pytest.mark.parametrize(
    ("base_path", "query", "location"),
    [("/chat", "", "chat/"), ("/a/b", "", "b/"), ("/chat", "x=1&y=%20", "chat/?x=1&y=%20")],
)
@pytest.mark.parametrize("method", METHODS)
def test_the_base_path_without_its_slash_leads_there_relative_to_where_one_is(base_path, query, location, method):
    answer = Door(base_path=base_path).ask(base_path, method, query)
    assert (answer.code, answer.headers["Location"]) == (308, location)


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/static/page.js"])
def test_what_is_the_sites_is_below_the_base_path(path):
    door = Door(base_path="/chat")
    assert (door.ask(f"/chat{path}").code, door.seen) == (200, [])


# Health


def test_all_is_well(door):
    answer = door.ask("/healthz")
    assert (answer.status, answer.body, answer.headers["Cache-Control"]) == ("200 OK", b"ok\n", "no-store")


def test_what_is_wrong_is_said(door):
    door.trouble = "disk full"
    answer = door.ask("/healthz")
    assert (answer.status, answer.body) == ("503 Service Unavailable", b"disk full\n")


@pytest.mark.parametrize("trouble", ["", "disk full"])
def test_a_head_of_it_has_the_same_status_and_no_body(door, trouble):
    door.trouble = trouble
    answer, head = door.ask("/healthz"), door.ask("/healthz", "HEAD")
    assert head == answer._replace(body=b"")


def test_health_is_told_without_a_token_and_to_pages_of_other_sites():
    assert Door(GUARDED).ask("/healthz", origin=ORIGIN).code == 200


# Figures


def test_figures_are_given_as_prometheus_reads_them(door):
    answer = door.ask("/metrics")
    assert (answer.code, answer.headers["Content-Type"], answer.body) == (200, EXPOSITION_TYPE, b"gtool_x 1\n")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("asking", "code"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer s3cret"}, 200),
        ({"query": "token=s3cret"}, 200),
        ({"authorization": "Bearer s3cret", "origin": ORIGIN}, 403),
        ({"authorization": "Bearer s3cret", "origin": "http://localhost"}, 200),
    ],
)
def test_figures_are_for_those_who_have_the_token_and_not_for_pages_of_other_sites(asking, code):
    assert Door(GUARDED).ask("/metrics", **asking).code == code


def test_who_lacks_the_token_is_asked_for_it():
    assert Door(GUARDED).ask("/metrics").headers["WWW-Authenticate"] == "Bearer"


# Files


@pytest.mark.parametrize("path", ["/static/page.js", "/static/page.css", "/static/live.js"])
def test_a_file_is_given_to_all(path):
    answer = Door(GUARDED).ask(path, origin=ORIGIN)
    assert (answer.code, bool(answer.body), answer.headers["Cache-Control"]) == (200, True, "no-cache")


def test_a_head_of_a_file_has_no_body(door):
    assert door.ask("/static/page.js", "HEAD")[::2] == ("200 OK", b"")


@pytest.mark.parametrize("path", ["/static/unknown.js", "/static/", "/static/../site.py", "/static/index.html"])
def test_a_file_that_is_none_is_the_applications_to_refuse(door, path):
    door.ask(path)
    assert len(door.seen) == 1


# Who may come in


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/static/page.js", "/chat", "/chat/"])
@pytest.mark.parametrize("base_path", ["", "/chat"])
@pytest.mark.parametrize(("host", "code"), [("evil.example", 403), ("", 400), ("a b", 400)])
def test_a_host_that_is_not_served_gets_nothing_at_any_path(path, base_path, host, code):
    door = Door(base_path=base_path)
    assert (door.ask(path, host=host).code, door.seen) == (code, [])


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:5000", "[::1]:80", "192.0.2.7", "LOCALHOST"])
def test_a_host_that_is_served_comes_in(door, host):
    assert door.ask("/", host=host).code == 200


def test_a_host_that_is_allowed_comes_in():
    door = Door(guard_for([], ["chat.example.com"], []))
    assert door.ask("/", host="chat.example.com:8080").code == 200


def test_what_is_refused_at_the_door_is_warned_of_and_ends_the_connection(door):
    answer = door.ask(host="evil.example")
    assert answer.headers["Connection"] == "close"
    assert [(one["event"], "evil.example" in one["reason"]) for one in door.warnings] == [("request refused", True)]


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/static/page.js"])
@pytest.mark.parametrize("header", HEADERS)
def test_each_answer_has_the_headers_that_keep_it_harmless(door, path, header):
    assert door.ask(path).headers[header[0]] == header[1]


# What a guard says


def environ_of(warnings: list[Any]) -> Environ:
    warn = lambda event, **fields: warnings.append((event, fields))  # noqa: E731
    return {"gtool.handler": SimpleNamespace(connection=SimpleNamespace(warn=warn))}


def test_where_the_guard_says_nothing_nothing_is_refused():
    check({}, None)


@pytest.mark.parametrize(
    ("status", "asks"), [("401 Unauthorized", True), ("403 Forbidden", False), ("400 Bad Request", False)]
)
def test_what_the_guard_says_is_refused_and_the_token_asked_for_where_that_is_missing(status, asks):
    warnings: list[Any] = []
    with pytest.raises(Refused) as caught:
        check(environ_of(warnings), Refusal(status, "no"))
    headers = dict(caught.value.headers)
    assert (caught.value.status, caught.value.text, "WWW-Authenticate" in headers) == (status, "no", asks)
    assert (headers["Connection"], warnings) == ("close", [("request refused", {"reason": "no"})])
