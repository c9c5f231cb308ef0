"""TAB in real shells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.chat import chat
from tests.e2e.shells import SHELLS, Shell

Open = Callable[..., Shell]


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in SHELLS])
def open_shell(request: pytest.FixtureRequest, tmp_path: Path, path_with_gtool: str) -> Open:
    return lambda **variables: Shell(request.param, tmp_path, path_with_gtool, **variables)


def test_a_command(open_shell: Open):
    with open_shell() as shell:
        shell.type("gtool fe\t")
        shell.wait_for("gtool fetch ")


def test_an_option(open_shell: Open):
    with open_shell() as shell:
        shell.type("gtool fetch --conc\t")
        shell.wait_for("--concurrency")


@pytest.mark.parametrize("command", ["zmq-pingpong", "zmq-pingpong ping"])
def test_an_options_values(open_shell: Open, command: str):
    with open_shell() as shell:
        shell.type(f"gtool {command} --pattern \t\t")
        shell.wait_for("req-rep", "dealer-router", "push-pull", "pub-sub")


def test_a_file(open_shell: Open, tmp_path: Path):
    (tmp_path / "urls-of-all-hosts.txt").touch()
    with open_shell() as shell:
        shell.type("gtool fetch -i urls\t")
        shell.wait_for("urls-of-all-hosts.txt")


def test_a_room_of_the_chat_that_is_running(open_shell: Open):
    with (
        chat("--room", "builds-of-today", "--room", "lunch") as server,
        open_shell(GTOOL_CHAT_SERVER=server.urls[0]) as shell,
    ):
        shell.type("gtool chat-tail bui\t")
        shell.wait_for("builds-of-today")
