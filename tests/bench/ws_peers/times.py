"""Lines for a feed: the time in ns, ten times a second. `python -m tests.bench.ws_peers.times`."""

from __future__ import annotations

import time

if __name__ == "__main__":
    while True:
        print(time.time_ns(), flush=True)
        time.sleep(0.1)
