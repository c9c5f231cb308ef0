"""A tail's ways with a connection, against servers that say what they are told to."""

from __future__ import annotations

import gc
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

import gtool.live.tail
from gtool.errors import BindError, GtoolError, PeerGone
from gtool.feed.received import Received
from gtool.feed.tail import Tail
from gtool.live import tail as live_tail
from gtool.live.tail import Settings, with_since
from gtool.web.handshake import Wanted, parse_url
from tests.conftest import TIMEOUT_S, Peer, answer
from tests.e2e.ws import BINARY, CLOSE, TEXT
from tests.web.test_client import closing, read_frame, said, switching

ENVELOPED = "Sec-WebSocket-Protocol: gtool.envelope"


class Output:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.kept: list[str] = []
        self.close: Callable[[], None]

    def write(self, received: Received) -> None:
        self.received.append(received)

    def keep(self, cursor: str, is_last: bool = False) -> None:
        self.kept.append(cursor)

    def when_closed(self, callback: Callable[[], None]) -> None:
        self.close = callback

    @property
    def texts(self) -> list[str]:
        return [received.data.decode() for received in self.received]


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    monkeypatch.setattr(gtool.live.tail, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(gtool.live.tail, "LONGEST_PAUSE_S", 0.08)


@pytest.fixture
def script(peer) -> Callable[..., Peer]:
    """Make a server that says to its first connection the first of these, to its second the second ..."""

    def make(*said_: tuple[bytes, ...] | bytes, headers: tuple[str, ...] = ()) -> Peer:
        def handler(connection: socket.socket, head: bytes) -> None:
            what = said_[min(len(server.requests), len(said_)) - 1]
            connection.sendall(what if isinstance(what, bytes) else switching(head, *headers) + b"".join(what))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            connection.shutdown(socket.SHUT_RDWR)

        server = peer(handler)
        return server

    return make


def tail(server: Peer, output: Output, **settings: Any) -> None:
    url, place = parse_url(f"ws://{server.host}/")
    with gevent.Timeout(TIMEOUT_S):
        Tail(Settings(Wanted(url, subprotocols=("gtool.envelope",)), place, **settings), output).run()


def message(number: int, epoch: str = "e") -> bytes:
    return said(TEXT, json.dumps({"id": f"{epoch}:{number}", "time": 1.0, "data": f"m{number}"}).encode())


def note(**fields: object) -> bytes:
    return said(TEXT, json.dumps(fields).encode())


def asked_since(server: Peer) -> list[str | None]:
    """After which id each connection wanted to begin."""
    found = []
    for head in server.requests:
        _, separator, rest = head.split(b"\r\n")[0].decode().partition("since=")
        found.append(rest.split(" ")[0] if separator else None)
    return found


# --- ids


def test_each_connection_goes_on_where_the_one_before_stopped(script, output):
    server = script((message(1), message(2)), (message(3),), (message(4), closing(1000)), headers=(ENVELOPED,))
    tail(server, output)
    assert (output.texts, asked_since(server)) == (["m1", "m2", "m3", "m4"], [None, "e:2", "e:3"])


def test_a_connection_on_which_nothing_came_goes_on_where_it_began(script, output):
    server = script((), (message(8), closing(1000)), headers=(ENVELOPED, "Gtool-Cursor: e:7"))
    tail(server, output)
    assert asked_since(server) == [None, "e:7"]


def test_all_becomes_an_id_once_there_is_one(script, output):
    server = script((), (closing(1000),), headers=(ENVELOPED, "Gtool-Cursor: e:0"))
    tail(server, output, since="all")
    assert asked_since(server) == ["all", "e:0"]


def test_the_id_that_was_asked_for_is_kept_until_something_comes(script, output):
    server = script((), (closing(1000),), headers=(ENVELOPED, "Gtool-Cursor: e:9"))
    tail(server, output, since="e:5")
    assert asked_since(server) == ["e:5", "e:5"]


def test_each_id_is_kept_and_the_last_one_at_the_end(script, output):
    tail(script((message(1), message(2), closing(1000)), headers=(ENVELOPED,)), output)
    assert output.kept == ["e:1", "e:2", "e:2"]


def test_ids_and_times_are_handed_on(script, output):
    tail(script((message(1), closing(1000)), headers=(ENVELOPED,)), output)
    assert output.received == [Received(b"m1", True, "e:1", 1.0)]


def test_without_the_subprotocol_an_envelope_is_a_message_like_any(script, output):
    tail(script((message(1), closing(1000))), output)
    assert (output.texts[0][:1], output.kept) == ("{", [])


@pytest.mark.parametrize("data", [b"rubbish", b"[1]", b'{"id": "a:1"}', b"\xff"])
def test_an_envelope_that_is_none_is_an_error(script, output, data):
    with pytest.raises(PeerGone, match="sends what is no envelope of ws-feed's"):
        tail(script((message(1), said(BINARY, data)), headers=(ENVELOPED,)), output)
    assert (output.texts, output.kept[-1]) == (["m1"], "e:1")


def test_an_id_of_the_answer_that_is_none_is_an_error_and_not_kept(script, output):
    with pytest.raises(PeerGone, match="tells what is no id"):
        tail(script((), headers=(ENVELOPED, "Gtool-Cursor: rubbish")), output)
    assert output.kept == []


def test_a_server_without_ids_is_not_asked_to_begin_there_again(script, output):
    server = script((said(TEXT, b"x"),), (closing(1000),))
    tail(server, output, since="e:5")
    assert asked_since(server) == ["e:5", None]


def test_an_unknown_note_is_passed_over(script, output):
    tail(script((note(weather="fine"), message(1), closing(1000)), headers=(ENVELOPED,)), output)
    assert output.texts == ["m1"]


# --- gaps


@pytest.mark.parametrize("what", [{"recovered": False, "oldest": "e:9"}, {"dropped": 3}])
def test_a_gap_is_passed_over(script, output, what):
    tail(script((note(**what), message(9), closing(1000)), headers=(ENVELOPED,)), output, since="e:1")
    assert output.texts == ["m9"]


@pytest.mark.parametrize("what", [{"recovered": False, "oldest": "e:9"}, {"dropped": 3}])
def test_a_gap_is_an_error_if_there_must_be_none(script, output, what):
    with pytest.raises(GtoolError) as caught:
        tail(script((note(**what), message(9)), headers=(ENVELOPED,)), output, since="e:1", is_strict=True)
    assert caught.value.exit_code == 1


def test_what_came_before_a_gap_is_kept(script, output):
    with pytest.raises(GtoolError):
        tail(script((message(1), note(dropped=3)), headers=(ENVELOPED,)), output, is_strict=True)
    assert output.kept[-1] == "e:1"


def test_an_away_time_of_a_server_without_ids_is_an_error_if_there_must_be_no_gap(script, output):
    with pytest.raises(GtoolError, match="this server tells no ids"):
        tail(script((said(TEXT, b"x"),)), output, is_strict=True)
    gc.collect()  # a socket that was not closed is a warning


# --- ends


def test_enough_is_enough(script, output):
    tail(script((message(1), message(2)), headers=(ENVELOPED,)), output, most=1)
    assert (output.texts, output.kept[-1]) == (["m1"], "e:1")


def test_less_than_enough_is_an_error(script, output):
    with pytest.raises(PeerGone, match="the feed has ended after 1 of 2 messages"):
        tail(script((message(1), closing(1000)), headers=(ENVELOPED,)), output, most=2)


def test_the_time_is_counted_over_all_connections(script, output):
    begun_at = time.monotonic()
    tail(script((said(TEXT, b"x"),)), output, timeout=0.5)
    assert time.monotonic() - begun_at >= 0.5


def test_the_first_connection_has_to_come_about(script, output):
    with pytest.raises(BindError, match="HTTP 503: not now"):
        tail(script(answer(b"not now", "503 No")), output)


@pytest.mark.parametrize("status", ["408 No", "425 No", "429 No", "500 No", "502 No", "503 No"])
def test_a_later_one_may_fail(script, output, status):
    server = script((), answer(b"", status), (said(TEXT, b"x"), closing(1000)))
    tail(server, output)
    assert output.texts == ["x"]


@pytest.mark.parametrize("status", ["400 No", "401 No", "403 No", "404 No", "410 No"])
def test_a_later_one_may_not_be_refused(script, output, status):
    with pytest.raises(BindError):
        tail(script((), answer(b"", status)), output)


def test_pauses_grow_up_to_the_longest_and_are_never_the_same(script, output, monkeypatch):
    pauses = []
    monkeypatch.setattr(gtool.live.tail.gevent, "sleep", pauses.append)
    tail(script((), (), (), (), (), (closing(1000),)), output)
    longest = [0.02, 0.04, 0.08, 0.08, 0.08]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len(set(pauses)) == 5


def test_a_connection_that_has_stood_is_a_new_beginning(script, output, monkeypatch):
    pauses = []
    monkeypatch.setattr(gtool.live.tail.gevent, "sleep", pauses.append)
    monkeypatch.setattr(gtool.live.tail, "STABLE_S", -1.0)
    tail(script((), (), (), (), (closing(1000),)), output)
    assert max(pauses) <= 0.02


@pytest.mark.parametrize("most", [1, None])
def test_the_server_hears_a_good_bye(peer, output, most):
    heard = []

    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head) + said(TEXT, b"x"))
        heard.append(read_frame(connection))
        connection.sendall(closing(1000))
        connection.shutdown(socket.SHUT_WR)

    tail(peer(handler), output, most=most, timeout=None if most else 0.5)
    assert heard == [(CLOSE, (1000).to_bytes(2, "big"))]


@pytest.mark.parametrize("user", ["", "me:s3cret@"])
def test_what_is_said_of_a_server_has_no_password_and_no_query(script, output, user):
    server = script(answer(b"why", "403 No"))
    url, place = parse_url(f"ws://{user}{server.host}/x?token=s3cret")
    with pytest.raises(BindError) as caught:
        Tail(Settings(Wanted(url), place), output).run()
    assert str(caught.value) == f"cannot connect to ws://{server.host}/x: HTTP 403: why"


# --- URLs


@pytest.mark.parametrize(
    ("url", "with_it"),
    [
        ("ws://h/", "ws://h/?since=a:1"),
        ("ws://h", "ws://h?since=a:1"),
        ("ws://h/p?x=y", "ws://h/p?x=y&since=a:1"),
        ("ws://h/?since=b:2&x=", "ws://h/?x=&since=a:1"),
        ("ws://h/?t=a%2Bb", "ws://h/?t=a%2Bb&since=a:1"),
    ],
)
def test_since_is_put_into_the_query(url, with_it):
    assert with_since(url, "a:1") == with_it


@pytest.mark.parametrize("query", ["t=%FF", "flag", "a=b;c", "q=a%20b"])
def test_the_rest_of_a_query_stays_as_it_was_written(query):
    """It may be signed."""
    assert with_since(f"ws://h/?{query}", "a:1") == f"ws://h/?{query}&since=a:1"


# --- an output that has enough, or waits for something


class Choosy(Output):
    """Has enough with a certain message."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self._last = last

    def write(self, received: Received) -> bool:  # type: ignore[override]
        super().write(received)
        return received.data.decode() == self._last


def test_an_output_that_has_enough_is_given_no_more(script):
    output = Choosy("m2")
    tail(script((message(1), message(2), message(3)), headers=(ENVELOPED,)), output)
    assert (output.texts, output.kept[-1]) == (["m1", "m2"], "e:2")


def test_an_output_that_has_enough_is_not_connected_for_again(script):
    server = script((message(1),), (message(2),), headers=(ENVELOPED,))
    tail(server, Choosy("m1"), awaits="nothing of the kind")
    assert len(server.requests) == 1


def test_what_is_awaited_may_come_over_a_later_connection(script):
    output = Choosy("m2")
    tail(script((message(1),), (message(2),), headers=(ENVELOPED,)), output, awaits="nothing of the kind")
    assert output.texts == ["m1", "m2"]


def test_what_is_awaited_and_does_not_come_in_time_is_an_error_though_others_came(script):
    output = Choosy("none")
    with pytest.raises(PeerGone, match=r"nothing of the kind within 0.3 s"):
        tail(script((message(1),), headers=(ENVELOPED,)), output, awaits="nothing of the kind", timeout=0.3)
    assert (output.texts[0], output.kept[-1]) == ("m1", "e:1")


def test_what_is_awaited_and_has_not_come_when_the_feed_ends_is_an_error(script):
    server = script((message(1), closing(1000)), headers=(ENVELOPED,))
    with pytest.raises(PeerGone, match="nothing of the kind"):
        tail(server, Choosy("none"), awaits="nothing of the kind")


def test_what_is_awaited_and_is_not_among_so_many_is_an_error(script):
    server = script((message(1), message(2)), headers=(ENVELOPED,))
    with pytest.raises(PeerGone, match="nothing of the kind"):
        tail(server, Choosy("none"), awaits="nothing of the kind", most=2)


def test_an_output_that_has_enough_before_there_are_so_many_is_no_error(script):
    tail(script((message(1),), headers=(ENVELOPED,)), Choosy("m1"), awaits="nothing of the kind", most=5)


# --- where a run begins, where that is no id


@pytest.mark.parametrize("since", ["all", "-3600.000"])
def test_where_it_begins_is_an_id_as_soon_as_the_server_says_which(script, output, since):
    server = script((), (closing(1000),), headers=(ENVELOPED, "Gtool-Cursor: e:5"))
    tail(server, output, since=since)
    assert (asked_since(server), output.kept[0]) == ([since, "e:5"], "e:5")


@pytest.mark.parametrize("since", ["all", "-3600.000"])
def test_where_it_begins_is_asked_for_again_until_the_server_says_which(script, output, since):
    server = script((), (), (closing(1000),), headers=(ENVELOPED,))
    tail(server, output, since=since)
    assert asked_since(server) == [since] * 3


@pytest.mark.parametrize("since", ["all", "-3600.000"])
def test_what_is_no_id_is_not_kept(script, output, since):
    tail(script((closing(1000),), headers=(ENVELOPED,)), output, since=since)
    assert output.kept == []


# --- a language that can't do without its own servers


class Strict:
    """Speaks with one kind of server only."""

    subprotocol = "gtool.envelope"

    def open(self, data: bytes) -> tuple[Received | None, dict[str, Any]]:
        return Received(data, True), {}

    def bare(self, message: object) -> Received:
        raise PeerGone("that is another server")


def test_a_server_that_does_not_speak_the_language_is_an_error_with_its_first_message(script, output):
    url, place = parse_url(f"ws://{script((said(TEXT, b'x'),)).host}/")
    with gevent.Timeout(TIMEOUT_S), pytest.raises(PeerGone, match="that is another server"):
        live_tail.Tail(Settings(Wanted(url, subprotocols=("gtool.envelope",)), place), output, Strict()).run()
    assert (output.texts, output.kept) == ([], [])


# --- an id that comes without a message


def test_an_id_without_a_message_is_where_to_go_on(script, output):
    server = script((message(1), note(cursor="e:9")), (closing(1000),), headers=(ENVELOPED,))
    tail(server, output)
    assert (asked_since(server), output.kept[-1]) == ([None, "e:9"], "e:9")


@pytest.mark.parametrize("cursor", ["rubbish", None, 5, ["e:1"], "all"])
def test_an_id_without_a_message_that_is_none_is_an_error_and_not_kept(script, output, cursor):
    with pytest.raises(PeerGone, match="tells what is no id"):
        tail(script((message(1), note(cursor=cursor)), headers=(ENVELOPED,)), output)
    assert output.kept[-1] == "e:1"
