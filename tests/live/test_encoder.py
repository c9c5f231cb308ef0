"""What a reader of each view gets: the messages as they are, encoded once for all, in bounded batches."""

from __future__ import annotations

import itertools
import zlib
from typing import NamedTuple

import pytest
import simplejson
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.feed.view import View, envelope
from gtool.live.encoder import BATCH_BYTES, BATCH_ENTRIES, BATCHES, Encoder
from gtool.streams.log import Entry
from gtool.streams.memory import MemoryLog

BARE, ENVELOPE = View(True), View(True, has_envelope=True)
EVENTS, EVENTS_IN_ENVELOPES = View(False), View(False, has_envelope=True)
ALL = [BARE, ENVELOPE, EVENTS, EVENTS_IN_ENVELOPES, View(True, window_bits=15), View(True, True, 9)]
TEXT, COMPRESSED = 0x81, 0xC1  # with FIN (RFC 6455 section 5.2, RFC 7692 section 6)

fixed = settings(derandomize=True, deadline=None, max_examples=150)


class Event(NamedTuple):
    kind: str
    id: str | None
    data: str


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The first byte and the payload of each frame; a server does not mask."""
    found = []
    while data:
        first, size, at = data[0], data[1], 2
        assert size < 128
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(data[2:at], "big")
        found.append((first, data[at : at + size]))
        data = data[at + size :]
    return found


def events(data: bytes) -> list[Event]:
    """Events as WHATWG HTML, section 9.2.6 reads them."""
    assert data == b"" or data.endswith(b"\n\n")
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
        assert fields.keys() <= {"event", "id", "data"}
        found.append(Event(fields.get("event", ["message"])[0], fields.get("id", [None])[0], "\n".join(fields["data"])))
    return found


def inflate(data: bytes, bits: int) -> bytes:
    return zlib.decompressobj(-bits).decompress(data + b"\0\0\xff\xff")


def log_of(*messages: bytes, most: int = 10_000, most_bytes: int = 1 << 30) -> MemoryLog:
    log = MemoryLog(most, most_bytes, "epoch")
    for offset, message in enumerate(messages, 1):
        log.mirror(offset, 1000.5, message)
    return log


@pytest.fixture
def encoded(monkeypatch):
    """The entries that are encoded, in order, in any view."""
    seen: list[Entry] = []
    real = View.encode
    monkeypatch.setattr(View, "encode", lambda self, epoch, entry: seen.append(entry) or real(self, epoch, entry))
    return seen


def all_batches(encoder: Encoder, position: int = 0) -> list[bytes]:
    """All that there is after a position, by asking again and again."""
    found = []
    while (batch := encoder.next(position)).data:
        found.append(batch.data)
        position = batch.position
    return found


# Views


def test_a_bare_message_is_a_text_frame():
    assert frames(Encoder(log_of("a\u00e4".encode()), BARE).next(0).data) == [(TEXT, "a\u00e4".encode())]


def test_an_empty_message_is_an_empty_frame():
    assert frames(Encoder(log_of(b""), BARE).next(0).data) == [(TEXT, b"")]


def test_an_envelope_tells_the_id_and_the_time_beside_the_message():
    ((first, data),) = frames(Encoder(log_of(b'say "hi"'), ENVELOPE).next(0).data)
    assert (first, simplejson.loads(data)) == (TEXT, {"id": "epoch:1", "time": 1000.5, "data": 'say "hi"'})


def test_a_time_is_told_to_the_microsecond():
    assert '"time": 1.123457,' in envelope("e", Entry(1, 1, 1.123456789, b"", 0))


def test_an_envelope_is_no_longer_than_utf_8_needs():
    assert "\u00e4" in envelope("e", Entry(1, 1, 1.0, "\u00e4".encode(), 2))


def test_an_event_has_the_id_and_the_message():
    assert events(Encoder(log_of(b"hello"), EVENTS).next(0).data) == [Event("message", "epoch:1", "hello")]


def test_an_event_in_an_envelope_has_the_id_twice():
    (event,) = events(Encoder(log_of(b"hello"), EVENTS_IN_ENVELOPES).next(0).data)
    assert (event.id, simplejson.loads(event.data)["id"]) == ("epoch:1", "epoch:1")


def test_a_message_of_many_lines_is_one_event():
    assert events(Encoder(log_of(b"one\ntwo\r\nthree\rfour"), EVENTS).next(0).data) == [
        Event("message", "epoch:1", "one\ntwo\nthree\nfour")
    ]


def test_a_message_that_looks_like_fields_is_none():
    message = b"id: 7\n\nevent: x"
    assert events(Encoder(log_of(message), EVENTS).next(0).data) == [Event("message", "epoch:1", message.decode())]


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_a_long_message_is_compressed_in_the_window_agreed_on(bits):
    message = b"compress me " * 1000
    ((first, data),) = frames(Encoder(log_of(message), View(True, window_bits=bits)).next(0).data)
    assert (first, inflate(data, bits)) == (COMPRESSED, message)
    assert len(data) < len(message) / 10


def test_each_compressed_message_can_be_read_by_itself():
    """No context is taken over: a reader may begin anywhere."""
    messages = [b"%d " % number * 300 for number in range(3)]
    found = frames(Encoder(log_of(*messages), View(True, window_bits=15)).next(1).data)
    assert [inflate(data, 15) for _, data in found] == messages[1:]


def test_a_short_message_is_not_compressed():
    assert frames(Encoder(log_of(b"x" * 100), View(True, window_bits=15)).next(0).data) == [(TEXT, b"x" * 100)]


def test_gaps_in_the_offsets_are_in_the_ids():
    log = MemoryLog(10, 1000, "epoch")
    for offset in (5, 900):
        log.mirror(offset, 0.0, b"x")
    assert [event.id for event in events(Encoder(log, EVENTS).next(0).data)] == ["epoch:5", "epoch:900"]


# Notes


@pytest.mark.parametrize("bits", [0, 15])
def test_who_sees_bare_messages_only_gets_no_note(bits):
    assert View(True, window_bits=bits).note({"dropped": 3}) == b""


def test_a_note_is_json_between_envelopes_without_an_id():
    ((first, data),) = frames(ENVELOPE.note({"recovered": False, "oldest": "e:1"}))
    assert (first, simplejson.loads(data)) == (TEXT, {"recovered": False, "oldest": "e:1"})


@pytest.mark.parametrize("view", [EVENTS, EVENTS_IN_ENVELOPES])
@pytest.mark.parametrize("note", [{"recovered": False, "oldest": "e:1"}, {"dropped": 3}])
def test_a_note_is_an_event_of_its_own_kind_without_an_id(view, note):
    """An id would be the one that a browser comes back with."""
    ((kind, id_, data),) = events(view.note(note))
    assert (kind, id_, simplejson.loads(data)) == (next(iter(note)), None, note)


# Batches


@pytest.mark.parametrize("view", ALL)
def test_where_there_is_nothing_there_are_no_bytes(view):
    assert Encoder(log_of(b"a"), view).next(1) == (b"", 1)


@pytest.mark.parametrize("view", ALL)
def test_a_batch_leads_to_the_next(view):
    messages = [b"%d" % number * 400 for number in range(300)]
    encoder = Encoder(log_of(*messages), view)
    whole = b"".join(all_batches(encoder))
    assert len(frames(whole) if view.is_websocket else events(whole)) == 300


@pytest.mark.parametrize("view", ALL)
def test_many_readers_have_a_message_encoded_once(encoded, view):
    log = log_of(b"a", b"b", b"c")
    encoder = Encoder(log, view)
    for position in (0, 0, 1, 2, 0):
        all_batches(encoder, position)
    log.append(b"d")
    for position in (3, 3, 0, 2):
        all_batches(encoder, position)
    assert [entry.data for entry in encoded] == [b"a", b"b", b"c", b"d"]


def test_readers_at_the_same_place_are_given_the_same_bytes():
    encoder = Encoder(log_of(b"a", b"b"), ENVELOPE)
    assert encoder.next(0).data is encoder.next(0).data


def test_a_batch_is_made_anew_when_more_has_come():
    log = log_of(b"a")
    encoder = Encoder(log, BARE)
    encoder.next(0)
    log.append(b"b")
    assert [data for _, data in frames(encoder.next(0).data)] == [b"a", b"b"]


def test_a_batch_is_made_anew_when_messages_were_lost_and_others_came():
    log = log_of(b"a")
    encoder = Encoder(log, BARE)
    encoder.next(1)
    log.lose(7)
    assert encoder.next(2) == (b"", 2)
    log.mirror(8, 0.0, b"b")
    assert encoder.next(2) == (b"\x81\x01b", 3)


@pytest.mark.parametrize("view", ALL)
def test_a_batch_has_no_more_bytes_than_it_may(view):
    batches = all_batches(Encoder(log_of(*[bytes([97 + n % 26]) * 1000 for n in range(400)]), view))
    assert max(map(len, batches)) <= BATCH_BYTES
    if not view.window_bits:
        assert min(map(len, batches[:-1])) > BATCH_BYTES - 1200  # and it is made use of


@pytest.mark.parametrize("sizes", [[BATCH_BYTES * 3], [10, BATCH_BYTES * 3, 10]])
def test_a_message_larger_than_a_batch_is_one_by_itself(sizes):
    batches = all_batches(Encoder(log_of(*(b"x" * size for size in sizes)), BARE))
    assert [[len(data) for _, data in frames(batch)] for batch in batches] == [[size] for size in sizes]


def test_a_batch_has_no_more_messages_than_it_may():
    batches = all_batches(Encoder(log_of(*[b""] * (2 * BATCH_ENTRIES + 1)), BARE))
    assert [len(frames(batch)) for batch in batches] == [BATCH_ENTRIES, BATCH_ENTRIES, 1]


# What is remembered


def test_a_message_larger_than_all_that_is_remembered_is_given():
    message = b"x" * (17 << 20)
    assert Encoder(log_of(b"a", message, b"b"), BARE).next(1).data.endswith(message)


def test_what_the_log_has_dropped_is_not_remembered():
    log = log_of(most=10)
    encoder = Encoder(log, ENVELOPE)
    for number in range(1000):
        log.append(b"%d" % number)
        encoder.next(log.newest - 1)
    assert len(encoder._pieces._pieces) <= 10


def test_what_one_who_came_back_was_given_is_not_remembered_for_ever_either():
    """The encoded ones are not in their order then."""
    log = log_of(*[b"x"] * 10, most=10)
    encoder = Encoder(log, ENVELOPE)
    encoder.next(9)
    encoder.next(0)
    for number in range(100):
        log.append(b"%d" % number)
        encoder.next(log.newest - 1)
    assert len(encoder._pieces._pieces) <= 10


def test_readers_who_are_each_somewhere_else_take_no_more_than_some_batches():
    log = log_of(*[b"x" * 1000] * 500)
    encoder = Encoder(log, BARE)
    for position in range(500):
        encoder.next(position)
    assert len(encoder._batches) == BATCHES
    assert sum(len(batch.data) for batch in encoder._batches.values()) <= BATCHES * BATCH_BYTES


@fixed
@given(
    st.lists(st.one_of(st.binary(max_size=3), st.none()), max_size=60),
    st.lists(st.integers(0, 60), min_size=1, max_size=60),
    st.integers(1, 6),
    st.sampled_from(ALL),
)
def test_each_reader_gets_each_message_that_is_kept_wherever_it_is(messages, positions, most, view):
    log = MemoryLog(most, 1000, "epoch")
    encoder = Encoder(log, view)
    for message, asked in zip(messages, itertools.cycle(positions), strict=False):
        if message is None:
            log.lose(log.newest_offset + 3)
        else:
            log.append(message.hex().encode())
        position = min(max(asked, log.oldest - 1), log.newest)
        whole = b"".join(all_batches(encoder, position))
        fresh = b"".join(all_batches(Encoder(log, view), position))
        assert whole == fresh
        assert len(frames(whole) if view.is_websocket else events(whole)) == len(log.read(position, 1000))


# Topics


def log_about(topics: str, size: int = 1) -> MemoryLog:
    log = MemoryLog(10_000, 1 << 30, "epoch")
    for topic in topics:
        log.append(topic.encode() * size, topic)
    return log


def about(topics: str, is_websocket: bool = True) -> View:
    return View(is_websocket, topics=frozenset(topics))


@pytest.mark.parametrize(("topics", "expected"), [("a", "aa"), ("bc", "bcb"), ("abc", "abcab"), ("d", ""), ("", "")])
def test_only_what_is_of_the_topics_asked_for_is_given(topics, expected):
    data, position = Encoder(log_about("abcab"), about(topics)).next(0)
    assert (b"".join(payload for _, payload in frames(data)).decode(), position) == (expected, 5)


def test_ids_are_those_of_the_whole_log():
    data = Encoder(log_about("abcab"), about("b", is_websocket=False)).next(0).data
    assert [event.id for event in events(data)] == ["epoch:2", "epoch:5"]


def test_what_is_of_other_topics_is_not_encoded(encoded):
    Encoder(log_about("abcab"), about("b")).next(0)
    assert [entry.data for entry in encoded] == [b"b", b"b"]


def test_much_of_other_topics_is_passed_over_in_batches_without_bytes():
    encoder = Encoder(log_about("b" * (2 * BATCH_ENTRIES) + "a"), about("a"))
    found = [encoder.next(0)]
    while found[-1].position < 2 * BATCH_ENTRIES + 1:
        found.append(encoder.next(found[-1].position))
    assert [(batch.position, batch.data) for batch in found] == [
        (BATCH_ENTRIES, b""),
        (2 * BATCH_ENTRIES, b""),
        (2 * BATCH_ENTRIES + 1, b"\x81\x01a"),
    ]


def test_a_batch_ends_before_what_does_not_fit_and_the_next_begins_with_it():
    encoder = Encoder(log_about("abab" * 20, 10_000), about("a"))
    position, seen = 0, 0
    while (batch := encoder.next(position)).position != position:
        assert len(batch.data) <= BATCH_BYTES
        position, seen = batch.position, seen + len(frames_of(batch.data))
    assert (position, seen) == (80, 40)


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    return frames(data) if data else []


def test_what_has_come_about_other_topics_moves_the_position_on():
    log = log_about("a")
    encoder = Encoder(log, about("a"))
    assert encoder.next(1) == (b"", 1)
    log.append(b"b", "b")
    assert encoder.next(1) == (b"", 2)


@fixed
@given(st.text("abc", max_size=40), st.sets(st.sampled_from("abcd")), st.integers(0, 40))
def test_whatever_there_is_those_of_the_topics_are_given_from_any_place(topics, wanted, place):
    log = log_about(topics)
    place = min(place, log.newest)
    data, position = Encoder(log, about("".join(wanted))).next(place)
    assert "".join(payload.decode() for _, payload in frames(data)) == "".join(
        one for one in topics[place:] if one in wanted
    )
    assert position == log.newest
