"""What is shown of each tool, in a second or less: each function plays it on a stage, and checks what comes back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from time import perf_counter
from typing import Any, NamedTuple

import gevent
import simplejson
from gevent import socket

from gtool.demo.stage import LIFE, Stage
from gtool.demo.target import serving
from gtool.errors import PeerGone
from gtool.runtime.address import parse_address
from gtool.stats import LatencyHistogram

LOOPBACK = ("-l", "127.0.0.1:0")
CONNECTIONS, ROUND_TRIPS = 10, 1000
PAYLOAD = b"All work and no play makes Jack a dull boy: sixty-four bytes...\n"
GREETINGS = 100
GREETING = b"Hello from a telnet!\n0\n1\n2\n3\n4\n"
REQUESTS, AT_ONCE = 100, 20
PINGS = 1000
TAILS, MESSAGES = 3, 1000
READERS = 2


class Found(NamedTuple):
    """What came of a demonstration; `rate` is in `unit`."""

    result: str
    rate: float
    unit: str


class Demonstration(NamedTuple):
    tool: str
    what: str
    next: str  #: the command to try then
    play: Callable[[Stage], Found]  #: PeerGone if something is not as it should be


def echo_server(stage: Stage) -> Found:
    server, url = stage.serve("echo-server", *LOOPBACK)
    histogram = LatencyHistogram()
    started_at = perf_counter()
    clients = [gevent.spawn(_echo, url, histogram) for _ in range(CONNECTIONS)]
    try:
        gevent.joinall(clients, raise_error=True)
    finally:
        gevent.killall(clients)
    elapsed_s = perf_counter() - started_at
    server.stop()
    p99_s = histogram.percentiles().p99 or 0.0
    return Found(f"all came back, p99 {p99_s * 1000:.2f} ms", CONNECTIONS * ROUND_TRIPS / elapsed_s, "round trips/s")


def _echo(url: str, histogram: LatencyHistogram) -> None:
    with _connected(url) as sock:
        for _ in repeat(None, ROUND_TRIPS):
            sent_at = perf_counter()
            sock.sendall(PAYLOAD)
            _expect(_received(sock, len(PAYLOAD)), PAYLOAD)
            histogram.record(perf_counter() - sent_at)


def hello_server(stage: Stage) -> Found:
    server, url = stage.serve("hello-server", *LOOPBACK)
    started_at = perf_counter()
    for _ in repeat(None, GREETINGS):
        with _connected(url) as sock:
            _expect(_received(sock), GREETING)
    elapsed_s = perf_counter() - started_at
    server.stop()
    return Found("each greeted, and five lines", GREETINGS / elapsed_s, "connections/s")


def fetch(stage: Stage) -> Found:
    with serving() as target:
        client = stage.start("fetch", "--json", "--concurrency", str(AT_ONCE), "-i", "-")
        client.say("".join(f"{target.url}/{number}\n" for number in range(REQUESTS)))
        records = [simplejson.loads(line) for line in client.finish()]
        _expect([record["response_code"] for record in records], [200] * REQUESTS)
        return Found("a record for each, all 200", target.rate, "requests/s")


def zmq_pingpong(stage: Stage) -> Found:
    server, endpoint = stage.serve("zmq-pingpong", "serve", "--bind", "tcp://127.0.0.1:*")
    (document,) = stage.start("zmq-pingpong", "ping", endpoint, "--count", str(PINGS), "--json").finish()
    server.stop()
    (row,) = simplejson.loads(document)["rows"]
    _expect((row["received"], row["lost"]), (PINGS, 0))
    return Found(f"none lost, p50 {row['round_trip']['p50'] * 1e6:.0f} us", row["rate"], "round trips/s")


def ws_feed(stage: Stage) -> Found:
    server, url = stage.serve("ws-feed", *LOOPBACK, "--stdin")
    options = ("--since", "all", "--count", str(1 + MESSAGES), "--timeout", LIFE)
    tails = [stage.start("ws-tail", url, *options) for _ in range(TAILS)]
    server.say("the first: they are connected\n")
    for tail in tails:
        tail.line()
    messages = [f"message {number}" for number in range(MESSAGES)]
    started_at = perf_counter()
    server.say("".join(f"{message}\n" for message in messages))
    for tail in tails:
        _expect([tail.line() for _ in messages], messages)
    elapsed_s = perf_counter() - started_at
    for tail in tails:
        tail.finish()
    server.stop()
    return Found("all there, in order", TAILS * MESSAGES / elapsed_s, "messages/s")


def chat(stage: Stage) -> Found:
    server, url = stage.serve("chat", *LOOPBACK, "--store", "memory:", "--room", "demo")
    options = ("--server", url, "demo", "--since", "all", "--count", "2", "--timeout", LIFE)
    readers = [stage.start("chat-tail", *options) for _ in range(READERS)]
    poster = stage.start("chat-post", "--server", url, "--as", "ann", "--lines", "demo")
    poster.say("the first: they are connected\n")
    for reader in readers:
        reader.line()
    posted_at = perf_counter()
    poster.say("hello\n")
    for reader in readers:
        _expect(reader.line().endswith("hello"), True)
    elapsed_s = perf_counter() - posted_at
    for client in (poster, *readers):
        client.finish()
    server.stop()
    return Found(f"stored, and shown to {READERS}", elapsed_s * 1000, "ms to both")


DEMONSTRATIONS = (
    Demonstration(
        "fetch",
        f"{REQUESTS} requests, {AT_ONCE} at a time",
        "gtool fetch --json --no-body https://example.com/ https://example.org/",
        fetch,
    ),
    Demonstration(
        "echo-server",
        f"{CONNECTIONS * ROUND_TRIPS:,} round trips of {len(PAYLOAD)} bytes",
        "gtool echo-server --latency 100ms --reset-after 64k --toxicity 0.3",
        echo_server,
    ),
    Demonstration(
        "hello-server",
        f"{GREETINGS} connections",
        "gtool hello-server -l 127.0.0.1:0 --once | { read u; nc 127.0.0.1 ${u##*:}; }",
        hello_server,
    ),
    Demonstration("zmq-pingpong", f"{PINGS:,} questions, answered", "gtool zmq-pingpong", zmq_pingpong),
    Demonstration(
        "ws-feed", f"{MESSAGES:,} messages to {TAILS} ws-tails", "gtool ws-feed --command 'vmstat 1'", ws_feed
    ),
    Demonstration("chat", f"a post to {READERS} readers", "gtool chat --room builds", chat),
)


def _connected(url: str) -> Any:
    address = parse_address(url)
    return socket.create_connection((address.host, address.port))


def _received(sock: Any, size: int | None = None) -> bytes:
    """Read so many bytes, or all until the end."""
    data = b""
    while size is None or len(data) < size:
        part = sock.recv(1 << 16)
        if not part:
            break
        data += part
    return data


def _expect(found: object, expected: object) -> None:
    """PeerGone if what came back is something else."""
    if found != expected:
        raise PeerGone(f"what came back is {str(found)[:60]!r}, not {str(expected)[:60]!r}")
