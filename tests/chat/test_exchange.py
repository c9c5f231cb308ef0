"""What is asked of a request in Flask, and answers as they leave. Sessions, from end to end, are in test_api.py."""

from __future__ import annotations

import pytest
from flask import Flask, Response

from gtool.chat.claims import Claim
from gtool.chat.exchange import address, fields_of_request, give_session, json_answer
from gtool.web.respond import Refused

CLAIM = Claim("bob", "bob", "digest", 0.0)


def asked(**options: object):
    return Flask(__name__).test_request_context("/", **options)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", ""),
    ],
)
def test_an_address_is_that_of_the_host_or_of_its_network(remote, expected):
    with asked(environ_base={"REMOTE_ADDR": remote}):
        assert address() == expected


def test_the_fields_of_a_request_are_its_json():
    with asked(method="POST", json={"a": 1}):
        assert fields_of_request() == {"a": 1}


def test_what_is_not_said_to_be_json_is_refused():
    with asked(method="POST", data=b"{}"), pytest.raises(Refused, match="415"):
        fields_of_request()


def test_an_answer_is_a_line_of_json_that_nobody_stores():
    answer = json_answer({"a": "ä"}, 201)
    assert (answer.status_code, answer.get_data(), answer.mimetype) == (
        201,
        '{"a": "ä"}\n'.encode(),
        "application/json",
    )
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_new_session_is_a_cookie_for_this_site_below_its_path():
    with asked(environ_overrides={"SCRIPT_NAME": "/chat"}):
        cookie = give_session(Response(), "epoch", CLAIM, "token").headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/chat"} <= set(cookie.split("; "))


def test_one_that_the_browser_has_already_is_not_given_again():
    with asked():
        assert "Set-Cookie" not in give_session(Response(), "epoch", CLAIM, None).headers
