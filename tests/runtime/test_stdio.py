"""Standard streams that stall nobody: Input in this process, stdout in a process of its own."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import socket
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest
from gevent.event import Event

from gtool.errors import ReadError
from gtool.runtime.stdio import CHUNK_BYTES, Input, open_input
from tests.conftest import TIMEOUT_S, environment

PRELUDE = """
import os, sys, gevent
from gevent.event import Event
from gtool.runtime.stdio import Input, Stdout

def say(*words):
    print(*words, file=sys.stderr, flush=True)

def caught(function, *args):
    try:
        function(*args)
        say("nothing raised")
    except Exception as error:
        say(type(error).__name__, error)
"""

BIG = b"0123456789abcdef" * (1 << 18)

#: says so when another greenlet runs while the write waits; that one would never run if the loop were stalled
WRITE_BIG = """
out = Stdout()
writer = gevent.spawn(out.write, b"0123456789abcdef" * (1 << 18))
while not out.is_blocked:
    gevent.sleep(0)
say("still running")
writer.get()
out.close()
"""


class Pipe(NamedTuple):
    reader: Any
    writer: Any


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", 0) as reader_file, os.fdopen(writer, "wb", 0) as writer_file:
        yield Pipe(reader_file, writer_file)


@pytest.fixture
def source(pipe: Pipe) -> Iterator[Input]:
    """The pipe as an Input."""
    made = Input(os.dup(pipe.reader.fileno()), "a pipe")
    yield made
    made.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a script, whose stderr is a pipe; it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def run(script: str, **popen: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PRELUDE + script]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(), **popen))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        for end in (process.stdin, process.stdout, process.stderr):
            if end:
                end.close()


def said(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr
    return process.stderr.readline().decode().rstrip("\n")


def read_all(read: Callable[[int], bytes]) -> bytes:
    data = b""
    while more := read(CHUNK_BYTES):
        data += more
    return data


def run_shell(command: str, script: str, cwd: Path) -> str:
    """Run a shell command in which $SCRIPT stands for the script; what is said on stderr."""
    command = command.replace("$SCRIPT", '"$PYTHON" -c "$CODE"')
    variables = environment(PYTHON=sys.executable, CODE=PRELUDE + script)
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=TIMEOUT_S, env=variables, cwd=cwd)
    return done.stderr.decode()


def flags(file: Any) -> int:
    return fcntl.fcntl(file, fcntl.F_GETFL)


def wait_for(source: Input) -> None:
    """Wait until the input has something to say."""
    ready = Event()
    source.when_ready(ready.set)
    assert ready.wait(TIMEOUT_S)


# Input


def test_an_empty_pipe_has_nothing_yet(source):
    assert source.read() is None


def test_what_is_in_a_pipe_is_read(source, pipe):
    pipe.writer.write(b"data")
    assert source.read() == b"data"


def test_a_read_is_64_kib_at_most(source, pipe):
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4 * CHUNK_BYTES)
    pipe.writer.write(b"x" * 2 * CHUNK_BYTES)
    assert len(source.read()) == CHUNK_BYTES


def test_the_end_of_a_pipe_is_empty(source, pipe):
    pipe.writer.close()
    assert source.read() == b""


def test_what_comes_before_the_end_of_a_pipe_is_read(source, pipe):
    pipe.writer.write(b"last")
    pipe.writer.close()
    assert [source.read(), source.read()] == [b"last", b""]


def test_it_says_when_data_comes(source, pipe):
    gevent.spawn(pipe.writer.write, b"data")
    wait_for(source)
    assert source.read() == b"data"


def test_it_says_when_the_end_comes(source, pipe):
    gevent.spawn(pipe.writer.close)
    wait_for(source)
    assert source.read() == b""


def test_it_says_so_each_time_that_it_is_asked(source, pipe):
    for data in (b"one", b"two"):
        pipe.writer.write(data)
        wait_for(source)
        assert source.read() == data


def test_asking_twice_is_asking_once(source, pipe):
    calls = []
    source.when_ready(lambda: calls.append("first"))
    source.when_ready(lambda: calls.append("second"))
    pipe.writer.write(b"data")
    gevent.sleep(0.01)  # a turn of the loop, or some
    assert calls == ["first"]


def test_the_flags_of_a_shared_pipe_stay_as_they_are(source, pipe):
    before = flags(pipe.reader)
    pipe.writer.write(b"data")
    wait_for(source)
    source.read()
    assert flags(pipe.reader) == before


def test_a_regular_file_is_read_to_its_end(tmp_path):
    (tmp_path / "file").write_bytes(b"data")
    file = open_input(str(tmp_path / "file"))
    assert [file.read(), file.read()] == [b"data", b""]
    file.close()


def test_a_device_without_data_ends_at_once():
    null = open_input("/dev/null")
    assert null.read() == b""
    null.close()


def test_a_directory_cannot_be_read(tmp_path):
    directory = open_input(str(tmp_path))
    with pytest.raises(ReadError, match=f"cannot read {tmp_path}: Is a directory"):
        directory.read()
    directory.close()


def test_a_descriptor_to_write_to_cannot_be_read(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        wrong = Input(os.dup(file.fileno()), "stdin")
        with pytest.raises(ReadError, match="cannot read stdin: Bad file descriptor"):
            wrong.read()
        wrong.close()


def test_a_file_that_is_not_there_cannot_be_read(tmp_path):
    with pytest.raises(ReadError, match=f"cannot read {tmp_path}/none: No such file"):
        open_input(f"{tmp_path}/none")


def test_a_closed_stdin_cannot_be_read(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ReadError, match="cannot read stdin: it is closed"):
        open_input("-")


def test_stdin_stays_open_for_others(start):
    process = start("Input(0, 'stdin').close(); say(os.read(0, 9))", stdin=subprocess.PIPE)
    process.stdin.write(b"data")
    process.stdin.close()
    assert said(process) == "b'data'"


@pytest.fixture
def terminal() -> Iterator[Pipe]:
    """Our side of a terminal, as an Input, and its other side."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    source = Input(ours, "a terminal")
    with os.fdopen(theirs, "wb", 0) as writer:
        yield Pipe(source, writer)
    source.close()


def test_a_terminal_whose_other_side_is_closed_has_come_to_its_end(terminal):
    terminal.writer.write(b"last")
    wait_for(terminal.reader)
    assert terminal.reader.read() == b"last"
    terminal.writer.close()
    wait_for(terminal.reader)
    assert [terminal.reader.read(), terminal.reader.read()] == [b"", b""]


def test_an_error_of_what_is_no_terminal_is_not_its_end(source, pipe, monkeypatch):
    def fail(descriptor: int, size: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    pipe.writer.write(b"data")
    with monkeypatch.context() as patched:
        patched.setattr(os, "read", fail)
        with pytest.raises(ReadError, match="cannot read a pipe: Input/output error"):
            source.read()


def test_another_error_of_a_terminal_is_not_its_end(terminal, monkeypatch):
    def fail(descriptor: int, size: int) -> bytes:
        raise OSError(errno.ENXIO, "No such device or address")

    terminal.writer.write(b"data")
    wait_for(terminal.reader)
    with monkeypatch.context() as patched:
        patched.setattr(os, "read", fail)
        with pytest.raises(ReadError, match="No such device"):
            terminal.reader.read()


# Stdout


def test_a_big_write_to_a_slow_pipe_does_not_stall_the_loop(start):
    process = start(WRITE_BIG, stdout=subprocess.PIPE)
    assert said(process) == "still running"
    assert process.stdout.read() == BIG


def test_the_flags_of_a_shared_stdout_pipe_stay_as_they_are(start, pipe):
    before = flags(pipe.writer)
    process = start(WRITE_BIG, stdout=pipe.writer)
    said(process)
    during = flags(pipe.writer)
    pipe.writer.close()
    assert (during, len(read_all(pipe.reader.read))) == (before, len(BIG))


def test_it_is_not_blocked_when_all_is_written(start):
    process = start(f"{WRITE_BIG}say(out.is_blocked)", stdout=subprocess.PIPE)
    said(process)
    process.stdout.read()
    assert said(process) == "False"


def test_a_pipe_that_nobody_reads_any_more_is_closed_output(start, pipe):
    pipe.reader.close()
    process = start("caught(Stdout().write, b'data')", stdout=pipe.writer)
    assert said(process).startswith("OutputClosed")


def test_a_reader_that_goes_away_during_a_write_is_closed_output(start):
    process = start(WRITE_BIG.replace("writer.get()", "caught(writer.get)"), stdout=subprocess.PIPE)
    said(process)
    process.stdout.close()
    assert any(line.startswith(b"OutputClosed") for line in process.stderr)


def test_a_full_disk_cannot_be_written(tmp_path):
    assert run_shell("$SCRIPT > /dev/full", "caught(Stdout().write, b'data')", tmp_path) == (
        "WriteError cannot write to stdout: No space left on device\n"
    )


def test_a_file_opened_for_reading_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert run_shell("$SCRIPT 1< file", "caught(Stdout().write, b'data')", tmp_path) == (
        "WriteError cannot write to stdout: Bad file descriptor\n"
    )


def test_a_closed_stdout_cannot_be_written(tmp_path):
    assert run_shell("$SCRIPT >&-", "caught(Stdout)", tmp_path) == "WriteError cannot write to stdout: it is closed\n"


WATCH_FOR_THE_READER = """
out, closed = Stdout(), Event()
out.when_closed(closed.set)
out.write(b"first")
say("waiting")
say(closed.wait(20))
"""


def test_a_reader_that_goes_away_is_noticed_though_nothing_is_written(start):
    process = start(WATCH_FOR_THE_READER, stdout=subprocess.PIPE)
    said(process)
    process.stdout.close()
    assert said(process) == "True"


def test_a_reader_that_stays_is_not_taken_for_gone(start):
    script = WATCH_FOR_THE_READER.replace("closed.wait(20)", "closed.is_set()")
    process = start(script.replace('say("waiting")', "gevent.sleep(0.01)"), stdout=subprocess.PIPE)
    assert said(process) == "False"


def test_watching_the_reader_does_not_keep_the_loop_alive(start):
    process = start("Stdout().when_closed(print); say(gevent.wait())", stdout=subprocess.PIPE)
    assert said(process) == "True"


def test_a_big_write_to_a_socket_does_not_stall_the_loop(start):
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = start(WRITE_BIG, stdout=theirs)
        assert said(process) == "still running"
        assert read_all(ours.recv) == BIG


def test_the_flags_of_a_shared_socket_stay_as_they_are(start):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        before = flags(theirs)
        said(start(WRITE_BIG, stdout=theirs))
        assert flags(theirs) == before


def test_a_socket_whose_peer_has_gone_is_closed_output(start):
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        process = start("caught(Stdout().write, b'data')", stdout=theirs)
        assert said(process).startswith("OutputClosed")


def test_a_terminal_takes_it_all_and_keeps_its_flags(start):
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", 0) as reader, os.fdopen(theirs, "wb", 0) as terminal:
        before = flags(terminal)
        process = start("out = Stdout(); out.write(b'data'); out.close(); say('over')", stdout=terminal)
        assert said(process) == "over"
        assert (reader.read(4), flags(terminal)) == (b"data", before)


def test_a_regular_file_is_appended_to_where_the_shell_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"before ")
    run_shell("$SCRIPT >> file", "Stdout().write(b'after')", tmp_path)
    assert (tmp_path / "file").read_bytes() == b"before after"


def test_a_regular_file_is_written_where_the_command_before_has_stopped(tmp_path):
    run_shell("{ printf 'one '; $SCRIPT; printf three; } > file", "Stdout().write(b'two ')", tmp_path)
    assert (tmp_path / "file").read_bytes() == b"one two three"


def test_closing_it_twice_leaves_descriptor_1_open(start):
    process = start("out = Stdout(); out.close(); out.close(); os.write(1, b'data')", stdout=subprocess.PIPE)
    assert process.stdout.read() == b"data"


def test_closing_it_lets_go_of_its_own_descriptor(start):
    script = "count = lambda: len(os.listdir('/proc/self/fd'))\nStdout().close()\nbefore = count()\n"
    process = start(f"{script}Stdout().close(); say(count() - before)", stdout=subprocess.PIPE)
    assert said(process) == "0"
