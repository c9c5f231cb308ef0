"""Real shells on terminals, to type into."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
from pathlib import Path
from time import monotonic

from tests.conftest import ROOT, environment

ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\].*?\x07|\([A-Z]|[=>])|[\x07\r]")
DEADLINE_S = 30.0
SCRIPTS = ROOT / "completions"
#: shell -> how it is started, and told of the completions
SHELLS = {
    "bash": (["bash", "--norc", "-i"], f"source {SCRIPTS}/gtool.bash"),
    "zsh": (["zsh", "-f", "-i"], f"fpath=({SCRIPTS} $fpath); autoload -U compinit; compinit -D -u"),
    "fish": (["fish", "--no-config", "-i"], f"source {SCRIPTS}/gtool.fish"),
}


class Shell:
    """An interactive shell that knows gtool's completions; `with` ends it."""

    def __init__(self, name: str, home: Path, path: str, **variables: str) -> None:
        command, set_up = SHELLS[name]
        variables = {"TERM": "xterm", "COLUMNS": "200", "HOME": str(home), "PATH": path, **variables}
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(home)
            os.execvpe(command[0], command, environment(**variables))
        self.type(f"{set_up}; printf 'ready-%s' 42\n")
        self.wait_for("ready-42")

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._terminal)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, *texts: str) -> None:
        """Wait until it has shown all the texts since it was asked last. AssertionError after half a minute."""
        deadline = monotonic() + DEADLINE_S
        shown = ""
        while not all(text in shown for text in texts):
            ready, _, _ = select.select([self._terminal], [], [], max(0, deadline - monotonic()))
            assert ready, f"not all of {texts} in {shown!r}"
            shown = ESCAPES.sub("", shown + os.read(self._terminal, 65536).decode(errors="replace"))
