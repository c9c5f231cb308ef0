"""A process has as many descriptors as it may."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import environment

SCRIPT = """
import resource
from gtool.runtime.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 128))
raise_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_becomes_the_hard_one():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment(), timeout=30)
    assert (done.stdout, done.stderr) == ("(128, 128)\n", "")
