"""What is built: a wheel that works where nothing else is, with man pages and completions, and an sdist that builds."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from gtool import __version__
from tests.conftest import ROOT
from tests.reference import SCRIPTS, commands

SHARE = f"gtool-{__version__}.data/data/share"
PLACES = {
    "bash": "bash-completion/completions/gtool",
    "zsh": "zsh/site-functions/_gtool",
    "fish": "fish/vendor_completions.d/gtool.fish",
}
PAGES = [ctx.command_path.replace(" ", "-") for ctx in commands()]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel made of it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "-o", folder, ROOT], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def man(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the wheel's man pages."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / SHARE / "man/man1"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program without what tests have in their environment."""
    variables = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=60)


def test_the_wheel_works_where_nothing_else_is(wheel: Path, tmp_path: Path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    subprocess.run([tmp_path / "bin/pip", "install", "-q", wheel], check=True, capture_output=True)
    gtool = tmp_path / "bin/gtool"
    done = run(gtool, "demo", "--timeout", "50s", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("try: gtool") == 6
    assert run(gtool, "--version", cwd=tmp_path).stdout == f"gtool, version {__version__}\n"
    assert (tmp_path / "share/man/man1/gtool-fetch.1").exists()


@pytest.mark.needs("man")
def test_man_shows_the_pages_without_a_complaint(man: Path):
    for page in PAGES:
        done = run("man", "--warnings", "-l", man / f"{page}.1", cwd=man)
        assert (done.returncode, done.stderr) == (0, "")
        assert {"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES"} <= set(done.stdout.splitlines())


def test_a_page_says_what_help_says(man: Path):
    for ctx in commands():
        page = (man / f"{ctx.command_path.replace(' ', '-')}.1").read_text()
        text = page.replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")
        for names, what in (line for lines in ctx.command.sections(ctx).values() for line in lines):
            assert f"{names}\\fR\n{what}" in text
        for example in ctx.command.examples:
            assert example in text


def test_a_wheel_has_the_completions_where_shells_look_for_them(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        for shell, place in PLACES.items():
            assert archive.read(f"{SHARE}/{place}") == (ROOT / "completions" / SCRIPTS[shell]).read_bytes()


def test_a_wheel_is_typed_and_has_all_that_is_not_python(wheel: Path):
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "gtool").rglob("*") if path.suffix not in (".pyc", "")}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert "gtool/py.typed" in names
    assert ours <= names


def test_an_sdist_has_the_tests(built: Path):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", ".ci/run", "tests/test_packaging.py"} <= names
