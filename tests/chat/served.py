"""A chat on the loop of the tests: the real web service on a loopback socket, and requests to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import gevent

from gtool.chat.run import ChatService, Settings
from gtool.chat.store import InMemory
from tests.servers.looped import TIMEOUT_S, Looped, looped, receive_all, receive_exactly

UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==",
)
TEXT, CLOSE = 0x81, 0x88  # with FIN (RFC 6455 section 5.2)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  #: by names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def texts(self) -> list[str]:
        """Those of the messages in it."""
        return [message["text"] for message in self.json["messages"]]

    @property
    def cookie(self) -> str:
        """What a browser sends from now on."""
        return "Cookie: " + self.headers["set-cookie"].partition(";")[0]


class Served:
    """A chat that runs; its requests are each on a connection of its own."""

    def __init__(self, server: Looped, store: Any) -> None:
        self.server = server
        self.store = store

    def send(self, method: str, path: str, *lines: str, body: bytes = b"") -> Any:
        sock = self.server.connect()
        own = [] if any(line.lower().startswith("host:") for line in lines) else ["Host: localhost"]
        has_size = any(line.lower().startswith("content-length:") for line in lines)
        size = [f"Content-Length: {len(body)}"] if (body or method == "POST") and not has_size else []
        sock.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *own, *size, *lines, "", ""]).encode() + body)
        return sock

    def ask(self, method: str, path: str, *lines: str, body: bytes = b"") -> Answer:
        with self.send(method, path, "Connection: close", *lines, body=body) as sock:
            return parsed(receive_all(sock))

    def get(self, path: str, *lines: str) -> Answer:
        return self.ask("GET", path, *lines)

    def post_json(self, path: str, fields: object, *lines: str) -> Answer:
        return self.ask("POST", path, "Content-Type: application/json", *lines, body=json.dumps(fields).encode())

    def post_form(self, path: str, *lines: str, **fields: str) -> Answer:
        form = "Content-Type: application/x-www-form-urlencoded"
        return self.ask("POST", path, form, *lines, body=urlencode(fields).encode())

    def claim(self, name: str) -> str:
        """Claim a name; give the header that proves it."""
        answer = self.post_json("/api/session", {"name": name})
        assert answer.status == 201, answer
        return f"Authorization: Bearer {answer.json['token']}"

    def say(self, *texts: str, room: str = "a", user: str = "bob") -> list[str]:
        """Post messages; give their ids."""
        answers = [self.post_json(f"/api/rooms/{quote(room)}/messages", {"text": text, "user": user}) for text in texts]
        assert {answer.status for answer in answers} <= {201}, answers
        return [answer.json["id"] for answer in answers]

    def websocket(self, path: str = "/api/ws", *lines: str) -> Stream:
        return Stream(self.send("GET", path, *UPGRADE, *lines), 101)

    def events(self, path: str = "/api/stream", *lines: str) -> Stream:
        return Stream(self.send("GET", path, *lines), 200)


class Stream:
    """What goes on after its answer: a WebSocket, or an event stream."""

    def __init__(self, sock: Any, status: int) -> None:
        self.sock = sock
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive_exactly(sock, 1)
        self.answer = parsed(head)
        assert self.answer.status == status, self.answer
        gevent.idle()

    def frame(self) -> tuple[int, bytes]:
        first, size = receive_exactly(self.sock, 2)
        if size == 126:
            size = int.from_bytes(receive_exactly(self.sock, 2))
        return first, receive_exactly(self.sock, size)

    def json(self) -> Any:
        """The next message of a WebSocket."""
        first, data = self.frame()
        assert first == TEXT, data
        return json.loads(data)

    def text(self) -> str:
        """That of the next message; notes are passed over."""
        while "text" not in (message := self.json()):
            pass
        return str(message["text"])

    def note(self, kind: str) -> Any:
        """What the next note of that kind says."""
        while kind not in (note := self.json()):
            pass
        return note[kind]

    def event(self) -> dict[str, str]:
        """The fields of the next event."""
        lines = b""
        while not lines.endswith(b"\n\n"):
            lines += receive_exactly(self.sock, 1)
            if lines.startswith(b":") and lines.endswith(b"\n"):
                lines = b""
        return dict(line.split(": ", 1) for line in lines.decode().splitlines() if line)

    def message(self) -> dict[str, str]:
        """The next event that is a message."""
        while "event" in (found := self.event()):
            pass
        return found


def parsed(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split(" ")[1]), headers, body)


@contextmanager
def serving(chat_settings: Settings = Settings(), store: Any = None, **options: Any) -> Iterator[Served]:  # noqa: B008
    """Run a chat while the block runs, with the rooms `a` and `b` unless it has a store."""
    kept = store or InMemory(["a", "b"], None, 1000)
    with looped(lambda server: ChatService(chat_settings, server, kept), **options) as server:
        yield Served(server, kept)


def wait_until(is_so: Callable[[], object], what: str = "it") -> Any:
    """Wait on the loop; give what the condition gives."""
    with gevent.Timeout(TIMEOUT_S, AssertionError(f"{what} has not come about")):
        while not (found := is_so()):
            gevent.sleep(0.01)
    return found
