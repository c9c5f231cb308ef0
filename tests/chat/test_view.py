"""A message looks the same to all: as a WebSocket's, and as an event."""

from __future__ import annotations

import json
import zlib

import pytest

from gtool.chat.messages import pack, render
from gtool.chat.view import View
from gtool.live.encoder import Encoder
from gtool.streams.log import Entry
from gtool.streams.memory import MemoryLog

TEXT = 0x81  # with FIN (RFC 6455 section 5.2)
ENTRY = Entry(1, 7, 1.5, pack("room", "user", "a\nb ä"), 0, "room")


def test_a_message_of_a_websocket_is_its_json():
    data = View(True).encode("epoch", ENTRY)
    assert (data[0], data[2:].decode()) == (TEXT, render("epoch", ENTRY))


def test_a_long_message_is_compressed_in_the_window_agreed_on():
    entry = ENTRY._replace(data=pack("room", "user", "compress me " * 100))
    data = View(True, None, 12).encode("epoch", entry)
    text = zlib.decompressobj(-12).decompress(data[4 if data[1] == 126 else 2 :] + b"\0\0\xff\xff").decode()
    assert (data[0], text) == (0xC1, render("epoch", entry))


def test_an_event_has_the_id_and_the_same_json():
    lines = View(False).encode("epoch", ENTRY).decode().split("\n")
    assert (lines[0], lines[1:]) == ("id: epoch:7", [f"data: {render('epoch', ENTRY)}", "", ""])


@pytest.mark.parametrize("note", [{"dropped": 3}, {"presence": {"room": "ä", "users": ["bob"]}}, {"recovered": False}])
def test_a_note_of_a_websocket_has_no_id(note):
    data = View(True).note(note)
    assert (data[0], json.loads(data[2:])) == (TEXT, note)


@pytest.mark.parametrize("note", [{"typing": {"room": "a", "user": "b"}}, {"recovered": False, "oldest": "e:1"}])
def test_a_note_is_an_event_of_its_own_kind_without_an_id(note):
    kind, data, *rest = View(False).note(note).decode().split("\n")
    assert (kind, json.loads(data.removeprefix("data: ")), rest) == (f"event: {next(iter(note))}", note, ["", ""])


def test_views_that_ask_for_the_same_are_the_same():
    views = {View(True, frozenset("ab")), View(True, frozenset("ba")), View(True), View(False), View(True, None, 15)}
    assert len(views) == 4


def test_a_reader_of_some_rooms_gets_those_only():
    log = MemoryLog(10, 1000, "epoch")
    for room in "abab":
        log.append(pack(room, "user", "text"), room)
    data = Encoder(log, View(False, frozenset("b"))).next(0).data.decode()
    assert [line for line in data.split("\n") if line.startswith("id")] == ["id: epoch:2", "id: epoch:4"]
