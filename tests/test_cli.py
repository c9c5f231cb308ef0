"""The command line as a whole: help at once, and each error one line and its exit code."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from gtool import __version__, cli
from gtool.errors import BindError, GtoolError, Interrupted, OutputClosed, ReadError, UsageError, WriteError
from tests.conftest import ROOT, TIMEOUT_S, answer, environment

HEAVY = {"gevent", "pycurl", "flask", "zmq", "simplejson", "rich", "redis", "ssl", "asyncio", "websockets", "hdrh"}
OURS = {f"gtool.{path.stem}" for path in (ROOT / "gtool").iterdir()} - {"gtool.commands", "gtool.errors", "gtool.cli"}


def shell(command: str, cwd: Path, **variables: str) -> tuple[int, str, str]:
    """Run a shell command in which `gtool` is gtool: exit code, stdout, stderr."""
    script = f'gtool() {{ "$PYTHON" -m gtool "$@"; }}\n{command}'
    variables = environment(PYTHON=sys.executable, **variables)
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=TIMEOUT_S, cwd=cwd, env=variables)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def url(peer) -> str:
    return peer(lambda connection, head: connection.sendall(answer(b"body"))).url


def boom() -> click.Command:
    """Stands in COMMANDS for a command; what it raises is `boom.error`."""


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Have a command `boom` that raises what it is told to; the log is as it was at the end."""

    def make(error: BaseException) -> None:
        @click.command()
        def boom() -> None:
            raise error

        monkeypatch.setattr(sys.modules[__name__], "boom", boom)
        monkeypatch.setitem(cli.COMMANDS, "boom", (f"{__name__}:boom", "Fail."))

    logger = logging.getLogger("gtool")
    before = logger.handlers[:], logger.level, logger.propagate
    yield make
    logger.handlers[:], logger.level, logger.propagate = before


# Help


def test_help_lists_the_commands_with_their_lines(gtool):
    result = gtool("--help")
    assert result.code == 0
    lines = [line.split(None, 1) for line in result.out.decode().splitlines()]
    for name, (_, help_line) in cli.COMMANDS.items():
        assert [name, help_line] in lines


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_line_of_a_command_is_that_of_its_own_help(name):
    module, _, attribute = cli.COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    assert command.get_short_help_str(limit=1000) == cli.COMMANDS[name][1]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_has_examples(gtool, name):
    result = gtool(name, "-h")
    assert (result.code, result.err) == (0, "")
    assert b"Examples:\n" in result.out


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["nope"]])
def test_what_runs_no_command_loads_no_tool(args):
    script = f"import sys; from gtool.cli import run; run({args}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=TIMEOUT_S, env=environment(), text=True
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "click" in loaded
    assert loaded & (HEAVY | OURS) == set()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_loads_no_tool(name):
    script = f"import sys; from gtool.cli import run; run(['{name}', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=TIMEOUT_S, env=environment(), text=True
    )
    assert set(done.stderr.splitlines()[-1].split()) & HEAVY == set()


def test_version_is_told(gtool):
    result = gtool("--version")
    assert (result.code, result.out, result.err) == (0, f"gtool, version {__version__}\n".encode(), "")


def test_without_a_command_there_is_help(gtool):
    result = gtool()
    assert "\nCommands:\n" in result.out.decode() + result.err


# Bad command lines


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["nope"], "nope"),
        (["--nope"], "--nope"),
        (["--log-format", "xml"], "xml"),
        (["--log-level", "loud"], "loud"),
        (["fetch", "--nope", "x"], "--nope"),
        (["fetch", "-c", "0", "x"], "0"),
        (["fetch", "-c", "many", "x"], "many"),
        (["fetch", "--max-size", "big", "x"], "big"),
        (["fetch", "--rate", "5/x", "x"], "5/x"),
        (["fetch", "--rate", "0", "x"], "'0'"),
        (["fetch", "--deadline", "soon", "x"], "soon"),
        (["fetch", "--cacert", "/none", "x"], "/none"),
        (["fetch", "--json", "-w", "%{url}", "x"], "--write-out"),
        (["fetch", "-w", "%{nope}", "x"], "nope"),
        (["fetch", "-o", "{nope}", "x"], "nope"),
        (["fetch", "-H", "no colon", "x"], "no colon"),
        (["fetch"], "URL"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(gtool, args, named):
    result = gtool(*args)
    assert (result.code, result.out, result.err.count("\n")) == (2, b"", 1)
    assert result.err.startswith("gtool")
    assert ": error: " in result.err
    assert named in result.err


# Errors of commands


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GtoolError("it failed"), 1),
        (UsageError("it failed"), 2),
        (ReadError("it failed"), 26),
        (WriteError("it failed"), 23),
        (BindError("it failed"), 5),
        (GtoolError("it failed", "try this"), 1),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(failing, capsys, error, code):
    failing(error)
    assert cli.run(["boom"]) == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.endswith(f"{error}\n")


@pytest.mark.parametrize(("error", "code"), [(Interrupted(2), 130), (Interrupted(15), 143), (OutputClosed(), 141)])
def test_what_everybody_knows_is_an_exit_code_alone(failing, capsys, error, code):
    failing(error)
    assert cli.run(["boom"]) == code
    assert capsys.readouterr().err == ""


def test_a_keyboard_interrupt_is_one_too(failing):
    failing(KeyboardInterrupt())
    assert cli.run(["boom"]) == 130


def test_an_unexpected_exception_is_one_line_and_exit_70(failing, capsys):
    failing(ZeroDivisionError("mine"))
    assert cli.run(["boom"]) == 70
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "a bug in gtool: ZeroDivisionError: mine" in err


@pytest.mark.parametrize("error", [GtoolError("it failed"), ZeroDivisionError("mine")])
def test_vv_shows_where_an_error_is_from(failing, capsys, error):
    failing(error)
    cli.run(["-vv", "boom"])
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_is_told_though_it_is_quiet(failing, capsys):
    failing(GtoolError("it failed"))
    cli.run(["-q", "boom"])
    assert "it failed" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["-q"], ["--log-level", "error"], ["-q", "-v"]])
def test_the_failure_of_an_input_is_not_told_where_it_is_quiet(gtool, refused_port, options):
    result = gtool(*options, "fetch", f"127.0.0.1:{refused_port}")
    assert (result.code, result.err) == (7, "")


@pytest.mark.parametrize("options", [["-v"], ["--log-level", "info"], ["--log-level", "error", "-vvv"]])
def test_more_is_told_where_that_is_wanted(gtool, peer, options):
    busy = peer(lambda connection, head: connection.sendall(answer(b"", "503 Busy", "Retry-After: 0")))
    result = gtool(*options, "fetch", "--retry", "1", busy.url)
    assert " INFO    retrying " in result.err


@pytest.mark.parametrize("error", [GtoolError("it failed"), ZeroDivisionError("it failed")])
def test_an_error_line_is_json_where_the_log_is(failing, capsys, error):
    failing(error)
    cli.run(["--log-format", "json", "boom"])
    document = json.loads(capsys.readouterr().err)
    assert document["level"] == "error"
    assert "it failed" in document["event"]


def test_the_failure_of_an_input_is_json_where_the_log_is(gtool, refused_port):
    result = gtool("--log-format", "json", "fetch", f"127.0.0.1:{refused_port}")
    document = json.loads(result.err)
    assert (document["event"], document["exitcode"]) == ("failed", 7)


# The environment


def test_an_option_can_be_set_in_the_environment(gtool, url):
    assert gtool("fetch", url, GTOOL_FETCH_JSON="1").records[0]["body"] == "body"


def test_an_option_of_all_commands_can_be_set_in_the_environment(gtool, refused_port):
    result = gtool("fetch", f"127.0.0.1:{refused_port}", GTOOL_LOG_FORMAT="json")
    assert json.loads(result.err)["event"] == "failed"


def test_the_command_line_comes_before_the_environment(gtool, url):
    result = gtool("fetch", "--max-body", "2", "--json", url, GTOOL_FETCH_MAX_BODY="3")
    assert result.records[0]["body"] == "bo"


def test_a_bad_value_in_the_environment_is_a_usage_error(gtool, url):
    result = gtool("fetch", url, GTOOL_FETCH_CONCURRENCY="many")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "many" in result.err


# Standard streams that are closed, full, or gone


def test_a_closed_stdin_that_is_to_be_read_is_one_line_and_exit_26(tmp_path):
    code, out, err = shell("gtool fetch -i - <&-", tmp_path)
    assert (code, out, err.count("\n")) == (26, "", 1)
    assert "cannot read stdin: it is closed" in err


def test_a_closed_stdin_that_nobody_reads_is_no_matter(tmp_path, url):
    assert shell(f"gtool fetch {url} <&-", tmp_path) == (0, "body", "")


@pytest.mark.parametrize("options", ["", "--json", "-w x"])
def test_a_closed_stdout_that_is_to_be_written_is_one_line_and_exit_23(tmp_path, url, options):
    code, _, err = shell(f"gtool fetch {options} {url} >&-", tmp_path)
    assert (code, err.count("\n")) == (23, 1)
    assert "cannot write to stdout: it is closed" in err


def test_a_closed_stdout_that_nobody_writes_is_no_matter(tmp_path, url):
    assert shell(f"gtool fetch -o file {url} >&-", tmp_path) == (0, "", "")
    assert (tmp_path / "file").read_text() == "body"


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path, url):
    """Else what is meant for stderr would be in there."""
    shell(f"gtool -vv fetch -o file {url} 127.0.0.1:1 <&- >&- 2>&-", tmp_path)
    assert (tmp_path / "file").read_text() == "body"


@pytest.mark.parametrize("options", ["", "--json", "-o file", "--summary"])
def test_a_closed_stderr_is_no_matter(tmp_path, url, options):
    code, _, _ = shell(f"gtool fetch {options} {url} 2>&-", tmp_path)
    assert code == 0


def test_a_failure_has_its_exit_code_though_stderr_is_closed(tmp_path, refused_port):
    assert shell(f"gtool fetch 127.0.0.1:{refused_port} 2>&-", tmp_path) == (7, "", "")


def test_a_usage_error_has_its_exit_code_though_stderr_is_closed(tmp_path):
    assert shell("gtool fetch --nope 2>&-", tmp_path) == (2, "", "")


@pytest.mark.parametrize("args", ["nope", "fetch", "fetch --nope"])
def test_a_usage_error_has_its_exit_code_though_stderr_cannot_be_written(tmp_path, args):
    assert shell(f"gtool {args} 2> /dev/full", tmp_path) == (2, "", "")


def test_a_failure_has_its_exit_code_though_stderr_cannot_be_written(tmp_path, refused_port):
    assert shell(f"gtool fetch 127.0.0.1:{refused_port} 2> /dev/full", tmp_path) == (7, "", "")


@pytest.mark.parametrize("options", ["", "--json"])
def test_a_full_disk_is_one_line_and_exit_23(tmp_path, url, options):
    code, _, err = shell(f"gtool fetch {options} {url} > /dev/full", tmp_path)
    assert (code, err.count("\n")) == (23, 1)
    assert "cannot write to stdout: No space left on device" in err


def test_a_full_disk_for_help_is_no_bug_of_ours(tmp_path):
    code, _, err = shell("gtool --help > /dev/full", tmp_path)
    assert (code, err.count("\n")) == (23, 1)


@pytest.mark.parametrize("args", [["fetch", "--json", "{url}"], ["fetch", "{url}"], ["--help"], ["--version"]])
def test_a_reader_that_has_gone_is_exit_141_without_a_word(start_gtool, url, args):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        process = start_gtool(*(arg.format(url=url) for arg in args), stdout=stdout)
    assert (process.wait(TIMEOUT_S), process.stderr.read()) == (141, b"")


# How it ends


def test_all_of_a_long_help_is_out(gtool):
    assert gtool("fetch", "--help").out.rstrip().endswith(b"--journal done.ndjson")


def test_the_exit_code_is_that_of_the_command(gtool, refused_port):
    assert gtool("fetch", f"127.0.0.1:{refused_port}").code == 7
