"""Events are what a browser makes of them, whatever stands in them; a stream shows that it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtool.web.sse import DEAD_S, HEADERS, HEARTBEAT_S, EventStream, event
from tests.servers.looped import end_input, receive_all, receive_exactly
from tests.web.test_channel import SMALL_BUFFER, Wired, wired

fixed = settings(derandomize=True, deadline=None, max_examples=200)
texts = st.text(
    st.one_of(st.sampled_from("\r\n: x\u2028\x85\0"), st.characters(exclude_categories=["Cs"])), max_size=20
)
words = st.text("abc:- 1\N{SNOWMAN}", max_size=8)
HEARTBEAT = b":\n\n"


def parse(stream: bytes) -> list[tuple[str, str, str]]:
    """Read a stream as the standard says (WHATWG HTML, section 9.2.6): type, data and last id of each event."""
    events = []
    last_id, kind, data = "", "", ""
    *lines, rest = re.split(r"\r\n|\n|\r", stream.decode())
    assert rest == "", "the stream ends within a line"
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((kind or "message", data.removesuffix("\n"), last_id))
            kind, data = "", ""
        elif name == "event":
            kind = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            last_id = value
    return events


def with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(texts)
@example("")
@example("\n")
@example("a\n\nb")
@example(" leading space")
@example("data: x")
@example(":comment")
@example("a\r\nb\rc\n")
@fixed
def test_data_comes_as_it_is_but_for_its_kinds_of_line_breaks(text):
    assert parse(event(text)) == [("message", with_line_feeds(text), "")]


@given(st.lists(st.tuples(texts, words, words), max_size=5))
@fixed
def test_events_one_after_the_other_are_as_many(said):
    stream = b"".join(event(text, event_id, kind) for text, event_id, kind in said)
    assert parse(stream) == [(kind or "message", with_line_feeds(text), event_id) for text, event_id, kind in said]


def test_an_event_without_an_id_keeps_the_last():
    assert [last_id for *_, last_id in parse(event("a", "5") + event("b"))] == ["5", "5"]


def test_an_empty_id_takes_back_the_last():
    assert [last_id for *_, last_id in parse(event("a", "5") + event("b", ""))] == ["5", ""]


def test_an_event_is_as_short_as_can_be():
    assert (event("x"), event("x", "1", "y")) == (b"data: x\n\n", b"event: y\nid: 1\ndata: x\n\n")


def test_a_heartbeat_is_no_event():
    assert parse(HEARTBEAT + event("x") + HEARTBEAT) == [("message", "x", "")]


def test_nobody_between_keeps_or_holds_back_a_stream():
    headers = dict(HEADERS)
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")


class Listener:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def drained(self) -> None:
        self.calls.append("drained")

    def closed(self) -> None:
        self.calls.append("closed")


class Streaming:
    """A stream on a channel, and its peer."""

    def __init__(self, made: Wired) -> None:
        self.stream = EventStream()
        self.stream.channel = self.channel = made.channel
        self.stream.listener = self.listener = Listener()
        self.wired = made
        self.peer = made.peer
        calls = made.talker.acts
        for name in ("received_all", "drained", "ended"):
            calls[name] = getattr(self.stream, name)
        calls["received"] = lambda: self.stream.received(bytes(made.talker.data))
        calls["asked_to_close"] = lambda: self.stream.asked_to_close("")


@pytest.fixture
def streaming() -> Iterator[Streaming]:
    with wired(buffer_bytes=SMALL_BUFFER) as made:
        yield Streaming(made)


def test_what_is_written_comes(streaming):
    streaming.stream.write(event("hello"))
    assert receive_exactly(streaming.peer, 13) == event("hello")


def test_silence_is_broken_by_a_comment(streaming):
    streaming.stream.tick(100)
    streaming.stream.tick(100 + HEARTBEAT_S + 0.1)
    assert receive_exactly(streaming.peer, 3) == HEARTBEAT


def test_silence_is_not_broken_too_soon(streaming):
    streaming.stream.tick(100)
    streaming.stream.tick(100 + HEARTBEAT_S)
    streaming.stream.close()
    assert receive_all(streaming.peer) == b""


def test_who_speaks_needs_no_comment(streaming):
    streaming.stream.tick(100)
    streaming.stream.write(event("hello"))
    streaming.stream.tick(100 + HEARTBEAT_S + 0.1)
    streaming.stream.close()
    assert receive_all(streaming.peer) == event("hello")


def test_silence_is_broken_again_and_again(streaming):
    for number in range(61):
        streaming.stream.tick(100 + number)
    streaming.stream.close()
    assert receive_all(streaming.peer) == HEARTBEAT * 3


def fill(streaming: Streaming) -> None:
    while not streaming.channel.waiting:
        streaming.stream.write(event("x" * 100_000))


def test_no_comment_waits_behind_what_waits_already(streaming):
    fill(streaming)
    waiting = streaming.channel.waiting
    for number in range(30):
        streaming.channel.heard_at = 100 + number
        streaming.stream.tick(100 + number)
    assert streaming.channel.waiting == waiting


def test_a_peer_that_does_not_read_is_left(streaming):
    fill(streaming)
    streaming.channel.heard_at = 100
    streaming.stream.tick(100 + DEAD_S + 0.1)
    assert streaming.wired.reasons == ["does not read"]


def test_what_is_written_is_no_sign_that_a_peer_reads(streaming):
    fill(streaming)
    streaming.channel.heard_at = 100
    streaming.channel.connection.active_at = 100 + DEAD_S
    streaming.stream.tick(100 + DEAD_S + 0.1)
    assert streaming.wired.reasons == ["does not read"]


def test_a_peer_that_does_not_read_for_a_while_is_not_left(streaming):
    fill(streaming)
    streaming.channel.heard_at = 100
    streaming.stream.tick(100 + DEAD_S)
    assert streaming.channel.is_open


def test_a_peer_that_has_nothing_to_read_is_not_left(streaming):
    streaming.channel.heard_at = 100
    streaming.stream.tick(100 + 10 * DEAD_S)
    assert streaming.channel.is_open


def test_closing_ends_the_stream_for_that_reason(streaming):
    streaming.stream.write(event("last"))
    streaming.stream.close(1001, "the server stops")
    assert receive_all(streaming.peer) == event("last")
    end_input(streaming.peer)
    assert streaming.wired.reason() == "the server stops"


def test_nothing_is_written_after_closing(streaming):
    streaming.stream.close()
    streaming.stream.write(event("late"))
    assert (streaming.stream.is_open, receive_all(streaming.peer)) == (False, b"")


def test_a_stream_that_has_ended_can_be_told_anything(streaming):
    streaming.channel.close("gone")
    streaming.stream.write(event("late"))
    streaming.stream.close()
    streaming.stream.tick(100)
    assert streaming.listener.calls == ["closed"]


def test_what_the_peer_says_is_nothing_to_us(streaming):
    streaming.peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
    streaming.wired.talker.wait_for("received")
    streaming.stream.write(event("hello"))
    assert receive_exactly(streaming.peer, 13) == event("hello")


def test_the_listener_learns_that_all_is_written(streaming):
    fill(streaming)
    receive_exactly(streaming.peer, streaming.channel.connection.sent + streaming.channel.waiting)
    streaming.wired.talker.wait_for("drained")
    assert streaming.listener.calls == ["drained"]


def test_the_listener_learns_that_the_peer_has_gone(streaming):
    streaming.peer.close()
    streaming.wired.talker.wait_for("ended")
    assert streaming.listener.calls == ["closed"]
