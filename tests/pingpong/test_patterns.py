"""The patterns: sockets that understand each other."""

from __future__ import annotations

import pytest
import zmq

from gtool.commands.zmq_ping import ping
from gtool.pingpong.endpoints import closing
from gtool.pingpong.patterns import PATTERNS

SOON_MS = 5000


@pytest.mark.parametrize("name", PATTERNS)
def test_what_the_client_sends_comes_to_the_server(name):
    pattern = PATTERNS[name]
    with closing(zmq.Context()) as context:
        client, server = context.socket(pattern.client), context.socket(pattern.server)
        server.bind("inproc://server")
        if pattern.server == zmq.SUB:
            server.subscribe(b"")
        client.connect("inproc://server")
        server.poll(0)  # which is when a SUB learns that somebody is there
        if pattern.client == zmq.XPUB:
            assert client.poll(SOON_MS)
            client.recv()
        client.send(b"hello")
        assert server.poll(SOON_MS)
        assert server.recv_multipart()[-1] == b"hello"


@pytest.mark.parametrize("name", [name for name, pattern in PATTERNS.items() if not pattern.is_one_way])
def test_what_is_not_one_way_comes_back(name):
    pattern = PATTERNS[name]
    with closing(zmq.Context()) as context:
        client, server = context.socket(pattern.client), context.socket(pattern.server)
        server.bind("inproc://server")
        client.connect("inproc://server")
        client.send(b"hello")
        assert server.poll(SOON_MS)
        server.send_multipart(server.recv_multipart())
        assert client.poll(SOON_MS)
        assert client.recv() == b"hello"


@pytest.mark.parametrize("name", [name for name, pattern in PATTERNS.items() if pattern.is_one_way])
def test_nothing_can_be_sent_back_where_it_is_one_way(name):
    with closing(zmq.Context()) as context:
        server = context.socket(PATTERNS[name].server)
        with pytest.raises(zmq.ZMQError, match="not supported"):
            server.send(b"hello", zmq.NOBLOCK)


def test_a_publisher_is_told_of_its_subscribers():
    pattern = PATTERNS["pub-sub"]
    with closing(zmq.Context()) as context:
        client, server = context.socket(pattern.client), context.socket(pattern.server)
        server.bind("inproc://server")
        server.subscribe(b"")
        client.connect("inproc://server")
        server.poll(0)
        assert client.poll(SOON_MS)
        assert client.recv() == b"\x01"


def test_all_patterns_can_be_chosen():
    (choice,) = (param.type for param in ping.params if param.name == "pattern")
    assert list(choice.choices) == list(PATTERNS)
