"""`gtool demo` as a process: what it prints, how it ends, and that nothing is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gtool.commands.demo import TOOLS
from tests.conftest import environment

LONG = ("--timeout", "50s")  # the machine may have much else to do


def test_all_tools_work_and_the_table_says_so(gtool):
    done = gtool("demo", *LONG)
    assert done.code == 0
    rows = [line for line in done.out.decode().splitlines()[2:] if not line.startswith(" ")]
    assert [row.split()[0] for row in rows] == list(TOOLS)
    assert done.out.decode().count("try: gtool ") == len(TOOLS)
    assert max(map(len, done.out.decode().splitlines())) <= 100
    assert [line.split()[2] for line in done.err.splitlines()] == list(TOOLS)  # as it goes


def test_json_is_a_record_a_line(gtool):
    done = gtool("-q", "demo", "--only", "hello-server", "--only", "echo-server", "--json", *LONG)
    assert [(record["tool"], record["ok"]) for record in done.records] == [
        ("echo-server", True),
        ("hello-server", True),
    ]
    assert done.err == ""


def test_a_tool_that_fails_has_its_reason_in_its_line_and_the_exit_code_is_1(gtool, tmp_path: Path):
    (tmp_path / "zmq.py").write_text("raise ImportError('there is no libzmq')")
    search_path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    done = gtool("demo", "--only", "zmq-pingpong", "--only", "hello-server", *LONG, PYTHONPATH=search_path)
    assert done.code == 1
    row = next(line for line in done.out.decode().splitlines() if line.startswith("zmq-pingpong"))
    assert "FAILED" in row
    assert "there is no libzmq" in row
    assert "each greeted" in done.out.decode()


def test_it_leaves_no_files_and_no_processes(gtool, tmp_path: Path):
    done = gtool("demo", *LONG, TMPDIR=str(tmp_path), HOME=str(tmp_path), MARK=str(tmp_path))
    assert done.code == 0
    assert list(tmp_path.iterdir()) == []
    assert marked(str(tmp_path)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_all_that_it_has_started(start_gtool, tmp_path: Path, number: int):
    process = start_gtool("demo", env=environment(MARK=str(tmp_path)))
    while len(marked(str(tmp_path))) < 2:
        time.sleep(0.01)  # until it has started one
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 128 + number
    assert out == b""
    assert b"Traceback" not in err
    assert marked(str(tmp_path)) == []


@pytest.mark.parametrize("name", ["ftp", "ws-tail"])
def test_an_unknown_tool_is_a_usage_error(gtool, name: str):
    done = gtool("demo", "--only", name)
    assert done.code == 2
    assert name in done.err


def test_nobody_reads_it(start_gtool):
    process = start_gtool("demo", "--only", "hello-server", "--json")
    process.stdout.close()
    assert process.wait() == 141


def marked(mark: str) -> list[int]:
    """The processes that have the mark in their environment."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            variables = Path(f"/proc/{name}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if f"MARK={mark}".encode() in variables:
            found.append(int(name))
    return found


def test_no_time_is_a_usage_error(gtool):
    done = gtool("demo", "--timeout", "0")
    assert (done.code, "no time" in done.err) == (2, True)
