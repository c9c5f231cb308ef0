"""A connection's counts and end, and the words for what broke it."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from gtool.runtime.connection import why
from gtool.runtime.greenlets import green
from tests.runtime.test_greenlets import echo, serving
from tests.servers.looped import exchange, looped, server_tls


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ECONNRESET, "reset"), (errno.EPIPE, "reset"), (errno.ETIMEDOUT, "timed out")],
)
def test_what_breaks_connections_most_has_a_word_for_it(number, reason):
    assert why(OSError(number, os.strerror(number))) == reason


def test_what_else_breaks_one_is_in_the_systems_words():
    assert why(OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))) == "No route to host"


def test_an_error_without_words_is_named_by_its_type():
    assert why(TimeoutError()) == "TimeoutError"


def test_an_error_of_tls_says_which(authority, tmp_path):
    ours, theirs = socket.socketpair()
    tls = server_tls(authority, tmp_path)
    with theirs, tls.wrap_socket(green(ours), server_side=True, do_handshake_on_connect=False) as made:
        theirs.send(b"this is no TLS at all")
        with pytest.raises(ssl.SSLError) as caught:
            made.do_handshake()
    assert why(caught.value) == "TLS: wrong version number"


def test_a_connection_is_reported_ended_once_with_its_counts():
    with looped(serving(echo)) as server:
        for _ in range(2):
            with server.connect() as client:
                exchange(client, [b"abc"])
            server.reason()
        assert (server.counts.received, server.counts.sent, server.counts.accepted) == (6, 6, 2)
