"""`python -m tests.bench NAME [--rounds N] [--json]`: a tool side by side with its peers."""

from __future__ import annotations

import argparse
import sys

from tests.bench import chat, echo, fetch, start, ws, zmq
from tests.bench.frame import Unavailable

TOOLS = {
    "fetch": fetch.BENCHMARKS,
    "echo": echo.BENCHMARKS,
    "zmq": zmq.BENCHMARKS,
    "ws": ws.BENCHMARKS,
    "chat": chat.BENCHMARKS,
    "start": start.BENCHMARKS,
}
BENCHMARKS = {f"{tool}.{name}": function for tool, parts in TOOLS.items() for name, function in parts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", help=f"one of: {', '.join([*TOOLS, *BENCHMARKS])}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="a JSON line per benchmark")
    options = parser.parse_args()
    chosen = [name for name in BENCHMARKS if f"{name}.".startswith(f"{options.name}.")]
    if not chosen:
        parser.error(f"there is no benchmark {options.name!r}")
    for name in chosen:
        try:
            for comparison in BENCHMARKS[name](options.rounds):
                print(comparison.json_line() if options.json else f"{comparison.table()}\n", flush=True)
        except Unavailable as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
