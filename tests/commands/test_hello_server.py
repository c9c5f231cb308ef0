"""From the options to the settings and the plan; what they do is tested where it is done."""

from __future__ import annotations

import pytest

import gtool.hello.run
import gtool.runtime.serve
from gtool.cli import run as run_command_line
from gtool.hello.run import Settings
from gtool.hello.script import Script
from gtool.runtime.address import Address


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command line; give its exit code, and the plan and the settings that it comes to."""
    monkeypatch.chdir(tmp_path)

    def parse(*args: str):
        seen = []
        monkeypatch.setattr(gtool.hello.run, "HelloService", lambda settings, server: settings)
        monkeypatch.setattr(gtool.runtime.serve, "serve", lambda plan, make: seen.extend([plan, make(None)]) or 0)
        return run_command_line(["hello-server", *args]), *seen

    return parse


@pytest.fixture
def settings(run):
    def parse(*args: str) -> Settings:
        code, _, settings = run(*args)
        assert code == 0
        return settings

    return parse


def test_without_options_it_says_hello_and_five_numbers_on_loopback(run):
    code, plan, settings = run()
    assert (code, plan.listen, plan.default_listen) == (0, (), Address(None, "127.0.0.1", 5000))
    assert settings == Settings(Script(b"Hello from a telnet!\n", "{n}", 5, b"\n"))


def test_the_options_of_all_servers_are_its_own(run):
    _, plan, _ = run("-l", ":7", "--max-connections", "5")
    assert (plan.listen, plan.settings.limits.max_connections) == ((Address(None, "", 7),), 5)


def test_the_exit_code_is_that_of_the_server(monkeypatch):
    monkeypatch.setattr(gtool.runtime.serve, "serve", lambda plan, make: 130)
    assert run_command_line(["hello-server"]) == 130


def test_the_environment_sets_options(settings, monkeypatch):
    monkeypatch.setenv("GTOOL_HELLO_SERVER_COUNT", "7")
    assert settings().script.lines == 7


# What is said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--message", "hi"], b"hi\n"),
        (["--message", "hi", "--crlf"], b"hi\r\n"),
        (["--message", ""], b""),
        (["--message", "", "--crlf"], b""),
        (["--message", "\udcff"], b"\xff\n"),
        (["--crlf"], b"Hello from a telnet!\r\n"),
    ],
)
def test_the_message_is_a_line(settings, args, message):
    assert settings(*args).script.message == message


@pytest.mark.parametrize("content", [b"", b"a\r\nb", b"\xff\0"])
def test_the_message_of_a_file_is_what_is_in_it(settings, tmp_path, content):
    (tmp_path / "banner").write_bytes(content)
    assert settings("--message-file", "banner", "--crlf").script.message == content


def test_lines_are_as_many_and_as_they_are_told_to_be(settings):
    script = settings("--count", "3", "--template", "{time} {n}", "--crlf").script
    assert (script.lines, script.template, script.line_end) == (3, "{time} {n}", b"\r\n")


def test_how_it_is_said_is_in_the_settings(settings):
    found = settings("--interval", "1s", "--wait-for-input", "--chunk-size", "1k")
    assert (found.interval, found.wait_for_input, found.chunk_size) == (1.0, True, 1024)


@pytest.mark.parametrize("closing", ["fin", "rst", "linger", "never"])
def test_every_way_to_close_can_be_chosen(settings, closing):
    assert settings("--close", closing).close == closing


# What is wrong


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--message", "x", "--message-file", "y"], "--message and --message-file"),
        (["--message", "", "--message-file", "y"], "--message and --message-file"),
        (["--chunk-size", "0"], "--chunk-size of 0"),
        (["--template", "{x}"], "there is no {x}"),
        (["--template", "{"], "template '{'"),
        (["--count", "-1"], "--count"),
        (["--close", "slam"], "slam"),
        (["--interval", "soon"], "'soon' is not a duration"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(run, capsys, args, named):
    assert run(*args) == (2,)
    err = capsys.readouterr().err
    assert (err.count("\n"), named in err) == (1, True)


@pytest.mark.parametrize("path", ["none", "."])
def test_a_message_that_cannot_be_read_is_one_line_and_exit_26(run, capsys, path):
    assert run("--message-file", path) == (26,)
    err = capsys.readouterr().err
    assert (err.count("\n"), f"cannot read {path}: " in err) == (1, True)
