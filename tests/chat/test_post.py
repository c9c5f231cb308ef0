"""chat-post's way with a server: once is once, whatever becomes of connections and answers."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import gevent
import pytest

import gtool.chat.post
from gtool.chat.post import NotPosted, Poster, post_all
from gtool.chat.remote import parse_remote
from gtool.errors import BindError, GtoolError, PeerGone, UsageError
from gtool.web.client import tls_context
from tests.conftest import TIMEOUT_S, Peer, answer, read_head
from tests.e2e.servers import receive_exactly
from tests.e2e.ws import reset
from tests.servers.deaf import deaf_host
from tests.servers.looped import server_tls

JSON = "Content-Type: application/json"
Step = bytes | Callable[[socket.socket], object]


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]  #: by names in lower case
    body: bytes
    peer: Any  #: whose connection it came on

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]


class Scripted:
    """A server that answers its first request by the first of the steps, its second by the second ..., then well."""

    def __init__(self, peer: Callable[..., Peer], steps: tuple[Step, ...], context: Any = None) -> None:
        self._steps = steps
        self.requests: list[Request] = []
        self.server = peer(self._handle, context)
        self.url = self.server.url

    @property
    def keys(self) -> list[str]:
        return [request.key for request in self.requests if request.method == "POST"]

    def _handle(self, connection: socket.socket, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = receive_exactly(connection, int(headers.get("content-length", 0)))
        self.requests.append(Request(*first.split(" ")[:2], headers, body, connection.getpeername()))
        number = len(self.requests)
        step = self._steps[number - 1] if number <= len(self._steps) else stored(number)
        if isinstance(step, bytes):
            connection.sendall(step)
        else:
            step(connection)


def stored(number: int = 1) -> bytes:
    return said("201 Created", {"id": f"e:{number}"})


def said(status: str, body: object, *headers: str) -> bytes:
    return answer(json.dumps(body).encode(), status, JSON, *headers)


def hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def cut_short(size: int) -> Step:
    """Send so much of an answer."""

    def step(connection: socket.socket) -> None:
        connection.sendall(stored()[:size])
        hang_up(connection)

    return step


def stay_silent(connection: socket.socket) -> None:
    connection.recv(1)


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    monkeypatch.setattr(gtool.chat.post, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(gtool.chat.post, "LONGEST_PAUSE_S", 0.04)


@pytest.fixture(autouse=True)
def _not_for_ever() -> Iterator[None]:
    with gevent.Timeout(TIMEOUT_S):
        yield


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The pauses that are made, which take no time."""
    found: list[float] = []
    monkeypatch.setattr(gtool.chat.post.gevent, "sleep", found.append)
    return found


@pytest.fixture
def _once(monkeypatch) -> None:
    """Have it try once: after that there is no time left."""
    monkeypatch.setattr(gtool.chat.post, "FIRST_PAUSE_S", 600.0)


@pytest.fixture
def script(peer) -> Callable[..., Scripted]:
    return lambda *steps, context=None: Scripted(peer, steps, context)


@pytest.fixture
def poster() -> Iterator[Callable[..., Poster]]:
    with ExitStack() as stack:

        def make(
            url: str, user: str | None = "bob", token: str | None = None, tls: Any = None, timeout_s: float = TIMEOUT_S
        ) -> Poster:
            return stack.enter_context(closing(Poster(parse_remote(url, token), user, tls, timeout_s)))

        yield make


# --- a post


def test_what_is_kept_is_given_with_its_id(script, poster):
    assert poster(script().url).post("room", "hello") == {"id": "e:1"}


def test_a_post_says_who_and_what(script, poster):
    server = script()
    poster(server.url).post("room", "ä\n日本")
    assert server.requests[0].json == {"text": "ä\n日本", "user": "bob"}


def test_a_post_is_json_with_a_key(script, poster):
    server = script()
    poster(server.url).post("room", "hello")
    headers = server.requests[0].headers
    assert (headers["content-type"], len(headers["idempotency-key"]) >= 16) == ("application/json", True)


@pytest.mark.parametrize("room", ["a", "a/b", "..", "ä", "a b?c#d", "%2f"])
def test_a_post_goes_to_its_room_and_nowhere_else(script, poster, room):
    from urllib.parse import unquote

    server = script()
    poster(f"{server.url}/below/").post(room, "hello")
    _, below, api, rooms, name, messages = server.requests[0].path.split("/")
    assert (server.requests[0].method, below, api, rooms, messages) == ("POST", "below", "api", "rooms", "messages")
    assert unquote(name) == room


@pytest.mark.parametrize("token", [None, "s3cret"])
def test_the_token_is_sent(script, poster, token):
    server = script()
    poster(server.url, token=token).post("room", "hello")
    assert server.requests[0].headers.get("authorization") == (token and f"Bearer {token}")


def test_each_message_has_a_key_of_its_own(script, poster):
    server = script()
    made = poster(server.url)
    for _ in range(3):
        made.post("room", "the same")
    assert len(set(server.keys)) == 3


def test_messages_share_a_connection(script, poster):
    server = script()
    made = poster(server.url)
    made.post("room", "a")
    made.post("room", "b")
    assert len({request.peer for request in server.requests}) == 1


def test_without_a_bound_it_waits_for_the_answer(script, poster):
    assert poster(script().url, timeout_s=float("inf")).post("room", "hello") == {"id": "e:1"}


# --- again, by the same key


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(reset, id="reset"),
        pytest.param(hang_up, id="closed without an answer"),
        pytest.param(cut_short(20), id="half a head"),
        pytest.param(cut_short(-5), id="half a body"),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n", id="no HTTP"),
        pytest.param(said("502 Bad Gateway", {}), id="502"),
        pytest.param(said("503 Service Unavailable", {"error": "not now"}), id="503"),
        pytest.param(said("504 Gateway Timeout", {}), id="504"),
        pytest.param(said("429 Too Many Requests", {"error": "wait"}), id="429"),
        pytest.param(answer(b"<html>", "503 Service Unavailable"), id="503 without JSON"),
    ],
)
def test_what_fails_is_sent_again_by_the_same_key(script, poster, trouble):
    server = script(trouble, trouble)
    assert poster(server.url).post("room", "hello") == {"id": "e:3"}
    assert (len(server.keys), len(set(server.keys))) == (3, 1)
    assert len({request.body for request in server.requests}) == 1


def test_a_server_that_comes_up_late_is_waited_for(poster, monkeypatch):
    """It begins to listen in the first pause."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = read_head(connection)
            receive_exactly(connection, int(re.search(rb"Content-Length: (\d+)", head)[1]))  # type: ignore[index]
            connection.sendall(stored())

    def begin(_: float) -> None:
        if not threads:
            listener.listen()
            threads.append(threading.Thread(target=serve))
            threads[0].start()

    monkeypatch.setattr(gtool.chat.post.gevent, "sleep", begin)
    with listener:
        assert poster(f"http://127.0.0.1:{listener.getsockname()[1]}").post("room", "hello") == {"id": "e:1"}
        threads[0].join(TIMEOUT_S)


def test_a_connection_that_was_closed_between_two_messages_is_made_anew_at_once(script, poster, pauses):
    is_closed = threading.Event()

    def answer_and_hang_up(connection: socket.socket) -> None:
        connection.sendall(stored())
        hang_up(connection)
        is_closed.set()

    server = script(answer_and_hang_up)
    made = poster(server.url)
    first = made.post("room", "a")
    assert is_closed.wait(TIMEOUT_S)
    assert (first, made.post("room", "b")) == ({"id": "e:1"}, {"id": "e:2"})
    assert (pauses, len({request.peer for request in server.requests})) == ([], 2)


def test_a_connection_that_is_closed_while_a_message_is_sent_has_it_sent_again_by_its_key(script, poster, pauses):
    server = script(stored(), hang_up)
    made = poster(server.url)
    assert [made.post("room", text) for text in "ab"] == [{"id": "e:1"}, {"id": "e:3"}]
    assert (pauses, server.keys[1] == server.keys[2]) == ([], True)


def test_a_new_connection_that_is_closed_at_once_is_not_hammered(script, poster, pauses):
    poster(script(hang_up).url).post("room", "hello")
    assert pauses == [0.01]


def test_pauses_grow_up_to_the_longest(script, poster, pauses):
    poster(script(*[said("503 No", {})] * 5).url).post("room", "hello")
    assert pauses == [0.01, 0.02, 0.04, 0.04, 0.04]


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_it_waits_as_long_as_it_is_told_to(script, poster, pauses, status):
    poster(script(said(status, {}, "Retry-After: 7")).url).post("room", "hello")
    assert pauses == [7.0]


@pytest.mark.parametrize("text", ["soon", "-1", "1.5", "", "Wed, 21 Oct 2026 07:28:00 GMT", "9999999", "\u00b2"])
def test_what_is_no_number_of_seconds_is_passed_over(script, poster, pauses, text):
    refusal = said("503 No", {}, "Retry-After: X").replace(b"X", text.encode("latin-1"))
    poster(script(refusal).url).post("room", "hello")
    assert pauses == [0.01]


def test_being_told_to_wait_takes_none_of_the_time(script, poster, pauses):
    server = script(*[said("429 Too Many Requests", {}, "Retry-After: 20")] * 3)
    assert poster(server.url, timeout_s=10.0).post("room", "hello") == {"id": "e:4"}


def test_being_told_to_wait_for_very_long_is_an_end(script, poster, pauses):
    server = script(said("429 Too Many Requests", {"error": "wait"}, "Retry-After: 9999"))
    with pytest.raises(PeerGone, match="wait"):
        poster(server.url, timeout_s=10.0).post("room", "hello")
    assert pauses == []


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_server_that_says_to_come_at_once_is_not_hammered(script, poster, pauses, status):
    poster(script(said(status, {}, "Retry-After: 0")).url).post("room", "hello")
    assert pauses == [0.01]


# --- no more


@pytest.mark.parametrize(
    "status",
    [
        *("200 OK", "202 Accepted", "301 Moved", "400 No", "401 No", "403 No", "404 No", "405 No", "409 No", "413 No"),
        *("415 No", "422 No", "500 No", "501 No"),
    ],
)
def test_what_is_refused_is_not_sent_again(script, poster, status):
    server = script(said(status, {"error": "why"}))
    with pytest.raises(NotPosted, match="not posted to room: why") as caught:
        poster(server.url).post("room", "hello")
    assert (caught.value.exit_code, len(server.requests)) == (1, 1)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error": ""}', b'{"error": null}', b"\xff"])
def test_a_refusal_without_a_sentence_has_its_status(script, poster, body):
    with pytest.raises(NotPosted, match="not posted to room: status 403"):
        poster(script(answer(body, "403 Forbidden")).url).post("room", "hello")


@pytest.mark.parametrize("error", [["a"], {"a": 1}, 5])
def test_a_refusal_whose_sentence_is_none_is_a_refusal(script, poster, error):
    with pytest.raises(NotPosted):
        poster(script(said("403 Forbidden", {"error": error})).url).post("room", "hello")


@pytest.mark.usefixtures("_once")
def test_nobody_there_is_exit_5_when_the_time_is_up(poster, refused_port):
    with pytest.raises(BindError, match=r"cannot connect to http://127.0.0.1:.*: Connection refused") as caught:
        poster(f"http://127.0.0.1:{refused_port}", timeout_s=10).post("room", "hello")
    assert caught.value.exit_code == 5


@pytest.mark.usefixtures("_once")
def test_a_host_that_there_is_not_is_exit_5(poster):
    with pytest.raises(BindError, match="cannot connect to http://"):
        poster("http://no-such-host.invalid", timeout_s=10).post("room", "hello")


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_a_host_that_can_be_none_is_exit_2(poster, host):
    with pytest.raises(UsageError, match="has no host that could be"):
        poster(f"http://{host}").post("room", "hello")


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(hang_up, id="hangs up"),
        pytest.param(stay_silent, id="says nothing"),
        pytest.param(b"SSH-2.0-OpenSSH_9\r\n", id="no HTTP"),
        pytest.param(said("503 Service Unavailable", {"error": "not now"}), id="503"),
    ],
)
def test_a_server_that_never_answers_well_is_exit_4_when_the_time_is_up(script, poster, trouble):
    with pytest.raises(PeerGone, match=r"not posted within 0.2 s to http://127.0.0.1") as caught:
        poster(script(*[trouble] * 100).url, timeout_s=0.2).post("room", "hello")
    assert caught.value.exit_code == 4


def test_a_silent_server_holds_it_no_longer_than_it_may(script, poster):
    begun_at = time.monotonic()
    with pytest.raises(PeerGone, match="no answer"):
        poster(script(stay_silent).url, timeout_s=0.2).post("room", "hello")
    assert 0.2 <= time.monotonic() - begun_at < 5


def test_a_host_whose_addresses_do_not_answer_takes_no_longer_than_it_may(poster):
    with deaf_host() as host, gevent.Timeout(TIMEOUT_S), pytest.raises(BindError, match="no answer"):
        poster(f"http://{host}", timeout_s=0.2).post("room", "hello")


def test_a_server_that_trickles_holds_it_no_longer_than_it_may(script, poster):
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 201 Created\r\n")
        while True:
            connection.sendall(b"X: y\r\n")
            time.sleep(0.02)

    with pytest.raises(PeerGone):
        poster(script(trickle).url, timeout_s=0.3).post("room", "hello")


def test_a_pause_that_there_is_no_time_for_is_not_made(script, poster, pauses):
    with pytest.raises(PeerGone, match="not now"):
        poster(script(said("503 No", {"error": "not now"}, "Retry-After: 60")).url, timeout_s=10).post("room", "hello")
    assert pauses == []


def test_the_next_message_has_its_own_time(script, poster):
    server = script(stay_silent)
    made = poster(server.url, timeout_s=0.5)
    with pytest.raises(PeerGone):
        made.post("room", "a")
    assert made.post("room", "b") == {"id": "e:2"}


# --- other servers


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>", b"[]", b'"text"', b"null", b"5", b"{}", b'{"name": "x"}', b"\xff", b"[" * 100_000),
        b'{"id": "e:1", "x": "' + b"x" * (1 << 20) + b'"}',
    ],
    ids=lambda body: ascii(body[:20]) + f" {len(body)}",
)
def test_an_answer_that_is_not_a_chat_servers_is_exit_4(script, poster, body):
    with pytest.raises(PeerGone, match="does not answer as a chat server of gtool does"):
        poster(script(answer(body, "201 Created")).url).post("room", "hello")


def test_an_answer_that_is_too_long_does_not_spoil_the_next(script, poster):
    made = poster(script(answer(b"x" * (2 << 20), "201 Created")).url)
    with pytest.raises(PeerGone):
        made.post("room", "a")
    assert "id" in made.post("room", "b")


def test_an_answer_without_an_end_is_not_read_for_ever(script, poster):
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 201 Created\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with pytest.raises(PeerGone, match="does not answer as a chat server of gtool does"):
        poster(script(pour).url).post("room", "hello")


# --- who posts


@pytest.fixture
def _login(monkeypatch) -> None:
    monkeypatch.setattr(gtool.chat.post, "login_name", lambda: "from-the-login")


def users(server: Scripted) -> list[str]:
    return [request.json["user"] for request in server.requests if request.method == "POST"]


@pytest.mark.usefixtures("_login")
def test_without_a_name_and_a_token_it_is_the_logins(script, poster):
    server = script()
    poster(server.url, user=None).post("room", "hello")
    assert (users(server), server.requests[0].method) == (["from-the-login"], "POST")


@pytest.mark.usefixtures("_login")
def test_without_a_name_it_is_that_of_the_tokens_session(script, poster):
    server = script(said("200 OK", {"names": ["alice", "other"]}))
    poster(server.url + "/below", user=None, token="t").post("room", "hello")
    request = server.requests[0]
    assert (request.path, request.headers["authorization"]) == ("/below/api/session", "Bearer t")
    assert users(server) == ["alice"]


@pytest.mark.usefixtures("_login")
@pytest.mark.parametrize("fields", [{"names": []}, {}, {"names": None}])
def test_of_a_token_without_a_session_it_is_the_logins(script, poster, fields):
    server = script(said("200 OK", fields))
    poster(server.url, user=None, token="t").post("room", "hello")
    assert users(server) == ["from-the-login"]


def test_a_name_that_is_given_is_not_asked_for(script, poster):
    server = script()
    poster(server.url, user="carl", token="t").post("room", "hello")
    assert (users(server), len(server.requests)) == (["carl"], 1)


def test_the_session_is_asked_for_once(script, poster):
    server = script(said("200 OK", {"names": ["alice"]}))
    made = poster(server.url, user=None, token="t")
    made.post("room", "a")
    made.post("room", "b")
    assert [request.method for request in server.requests] == ["GET", "POST", "POST"]


def test_the_session_is_asked_for_again_while_the_server_is_busy(script, poster):
    server = script(said("503 No", {}), hang_up, said("200 OK", {"names": ["alice"]}))
    poster(server.url, user=None, token="t").post("room", "hello")
    assert users(server) == ["alice"]


def test_a_token_that_is_none_is_refused_with_the_servers_sentence(script, poster):
    server = script(said("401 Unauthorized", {"error": "the token is wrong"}))
    with pytest.raises(NotPosted, match="the token is wrong"):
        poster(server.url, user=None, token="t").post("room", "hello")
    assert len(server.requests) == 1


@pytest.mark.usefixtures("_login")
@pytest.mark.parametrize("status", ["500 Oh", "403 Forbidden", "302 Found"])
def test_where_the_session_is_not_told_nothing_is_posted_under_another_name(script, poster, status):
    server = script(said(status, {"error": "why"}))
    with pytest.raises(GtoolError):
        poster(server.url, user=None, token="t").post("room", "hello")
    assert users(server) == []


@pytest.mark.usefixtures("_login")
@pytest.mark.parametrize("names", [5, {"a": 1}, True])
def test_names_that_are_none_are_no_bug(script, poster, names):
    server = script(said("200 OK", {"names": names}))
    with pytest.raises(GtoolError):
        poster(server.url, user=None, token="t").post("room", "hello")


# --- TLS


@pytest.fixture
def secure(script, authority, tmp_path) -> Scripted:
    server = script(context=server_tls(authority, tmp_path))
    server.url = server.url.replace("http://127.0.0.1", "https://localhost")
    return server


def test_a_post_over_tls(secure, poster, ca_file):
    assert poster(secure.url, tls=tls_context(str(ca_file), None, None, False)).post("room", "hello") == {"id": "e:1"}


@pytest.mark.usefixtures("_once")
def test_a_certificate_that_is_not_trusted_is_exit_5_with_a_sentence(secure, poster):
    with pytest.raises(BindError, match="the certificate is not trusted: ") as caught:
        poster(secure.url, tls=tls_context(None, None, None, False), timeout_s=10).post("room", "hello")
    assert (caught.value.exit_code, secure.requests) == (5, [])


def test_a_certificate_is_taken_without_a_check_if_told_so(secure, poster):
    assert poster(secure.url, tls=tls_context(None, None, None, True)).post("room", "hello") == {"id": "e:1"}


@pytest.mark.usefixtures("_once")
def test_a_server_without_tls_is_exit_5(script, poster):
    url = script().url.replace("http:", "https:")
    with pytest.raises(BindError):
        poster(url, tls=tls_context(None, None, None, True), timeout_s=1).post("room", "hello")


# --- many lines


def test_each_line_is_posted_and_shown_in_order(script, poster):
    server = script()
    shown: list[Any] = []
    post_all(poster(server.url), "room", ["a", "b", "c"], shown.append)
    assert [request.json["text"] for request in server.requests] == ["a", "b", "c"]
    assert [fields["id"] for fields in shown] == ["e:1", "e:2", "e:3"]


def test_a_line_is_shown_before_the_next_one_is_read(script, poster):
    shown: list[Any] = []

    def lines() -> Iterator[str]:
        for number in range(3):
            assert len(shown) == number
            yield "x"

    post_all(poster(script().url), "room", lines(), shown.append)
    assert len(shown) == 3


@pytest.mark.parametrize("blank", ["", " ", "\t", "\r", "\u3000"])
def test_a_blank_line_is_left_out(script, poster, blank):
    server = script()
    post_all(poster(server.url), "room", ["a", blank, "b"], lambda fields: None)
    assert [request.json["text"] for request in server.requests] == ["a", "b"]


def test_after_a_line_that_is_refused_the_others_are_posted_and_it_is_exit_1(script, poster):
    server = script(stored(), said("413 No", {"error": "too long"}))
    shown: list[Any] = []
    with pytest.raises(GtoolError, match="1 lines were not posted") as caught:
        post_all(poster(server.url), "room", ["a", "b", "c"], shown.append)
    assert (caught.value.exit_code, len(shown), len(server.requests)) == (1, 2, 3)


def test_after_a_line_that_found_no_server_none_is_posted(script, poster):
    server = script(stored(), *[said("503 No", {})] * 100)
    with pytest.raises(PeerGone):
        post_all(poster(server.url, timeout_s=0.2), "room", ["a", "b", "c"], lambda fields: None)
    assert {request.json["text"] for request in server.requests} == {"a", "b"}
