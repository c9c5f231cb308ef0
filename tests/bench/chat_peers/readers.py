"""Readers of a chat, by long poll, events and WebSockets, and those who post; what came late, was lost, or came twice.

`python -m tests.bench.chat_peers.readers URL[,URL...] READERS ROOMS POSTS_PER_S SECONDS [KILLED_PID COMMAND...]`:
readers and posts are spread over the URLs. In the middle KILLED_PID is killed and COMMAND is started in its place.
Prints JSON: the posts that were acknowledged, p95 and the longest delay in ms, and how many were lost, doubled, or out
of order, over all readers.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import gevent
import gevent.event
import gevent.pool
from gevent import socket

KINDS = ("poll", "events", "websocket")
MESSAGE = re.compile(rb'"id": "([^"]+)", "time": [0-9.]+, "room": "(room\d+)", "user": "[^"]*", "text": "at (\d+)')
SETTLE_S = 10.0  #: that the last messages may take, and those who were cut off
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Reader:
    """One that stays in a room, whatever happens to its connection, and notes what comes."""

    def __init__(self, kind: str, url: str, number: int, room: str) -> None:
        self.kind = kind
        self.address = (urlsplit(url).hostname, urlsplit(url).port)
        self.room = room
        self.user = f"reader{number}"
        self.token = ""
        self.cursor = ""
        self.is_ready = gevent.event.Event()
        self.ids: list[str] = []
        self.delays: list[float] = []

    def run(self) -> None:
        while True:
            with suppress(OSError, ValueError), socket.create_connection(self.address) as sock:
                {"poll": self._poll, "events": self._stream, "websocket": self._stream}[self.kind](sock)
            gevent.sleep(0.2)

    def _poll(self, sock: socket.socket) -> None:
        if not self.token:
            answer = request(sock, "POST", "/api/session", json.dumps({"name": self.user}).encode())
            self.token = json.loads(answer)["token"]
        if not self.cursor:
            self.cursor = json.loads(request(sock, "GET", f"/api/rooms/{self.room}/messages?limit=1"))["cursor"]
        self.is_ready.set()
        head = f"Authorization: Bearer {self.token}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        while True:
            body = f"cursor={self.cursor}&room={self.room}".encode()
            answer = request(sock, "POST", f"/poll/{self.user}", body, head)
            self._take(answer)
            self.cursor = answer.rpartition(b'"cursor": "')[2].partition(b'"')[0].decode()

    def _stream(self, sock: socket.socket) -> None:
        path = "/api/ws" if self.kind == "websocket" else "/api/stream"
        upgrade = UPGRADE.format(key=KEY) if self.kind == "websocket" else ""
        since = f"&since={self.cursor}" if self.cursor else ""
        sock.sendall(f"GET {path}?room={self.room}{since} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += receive(sock)
        head, _, data = data.partition(b"\r\n\r\n")
        if not re.match(rb"HTTP/1.1 (101|200) ", head):
            raise ValueError("refused")
        if not self.cursor:
            self.cursor = re.search(rb"(?i)gtool-cursor: (\S+)", head)[1].decode()
        self.is_ready.set()
        while True:
            # A message is whole once its last brace is there: texts have none.
            end = data.rfind(b"}") + 1
            self._take(data[:end])
            data = data[end:] + receive(sock)

    def _take(self, data: bytes) -> None:
        now = time.monotonic_ns()
        for entry_id, room, sent_at in MESSAGE.findall(data):
            assert room.decode() == self.room
            self.cursor = entry_id.decode()
            self.ids.append(self.cursor)
            self.delays.append((now - int(sent_at)) / 1e6)


def receive(sock: socket.socket) -> bytes:
    data: bytes = sock.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


def request(sock: socket.socket, method: str, path: str, body: bytes = b"", head: str = "") -> bytes:
    """Ask over a connection that stays; give the body of the answer. ValueError where it is refused."""
    head = head or "Content-Type: application/json\r\n"
    sock.sendall(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    )
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(sock)
    found, _, data = data.partition(b"\r\n\r\n")
    size = int(re.search(rb"(?i)content-length: (\d+)", found)[1])
    while len(data) < size:
        data += receive(sock)
    if not re.match(rb"HTTP/1.1 20", found):
        raise ValueError(data.decode())
    return data


class Posters:
    """Post at a pace, round robin over rooms and servers; each post is tried until it is acknowledged."""

    def __init__(self, urls: list[str], rooms: int) -> None:
        self._urls = urls
        self._rooms = rooms
        self.acknowledged: dict[str, list[str]] = {f"room{number}": [] for number in range(rooms)}

    def run(self, rate: float, seconds: float) -> None:
        pool = gevent.pool.Pool(50)
        begun_at = time.monotonic()
        for number in range(int(rate * seconds)):
            gevent.sleep(max(0.0, begun_at + number / rate - time.monotonic()))
            pool.spawn(self._post, number)
        pool.join()

    def _post(self, number: int) -> None:
        room = f"room{number % self._rooms}"
        body = json.dumps({"user": f"poster{number % 50}", "text": f"at {time.monotonic_ns()}"}).encode()
        head = f"Content-Type: application/json\r\nIdempotency-Key: {os.getpid()}-{number}\r\n"
        attempt = 0
        while True:
            url = urlsplit(self._urls[(number + attempt) % len(self._urls)])
            attempt += 1
            try:
                with socket.create_connection((url.hostname, url.port), 5) as sock:
                    found = json.loads(request(sock, "POST", f"/api/rooms/{room}/messages", body, head))
            except (OSError, ValueError):
                gevent.sleep(0.1)
                continue
            self.acknowledged[room].append(found["id"])
            return


def main() -> None:
    urls, readers, rooms, rate, seconds, *kill = sys.argv[1:]
    where = urls.split(",")
    found = [
        Reader(KINDS[number % 3], where[number // 3 % len(where)], number, f"room{number % int(rooms)}")
        for number in range(int(readers))
    ]
    running = [gevent.spawn(reader.run) for reader in found]
    for reader in found:
        reader.is_ready.wait()
    gevent.sleep(1)  # pollers are waiting again
    if kill:
        running.append(gevent.spawn_later(float(seconds) / 2, replace, int(kill[0]), kill[1:]))
    posters = Posters(where, int(rooms))
    posters.run(float(rate), float(seconds))
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline and any(len(one.ids) < len(posters.acknowledged[one.room]) for one in found):
        gevent.sleep(0.1)
    gevent.killall(running)
    print(json.dumps(judged(found, posters.acknowledged)))


def replace(pid: int, command: list[str]) -> None:
    os.kill(pid, signal.SIGKILL)
    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def judged(readers: list[Reader], acknowledged: dict[str, list[str]]) -> dict[str, float]:
    def offset(entry_id: str) -> int:
        return int(entry_id.partition(":")[2])

    def over(count: Callable[[Reader], int]) -> int:
        return sum(map(count, readers))

    delays = sorted(_all_delays(readers))
    return {
        "posts": sum(map(len, acknowledged.values())),
        "deliveries": len(delays),
        "p95_ms": delays[int(len(delays) * 0.95)],
        "longest_ms": delays[-1],
        "lost": over(lambda one: len({*acknowledged[one.room]} - {*one.ids})),
        "doubled": over(lambda one: len(one.ids) - len({*one.ids})),
        "out_of_order": over(lambda one: one.ids != sorted(one.ids, key=offset)),
    }


def _all_delays(readers: list[Reader]) -> Iterator[float]:
    for reader in readers:
        yield from reader.delays


if __name__ == "__main__":
    main()
