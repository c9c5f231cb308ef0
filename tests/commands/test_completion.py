"""`gtool completion`: the scripts, which are committed too."""

from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.reference import SCRIPTS, script


@pytest.mark.parametrize("shell", SCRIPTS)
def test_it_prints_what_is_generated_and_committed(gtool, shell: str):
    committed = (ROOT / "completions" / SCRIPTS[shell]).read_text()
    assert committed == script(shell), "python -m tests.reference writes it"
    assert gtool("completion", shell).out.decode() == committed


def test_nothing_else_is_committed_with_them():
    assert {path.name for path in (ROOT / "completions").iterdir()} == set(SCRIPTS.values())


@pytest.mark.parametrize("args", [[], ["tcsh"], ["bash", "zsh"]])
def test_another_shell_is_a_usage_error(gtool, args: list[str]):
    done = gtool("completion", *args)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
