"""Listen on the path of a Unix socket: take it over from a dead server, and never from a live one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator

from gtool.errors import BindError

LOCK_S = 2.0  #: to wait for another server that starts; whoever has the lock for longer is none
LOCK_RETRY_S = 0.01
HINTS = {errno.EACCES: "you may not write there", errno.ENOENT: "there is no such directory"}


def bind_path(path: str, backlog: int) -> socket.socket:
    """Listen on a path. BindError if that can't be done."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with free_path(path, f"unix:{path}"):
            sock.bind(path)
            sock.listen(backlog)
    except BindError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def free_path(path: str, name: str) -> Iterator[None]:
    """Have nothing on a path while the block binds it: BindError for a live server, a dead one's path is removed.

    The directory is locked meanwhile: of two servers that find a dead one's path, one would remove the other's. `name`
    is what the path is called in errors, those of the block too.
    """
    try:
        with _locked(os.path.dirname(path) or "."):
            if os.path.lexists(path):
                _check(path, name)
                os.unlink(path)
            yield
    except OSError as error:
        raise BindError(f"cannot listen on {name}: {error.strerror}", HINTS.get(error.errno or 0, "")) from error


def _check(path: str, name: str) -> None:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise BindError(f"cannot listen on {name}: there is a file of another kind", "choose another path")
    if not _is_stale(path):
        raise BindError(f"cannot listen on {name}: another server listens there", "stop it, or choose another path")


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold a lock on a directory, where that can be had: what is wrong with it is found out by bind(2).

    Whoever may read it, as everybody may /tmp, can have the lock and keep it: then it goes without.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    give_up_at = time.monotonic() + LOCK_S
    while time.monotonic() < give_up_at:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_RETRY_S)
        else:
            return


def _is_stale(path: str) -> bool:
    """Whether whoever made the socket is dead, which is when a connect(2) is refused.

    The probe is of another kind than the socket, so a live server is not troubled with a connection: EPROTOTYPE.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED
