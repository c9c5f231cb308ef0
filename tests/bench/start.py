"""What a command costs before it does anything, beside the libraries that it can't do without."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from tests.bench.frame import Comparison, Contender, compare, gtool, in_turn

TIMES = 10  #: one run is too short to be timed alone
TAB = {
    "gtool fe": "1",
    "gtool fetch --conc": "2",
    "gtool zmq-pingpong ping --pattern ": "4",
}


def help_(rounds: int) -> Iterator[Comparison]:
    """The list of commands."""
    yield compared("gtool --help", "1.3 x", shell(gtool("--help")), "import click", rounds)


def tab(rounds: int) -> Iterator[Comparison]:
    """What a shell runs when TAB is pressed."""
    for line, word in TAB.items():
        command = f"COMP_WORDS='{line}' COMP_CWORD={word} _GTOOL_COMPLETE=bash_complete {shell(gtool())}"
        yield compared(f"{line}<TAB>", "1.5 x", command, "import click", rounds)


def server(rounds: int) -> Iterator[Comparison]:
    """A server that listens, says so, and ends."""
    command = shell(gtool("echo-server", "-l", "127.0.0.1:0", "--duration", "0"))
    yield compared("gtool echo-server", "1.5 x", command, "import click, gevent, gevent.socket, logging", rounds)


def compared(name: str, target: str, command: str, imports: str, rounds: int) -> Comparison:
    contenders = [
        Contender(name, _repeated(command)),
        Contender(f"python -c '{imports}'", _repeated(shell([sys.executable, "-c", imports]))),
    ]
    values = [[run.seconds / TIMES * 1000 for run in own] for own in in_turn(contenders, rounds)]
    return compare(f"start-up: {name}", "ms", target, contenders, values)


def _repeated(command: str) -> list[str]:
    return ["sh", "-c", f"for i in $(seq {TIMES}); do {command} >/dev/null || exit 1; done"]


def shell(argv: list[str]) -> str:
    return " ".join(f"'{word}'" for word in argv)


BENCHMARKS: dict[str, Callable[[int], Iterator[Comparison]]] = {"help": help_, "tab": tab, "server": server}
