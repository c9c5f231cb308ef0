"""The conventions of DESIGN.md, each held against every command: a new one has to have a row in the table.

What is one line on stderr, or nothing, is no traceback either.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.core import ParameterSource

from gtool.cli import gtool as root
from tests.conftest import TIMEOUT_S, environment, run_gtool
from tests.e2e.chat import chat
from tests.e2e.servers import GtoolServer, running
from tests.e2e.ws import feed, raw
from tests.e2e.zmq_peers import pinging, serving, wait_until, wait_until_busy

pytestmark = pytest.mark.timeout(30)

AT_ONCE_S = 5  #: far less than it would wait else, and enough for a machine that is busy
ESCAPE = "\x1b"
TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|NOTICE|WARNING|ERROR) +\S.*")
NOTICE = re.compile(r'.*( NOTICE |"level": "notice").*\n')


# --- how a client keeps a server from ending


@contextmanager
def talking(server: GtoolServer) -> Iterator[None]:
    with server.connect() as client:
        client.sendall(b"a")
        assert client.recv(1)
        yield


@contextmanager
def measuring(server: GtoolServer) -> Iterator[None]:
    with pinging(server.urls[0], "--duration", "1h"):
        wait_until_busy(server)
        yield


# --- the table


class Row(NamedTuple):
    """How a command is used: words that follow its name; what is in braces is filled in."""

    name: str
    works: str  #: has it print something and end with 0, in no time
    bad: str  #: ends in a value that is refused
    at: str = ""  #: has it listen on {port}; a client connects to that and waits, for {time} at most
    unable: int = 5  #: the exit code when that can't be done
    argument: str = ""  #: what it can't do without
    waits: str = ""  #: has it print a line, and then go on for long
    holds: Callable[[GtoolServer], AbstractContextManager[Any]] | None = None  #: a server's client that stays
    many: str = ""  #: a server's options for several processes

    def line(self, words: str = "", port: int = 0, time: str = "300ms", **peers: str) -> list[str]:
        return f"{self.name} {words}".format(port=port, time=time, **peers).split()

    def variable(self, option: str) -> str:
        return re.sub(r"\W+", "_", f"GTOOL {self.name} {option.removeprefix('--')}").upper()

    @contextmanager
    def started(self, *more: str, before: str = "-v", **how: Any) -> Iterator[GtoolServer]:
        with running(*before.split(), *self.line(self.at), *more, **how) as server:
            yield server

    def client(self, server: GtoolServer) -> AbstractContextManager[Any]:
        assert self.holds
        return self.holds(server)


def server(name: str, at: str, holds: Any = talking, many: str = "") -> Row:
    return Row(name, works=f"{at} --duration 0", bad="--drain-timeout soon", at=at, holds=holds, many=many)


ROWS = (
    Row("demo", works="--only hello-server", bad="--only nobody", waits="--json"),
    Row("fetch", works="{feed}/healthz", bad="--concurrency many", argument="URL",
        at="http://127.0.0.1:{port}/ --max-time {time}", unable=7),
    server("echo-server", "-l 127.0.0.1:{port}", many="--workers 2"),
    server("hello-server", "-l 127.0.0.1:{port} --close never", many="--workers 2"),
    Row("zmq-pingpong", works="--rounds 2", bad="--rounds many",
        at="--endpoint tcp://127.0.0.1:{port}", waits="--interval 1h"),
    server("zmq-pingpong serve", "--bind tcp://127.0.0.1:{port}", holds=measuring),
    Row("zmq-pingpong ping", works="{zmq} --count 10", bad="--fail-if slow", argument="ENDPOINT",
        at="tcp://127.0.0.1:{port} --timeout {time}", unable=4),
    server("chat", "-l 127.0.0.1:{port} --store memory:", holds=partial(raw, path="/api/ws?in=topic1")),
    Row("chat-post", works="--server {chat} topic1 hello --json", bad="--timeout soon", argument="ROOM",
        at="--server http://127.0.0.1:{port} topic1 hello --timeout {time}"),
    Row("chat-tail", works="--server {chat} topic1 --since all --count 1", bad="--count many", argument="ROOM",
        at="--server http://127.0.0.1:{port} topic1 --timeout {time}"),
    server("ws-feed", "-l 127.0.0.1:{port} --echo", holds=raw, many="--workers 2"),
    Row("ws-tail", works="{ws} --since all --count 1", bad="--max-message big", argument="URL",
        at="ws://127.0.0.1:{port}/ --timeout {time}"),
    Row("completion", works="bash", bad="csh", argument="bash|zsh|fish"),
)  # fmt: skip


def command_of(path: str) -> click.Command:
    """Give the command of that name; the group of all for none."""
    command: click.Command = root
    for name in path.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or pytest.fail(f"there is no {path}")
    return command


def paths(prefix: str = "") -> Iterator[str]:
    """The names of all commands, and of their subcommands."""
    command = command_of(prefix)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield (path := f"{prefix} {name}".strip())
            yield from paths(path)


def test_the_table_has_a_row_for_each_command():
    assert sorted(paths()) == sorted(row.name for row in ROWS)


def each(is_meant: Callable[[Row], object] = lambda row: True) -> pytest.MarkDecorator:
    """Run a test for each command of that kind."""
    rows = [row for row in ROWS if is_meant(row)]
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


each_server = each(lambda row: row.holds)
each_client = each(lambda row: row.at and row.argument)
each_stop_signal = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


# --- around them


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, str]]:
    """Servers for those who want some, with something to say: what stands in braces."""
    with chat() as rooms, feed("--interval", "1h") as numbers, serving() as meter:
        url = numbers.urls[0]
        run_gtool("chat-post", "--server", rooms.urls[0], "topic1", "hello")
        yield {"chat": rooms.urls[0], "feed": url, "ws": url.replace("http", "ws"), "zmq": meter.urls[0]}


def on_terminal(start: Any, *args: str, **how: Any) -> str:
    """Run with a terminal as stderr, and as stdout unless told otherwise; give all that it shows."""
    ours, its = pty.openpty()
    with open(ours, "rb", buffering=0) as screen, open(its, "wb", buffering=0) as terminal:
        start(*args, **{"stdout": terminal, "stderr": terminal, **how})
        terminal.close()
        shown = b""
        with suppress(OSError):  # EIO: the process has ended
            while data := screen.read(65536):
                shown += data
    return shown.decode().replace("\r\n", "\n")


def into_a_full_disk(start: Any, *args: str) -> tuple[int, str]:
    """Run with a stdout that can't be written; give the exit code, and what it says of that."""
    with open("/dev/full", "wb", buffering=0) as full:
        process = start(*args, stdout=full)
    _, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, NOTICE.sub("", err.decode())


@contextmanager
def nothing_left(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Give how to start a process of which, and of whose children, nothing must run at the end."""
    mark = f"STARTED_IN={tmp_path}"
    yield {"env": environment(STARTED_IN=str(tmp_path))}
    wait_until(lambda: not is_anywhere(mark.encode()), "the end of all processes")


def is_anywhere(mark: bytes) -> bool:
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # others', and those that have just ended
            if mark in path.read_bytes().split(b"\0"):
                return True
    return False


# --- streams


@each()
def test_data_is_on_stdout_and_where_it_is_quiet_there_is_nothing_else(row: Row, peers):
    done = run_gtool("-q", *row.line(row.works, **peers))
    assert (done.code, done.err) == (0, "")
    assert done.out
    assert ESCAPE not in done.out.decode()


NO_COLOR, DUMB = {"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}
STDERR_ONLY = {"stdout": subprocess.DEVNULL}
CALM = {"NO_COLOR": (NO_COLOR, {}), "NO_COLOR stderr": (NO_COLOR, STDERR_ONLY), "dumb stderr": (DUMB, STDERR_ONLY)}


@pytest.mark.parametrize(("variables", "how"), CALM.values(), ids=CALM)
@each()
def test_a_terminal_that_wants_no_colours_gets_none_and_no_progress(row: Row, variables, how, peers, start_gtool):
    shown = on_terminal(start_gtool, "-v", *row.line(row.works, **peers), env=environment(**variables), **how)
    assert ESCAPE not in shown
    assert "\r" not in shown


# --- the ready line


@each_server
def test_a_server_tells_where_it_can_be_connected_to_and_writes_the_same_into_the_ready_file(row: Row, tmp_path):
    with row.started("--ready-file", f"{tmp_path}/ready") as server:
        assert re.fullmatch(r"(tcp|http)://127\.0\.0\.1:[1-9]\d*", server.urls[0])
        server.connect().close()
        assert (tmp_path / "ready").read_text().splitlines() == server.urls


@each(lambda row: row.at.startswith("-l "))
def test_each_listener_has_a_line(row: Row):
    with row.started("-l", "[::1]:0", listeners=2) as server:
        assert [("[::1]" in url) for url in server.urls] == [False, True]
        server.connect(0).close()
        server.connect(1).close()


@each_server
def test_systemd_is_told_of_the_start_and_of_the_end(row: Row, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        systemd.settimeout(TIMEOUT_S)
        with row.started(env=environment(NOTIFY_SOCKET=f"{tmp_path}/notify")) as server:
            assert b"READY=1" in systemd.recv(4096).splitlines()
            assert server.stop().code == 0
            assert b"STOPPING=1" in systemd.recv(4096).splitlines()


# --- signals, and other ends


@each_stop_signal
@each_server
def test_a_signal_ends_a_server_with_0_once_the_drain_timeout_is_over(row: Row, number, tmp_path):
    with nothing_left(tmp_path) as how, row.started("--drain-timeout", "300ms", before="-q", **how) as server:
        with row.client(server):
            begun = time.monotonic()
            ended = server.stop(number)
            assert time.monotonic() - begun < AT_ONCE_S
        assert (ended.code, ended.err) == (0, "")


@each_stop_signal
@each_server
def test_a_second_signal_ends_a_server_at_once(row: Row, number, tmp_path):
    args = ("--drain-timeout", "60s", *row.many.split())
    with nothing_left(tmp_path) as how, row.started(*args, **how) as server, row.client(server):
        server.send_signal(number)
        server.wait_for_log("stopping")
        begun = time.monotonic()
        ended = server.stop(number)
        assert time.monotonic() - begun < AT_ONCE_S
        assert ended.code == 128 + number
        assert "Traceback" not in ended.err


@each_client
def test_a_client_that_waits_ends_with_130_when_interrupted(row: Row, start_gtool, tmp_path):
    with nothing_left(tmp_path) as how, socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT_S)
        process = start_gtool(*row.line(row.at, silent.getsockname()[1], "20s"), **how)
        connection, _ = silent.accept()
        with connection:
            check_interrupted(process)


@each(lambda row: row.waits)
def test_what_goes_on_for_long_ends_with_130_when_interrupted(row: Row, start_gtool, tmp_path):
    with nothing_left(tmp_path) as how:
        process = start_gtool(*row.line(row.waits), **how)
        assert process.stdout.readline()
        check_interrupted(process)


def check_interrupted(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, NOTICE.sub("", err.decode())) == (130, "")


@each_server
def test_once_is_over_with_the_first_client(row: Row):
    with row.started("--once") as server:
        with row.client(server):
            pass
        assert server.ended().code == 0


# --- exit codes


def bad_lines(row: Row) -> Iterator[tuple[Row, str, str]]:
    """Give words that make no command line, and what its error is to name."""
    option, _, value = row.bad.rpartition(" ")
    yield row, "--nope", "--nope"
    yield row, row.bad, value
    if option:
        yield row, option, option
    if row.argument:
        yield row, "", row.argument


BAD = [bad for row in ROWS for bad in bad_lines(row)]


@pytest.mark.parametrize(("row", "words", "named"), BAD, ids=[f"{row.name} {words}" for row, words, _ in BAD])
def test_a_bad_command_line_is_one_line_that_names_it_and_2(row: Row, words, named):
    check_usage_error(row.line(words), named)


def check_usage_error(args: list[str], named: str, **variables: str) -> None:
    done = run_gtool(*args, **variables)
    assert (done.code, done.out, done.err.count("\n")) == (2, b"", 1), done
    assert done.err.startswith("gtool")
    assert named in done.err


@each(lambda row: row.at)
def test_a_port_that_is_taken_or_that_nobody_listens_on_is_one_line_and_its_exit_code(row: Row, refused_port):
    done = run_gtool(*row.line(row.at, refused_port))
    assert (done.code, done.out, done.err.count("\n")) == (row.unable, b"", 1), done
    assert f"127.0.0.1:{refused_port}" in done.err


@each()
def test_a_reader_that_has_gone_is_141_without_a_word(row: Row, peers, start_gtool):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stdout:
        process = start_gtool(*row.line(row.works, **peers), stdout=stdout)
    assert (process.wait(TIMEOUT_S), NOTICE.sub("", process.stderr.read().decode())) == (141, "")


@each()
def test_a_full_disk_is_one_line_and_23(row: Row, peers, start_gtool):
    code, err = into_a_full_disk(start_gtool, *row.line(row.works, **peers))
    assert (code, err.count("\n")) == (23, 1), err
    assert "No space left on device" in err


# --- the environment


OPTIONS = [
    (row, name)
    for row in (Row("", "", ""), *ROWS)
    for param in command_of(row.name).params
    if isinstance(param, click.Option) and param.name != "version"
    for name in (*param.opts, *param.secondary_opts)
    if name.startswith("--")
]


def parsed(path: str, *words: str) -> click.Context:
    """Give what a command makes of these words and of the environment."""
    names = path.split()
    context = root.make_context("gtool", [] if names else [*words], resilient_parsing=True)
    for depth, name in enumerate(names, 1):
        args = [*words] if depth == len(names) else []
        command = command_of(" ".join(names[:depth]))
        context = command.make_context(name, args, parent=context, resilient_parsing=True)
    return context


@pytest.mark.parametrize(("row", "option"), OPTIONS, ids=[f"{row.name} {option}" for row, option in OPTIONS])
def test_an_option_in_the_environment_is_as_on_the_command_line(row: Row, option, monkeypatch):
    param = next(param for param in command_of(row.name).params if option in (*param.opts, *param.secondary_opts))
    assert isinstance(param, click.Option)
    on_command_line = parsed(row.name, option, *([] if param.is_flag or param.count else ["1"]))
    monkeypatch.setenv(row.variable(option), "1")
    in_environment = parsed(row.name)
    assert in_environment.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT
    assert in_environment.params == on_command_line.params


def test_no_two_options_have_the_same_variable():
    variables = sorted(row.variable(option) for row, option in OPTIONS)
    assert variables == sorted(set(variables))


@each(lambda row: row.bad.startswith("--"))
def test_a_bad_value_in_the_environment_is_one_line_that_names_it_and_2(row: Row):
    option, value = row.bad.split()
    check_usage_error(row.line(row.argument), value, **{row.variable(option): value})


@each_server
def test_a_duration_in_the_environment_ends_a_server_with_0(row: Row):
    with row.started(env=environment(**{row.variable("--duration"): "0"})) as server:
        assert server.ended().code == 0


def test_a_version_in_the_environment_is_no_business_of_ours():
    """A Dockerfile has `ARG GTOOL_VERSION=1.2.3`; a pipeline installs gtool==$GTOOL_VERSION."""
    done = run_gtool("zmq-pingpong", "--rounds", "1", GTOOL_VERSION="1.2.3")
    assert (done.code, done.err) == (0, "")


# --- the log


@each_server
def test_a_log_in_json_has_an_object_a_line_from_start_to_stop(row: Row):
    with row.started(before="--log-format json -v") as server:
        err = server.stop().err
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["listening", "stopping"]


@each()
def test_an_error_is_an_object_in_a_log_in_json(row: Row, peers, start_gtool):
    _, err = into_a_full_disk(start_gtool, "--log-format", "json", *row.line(row.works, **peers))
    assert json.loads(err)["level"] == "error"


@each(lambda row: row.at)
def test_the_log_is_text_on_a_terminal_too(row: Row, refused_port, start_gtool):
    shown = on_terminal(start_gtool, *row.line(row.at, refused_port))
    assert TEXT_LINE.fullmatch(shown.rstrip("\n"))


@each()
def test_vv_shows_where_an_error_is_from(row: Row, peers, start_gtool):
    _, err = into_a_full_disk(start_gtool, "-vv", *row.line(row.works, **peers))
    assert "Traceback (most recent call last)" in err


# --- help


@each()
def test_help_ends_in_examples_or_exit_codes(row: Row):
    done = run_gtool(*row.line("--help"))
    text = done.out.decode()
    assert (done.code, done.err) == (0, "")
    assert re.search("Examples:|Exit status:", text.rpartition("Show this message and exit.\n")[2])
    assert not re.search(r"^\S.*:\n\n", text, re.MULTILINE), "a heading with nothing under it"
    assert run_gtool(*row.line("-h")) == done


@each()
def test_help_is_100_columns_wide_at_most(row: Row):
    lines = run_gtool(*row.line("--help"), COLUMNS="300").out.decode().splitlines()
    assert max(map(len, lines)) <= 100
