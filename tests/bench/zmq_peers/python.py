"""What a user of pyzmq writes: `python -m tests.bench.zmq_peers.python plain|green ROLE ENDPOINT SIZE COUNT`.

Roles, and what is printed, are those of perf.c beside it.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module


def main(kind: str, role: str, endpoint: str, size: int, count: int) -> None:
    zmq = import_module("zmq" if kind == "plain" else "zmq.green")
    context = zmq.Context()
    types = {"local_lat": zmq.REP, "remote_lat": zmq.REQ, "local_thr": zmq.PULL, "remote_thr": zmq.PUSH}
    sock = context.socket(types[role])
    if role.startswith("local"):
        sock.bind(endpoint)
        print(sock.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    else:
        sock.connect(endpoint)
    message = bytes(size)
    if role == "local_lat":
        for _ in range(count):
            sock.send(sock.recv())
    elif role == "remote_lat":
        started_at = time.perf_counter()
        for _ in range(count):
            sock.send(message)
            sock.recv()
        print(f"{(time.perf_counter() - started_at) / count * 1e6:.3f}")
    elif role == "local_thr":
        sock.recv()
        started_at = time.perf_counter()
        for _ in range(count - 1):
            sock.recv()
        print(f"{(count - 1) / (time.perf_counter() - started_at):.0f}")
    else:
        for _ in range(count):
            sock.send(message)
    sock.close()
    context.term()


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:6]))
