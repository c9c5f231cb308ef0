"""gevent's hub, set up so that it is made quickly: whoever may be the first to ask for it asks here."""

from __future__ import annotations

import gevent
from gevent.hub import get_hub

__all__ = ["get_hub"]

# How the context of a failure is shown, which lifecycle.run() never does: gevent's own pprint.saferepr would import
# dataclasses and others, which is 4 ms of a start.
gevent.config.format_context = "builtins.repr"
