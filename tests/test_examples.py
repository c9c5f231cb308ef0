"""The examples in the commands' help are run, beside servers for them to talk to, and end well."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gtool.demo.tools import DEMONSTRATIONS
from tests.conftest import TIMEOUT_S, environment
from tests.e2e.chat import chat
from tests.e2e.redis_server import RedisServer
from tests.e2e.servers import running
from tests.e2e.zmq_peers import serving
from tests.reference import commands

EXAMPLES = [line for ctx in commands() for line in ctx.command.examples]
EXAMPLES += sorted({one.next for one in DEMONSTRATIONS} - {*EXAMPLES})
ROOMS = ("builds", "lunch", "deploy", "alerts")
#: programs that examples name, and what stands for them
STUBS = {
    "make": "exit 1",
    "git": "echo 1234567 Mend the tests",
    "vmstat": "while sleep 0.1; do echo 0 1 2; done",
    "tail": 'case $1 in -f) cat deploy.log;; *) exec /usr/bin/tail "$@";; esac',
    "smoke-test": "echo it is deployed",
    "page-somebody": 'echo "$GTOOL_CHAT_TEXT"',
}
#: what would go on for ever ends by itself, and ports are free ones
SETTINGS = {
    "GTOOL_ECHO_SERVER_DURATION": "300ms",
    "GTOOL_ECHO_SERVER_LISTEN": "127.0.0.1:0",
    "GTOOL_HELLO_SERVER_DURATION": "300ms",
    "GTOOL_HELLO_SERVER_LISTEN": "127.0.0.1:0",
    "GTOOL_ZMQ_PINGPONG_SERVE_DURATION": "300ms",
    "GTOOL_ZMQ_PINGPONG_SERVE_BIND": "tcp://127.0.0.1:*",
    "GTOOL_WS_FEED_DURATION": "500ms",
    "GTOOL_WS_FEED_LISTEN": "127.0.0.1:0",
    "GTOOL_WS_TAIL_COUNT": "2",
    "GTOOL_CHAT_DURATION": "500ms",
    "GTOOL_CHAT_LISTEN": "127.0.0.1:0",
    "GTOOL_CHAT_TAIL_SINCE": "all",
    "GTOOL_CHAT_TAIL_COUNT": "1",
    "GTOOL_DEMO_TIMEOUT": "50s",
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory, and a home, with what examples find there."""
    for name, script in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "deploy.log").write_text("deployed\n")
    return tmp_path


@pytest.fixture
def places(here: Path, httpbin: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What is in an example's command line -> what it is here; the servers that it talks to run."""
    line = request.getfixturevalue("line")
    (here / "urls.txt").write_text(f"{httpbin}/get\n{httpbin}/robots.txt\n")
    found = {
        "https://example.com/": f"{httpbin}/get",
        "https://example.org/": f"{httpbin}/get",
        "-l :7 -l udp://:7": "-l :0 -l udp://:0",
        "-l :5000": "-l :0",
        "tcp://*:5555": "tcp://*:*",
        "ipc:///tmp/pingpong": f"ipc://{here}/pingpong",
        "--duration 1s": "--duration 100ms",
        "p99>5ms": "p99>5s",
    }
    with ExitStack() as stack:
        if " tcp://127.0.0.1:5555" in line:
            found["tcp://127.0.0.1:5555"] = stack.enter_context(serving()).urls[0]
        if " ws" in line and "://" in line:
            feed = stack.enter_context(running("ws-feed", "-l", "127.0.0.1:0", "--interval", "20ms")).urls[0]
            found |= {"ws://127.0.0.1:10000/": feed, "wss://feed.example.com/": feed}
        if "gtool chat-" in line:
            found["http://chat.lan:5000"] = stack.enter_context(chat(*(f"--room={room}" for room in ROOMS))).urls[0]
        if "redis://" in line:
            redis = RedisServer(here)
            stack.callback(redis.close)
            redis.start()
            found["redis://localhost/0?stream=chat"] = redis.url("chat")
        yield found


@pytest.mark.needs("fish")
@pytest.mark.needs("jq")
@pytest.mark.needs("nc")
@pytest.mark.needs("redis-server")
@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_works(line: str, here: Path, places: dict[str, str], path_with_gtool: str):
    variables = {**SETTINGS, "HOME": str(here), "PATH": f"{here}:{path_with_gtool}"}
    if "http://chat.lan:5000" in places:
        variables["GTOOL_CHAT_SERVER"] = places["http://chat.lan:5000"]
        say_in_all_rooms(variables)
    for there, it in places.items():
        line = line.replace(there, it)
    done = bash(line, here, variables)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    assert "Traceback" not in done.stderr


def say_in_all_rooms(variables: dict[str, str]) -> None:
    for room in ROOMS:
        assert bash(f"gtool chat-post {room} 'deployed at last'", Path("/"), variables).returncode == 0


def bash(script: str, here: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=here,
        env=environment(**variables),
        capture_output=True,
        timeout=TIMEOUT_S,
        text=True,
    )


def test_each_command_has_two_or_three():
    assert {len(ctx.command.examples) for ctx in commands()} <= {2, 3}


def test_help_is_100_columns_wide_at_most():
    assert max(len(line) for ctx in commands() for line in ctx.get_help().splitlines()) <= 100
