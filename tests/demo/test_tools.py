"""What is shown of each tool, and that it is checked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gtool.cli import COMMANDS
from gtool.commands.demo import TOOLS
from gtool.demo import tools
from gtool.demo.stage import Stage
from gtool.demo.tools import DEMONSTRATIONS
from gtool.errors import PeerGone


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


def test_the_command_knows_them_all():
    assert tuple(one.tool for one in DEMONSTRATIONS) == TOOLS


def test_each_tool_is_shown():
    shown_beside = {"ws-tail", "chat-post", "chat-tail"}
    assert set(TOOLS) | shown_beside | {"demo", "completion"} == set(COMMANDS)


@pytest.mark.parametrize("one", DEMONSTRATIONS, ids=TOOLS)
def test_it_works_and_takes_little(one: tools.Demonstration, stage: Stage):
    found = one.play(stage)
    assert found.result
    assert found.rate > 0


def test_an_answer_that_is_another_one_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tools, "GREETING", b"Hello from elsewhere\n")
    with pytest.raises(PeerGone, match="Hello from a telnet"):
        tools.hello_server(stage)


def test_a_server_that_does_not_answer_all_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    serve = stage.serve
    monkeypatch.setattr(stage, "serve", lambda *args: serve(*args, "--close-after", "100"))
    with pytest.raises(PeerGone, match="what came back is"):
        tools.echo_server(stage)
