"""Servers to be measured: started, found, looked at; and the C programs that load them."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.frame import ROOT, Contender, Unavailable, free_port, need, wait_for


@dataclass(frozen=True)
class Peer:
    """A server to be measured. It prints its port (the digits at the end of its first line), or is told it: {port}."""

    name: str
    argv: Sequence[str]
    forks: bool = False
    stdin: Sequence[str] | None = None  #: a command that feeds it


@contextmanager
def running(peer: Peer) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server; give it and its port."""
    told = any("{port}" in word for word in peer.argv)
    port = free_port() if told else 0
    argv = [word.format(port=port) if told else word for word in peer.argv]
    feeder = subprocess.Popen(peer.stdin, stdout=subprocess.PIPE, cwd=ROOT) if peer.stdin else None
    stdin = feeder.stdout if feeder else subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            if told:
                wait_for(port)
            else:
                assert process.stdout
                port = int(process.stdout.readline().decode().rsplit(":", 1)[-1])
            yield process, port
        finally:
            process.kill()
            if feeder:
                feeder.kill()
                feeder.wait()
                assert feeder.stdout
                feeder.stdout.close()


def contenders(peers: Sequence[Peer]) -> list[Contender]:
    return [Contender(peer.name, peer.argv) for peer in peers]


def compile_c(source: Path, folder: Path) -> str:
    """Compile a program, once per folder; give its path."""
    program = folder / source.stem
    if not program.exists():
        subprocess.run([need("gcc"), "-O2", "-o", program, source], check=True)
    return str(program)


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def need_descriptors(count: int) -> None:
    """Allow this process so many connections; Unavailable if it can't have them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 100:
        raise Unavailable(f"{count:,} connections need more descriptors: 'ulimit -Hn' says {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
