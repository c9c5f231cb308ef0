"""How a message of a feed looks: bare or in an envelope. What all views have in common is tests/live/test_encoder."""

from __future__ import annotations

import pytest
import simplejson

from gtool.feed.view import View, envelope
from gtool.streams.log import Entry

ENTRY = Entry(1, 7, 1.5, b'say "hi"', 8)


def test_an_envelope_has_the_id_the_time_and_the_message():
    assert simplejson.loads(envelope("e", ENTRY)) == {"id": "e:7", "time": 1.5, "data": 'say "hi"'}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(True), b"\x81\x08" + ENTRY.data),
        (View(False), b'id: e:7\ndata: say "hi"\n\n'),
        (View(False, True), b'id: e:7\ndata: {"id": "e:7", "time": 1.5, "data": "say \\"hi\\""}\n\n'),
    ],
)
def test_a_message_is_a_frame_or_an_event(view, expected):
    assert view.encode("e", ENTRY) == expected


def test_who_reads_bare_frames_is_told_no_notes():
    assert View(True).note({"dropped": 1}) == b""
