"""Those who post, as fast as they are answered: `python -m tests.bench.chat_peers.posters PORT POSTERS SECONDS`.

Prints how many posts per second were acknowledged.
"""

from __future__ import annotations

import json
import sys
import time

import gevent
from gevent import socket

from tests.bench.chat_peers.readers import request


def post(port: int, number: int, until: float) -> int:
    count = 0
    body = json.dumps({"user": f"poster{number}", "text": "0123456789" * 5}).encode()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while time.monotonic() < until:
            request(sock, "POST", "/api/rooms/topic1/messages", body)
            count += 1
    return count


def main() -> None:
    port, posters, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    begun_at = time.monotonic()
    posting = [gevent.spawn(post, port, number, begun_at + seconds) for number in range(posters)]
    gevent.joinall(posting, raise_error=True)
    print(sum(one.value for one in posting) / (time.monotonic() - begun_at))


if __name__ == "__main__":
    main()
