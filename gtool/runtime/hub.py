"""gevent's hub, set up so that it is made quickly, and its events. Whoever may be the first to ask for it asks here."""

from __future__ import annotations

import gevent
from gevent.hub import get_hub

__all__ = ["READ", "WRITE", "get_hub"]

READ, WRITE = 1, 2  #: libev's event bits, for loop.io()

# How the context of a failure is shown, which lifecycle.run() never does: gevent's own pprint.saferepr would import
# dataclasses and others, which is 4 ms of a start.
gevent.config.format_context = "builtins.repr"
