"""WebSocket servers as users of `websockets` write them: `python -m tests.bench.ws_peers.python NAME`, on uvloop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

MESSAGE = "0123456789" * 5
QUIET_S = 0.5  #: without a new client, after which the flood begins: while it lasts, nobody gets in


class Clients:
    def __init__(self) -> None:
        self.connections: set[ServerConnection] = set()
        self.came_at = time.monotonic()

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.add(connection)
        self.came_at = time.monotonic()
        try:
            await connection.wait_closed()
        finally:
            self.connections.discard(connection)


@asynccontextmanager
async def served(handler) -> AsyncIterator[None]:
    async with serve(handler, "127.0.0.1", 0, compression=None, max_size=None, backlog=4096) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        yield


async def flood() -> None:
    clients = Clients()
    async with served(clients.handle):
        while not clients.connections or time.monotonic() - clients.came_at < QUIET_S:
            await asyncio.sleep(0.01)
        while True:
            broadcast(clients.connections, MESSAGE)
            await asyncio.sleep(0)


async def paced() -> None:
    """Broadcast the time ten times a second."""
    clients = Clients()
    async with served(clients.handle):
        while True:
            broadcast(clients.connections, str(time.time_ns()))
            await asyncio.sleep(0.1)


async def idle() -> None:
    async with served(Clients().handle):
        await asyncio.Future()


async def echo() -> None:
    async def handle(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with served(handle):
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run({"flood": flood, "paced": paced, "idle": idle, "echo": echo}[sys.argv[1]]())
