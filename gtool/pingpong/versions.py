"""The versions of all that takes part in what is measured."""

from __future__ import annotations

import platform
from importlib import metadata

import zmq

from gtool import __version__


def versions() -> dict[str, str]:
    return {
        "gtool": __version__,
        "libzmq": zmq.zmq_version(),
        "pyzmq": zmq.pyzmq_version(),
        "gevent": metadata.version("gevent"),
        "python": platform.python_version(),
    }
