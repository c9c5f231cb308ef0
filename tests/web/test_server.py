"""HTTP as clients speak it, well and badly; connections that go on as WebSockets and streams; and the end of all."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import gevent
import pytest
from gevent.event import Event
from gevent.pywsgi import headers_factory
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT
from websockets.protocol import Protocol as FrameProtocol

from gtool.runtime import server as runtime_server
from gtool.runtime.settings import Settings
from gtool.web import server as server_module
from gtool.web import sse
from gtool.web.frames import Message
from gtool.web.guard import HEADERS
from gtool.web.peer import WebSocket
from gtool.web.request import LengthWanted, check_headers
from gtool.web.respond import respond
from gtool.web.server import STOPS, WebService
from gtool.web.upgrade import BadHandshake
from tests.servers.looped import (
    Looped,
    end_input,
    looped,
    receive_all,
    receive_exactly,
    reset,
    secure,
    send_apart,
    server_tls,
)
from tests.web.test_wire import wire

TIMEOUT_S = 10
SHORT_S = 0.05
BIG = bytes(range(251)) * 4000
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
)


class Echo:
    """Sends each message back, and notes that it was closed."""

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        self.websocket = websocket
        self.service = service
        if service.greeting:
            websocket.send(Message(service.greeting, True))

    def message(self, message: Message) -> None:
        self.websocket.send(message)

    def drained(self) -> None:
        pass

    def closed(self) -> None:
        self.service.closed += 1


class Service(runtime_server.Service):
    """What a test's server serves; the test holds back requests to /slow, and sees what was asked for."""

    def __init__(self, server: Any, timeout_s: float | None = TIMEOUT_S) -> None:
        self.web = WebService(server, self, timeout_s)
        self.closed = 0
        self.greeting = b""
        self.asked: list[str] = []
        self.environ: dict[str, Any] = {}
        self.may_answer = Event()

    def connect(self, connection: Any, sock: Any) -> None:
        self.web.connect(connection, sock)

    def drain(self) -> None:
        self.web.drain()

    def close(self) -> None:
        self.web.close()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(path)
        self.environ = environ
        try:
            return getattr(self, path.strip("/"), self.hello)(environ, start_response)
        except BadHandshake as error:
            return respond(environ, start_response, error.status, error.text, headers=error.headers)

    def hello(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return respond(environ, start_response, "200 OK", "hello")

    def body(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return respond(environ, start_response, "200 OK", environ["wsgi.input"].read())

    def big(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return respond(environ, start_response, "200 OK", BIG)

    def slow(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert self.may_answer.wait(TIMEOUT_S)
        return self.hello(environ, start_response)

    def wrong(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raise KeyError("a bug")

    def wrong_later(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "100")])
        yield b"some"
        raise KeyError("a bug")

    def ws(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        headers = [("X-Cursor", "5")]
        environ["gtool.handler"].open_websocket(lambda websocket: Echo(websocket, self), 1000, headers, "second")
        return []

    def plain_ws(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["gtool.handler"].open_websocket(lambda websocket: Echo(websocket, self))
        return []

    def slow_ws(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        assert self.may_answer.wait(TIMEOUT_S)
        return self.ws(environ, start_response)

    def stream(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        stream = sse.EventStream()
        stream.listener = Echo.__new__(Echo)
        stream.listener.service = self
        begin = lambda: stream.write(sse.event("first"))  # noqa: E731
        environ["gtool.handler"].open_stream(stream, begin, sse.HEADERS)
        return []


class Serving(NamedTuple):
    looped: Looped
    service: Service

    def ask(self, *chunks: bytes) -> Any:
        client = self.looped.connect()
        send_apart(client, chunks)
        return client

    def wait_until(self, is_so: Callable[[], object]) -> None:
        with gevent.Timeout(TIMEOUT_S, AssertionError("it does not come")):
            while not is_so():
                gevent.sleep(0.001)


@contextmanager
def serving(timeout_s: float | None = TIMEOUT_S, **options: Any) -> Iterator[Serving]:
    made: list[Service] = []

    def make(server: Any) -> Service:
        made.append(Service(server, timeout_s))
        return made[0]

    with looped(make, **options) as running:
        yield Serving(running, made[0])


@pytest.fixture
def server() -> Iterator[Serving]:
    with serving() as made:
        yield made


@pytest.fixture
def hasty() -> Iterator[Serving]:
    """A server whose requests have little time."""
    with serving(SHORT_S) as made:
        yield made


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def read_head(client: Any) -> tuple[int, dict[str, str]]:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        assert byte, f"the stream ended after {head!r}"
        head += byte
    status, *lines = head.decode().splitlines()[:-1]
    return int(status.split()[1]), {name.lower(): value for name, value in (line.split(": ") for line in lines)}


def read_response(client: Any, has_body: bool = True) -> Response:
    status, headers = read_head(client)
    return Response(status, headers, receive_exactly(client, int(headers["content-length"]) if has_body else 0))


def get(path: str = "/hello", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


def test_a_request_is_answered(server):
    response = read_response(server.ask(get()))
    assert (response.status, response.body) == (200, b"hello\n")


@pytest.mark.parametrize("header", HEADERS)
def test_each_answer_has_the_headers_that_keep_it_harmless(server, header):
    name, value = header
    assert read_response(server.ask(get())).headers[name.lower()] == value


def test_a_request_may_come_in_pieces(server):
    client = server.ask(*(bytes([byte]) for byte in get()))
    assert read_response(client).body == b"hello\n"


def test_a_connection_serves_one_request_after_the_other(server):
    client = server.ask()
    for _ in range(3):
        client.sendall(get())
        assert read_response(client).body == b"hello\n"
    assert server.looped.counts.accepted == 1


def test_requests_may_come_together(server):
    client = server.ask(get("/one") + get("/two") + post("/body", b"three") + get("/four"))
    assert [read_response(client).body for _ in range(3)] == [b"hello\n", b"hello\n", b"three"]
    assert server.service.asked == ["/one", "/two", "/body"]


@pytest.mark.parametrize("request_", [get("/", "Connection: close"), get(version="1.0"), post("/body", b"x")])
def test_a_connection_that_is_not_to_go_on_is_closed(server, request_):
    client = server.ask(request_)
    read_response(client)
    assert client.recv(1) == b""
    end_input(client)
    assert server.looped.reason() == "closed"


def test_a_client_that_closes_between_requests_has_closed(server):
    with server.ask(get()) as client:
        read_response(client)
    assert server.looped.reason() == "closed"


def test_a_client_that_resets_leaves_nothing(server):
    client = server.ask(get())
    read_response(client)
    reset(client)
    assert server.looped.reason() in ("closed", "reset")
    assert (server.looped.counts.open, server.service.web.requests) == (0, set())


def test_a_client_that_resets_while_it_is_answered_leaves_nothing():
    with serving(buffer_bytes=1 << 14) as server:
        client = server.looped.connect(buffer_bytes=1 << 14)
        client.sendall(get("/big"))
        receive_exactly(client, 1000)
        reset(client)
        server.looped.reason()
        assert (server.looped.counts.open, server.service.web.requests) == (0, set())


def test_an_answer_comes_whole_however_slowly_it_is_read():
    with serving(buffer_bytes=1 << 14) as server:
        client = server.looped.connect(buffer_bytes=1 << 14)
        client.sendall(get("/big"))
        assert read_response(client).body == BIG


def test_an_answer_that_nobody_reads_takes_only_so_long():
    with serving(SHORT_S, buffer_bytes=1 << 14) as server:
        client = server.looped.connect(buffer_bytes=1 << 14)
        client.sendall(get("/big"))
        server.looped.reason()
        assert server.service.asked == ["/big"]


def test_a_head_is_answered_without_a_body(server):
    client = server.ask(get(method="HEAD"), get())
    head = read_response(client, has_body=False)
    assert (head.status, head.headers["content-length"]) == (200, "6")
    assert read_response(client).body == b"hello\n"


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_a_body_is_read_whole(server, size):
    client = server.looped.connect()
    sender = gevent.spawn(client.sendall, post("/body", bytes(size)))
    assert read_response(client).body == bytes(size)
    sender.get(timeout=TIMEOUT_S)


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "gzip, chunked", "identity", ""])
@pytest.mark.parametrize("length", [(), ("Content-Length: 3",)], ids=["", "and a length"])
def test_a_body_in_chunks_is_answered_with_411_and_nothing_more(server, coding, length):
    """What stands in it is never read as a request."""
    client = server.ask(get("/body", f"Transfer-Encoding: {coding}", *length, method="POST"), b"0\r\n\r\n" + get())
    response = read_response(client)
    assert (response.status, response.headers["connection"]) == (411, "close")
    assert b"Content-Length" in response.body
    assert (receive_all(client), server.service.asked) == (b"", [])


def test_a_client_that_waits_for_it_is_told_to_send_its_body(server):
    client = server.ask(get("/body", "Content-Length: 3", "Expect: 100-continue", method="POST"))
    assert receive_exactly(client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"abc")
    assert read_response(client).body == b"abc"


@pytest.mark.parametrize(
    "chunks",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n",),
        (b"GET / HTTP/1.1\r\n", b"Host", b": x"),
        (b"GET /",),
        (b"\r\n", b"GET / HTTP/1.1"),
    ],
    ids=["line", "word", "request line", "request line behind an empty one"],
)
def test_a_head_that_does_not_come_in_time_is_answered_with_408(hasty, chunks):
    client = hasty.ask(*chunks)
    response = read_response(client)
    assert (response.status, response.headers["connection"]) == (408, "close")
    assert b"in time" in response.body
    assert client.recv(1) == b""


def test_a_head_that_comes_drop_by_drop_has_no_more_time(hasty):
    client = hasty.ask(b"GET / HTTP/1.1\r\n")

    def drip() -> None:
        while True:
            client.sendall(b"X: y\r\n")
            gevent.sleep(SHORT_S / 10)

    dripping = gevent.spawn(drip)
    assert read_response(client).status == 408
    dripping.kill()


def test_a_connection_that_asks_nothing_in_time_is_closed(hasty):
    client = hasty.ask()
    assert receive_all(client) == b""
    assert hasty.service.asked == []


def test_a_connection_that_asks_nothing_more_in_time_is_closed(hasty):
    client = hasty.ask(get())
    read_response(client)
    assert receive_all(client) == b""


def test_a_body_that_does_not_come_in_time_ends_the_connection(hasty):
    client = hasty.ask(get("/body", "Content-Length: 3", method="POST"), b"ab")
    receive_all(client)
    end_input(client)
    assert hasty.looped.reason() == "closed"


def test_without_a_time_out_a_request_may_take_its_time():
    with serving(None) as server:
        client = server.ask(b"GET / HTTP/1.1\r\n")
        gevent.sleep(SHORT_S)
        client.sendall(b"\r\n")
        assert read_response(client).status == 200


@pytest.mark.parametrize(
    "head", [b"X: " + b"a" * 70_000 + b"\r\n", (b"X: " + b"a" * 1000 + b"\r\n") * 70], ids=["one line", "many lines"]
)
def test_headers_that_are_too_long_are_answered_with_431(server, head):
    client = server.ask(b"GET / HTTP/1.1\r\n")
    sender = gevent.spawn(client.sendall, head + b"\r\n")
    response = read_response(client)
    sender.join()
    assert (response.status, response.headers["connection"]) == (431, "close")


def test_a_request_line_that_is_too_long_is_answered_with_414(server):
    client = server.ask(b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n\r\n")
    assert read_head(client)[0] == 414


#: which servers read differently
ODD_HEADERS = (
    *(
        b"Host",
        b"Host : x",
        b"Host\t: x",
        b": x",
        b" Host: x",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b"X: y\r\n z: w",
    ),
    *(b"X\xe9: y", b"X\0: y", b"X(: y", b'"X": y', b"X Y: z", b"X: y\r\nno colon", b"X: y\r\nFrom me\r\nZ: w"),
    *(b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: 1\r\ncontent-length: 01"),
)
SOUND_HEADERS = (
    *(
        b"",
        b"X:",
        b"X:y",
        b"X: y ",
        b"X: y\r\nX: z",
        b"X: \xe9",
        b"!#$%&'*+.^_`|~0-9a-zA-Z: y",
        b"From: me",
        b"X: From me",
    ),
    *(b"Content-Length: 0\r\nContent-Length: 0", b"Content-Type: text/plain", b"Content-Type: message/rfc822"),
)


def header_set(lines: bytes) -> Any:
    return headers_factory(BytesIO(lines + b"\r\n\r\n" if lines else b"\r\n"))


def read_headers(lines: bytes) -> None:
    """Read a head as a handler does: line by line, and then as a whole."""
    made = wire(b"GET / HTTP/1.1\r\n", lines + b"\r\n\r\n" if lines else b"\r\n")
    made.begin_head()
    while made.readline().strip():
        pass
    check_headers(header_set(lines))


@pytest.mark.parametrize("lines", SOUND_HEADERS)
def test_headers_that_all_servers_read_alike_are_taken(lines):
    read_headers(lines)


@pytest.mark.parametrize("lines", ODD_HEADERS)
def test_headers_that_servers_read_differently_are_refused(lines):
    with pytest.raises(ValueError, match=r".") as caught:
        read_headers(lines)
    assert not isinstance(caught.value, LengthWanted)


def test_a_bare_carriage_return_in_a_header_is_refused(server):
    request_ = b"POST /body HTTP/1.1\r\nHost: x\r\nX: y\rContent-Length: 20\r\n\r\n" + get("/hidden")
    assert read_head(server.ask(request_))[0] == 400


@pytest.mark.parametrize("lines", [b"From me", b"From me\r\nX: y", b"X: y\r\nFrom me"])
def test_a_line_of_an_envelope_is_refused(lines):
    with pytest.raises(ValueError, match=r"."):
        read_headers(lines)


@pytest.mark.parametrize("target", ["http://x/hello?a=b", "http://elsewhere:1/hello?a=b"])
def test_a_target_may_have_scheme_and_host(server, target):
    assert read_response(server.ask(get(target))).body == b"hello\n"
    environ = server.service.environ
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]) == ("/hello", "a=b", "x")


@pytest.mark.parametrize("empty", [b"\r\n", b"\n"])
def test_an_empty_line_before_a_request_is_skipped(server, empty):
    client = server.ask(empty + get(), empty, get("/again"))
    assert [read_response(client).body for _ in range(2)] == [b"hello\n"] * 2
    assert server.service.asked == ["/hello", "/again"]


def test_an_empty_line_and_nothing_more_is_no_request(server):
    client = server.ask(b"\r\n")
    end_input(client)
    assert (receive_all(client), server.looped.reason()) == (b"", "closed")


@pytest.mark.parametrize(("count", "status"), [(99, 200), (101, 431)])
def test_a_request_has_at_most_100_headers(server, count, status):
    response = read_response(server.ask(get("/", *["X: y"] * (count - 1))))
    assert (response.status, response.headers.get("connection")) == (status, "close" if status == 431 else None)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1\r\n\r\n",
        b"GET / SPDY/1.1\r\n\r\n",
        b"POST /\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx",
        b"GET http://[::1/ HTTP/1.1\r\n\r\n",
        *(b"GET / HTTP/1.1\r\n" + header + b"\r\n\r\n" for header in ODD_HEADERS),
    ],
)
def test_what_is_no_request_is_answered_with_400_and_nothing_more(server, garbage):
    client = server.ask(garbage + get())
    status, headers = read_head(client)
    assert (status, headers["connection"]) == (400, "close")
    end_input(client)
    assert b"HTTP/1.1" not in receive_all(client)
    assert server.looped.reason() == "closed"


def test_a_refusal_says_what_is_wrong_and_shows_no_traceback(server, capfd):
    body = read_response(server.ask(b"GET / HTTP/1\r\n\r\n")).body
    assert body == b"this is no HTTP request that can be read\n"
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "request_",
    [
        get("/hello", "Transfer-Encoding: chunked", method="POST") + b"\r\n",
        get("/body", "Transfer-Encoding: chunked", method="POST") + 2 * b";x\r\n",
        UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
    ],
    ids=["not read", "read", "upgrade"],
)
def test_a_chunk_without_a_size_does_not_end_the_server(request_):
    with serving() as server:
        client = server.ask(request_)
        read_head(client)
        end_input(client)
        server.looped.reason()


@pytest.mark.parametrize("header", [b"websocket, h2c", b"h2c\r\nUpgrade: websocket"], ids=["one line", "two lines"])
def test_a_client_that_offers_another_protocol_too_does_not_end_the_server(header):
    with serving() as server:
        client = server.ask(UPGRADE.replace(b"websocket", header, 1) + b"\r\n")
        assert read_head(client)[0] == 101
        client.close()
        server.looped.reason()


WORDS = (
    *(b"GET", b"POST", b"/body", b"HTTP/1.1", b"Content-Length", b"Host: x\r\n", b"Transfer-Encoding: ", b"3", b"abc"),
    *(b" ", b"\t", b"\n", b"\r\n", b"\r\n\r\n", b":", b"\0", b"\xff", b"0", b"Expect: 100-continue\r\n"),
)


@given(st.lists(st.sampled_from(WORDS), max_size=14).map(b"".join), st.booleans())
@example(b"GET / HTTP/1.1\r\n: x\r\n\r\n", True)
@example(b"GET / HTTP/1.1\r\n folded\r\n\r\n", True)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_whatever_is_asked_it_ends_when_the_client_does(any_server, request_, has_line):
    with any_server.ask(b"POST /body HTTP/1.1\r\n" * has_line, request_) as client:
        end_input(client)
        receive_all(client)
    assert any_server.looped.reason() == "closed"


@pytest.fixture(scope="module")
def any_server() -> Iterator[Serving]:
    with serving() as made:
        yield made


def failing(path: str) -> bytes:
    with serving() as server:
        client = server.ask(get(path) + get())
        received = receive_all(client)
        end_input(client)
        assert server.looped.reason() == "closed"
        assert server.service.asked == [path]
    return received


def test_a_failure_of_the_application_is_not_hidden():
    with pytest.raises(KeyError, match="a bug"):
        failing("/wrong")


def test_a_failure_of_the_application_is_answered_with_500():
    received = b""

    def run() -> None:
        nonlocal received
        with serving() as server:
            received = receive_all(server.ask(get("/wrong")))

    with pytest.raises(KeyError):
        run()
    assert received.startswith(b"HTTP/1.1 500 ")
    assert b"a bug" not in received


def test_a_failure_in_the_middle_of_an_answer_cuts_it_off():
    with pytest.raises(KeyError):
        failing("/wrong_later")


def test_an_application_knows_where_a_request_came_to(server):
    read_response(server.ask(get()))
    environ = server.service.environ
    assert (environ["gtool.local_host"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")


def test_over_a_unix_socket_a_request_comes_to_no_address(tmp_path):
    path = f"unix:{tmp_path}/socket"
    with looped(Service, path) as running:
        client = running.connect()
        client.sendall(get())
        assert read_response(client).status == 200


class Talk:
    """A WebSocket's client: the protocol of `websockets` on a socket that has been upgraded."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.protocol = FrameProtocol(CLIENT)

    def say(self, data: bytes) -> None:
        self.protocol.send_text(data)
        self.send()

    def send(self) -> None:
        self.client.sendall(b"".join(self.protocol.data_to_send()))

    def hear(self) -> tuple[Opcode, bytes]:
        while not (frames := self.protocol.events_received()):
            data = self.client.recv(1 << 16)
            assert data, "the stream ended"
            self.protocol.receive_data(data)
        (frame,) = frames
        return frame.opcode, bytes(frame.data)


def upgrade(server: Serving, behind: bytes = b"", client: Any = None) -> Talk:
    client = client or server.looped.connect()
    client.sendall(UPGRADE + b"\r\n" + behind)
    assert read_head(client)[0] == 101
    return Talk(client)


def masked(data: bytes) -> bytes:
    protocol = FrameProtocol(CLIENT)
    protocol.send_text(data)
    return b"".join(protocol.data_to_send())


def test_a_request_can_become_a_websocket(server):
    talk = upgrade(server)
    talk.say(b"hello")
    assert talk.hear() == (Opcode.TEXT, b"hello")


def test_the_answer_to_an_upgrade_is_right(server):
    status, headers = read_head(server.ask(UPGRADE + b"\r\n"))
    assert (status, headers) == (
        101,
        {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": "ICX+Yqv66kxgM0FcWaLWlFLwTAI=",
            "sec-websocket-protocol": "second",
            "x-cursor": "5",
        },
    )


def test_the_answer_to_an_upgrade_tells_what_was_negotiated(server):
    _, headers = read_head(server.ask(UPGRADE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
    assert headers["sec-websocket-extensions"].startswith("permessage-deflate")


def test_a_websocket_may_begin_on_a_connection_that_has_served_requests(server):
    client = server.ask(get())
    read_response(client)
    talk = upgrade(server, client=client)
    talk.say(b"hello")
    assert talk.hear() == (Opcode.TEXT, b"hello")


@pytest.mark.parametrize("message", [b"hello", b"x" * 900])
def test_what_comes_right_behind_an_upgrade_is_heard(server, message):
    assert upgrade(server, masked(message)).hear() == (Opcode.TEXT, message)


def test_half_a_frame_that_comes_right_behind_an_upgrade_is_heard(server):
    frame = masked(b"hello")
    talk = upgrade(server, frame[:3])
    talk.client.sendall(frame[3:])
    assert talk.hear() == (Opcode.TEXT, b"hello")


def test_what_a_websocket_says_at_first_comes_first(server):
    server.service.greeting = b"welcome"
    talk = upgrade(server, masked(b"hello"))
    talk.protocol.receive_data(receive_exactly(talk.client, 9 + 7))
    assert [bytes(frame.data) for frame in talk.protocol.events_received()] == [b"welcome", b"hello"]


def test_a_websocket_has_no_deadline(hasty):
    talk = upgrade(hasty)
    gevent.sleep(2 * SHORT_S)
    talk.say(b"hello")
    assert talk.hear() == (Opcode.TEXT, b"hello")


def test_a_message_over_the_limit_closes_a_websocket(server):
    talk = upgrade(server)
    talk.say(b"x" * 1001)
    talk.hear()
    assert talk.protocol.close_rcvd.code == 1009


def test_a_websocket_that_is_closed_ends_its_connection(server):
    talk = upgrade(server)
    talk.protocol.send_close(1000)
    talk.send()
    talk.hear()
    assert talk.client.recv(1) == b""
    talk.client.close()
    assert (server.looped.reason(), server.service.closed) == ("closed 1000", 1)


def test_a_connection_counts_what_was_said_before_and_after_an_upgrade(server):
    talk = upgrade(server)
    talk.say(b"hello")
    talk.hear()
    (connection,) = server.looped.server.opened
    assert connection.received == len(UPGRADE) + 2 + len(masked(b"hello"))
    assert connection.sent > len(b"HTTP/1.1 101 Switching Protocols\r\n")


def test_a_request_that_is_no_upgrade_is_refused_and_the_connection_goes_on(server):
    client = server.ask(get("/ws"))
    refusal = read_response(client)
    assert (refusal.status, refusal.headers["sec-websocket-version"]) == (426, "13")
    client.sendall(get())
    assert read_response(client).status == 200


def test_an_upgrade_with_a_body_is_refused_and_nothing_more_is_read(server):
    """Its body would be read as frames."""
    client = server.ask(UPGRADE + b"Content-Length: 5\r\n\r\nhello" + get())
    refusal = read_response(client)
    assert (refusal.status, refusal.headers["connection"], b"no body" in refusal.body) == (400, "close", True)
    assert receive_all(client) == b""


def test_an_upgrade_may_say_that_it_has_no_body(server):
    assert read_head(server.ask(UPGRADE + b"Content-Length: 0\r\n\r\n"))[0] == 101


def test_a_websocket_has_a_subprotocol_only_if_there_is_one(server):
    status, headers = read_head(server.ask(UPGRADE.replace(b"/ws", b"/plain_ws") + b"\r\n"))
    assert (status, headers.get("sec-websocket-protocol")) == (101, None)


def test_an_upgrade_by_a_wrong_key_is_refused(server):
    assert read_response(server.ask(UPGRADE.replace(b"AAAA", b"AA", 1) + b"\r\n")).status == 400


def test_many_websockets_talk_at_once(server):
    talks = [upgrade(server) for _ in range(50)]
    for number, talk in enumerate(talks):
        talk.say(str(number).encode())
    assert [talk.hear()[1] for talk in talks] == [str(number).encode() for number in range(50)]


def test_a_websocket_is_seen_to_now_and_then(monkeypatch):
    monkeypatch.setattr(server_module, "TICK_S", 0.01)
    ticks = []
    monkeypatch.setattr(WebSocket, "tick", lambda self, now: ticks.append(now))
    with serving() as server:
        talk = upgrade(server)
        server.wait_until(lambda: len(ticks) > 2)
        talk.client.close()
        server.looped.reason()
        server.wait_until(lambda: not server.service.web._live)
    assert ticks == sorted(ticks)


def test_a_request_can_become_a_stream(server):
    client = server.ask(get("/stream"))
    status, headers = read_head(client)
    assert (status, headers["content-type"], headers["connection"]) == (200, sse.CONTENT_TYPE, "close")
    assert not {"content-length", "transfer-encoding"} & set(headers)
    assert receive_exactly(client, 13) == sse.event("first")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_is_the_same_in_each_version(server, version):
    client = server.ask(get("/stream", version=version))
    read_head(client)
    assert receive_exactly(client, 13) == sse.event("first")


def test_a_head_has_a_streams_headers_and_no_more(server):
    head, _, body = receive_all(server.ask(get("/stream", "Connection: close", method="HEAD"))).partition(b"\r\n\r\n")
    assert (b"text/event-stream" in head, body) == (True, b"")


def test_a_stream_whose_reader_goes_ends(server):
    client = server.ask(get("/stream"))
    read_head(client)
    receive_exactly(client, 13)
    client.close()
    assert (server.looped.reason(), server.service.closed) == ("closed", 1)


def test_a_request_behind_that_for_a_stream_is_not_answered(server):
    client = server.ask(get("/stream") + get())
    read_head(client)
    receive_exactly(client, 13)
    end_input(client)
    assert receive_all(client) == b""
    assert server.service.asked == ["/stream"]


LONG_DRAIN = Settings(drain_timeout=TIMEOUT_S)


@pytest.fixture
def draining() -> Iterator[Serving]:
    """A server that has much time to drain."""
    with serving(settings=LONG_DRAIN) as made:
        yield made


def test_a_server_that_stops_closes_idle_connections(draining):
    client = draining.ask(get())
    read_response(client)
    fresh = draining.ask()
    draining.looped.server.stop()
    assert (receive_all(client), receive_all(fresh)) == (b"", b"")


def test_a_server_that_stops_answers_the_request_that_it_has(draining):
    client = draining.ask(get("/slow"))
    draining.wait_until(lambda: draining.service.asked)
    draining.looped.server.stop()
    draining.wait_until(lambda: draining.service.web.is_ending)
    draining.service.may_answer.set()
    assert read_response(client).body == b"hello\n"
    end_input(client)
    draining.looped.wait()


def test_a_server_that_stops_reads_no_further_request(draining):
    client = draining.ask(get("/slow") + get("/late"))
    draining.wait_until(lambda: draining.service.asked)
    draining.looped.server.stop()
    draining.wait_until(lambda: draining.service.web.is_ending)
    draining.service.may_answer.set()
    read_response(client)
    assert client.recv(1) == b""
    assert draining.service.asked == ["/slow"]


def test_a_server_that_stops_lets_a_request_come_that_has_begun(draining):
    client = draining.ask(b"GET / HTTP/1.1\r\n")
    draining.looped.server.stop()
    draining.wait_until(lambda: draining.service.web.is_ending)
    client.sendall(b"\r\n")
    assert read_response(client).status == 200


def test_a_server_that_stops_says_so_to_websockets(draining):
    talk = upgrade(draining)
    draining.looped.server.stop()
    talk.hear()
    close = talk.protocol.close_rcvd
    assert (close.code, close.reason) == (1001, STOPS)
    talk.send()
    talk.client.close()
    draining.looped.wait()
    assert draining.service.closed == 1


def test_a_server_that_stops_says_so_to_what_becomes_a_websocket_meanwhile(draining):
    client = draining.ask(UPGRADE.replace(b"/ws", b"/slow_ws") + b"\r\n")
    draining.wait_until(lambda: draining.service.asked)
    draining.looped.server.stop()
    draining.wait_until(lambda: draining.service.web.is_ending)
    draining.service.may_answer.set()
    assert read_head(client)[0] == 101
    talk = Talk(client)
    talk.hear()
    assert talk.protocol.close_rcvd.code == 1001


def test_a_server_that_stops_ends_streams(draining):
    client = draining.ask(get("/stream"))
    read_head(client)
    receive_exactly(client, 13)
    draining.looped.server.stop()
    assert receive_all(client) == b""
    end_input(client)
    assert draining.looped.reason() == STOPS


def test_a_server_has_so_much_time_to_stop():
    with serving() as server:
        client = server.ask(get("/slow"))
        server.wait_until(lambda: server.service.asked)
        server.looped.server.stop()
        assert receive_all(client) == b""
        assert server.looped.reason() == "drained"
        server.looped.wait()


def test_requests_can_be_ended_and_websockets_go_on(draining):
    client = draining.ask(get())
    read_response(client)
    talk = upgrade(draining)
    draining.service.web.end_requests()
    assert client.recv(1) == b""
    talk.say(b"still here")
    assert talk.hear() == (Opcode.TEXT, b"still here")


def test_requests_that_are_ended_are_answered_if_they_have_begun(draining):
    client = draining.ask(get("/slow"))
    draining.wait_until(lambda: draining.service.asked)
    draining.service.web.end_requests()
    draining.service.may_answer.set()
    assert read_response(client).status == 200


def test_a_connection_that_is_closed_ends_for_that_reason(server):
    client = server.ask(get())
    read_response(client)
    server.looped.server.opened[0].driver.close("idle")
    assert (receive_all(client), server.looped.reason()) == (b"", "idle")


def test_a_connection_that_is_closed_before_it_was_served_ends_for_that_reason(server):
    client = server.looped.connect()
    while not server.looped.server.opened:
        gevent.sleep(0)
    server.looped.server.opened[0].driver.close("idle")
    assert (receive_all(client), server.looped.reason()) == (b"", "idle")


def test_a_connection_that_is_closed_twice_ends(server):
    """Idle ones are closed again and again until they have ended; and then the server stops."""
    client = server.ask(get())
    read_response(client)
    (connection,) = server.looped.server.opened
    connection.driver.close("idle")
    assert receive_all(client) == b""  # it says goodbye
    connection.driver.close("drained")
    try:
        with gevent.Timeout(1, AssertionError("it does not end")):
            assert server.looped.server.reasons.get()
    finally:
        connection.driver._stream.socket.close()


def test_a_connection_that_is_closed_while_it_lingers_ends_at_once(server):
    client = server.ask(get("/hello", "Connection: close"))
    assert receive_all(client).endswith(b"hello\n")
    server.looped.server.opened[0].driver.close("drained")
    with gevent.Timeout(1, AssertionError("it does not end")):
        assert server.looped.server.reasons.get() == "drained"
    assert (server.looped.counts.open, server.service.web.requests) == (0, set())


@pytest.fixture
def secured(authority, tmp_path) -> Iterator[Serving]:
    settings = Settings(tls=server_tls(authority, tmp_path), drain_timeout=0.05)
    with serving(settings=settings, default_scheme="tls") as made:
        yield made


def test_over_tls_requests_are_answered(secured, authority):
    with secure(secured.looped.connect(), authority) as client:
        for _ in range(2):
            client.sendall(get())
            assert read_response(client).body == b"hello\n"
        assert secured.service.environ["wsgi.url_scheme"] == "https"


def test_over_tls_a_websocket_talks(secured, authority):
    with secure(secured.looped.connect(), authority) as client:
        talk = upgrade(secured, masked(b"first"), client)
        assert talk.hear() == (Opcode.TEXT, b"first")
        for size in (5, 900):
            talk.say(b"x" * size)
            assert talk.hear() == (Opcode.TEXT, b"x" * size)


def test_over_tls_a_websocket_is_closed_with_a_goodbye(secured, authority):
    with secure(secured.looped.connect(), authority) as client:
        talk = upgrade(secured, b"", client)
        talk.protocol.send_close(1000)
        talk.send()
        talk.hear()
        assert client.recv(1) == b""  # a bare end of TCP's stream would be an error
        client.unwrap()
    assert secured.looped.reason() == "closed 1000"


def test_over_tls_a_stream_goes_on(secured, authority):
    with secure(secured.looped.connect(), authority) as client:
        client.sendall(get("/stream"))
        read_head(client)
        assert receive_exactly(client, 13) == sse.event("first")


# Whether an answer has arrived, and whether anybody waits for it


def handler_of(server: Serving) -> Any:
    return server.service.environ["gtool.handler"]


def test_what_the_peer_has_read_has_arrived(server):
    read_response(server.ask(get()))
    server.wait_until(lambda: handler_of(server).has_arrived)


def test_what_the_peers_kernel_has_taken_has_arrived(server):
    """Whether it is read, nobody can tell."""
    server.ask(get())
    server.wait_until(lambda: server.service.environ and handler_of(server).has_arrived)


@contextmanager
def unread() -> Iterator[tuple[Serving, Any]]:
    """A server whose large answer nobody reads, and the client that does not."""
    with serving(buffer_bytes=1 << 14) as server:
        client = server.looped.connect(buffer_bytes=1 << 14)
        client.sendall(get("/big"))
        server.wait_until(lambda: server.service.asked and not handler_of(server).has_arrived)
        yield server, client


def test_what_the_peer_does_not_take_has_not_arrived():
    with unread() as (server, _):
        gevent.idle()
        assert not handler_of(server).has_arrived


def test_what_the_peer_takes_late_has_arrived_then():
    with unread() as (server, client):
        read_response(client)
        server.wait_until(lambda: handler_of(server).has_arrived)


def test_what_the_peer_has_not_taken_when_it_resets_has_not_arrived():
    with unread() as (server, client):
        handler = handler_of(server)
        reset(client)
        server.looped.reason()
        assert not handler.has_arrived


def test_what_was_sent_before_a_connection_has_closed_has_arrived(server):
    with server.ask(get("/hello", "Connection: close")) as client:
        receive_all(client)
    assert server.looped.reason() == "closed"
    assert handler_of(server).has_arrived


def test_what_comes_too_late_for_a_connection_that_was_closed_by_the_peer_has_not_arrived(server):
    """The peer has gone before the answer: its kernel resets what comes."""
    client = server.ask(get("/slow"))
    server.wait_until(lambda: server.service.asked)
    reset(client)
    server.service.may_answer.set()
    server.looped.reason()
    assert not handler_of(server).has_arrived


def test_a_peer_that_waits_is_there(server):
    client = server.ask(get("/slow"))
    server.wait_until(lambda: server.service.asked)
    assert not handler_of(server).is_half_closed
    server.service.may_answer.set()
    read_response(client)
    assert not handler_of(server).is_half_closed


def test_a_peer_that_has_shut_down_its_side_may_have_gone(server):
    client = server.ask(get("/slow"))
    server.wait_until(lambda: server.service.asked)
    end_input(client)
    server.wait_until(lambda: handler_of(server).is_half_closed)
    server.service.may_answer.set()
    assert receive_all(client).endswith(b"hello\n")  # it may be there, too


@pytest.mark.parametrize("leave", [reset, lambda client: client.close()], ids=["reset", "close"])
def test_a_peer_that_has_gone_is_not_there(server, leave):
    client = server.ask(get("/slow"))
    server.wait_until(lambda: server.service.asked)
    leave(client)
    server.wait_until(lambda: handler_of(server).is_half_closed)
    server.service.may_answer.set()
    server.looped.reason()


def test_a_peer_that_sends_more_is_there(server):
    client = server.ask(get("/slow"), get("/hello"))
    server.wait_until(lambda: server.service.asked)
    assert not handler_of(server).is_half_closed
    server.service.may_answer.set()
    for _ in range(2):
        read_response(client)


def test_over_tls_it_is_known_too(secured, authority):
    with secure(secured.looped.connect(), authority) as client:
        client.sendall(get("/slow"))
        secured.wait_until(lambda: secured.service.asked)
        assert not handler_of(secured).is_half_closed
        secured.service.may_answer.set()
        read_response(client)
        secured.wait_until(lambda: handler_of(secured).has_arrived)
