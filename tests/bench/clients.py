"""Peers that are libraries: fetch every URL of a file, 20 at a time, and throw the bodies away.

`python -m tests.bench.clients geventhttpclient|aiohttp FILE`
"""

from __future__ import annotations

import asyncio
import sys

CONCURRENCY = 20


def with_geventhttpclient(urls: list[str]) -> None:
    from gevent.pool import Pool
    from geventhttpclient import HTTPClient
    from geventhttpclient.url import URL

    client = HTTPClient.from_url(urls[0], concurrency=CONCURRENCY)
    paths = [URL(url).request_uri for url in urls]

    def get(path: str) -> int:
        return len(client.get(path).read())

    for _ in Pool(CONCURRENCY).imap_unordered(get, paths):
        pass


def with_aiohttp(urls: list[str]) -> None:
    import aiohttp
    import uvloop

    async def work(session: aiohttp.ClientSession, rest: list[str]) -> None:
        while rest:
            async with session.get(rest.pop()) as response:
                await response.read()

    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(work(session, urls) for _ in range(CONCURRENCY)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


if __name__ == "__main__":
    with open(sys.argv[2]) as file:
        {"geventhttpclient": with_geventhttpclient, "aiohttp": with_aiohttp}[sys.argv[1]](file.read().split())
