"""The versions of what takes part, as they are in this process."""

from __future__ import annotations

import sys

import gevent
import pytest
import zmq

from gtool import __version__
from gtool.pingpong.versions import versions


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("gtool", __version__),
        ("libzmq", ".".join(map(str, zmq.zmq_version_info()))),
        ("pyzmq", zmq.__version__),
        ("gevent", gevent.__version__),
        ("python", ".".join(map(str, sys.version_info[:3]))),
    ],
)
def test_a_version_is_that_of_what_runs(name, version):
    assert versions()[name] == version


def test_there_are_no_others():
    assert list(versions()) == ["gtool", "libzmq", "pyzmq", "gevent", "python"]
