"""What TAB offers, without a shell."""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete

from gtool.cli import COMMANDS, gtool
from tests import reference
from tests.conftest import Result, answer
from tests.e2e.chat import chat


def offered(line: str) -> list[CompletionItem]:
    """What is offered where the line ends."""
    words = line.split(" ")
    return ShellComplete(gtool, {}, "gtool", "_GTOOL_COMPLETE").get_completions(words[1:-1], words[-1])


def values(line: str) -> list[str]:
    return [item.value for item in offered(line)]


def commands() -> list[tuple[str, click.Command]]:
    return [(ctx.command_path.removeprefix("gtool "), ctx.command) for ctx in reference.commands() if ctx.parent]


def options(of: Callable[[click.Parameter], bool]) -> list[str]:
    return [
        f"gtool {name} {param.opts[-1]} " if isinstance(param, click.Option) else f"gtool {name} "
        for name, made in commands()
        for param in made.params
        if of(param)
    ]


def test_all_commands_with_what_they_are_for():
    assert {item.value: item.help for item in offered("gtool ")}.keys() == COMMANDS.keys()


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_all_options_of_a_command(name: str, command: click.Command):
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    names = {max(param.opts, key=len) for param in options}
    assert names <= set(values(f"gtool {name} -"))


@pytest.mark.parametrize("line", options(lambda param: isinstance(param.type, click.Choice)))
def test_values_where_there_is_a_choice(line: str):
    assert len(values(line)) > 1


@pytest.mark.parametrize("line", options(lambda param: "FILE" in (param.metavar or "") or param.metavar == "DIR"))
def test_files_where_one_is_wanted(line: str):
    (item,) = offered(f"{line}some")
    assert item.type in ("file", "dir")


@pytest.mark.parametrize("command", ["chat-tail", "chat-post"])
def test_rooms_of_the_chat_that_the_environment_names(command: str, monkeypatch: pytest.MonkeyPatch):
    with chat("--room", "builds", "--room", "base", "--room", "lunch") as server:
        monkeypatch.setenv("GTOOL_CHAT_SERVER", server.urls[0])
        assert values(f"gtool {command} b") == ["builds", "base"]


def test_rooms_of_the_chat_that_the_command_line_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GTOOL_CHAT_SERVER", "http://127.0.0.1:1")
    with chat("--room", "builds") as server:
        assert values(f"gtool chat-tail --server {server.urls[0]} ") == ["builds"]


def test_rooms_of_a_private_chat(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "token").write_text("open sesame\n")
    with chat("--room", "builds", "--token", tmp_path / "token") as server:
        assert values(f"gtool chat-tail --server {server.urls[0]} ") == []
        monkeypatch.setenv("GTOOL_CHAT_TOKEN_FILE", str(tmp_path / "token"))
        assert values(f"gtool chat-tail --server {server.urls[0]} ") == ["builds"]


NO_ROOMS = [b"not JSON", b"[]", b"{}", b'{"rooms": 1}', b'{"rooms": [1]}', b'{"rooms": [{}]}', b'{"rooms": null}']


@pytest.mark.parametrize("body", NO_ROOMS)
def test_another_server_has_no_rooms(peer, body: bytes):
    made = peer(lambda connection, _: connection.sendall(answer(body)))
    assert values(f"gtool chat-tail --server {made.url} ") == []


def test_no_server_has_no_rooms(refused_port: int):
    assert values(f"gtool chat-tail --server http://127.0.0.1:{refused_port} ") == []
    assert values("gtool chat-tail --server ftp://x ") == []


def test_who_presses_tab_does_not_wait_for_a_server_that_does_not_answer(peer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gtool.commands.complete.ROOMS_S", 0.05)
    made = peer(lambda connection, _: connection.recv(1))
    assert values(f"gtool chat-tail --server {made.url} ") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [("gtool fe", "fetch"), ("gtool fetch --conc", "--concurrency"), ("gtool zmq-pingpong ", "ping")],
)
def test_a_process_answers_and_ends_well(gtool: Callable[..., Result], line: str, expected: str):
    count = str(line.count(" "))
    done = gtool(_GTOOL_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=count)
    assert done.code == 0
    assert f"plain,{expected}" in done.out.decode().splitlines()
    assert done.err == ""


def test_a_server_that_drips_is_not_waited_for_either(peer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gtool.commands.complete.ROOMS_S", 0.2)

    def drip(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(1000):
            connection.sendall(b" ")
            time.sleep(0.02)

    started_at = time.monotonic()
    assert values(f"gtool chat-tail --server {peer(drip).url} ") == []
    assert time.monotonic() - started_at < 10


@pytest.mark.parametrize("variables", [{}, {"COMP_WORDS": "gtool fe", "COMP_CWORD": ""}, {"GTOOL_QUIET": "maybe"}])
def test_nothing_is_written_to_a_prompt(gtool: Callable[..., Result], variables: dict[str, str]):
    done = gtool(_GTOOL_COMPLETE="bash_complete", **variables)
    assert (done.code, done.out.strip(), done.err) == (1, b"", "")


def test_without_a_question_a_command_is_run(gtool: Callable[..., Result]):
    assert gtool("--version", _GTOOL_COMPLETE="").out.startswith(b"gtool, version")
