"""`gtool completion`: the scripts, which are committed too."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT

FILES = {"bash": "gtool.bash", "zsh": "_gtool", "fish": "gtool.fish"}


@pytest.mark.parametrize(("shell", "file"), FILES.items())
def test_the_committed_scripts_are_those_that_it_prints(gtool, shell: str, file: str):
    assert gtool("completion", shell).out.decode() == (ROOT / "completions" / file).read_text()


def test_nothing_else_is_committed_with_them():
    assert {path.name for path in (ROOT / "completions").iterdir()} == set(FILES.values())


@pytest.mark.parametrize("args", [[], ["tcsh"], ["bash", "zsh"]])
def test_another_shell_is_a_usage_error(gtool, args: list[str]):
    done = gtool("completion", *args)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
