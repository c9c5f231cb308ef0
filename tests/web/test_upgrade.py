"""A server's part of the handshake: which request may become a WebSocket, and what is agreed on."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.web.frames import LEAST_DEFLATED, Message
from gtool.web.upgrade import BadHandshake, check_handshake, negotiate, wants_upgrade
from tests.web.conversations import (
    client_extension,
    received_by_client,
    server_side,
)

fixed = settings(derandomize=True, deadline=None, max_examples=100)
KEY = base64.b64encode(bytes(16)).decode()
GOOD = {
    "REQUEST_METHOD": "GET",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_UPGRADE": "websocket",
    "HTTP_CONNECTION": "Upgrade",
    "HTTP_SEC_WEBSOCKET_VERSION": "13",
    "HTTP_SEC_WEBSOCKET_KEY": KEY,
}
NO_CONTEXT = "server_no_context_takeover; client_no_context_takeover"
#: repeated, it is like itself only farther back than a small window reaches
FAR_APART = base64.b64encode(random.Random(1).randbytes(1500))


def handshake(**changes: str | None) -> dict[str, str]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"HTTP_UPGRADE": "WebSocket"},
        {"HTTP_CONNECTION": "keep-alive, Upgrade"},
        {"HTTP_CONNECTION": "keep-alive,\tupgrade"},
        {"HTTP_SEC_WEBSOCKET_VERSION": " 13 "},
        {"HTTP_SEC_WEBSOCKET_KEY": f" {KEY} "},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": " 0 "},
    ],
)
def test_a_request_for_a_websocket_is_one(changes):
    check_handshake(handshake(**changes))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"REQUEST_METHOD": "POST"}, "400"),
        ({"REQUEST_METHOD": "HEAD"}, "400"),
        ({"SERVER_PROTOCOL": "HTTP/1.0"}, "400"),
        ({"HTTP_UPGRADE": None}, "426"),
        ({"HTTP_UPGRADE": ""}, "426"),
        ({"HTTP_UPGRADE": "h2c"}, "426"),
        ({"HTTP_UPGRADE": "websockets"}, "426"),
        ({"HTTP_CONNECTION": None}, "400"),
        ({"HTTP_CONNECTION": "close"}, "400"),
        ({"HTTP_CONNECTION": "upgraded"}, "400"),
        ({"CONTENT_LENGTH": "1"}, "400"),
        ({"CONTENT_LENGTH": "-1"}, "400"),
        ({"CONTENT_LENGTH": "x"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": None}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "8"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "13, 8"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_VERSION": "013"}, "426"),
        ({"HTTP_SEC_WEBSOCKET_KEY": None}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": ""}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(bytes(15)).decode()}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": base64.b64encode(bytes(17)).decode()}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": KEY.rstrip("=")}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY[:5]} {KEY[5:]}"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": f"{KEY},{KEY}"}, "400"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "ä" + KEY[1:]}, "400"),
    ],
)
def test_any_other_request_is_refused(changes, status):
    with pytest.raises(BadHandshake) as caught:
        check_handshake(handshake(**changes))
    assert caught.value.status.startswith(status)


@pytest.mark.parametrize(("changes", "expected"), [({}, True), ({"HTTP_UPGRADE": "h2c"}, False)])
def test_whether_an_upgrade_is_wanted_is_seen_by_its_header(changes, expected):
    assert wants_upgrade(handshake(**changes)) is expected


def test_a_refusal_says_what_would_be_right():
    with pytest.raises(BadHandshake) as caught:
        check_handshake(handshake(HTTP_SEC_WEBSOCKET_VERSION="8"))
    assert dict(caught.value.headers) == {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
    }


def test_a_refusal_of_another_kind_ends_the_connection():
    assert BadHandshake("400 Bad Request", "it is no GET").headers == [("Connection", "close")]


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("", ""),
        ("x-webkit-deflate-frame", ""),
        ("permessage-deflate", f"permessage-deflate; {NO_CONTEXT}"),
        ("permessage-deflate; client_max_window_bits", f"permessage-deflate; {NO_CONTEXT}"),
        (
            "permessage-deflate; client_max_window_bits=10",
            f"permessage-deflate; {NO_CONTEXT}; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=10",
        ),
        (
            'permessage-deflate; server_max_window_bits="10"',
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=10",
        ),
        ("permessage-deflate; server_no_context_takeover", f"permessage-deflate; {NO_CONTEXT}"),
        ("permessage-deflate; client_no_context_takeover", f"permessage-deflate; {NO_CONTEXT}"),
        ("foo, permessage-deflate", f"permessage-deflate; {NO_CONTEXT}"),
        (
            "permessage-deflate; server_max_window_bits=99, permessage-deflate; server_max_window_bits=9",
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=9",
        ),
        (
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            f"permessage-deflate; {NO_CONTEXT}; server_max_window_bits=9",
        ),
        ("permessage-deflate; server_max_window_bits", ""),
        ("permessage-deflate; server_max_window_bits=7", ""),
        ("permessage-deflate; server_max_window_bits=16", ""),
        ("permessage-deflate; server_max_window_bits=010", ""),
        ("permessage-deflate; client_max_window_bits=16", ""),
        ("permessage-deflate; server_no_context_takeover=1", ""),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", ""),
        ("permessage-deflate; unknown", ""),
    ],
)
def test_the_first_offer_that_can_be_met_is_taken(offers, answer):
    assert negotiate(offers)[0] == answer


@pytest.mark.parametrize("offers", ["a;;", ";", "permessage-deflate; =9", "permessage-deflate; a=", "a b", '"'])
def test_offers_that_cannot_be_read_are_refused(offers):
    with pytest.raises(BadHandshake, match="400"):
        negotiate(offers)


@given(st.text('permsag-dflt;,= "1890_', max_size=40))
@fixed
def test_whatever_is_offered_there_is_an_answer_or_a_refusal(offers):
    try:
        answer, extension = negotiate(offers)
    except BadHandshake:
        return
    assert bool(answer) == bool(extension)


@pytest.mark.parametrize("bits", range(8, 16))
def test_what_is_agreed_on_can_be_kept(bits):
    """zlib makes no raw stream with a window of 8 bits."""
    _, extension = negotiate(f"permessage-deflate; server_max_window_bits={bits}")
    conversation = server_side(extension)
    frame = conversation.encode(Message(b"x" * LEAST_DEFLATED, True))
    assert received_by_client(frame, client_extension(bits) if extension else None) == [(True, b"x" * LEAST_DEFLATED)]
