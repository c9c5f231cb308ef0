"""The README's examples are run, and print what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.reference import BETWEEN

BLOCKS = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
README = (ROOT / "README.md").read_text()
SET_UP, EXAMPLES = BLOCKS.findall(README)[:2], BLOCKS.findall(README)[2:]
NUMBERS = re.compile(r"[\d,.]+ *")  # and the blanks behind them: columns are as wide as what they hold


@pytest.mark.needs("jq")
@pytest.mark.needs("nc")
@pytest.mark.parametrize(("script", "output"), EXAMPLES, ids=[script.split("\n")[0][:40] for script, _ in EXAMPLES])
def test_example_prints_what_the_readme_says(
    script: str, output: str, httpbin: str, path_with_gtool: str, tmp_path: Path
):
    assert printed(script, httpbin, path_with_gtool, tmp_path) == output


@pytest.mark.needs("jq")
def test_the_mirror_can_be_made_again(httpbin: str, path_with_gtool: str, tmp_path: Path):
    ((script, output),) = [example for example in EXAMPLES if "SHA256SUMS" in example[0]]
    for _ in range(2):
        assert printed(script, httpbin, path_with_gtool, tmp_path) == output
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 2


def printed(script: str, httpbin: str, path: str, folder: Path) -> str:
    """What an example prints, with a local httpbin for the one that it names."""
    done = subprocess.run(
        ["bash", "-c", script.replace("https://httpbin.org", httpbin)],
        cwd=folder,
        env=environment(PATH=path),
        capture_output=True,
        timeout=30,
        text=True,
    )
    return done.stdout.replace(httpbin, "https://httpbin.org")


def test_the_demo_prints_what_the_readme_says_but_for_its_figures(gtool):
    _, output = SET_UP[0]
    done = gtool("demo", "--timeout", "50s")
    assert squeezed(done.out.decode()) == squeezed(output)


def squeezed(text: str) -> str:
    return re.sub(" +", " ", NUMBERS.sub("N ", text))


def test_the_reference_is_what_help_says():
    # By a new process: click remembers the help option that a command had first, and tests call commands in many ways.
    written = "from tests.reference import reference; print(reference(), end='')"
    done = subprocess.run([sys.executable, "-c", written], cwd=ROOT, capture_output=True, text=True, check=True)
    assert BETWEEN.search(README)[0] == done.stdout, "python -m tests.reference writes it"


def test_the_set_up_commands_are_one_line_each():
    assert [script.count("\n") for script, _ in SET_UP] == [1, 1]


def test_ci_reads_the_set_up_commands_from_the_readme():
    function = "source <(sed -n '/^readme_command/,/^}/p' .ci/run); readme_command"
    for number, (script, _) in enumerate(SET_UP, start=1):
        done = subprocess.run(
            ["bash", "-c", f"{function} {number}"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == script
