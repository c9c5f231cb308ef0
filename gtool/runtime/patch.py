"""Make a library that was written for blocking sockets wait on the loop instead: that library's modules, nothing else.

gevent's monkey.patch_all() would change the whole process, and take some 150 ms of its start.
"""

from __future__ import annotations

from types import ModuleType

import gevent.socket
import gevent.ssl

GREEN: dict[str, ModuleType] = {"socket": gevent.socket, "ssl": gevent.ssl}


def patch(*modules: ModuleType) -> None:
    """Have these modules use gevent's socket and ssl, where they use the standard ones by that name."""
    for module in modules:
        for name, green in GREEN.items():
            if isinstance(getattr(module, name, None), ModuleType):
                setattr(module, name, green)
