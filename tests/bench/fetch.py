"""fetch against curl -Z and the best Python clients, with nginx on loopback for a server."""

from __future__ import annotations

import compileall
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.frame import (
    ROOT,
    Comparison,
    Contender,
    Run,
    compare,
    free_port,
    gtool,
    in_turn,
    need,
    wait_for,
)
from tests.bench.start import compared, shell

SMALL, MANY, BIG_COUNT = 20_000, 1_000_000, 50
LIBRARIES = "import click, gevent, pycurl, simplejson, logging"
MIB = 1 << 20
NGINX = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 10000000; sendfile on; tcp_nopush on; open_file_cache max=100;
    server {{ listen 127.0.0.1:{port}; root {root}/www; }}
}}
"""


class Server:
    """nginx with a small file, one of 100 MiB and one of 1 GiB; and a folder for files."""

    def __init__(self, root: Path, port: int) -> None:
        self.root = root
        self.url = f"http://127.0.0.1:{port}"

    def list(self, name: str, paths: Iterator[str] | list[str]) -> str:
        """Write a file with a URL a line; give its name."""
        file = self.root / name
        file.write_text("".join(f"{self.url}/{path}\n" for path in paths))
        return str(file)

    def curl_config(self, name: str, paths: list[str], output: str) -> str:
        """Write the same for curl -K; `output` may have {n}."""
        file = self.root / name
        lines = (f"url={self.url}/{path}\noutput={output.format(n=n)}\n" for n, path in enumerate(paths))
        file.write_text("".join(lines))
        return str(file)


@contextmanager
def served() -> Iterator[Server]:
    """Run nginx on files in memory, where there is a /dev/shm."""
    nginx = need("nginx")
    compileall.compile_dir(ROOT / "gtool", quiet=1)  # as pip does when it installs
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "www").mkdir()
        (root / "www/small").write_text("a small body, of some fifty bytes, as APIs have it")
        for file, size in (("100m", 100 * MIB), ("1g", 1024 * MIB)):
            with open(root / "www" / file, "wb") as big:
                big.truncate(size)
        port = free_port()
        (root / "nginx.conf").write_text(NGINX.format(root=root, port=port))
        process = subprocess.Popen([nginx, "-c", str(root / "nginx.conf")], stderr=subprocess.DEVNULL)
        try:
            wait_for(port)
            yield Server(root, port)
        finally:
            process.terminate()
            process.wait()


def small(rounds: int) -> Iterator[Comparison]:
    """Requests per second, whole process."""
    curl = need("curl")
    with served() as server:
        paths = [f"small?{n}" for n in range(SMALL)]
        urls = server.list("urls", paths)
        config = server.curl_config("config", paths, "/dev/null")
        clients = [sys.executable, "-m", "tests.bench.clients"]
        out = str(server.root / "out")
        contenders = [
            Contender("gtool fetch --json --no-body", gtool("fetch", "--json", "--no-body", "-i", urls), out),
            Contender(
                "curl -Z --write-out '%{json}\\n'",
                [curl, "-s", "-Z", "--parallel-max", "20", "--write-out", "%{json}\\n", "-K", config],
                out,
            ),
            Contender("aiohttp on uvloop, no records", [*clients, "aiohttp", urls]),
            Contender("geventhttpclient, no records", [*clients, "geventhttpclient", urls]),
        ]
        runs = in_turn(contenders, rounds)
        values = [[SMALL / run.seconds for run in own] for own in runs]
        yield compare(
            f"{SMALL:,} small GETs, 20 at once", "requests/s", "1.2 x curl, 2 x the others", contenders, values
        )


def memory(rounds: int) -> Iterator[Comparison]:
    """Peak memory by number of inputs, and of bodies of 1 GiB."""
    with served() as server:
        few = server.list("few", (f"small?{n}" for n in range(10_000)))
        many = server.list("many", (f"small?{n}" for n in range(MANY)))
        argv = gtool("fetch", "--json", "--no-body", "-i", "-")
        contenders = [
            Contender(f"gtool fetch, {MANY:,} inputs", argv, stdin=many),
            Contender("gtool fetch, 10,000 inputs", argv, stdin=few),
        ]
        runs = in_turn(contenders, 1)
        yield compare("peak by inputs from stdin", "MiB", "1.3 x", contenders, _peaks(runs))
        empty = Contender("gtool fetch, an empty run", gtool("fetch", f"{server.url}/small"))
        big = f"{server.url}/1g"
        to_stdout = Contender("gtool fetch, 1 GiB to stdout", ["sh", "-c", f"{shell(gtool('fetch', big))} | cat"])
        to_file = Contender("gtool fetch, 1 GiB to a file", gtool("fetch", big, "-o", str(server.root / "big")))
        for contender in (to_stdout, to_file):
            pair = [contender, empty]
            yield compare("peak by size of body", "MiB", "at most 20 MiB more", pair, _peaks(in_turn(pair, rounds)))


def files(rounds: int) -> Iterator[Comparison]:
    """Many big bodies at once, to files: time and memory."""
    curl = need("curl")
    with served() as server:
        paths = [f"100m?{n}" for n in range(BIG_COUNT)]
        urls = server.list("urls", paths)
        folder = server.root / "out"
        folder.mkdir()
        config = server.curl_config("config", paths, f"{folder}/{{n}}")
        ours = gtool("fetch", "-c", str(BIG_COUNT), "-i", urls, "-o", f"{folder}/{{seq}}")
        contenders = [
            Contender("gtool fetch -o", ours, empties=folder),
            Contender("curl -Z", [curl, "-s", "-Z", "--parallel-max", str(BIG_COUNT), "-K", config], empties=folder),
        ]
        runs = in_turn(contenders, rounds)
        name = f"{BIG_COUNT} bodies of 100 MiB at once to files"
        speeds = [[BIG_COUNT * 100 / run.seconds for run in own] for own in runs]
        yield compare(name, "MiB/s", "0.8 x", contenders, speeds)
        yield compare(f"{name}: peak", "MiB", "less than curl -Z", contenders, _peaks(runs))
        shutil.rmtree(folder)


def startup(rounds: int) -> Iterator[Comparison]:
    """Milliseconds of a whole process that fetches one small URL."""
    with served() as server:
        command = shell(gtool("fetch", f"{server.url}/small"))
        yield compared("gtool fetch, one small URL", "1.25 x", command, LIBRARIES, rounds)


def _peaks(runs: list[list[Run]]) -> list[list[float]]:
    return [[run.peak_mib for run in own] for own in runs]


BENCHMARKS: dict[str, Callable[[int], Iterator[Comparison]]] = {
    "small": small,
    "memory": memory,
    "files": files,
    "startup": startup,
}
