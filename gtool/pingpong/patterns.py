"""The patterns, and which sockets they are made of."""

from __future__ import annotations

from typing import NamedTuple

import zmq


class Pattern(NamedTuple):
    client: int
    server: int
    is_one_way: bool  #: the client sends and the server counts; else each message is answered


#: XPUB is a PUB that is told of subscriptions, so that it needs not guess when it may begin.
PATTERNS = {
    "req-rep": Pattern(zmq.REQ, zmq.ROUTER, is_one_way=False),
    "dealer-router": Pattern(zmq.DEALER, zmq.ROUTER, is_one_way=False),
    "push-pull": Pattern(zmq.PUSH, zmq.PULL, is_one_way=True),
    "pub-sub": Pattern(zmq.XPUB, zmq.SUB, is_one_way=True),
}
