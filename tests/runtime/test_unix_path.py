"""The path of a Unix socket is taken over from the dead, and left to the living."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gtool.errors import BindError
from gtool.runtime import unix_path
from tests.runtime.conftest import connects


def test_a_unix_socket_says_its_path(listen, path):
    (listener,) = listen(f"unix:{path}")
    assert listener.url == f"unix:{path}"
    assert connects(listener)


def test_a_path_that_a_dead_server_has_left_is_taken_over(listen, path):
    listen(f"unix:{path}")[0].close()
    assert connects(listen(f"unix:{path}")[0])


def test_a_path_that_a_live_server_has_is_not(listen, path):
    (live,) = listen(f"unix:{path}")
    with pytest.raises(BindError) as caught:
        listen(f"unix:{path}")
    assert caught.value.message == f"cannot listen on unix:{path}: another server listens there"
    assert caught.value.exit_code == 5
    with pytest.raises(BlockingIOError):
        live.socket.accept()  # the one who looked has not troubled it
    assert connects(live)


def test_a_live_server_that_cannot_accept_any_more_is_still_live(listen, path):
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as waiting:
        live.bind(str(path))
        live.listen(0)
        waiting.connect(str(path))  # its backlog is full
        with pytest.raises(BindError, match="another server listens there"):
            listen(f"unix:{path}")


def test_a_datagram_socket_at_that_path_is_not_taken_over(listen, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(BindError, match="another server listens there"):
            listen(f"unix:{path}")


def _make_file(path: Path) -> None:
    path.write_text("precious")


def _make_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [_make_file, Path.mkdir, os.mkfifo, _make_link])
def test_a_file_of_another_kind_is_left_alone(listen, path, make):
    make(path)
    before = os.lstat(path)
    with pytest.raises(BindError, match="there is a file of another kind") as caught:
        listen(f"unix:{path}")
    assert caught.value.exit_code == 5
    assert os.lstat(path)[:9] == before[:9]


def test_a_link_to_a_live_server_is_left_alone(listen, path, tmp_path):
    listen(f"unix:{path}")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(BindError, match="there is a file of another kind"):
        listen(f"unix:{tmp_path}/link")


def test_a_directory_that_is_not_there_is_said(listen, path):
    with pytest.raises(BindError, match=f"cannot listen on unix:{path}/x: .*there is no such directory"):
        listen(f"unix:{path}/x")


def test_its_path_is_removed_at_the_end(listen, path):
    listen(f"unix:{path}")[0].remove()
    assert not path.exists()


def test_closing_alone_leaves_the_path_for_other_workers(listen, path):
    listen(f"unix:{path}")[0].close()
    assert path.exists()


def test_a_path_that_another_server_has_taken_over_meanwhile_is_left_to_it(listen, path):
    (first,) = listen(f"unix:{path}")
    path.unlink()
    (second,) = listen(f"unix:{path}")
    first.remove()
    assert connects(second)


def test_a_path_that_is_gone_is_no_failure(listen, path):
    (listener,) = listen(f"unix:{path}")
    path.unlink()
    listener.remove()


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_lock_that_somebody_keeps_on_the_directory_holds_up_nobody_for_ever(listen, path, monkeypatch):
    monkeypatch.setattr(unix_path, "LOCK_S", 0.05)
    listen(f"unix:{path}")[0].close()
    with locked(path.parent):
        assert connects(listen(f"unix:{path}")[0])


def test_a_server_that_starts_meanwhile_is_waited_for(listen, path):
    with locked(path.parent) as held:
        starting = threading.Timer(0.05, lambda: (path.write_text("done"), fcntl.flock(held, fcntl.LOCK_UN)))
        starting.start()
        with pytest.raises(BindError, match="there is a file of another kind"):
            listen(f"unix:{path}")
        starting.join()
