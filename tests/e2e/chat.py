"""What tests of the chat server talk with: browsers with cookies of their own, scripts, readers of all three kinds."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.conftest import TIMEOUT_S, run_gtool
from tests.e2e.servers import GtoolServer, running
from tests.e2e.ws import Events, connect, events_of

LOOPBACK = "127.0.0.1:0"
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
A_BROWSERS = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
UNLIMITED = ("--post-rate", "100000/s", "--post-burst", "1000000")
ROOM = "topic1"

Given = Mapping[str, str]


# --- servers


@contextmanager
def chat(*args: Any, store: str | Path = "memory:", **how: Any) -> Iterator[GtoolServer]:
    """Run a chat on a free port; a path is a SQLite file's."""
    where = f"sqlite:{store}" if isinstance(store, Path) else store
    with running("chat", "-l", LOOPBACK, "--store", where, *args, **how) as server:
        yield server


# --- who asks


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One who asks, with cookies; each request has a connection of its own."""

    def __init__(self, server: GtoolServer, base: str = "", trusting: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}
        self._base = base
        self._trusting = trusting

    @property
    def own_headers(self) -> dict[str, str]:
        if not self.cookies:
            return {}
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}

    def ask(self, method: str, path: str, body: bytes | str | None = None, headers: Given | None = None) -> Reply:
        data = body.encode() if isinstance(body, str) else body
        connection = self._connection()
        try:
            connection.request(method, self._base + path, data, {**self.own_headers, **(headers or {})})
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()
        self._keep_cookies(reply)
        return reply

    def get(self, path: str, headers: Given | None = None, **query: Any) -> Reply:
        return self.ask("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path, None, headers)

    def send(self, path: str, fields: Any, headers: Given | None = None, method: str = "POST") -> Reply:
        """Send JSON."""
        return self.ask(method, path, json.dumps(fields), {"Content-Type": JSON, **(headers or {})})

    def form(self, path: str, headers: Given | None = None, **fields: str) -> Reply:
        return self.ask("POST", path, urlencode(fields), {"Content-Type": FORM, **(headers or {})})

    def post(self, text: str, room: str = ROOM, headers: Given | None = None, **fields: Any) -> Reply:
        """Post by the API."""
        return self.send(f"/api/rooms/{quote(room)}/messages", {"text": text, **fields}, headers)

    def said(self, text: str, room: str = ROOM, **fields: Any) -> str:
        """Post, and give the id."""
        reply = self.post(text, room, **fields)
        assert reply.status == 201, reply
        return str(reply.json["id"])

    def messages(self, room: str = ROOM, **query: Any) -> list[dict[str, Any]]:
        return self.get(f"/api/rooms/{quote(room)}/messages", **query).json["messages"]  # type: ignore[no-any-return]

    def poll(self, user: str, **fields: Any) -> Reply:
        return self.ask("POST", f"/poll/{quote(user)}", urlencode(fields, doseq=True), {"Content-Type": FORM})

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.server.target()
        if self._trusting:
            return http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT_S, context=self._trusting)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def _keep_cookies(self, reply: Reply) -> None:
        for line in reply.headers.get_all("Set-Cookie") or []:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


class Script(Client):
    """One who has a token, and takes no cookies."""

    def __init__(self, server: GtoolServer, token: str, base: str = "") -> None:
        super().__init__(server, base)
        self._token = token

    @property
    def own_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


class KeptAlive(Client):
    """One whose requests share a connection, as a browser's do."""

    def __init__(self, server: GtoolServer) -> None:
        super().__init__(server)
        self._kept = super()._connection()

    def ask(self, method: str, path: str, body: bytes | str | None = None, headers: Given | None = None) -> Reply:
        data = body.encode() if isinstance(body, str) else body
        self._kept.request(method, path, data, {**self.own_headers, **(headers or {})})
        answer = self._kept.getresponse()
        reply = Reply(answer.status, answer.headers, answer.read())
        self._keep_cookies(reply)
        return reply

    def close(self) -> None:
        self._kept.close()


def came_in(server: GtoolServer, name: str, **how: Any) -> Client:
    """A browser whose user has chosen a name."""
    client = Client(server, **how)
    reply = client.form("/", name=name)
    assert reply.status == 303, reply
    return client


def token_of(server: GtoolServer, name: str) -> str:
    """Claim a name as a script does; give what proves that."""
    reply = Client(server).send("/api/session", {"name": name})
    assert reply.status == 201, reply
    return str(reply.json["token"])


# --- readers


def texts(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    return [message["text"] for message in messages]


def ids(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    return [message["id"] for message in messages]


def stream_path(path: str, query: Mapping[str, Any]) -> str:
    given = {name.rstrip("_"): value for name, value in query.items()}
    return f"{path}?{urlencode(given, doseq=True)}"


def joined(server: GtoolServer, client: Client | None = None, base: str = "", **query: Any) -> ClientConnection:
    """Open a WebSocket; `in_=` and `as_=` are in= and as=."""
    headers = client.own_headers if client else {}
    # With a bounded queue the package, when it closes, would wait for the end behind messages that nobody takes.
    return connect(server, base + stream_path("/api/ws", query), additional_headers=headers, max_queue=None)


def take(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Receive that many messages, passing over what is none."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        told = json.loads(client.recv(TIMEOUT_S))
        if "id" in told:
            found.append(told)
    return found


def note(client: ClientConnection, kind: str, is_wanted: Callable[[Any], bool] = lambda told: True) -> Any:
    """Receive up to a note of a kind; give what it says."""
    while True:
        told = json.loads(client.recv(TIMEOUT_S))
        if kind in told and "id" not in told and is_wanted(told[kind]):
            return told[kind]


def take_to_end(client: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Receive to the end; give the messages, and the code that the server has closed with."""
    found = []
    try:
        while True:
            told = json.loads(client.recv(TIMEOUT_S))
            if "id" in told:
                found.append(told)
    except ConnectionClosed as error:
        return found, error.rcvd.code if error.rcvd else None


@contextmanager
def following(server: GtoolServer, *lines: str, buffer: int | None = None, **query: Any) -> Iterator[Events]:
    """Open an event stream."""
    with events_of(server, stream_path("/api/stream", query), *lines, buffer=buffer) as events:
        yield events


def told_by(events: Events, count: int) -> list[dict[str, Any]]:
    """Read that many messages of an event stream; each one's id is its event's."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        event = events.next()
        assert event is not None, f"the stream ended after {len(found)} of {count} messages"
        if event.kind == "message":
            told = json.loads(event.data)
            assert told["id"] == event.id
            found.append(told)
    return found


def told_to_end(events: Events) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in events if event.kind == "message"]


def polled(client: Client, user: str, count: int, cursor: str, **fields: Any) -> list[dict[str, Any]]:
    """Poll until there are that many messages."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        reply = client.poll(user, cursor=cursor, **fields)
        assert reply.status == 200, reply
        assert reply.json["recovered"], reply
        found += reply.json["messages"]
        cursor = reply.json["cursor"]
    return found


class Posters:
    """Threads that post for as long as they are let: what was acknowledged, by key, and which keys got no answer."""

    def __init__(self, servers: Sequence[GtoolServer], count: int, room: str = ROOM) -> None:
        self._servers = servers
        self._room = room
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}  #: id by text, which is the key too
        self.unanswered: list[str] = []
        self._threads = [threading.Thread(target=self._post, args=(number,)) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def retry(self, server: GtoolServer) -> dict[str, Reply]:
        """Post each that got no answer once more; give the replies by text."""
        return {text: self._send(Client(server), text) for text in self.unanswered}

    def again(self, server: GtoolServer, text: str) -> Reply:
        return self._send(Client(server), text)

    def _send(self, client: Client, text: str) -> Reply:
        return client.post(text, self._room, {"Idempotency-Key": text}, user=text.partition(".")[0])

    def _post(self, number: int) -> None:
        """Post in turn; from the first connection that breaks on there is no more for this one."""
        client = KeptAlive(self._servers[number % len(self._servers)])
        turn = 0
        try:
            while not self._is_over.is_set():
                turn += 1
                text = f"u{number}.{turn}"
                try:
                    reply = self._send(client, text)
                except (OSError, http.client.HTTPException):
                    with self._lock:
                        self.unanswered.append(text)
                    return
                assert reply.status == 201, reply
                with self._lock:
                    self.acknowledged[text] = reply.json["id"]
        finally:
            client.close()


@contextmanager
def posting(*servers: GtoolServer, count: int = 20, room: str = ROOM) -> Iterator[Posters]:
    posters = Posters(servers, count, room)
    try:
        yield posters
    finally:
        posters.end()


def all_messages(server: GtoolServer, room: str = ROOM) -> list[dict[str, Any]]:
    """Read all messages of a room, page by page."""
    client = Client(server)
    found: list[dict[str, Any]] = []
    since = "all"
    while True:
        reply = client.get(f"/api/rooms/{quote(room)}/messages", since=since, limit=500).json
        if not reply["messages"]:
            return found
        found += reply["messages"]
        since = reply["messages"][-1]["id"]


def kill(server: GtoolServer) -> None:
    """As the machine's end would."""
    server.process.kill()
    server.process.wait(TIMEOUT_S)


def not_started(*args: str | Path) -> tuple[int, str]:
    """Run a chat that does not come up: its exit code, and what it says."""
    done = run_gtool("chat", "-l", LOOPBACK, *args)
    return done.code, done.err
