"""Whoever waits for a server is told that it listens: on stdout, by a file, by systemd's socket."""

from __future__ import annotations

import io
import os
import socket
import sys

import pytest

from gtool.errors import OutputClosed, WriteError
from gtool.runtime.ready import announce, notify, withdraw

URLS = ["tcp://127.0.0.1:8000", "tcp://[::1]:8000"]
TEXT = "tcp://127.0.0.1:8000\ntcp://[::1]:8000\n"


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


@pytest.fixture(params=["path", "abstract"])
def systemd(request, monkeypatch, tmp_path):
    """What systemd listens on; its name is in the environment."""
    path = str(tmp_path / "notify")
    name, shown = (path, path) if request.param == "path" else (f"\0{path}", f"@{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", shown)
        yield sock


class Stdout(io.TextIOWrapper):
    """Stands in for stdout: says whether it was flushed, and fails where it is told to."""

    def __init__(self, error: OSError | None = None) -> None:
        super().__init__(io.BytesIO())
        self.error = error
        self.is_flushed = False

    def flush(self) -> None:
        if self.error:
            raise self.error
        self.is_flushed = True


# stdout


def test_each_address_is_a_line(capsys):
    announce(URLS)
    assert capsys.readouterr() == (TEXT, "")


def test_the_lines_are_there_at_once(monkeypatch):
    stdout = Stdout()
    monkeypatch.setattr(sys, "stdout", stdout)
    announce(URLS)
    assert (stdout.buffer.getvalue(), stdout.is_flushed) == (TEXT.encode(), True)


def test_a_path_that_is_no_unicode_is_told_as_it_is(capfdbinary):
    announce(["unix:/tmp/\udcff"])
    assert capfdbinary.readouterr().out == b"unix:/tmp/\xff\n"


def test_a_closed_stdout_is_no_matter(monkeypatch, systemd):
    monkeypatch.setattr(sys, "stdout", None)
    announce(URLS)
    assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    ("error", "raised"), [(BrokenPipeError(32, "Broken pipe"), OutputClosed), (OSError(28, "No space"), WriteError)]
)
def test_a_stdout_that_takes_nothing_ends_the_server(monkeypatch, error, raised):
    monkeypatch.setattr(sys, "stdout", Stdout(error))
    with pytest.raises(raised):
        announce(URLS)


# The file


def test_the_file_has_the_addresses(tmp_path):
    announce(URLS, str(tmp_path / "ready"))
    assert (tmp_path / "ready").read_text() == TEXT


def test_nothing_else_is_left_beside_the_file(tmp_path):
    announce(URLS, str(tmp_path / "ready"))
    assert os.listdir(tmp_path) == ["ready"]


def test_a_file_of_an_earlier_server_is_replaced_whole(tmp_path):
    file = tmp_path / "ready"
    file.write_text("x" * 1000)
    with file.open() as reader:  # who has it open sees the old one, and not a part of the new
        announce(URLS, str(file))
        assert (reader.read(), file.read_text()) == ("x" * 1000, TEXT)


def test_the_file_is_there_when_the_line_is(monkeypatch, tmp_path):
    class Reader(Stdout):
        def flush(self) -> None:
            assert (tmp_path / "ready").read_text() == TEXT
            super().flush()

    stdout = Reader()
    monkeypatch.setattr(sys, "stdout", stdout)
    announce(URLS, str(tmp_path / "ready"))
    assert stdout.buffer.getvalue() == TEXT.encode()


@pytest.mark.parametrize("name", ["none/ready", "directory"])
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_announced(capsys, tmp_path, name):
    (tmp_path / "directory").mkdir()
    with pytest.raises(WriteError, match=f"cannot write {tmp_path / name}: "):
        announce(URLS, str(tmp_path / name))
    assert (capsys.readouterr().out, os.listdir(tmp_path)) == ("", ["directory"])


# systemd


def test_systemd_is_told(systemd):
    announce(URLS)
    assert systemd.recv(100) == b"READY=1"


def test_systemd_is_not_told_where_nobody_else_can_be(monkeypatch, systemd):
    monkeypatch.setattr(sys, "stdout", Stdout(OSError(28, "No space left on device")))
    with pytest.raises(WriteError):
        announce(URLS)
    with pytest.raises(BlockingIOError):
        systemd.recv(100)


def test_systemd_is_told_of_other_states(systemd):
    notify("STOPPING=1")
    assert systemd.recv(100) == b"STOPPING=1"


def test_what_is_no_address_of_systemd_is_not_told(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", "relative")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("relative")
        sock.setblocking(False)
        notify("READY=1")
        with pytest.raises(BlockingIOError):
            sock.recv(100)


@pytest.mark.parametrize("name", ["", "relative", "/none/at/all", "@nobody-listens-there", "/" + "x" * 200])
def test_a_systemd_that_is_not_there_is_no_matter(monkeypatch, capsys, name):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    announce(URLS)
    assert capsys.readouterr().out == TEXT


# withdraw


def test_a_file_that_said_so_is_removed(tmp_path):
    path = tmp_path / "ready"
    announce(URLS, str(path))
    withdraw(URLS, str(path))
    assert not path.exists()


def test_the_file_of_another_server_is_left(tmp_path):
    path = tmp_path / "ready"
    announce(URLS, str(path))
    withdraw(URLS[:1], str(path))
    assert path.read_text() == TEXT


def test_a_file_that_has_gone_is_no_matter(tmp_path):
    withdraw(URLS, str(tmp_path / "ready"))
