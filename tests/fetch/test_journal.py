"""What is done, noted so that a later run skips it, and nothing that is not done."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from gtool.errors import ReadError, WriteError
from gtool.fetch import journal as journal_module
from gtool.fetch.journal import Journal, fingerprint
from gtool.fetch.record import NOTHING, build
from gtool.fetch.request import Request, parse_object
from tests.conftest import TIMEOUT_S, answer, environment

URL = "http://some.test/"

Open = Callable[[], Journal]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Open the journal as the next run does; what is not closed by then is closed at the end."""
    made: list[Journal] = []

    def make() -> Journal:
        close_all()
        made.append(Journal(str(path)))
        return made[-1]

    def close_all() -> None:
        while made:
            made.pop().close()

    yield make
    close_all()


def request(url: str = URL, **fields: Any) -> Request:
    made = parse_object(json.dumps({"url": url, **fields}))
    assert isinstance(made, Request)
    return made


def note(journal: Journal, asked: Request, exitcode: int = 0, **body: str) -> None:
    """Note an input that has ended."""
    record = build(0, asked.id, asked.shown, None, NOTHING, body, 0, 0.0, exitcode, "failed" if exitcode else None)
    journal.note(asked, record)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# What is skipped


def test_what_has_succeeded_is_skipped_by_the_next_run(opened):
    note(opened(), request())
    assert opened().skips(request())


def test_what_has_failed_is_not_skipped(opened):
    note(opened(), request(), exitcode=7)
    assert not opened().skips(request())


def test_what_succeeds_in_a_later_run_is_skipped(opened):
    note(opened(), request(), exitcode=7)
    note(opened(), request())
    assert opened().skips(request())


def test_what_is_not_noted_is_not_skipped(opened):
    note(opened(), request())
    assert not opened().skips(request("http://other.test/"))


def test_nothing_is_skipped_by_the_run_that_does_it(opened):
    journal = opened()
    note(journal, request())
    assert not journal.skips(request())


def test_each_success_is_good_for_one(opened):
    first = opened()
    note(first, request())
    note(first, request())
    second = opened()
    assert [second.skips(request()) for _ in range(3)] == [True, True, False]


def test_successes_of_all_runs_count(opened):
    for _ in range(2):
        note(opened(), request())
    third = opened()
    assert [third.skips(request()) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "other",
    [
        {"url": "http://some.test/other"},
        {"method": "PUT"},
        {"headers": {"X-One": "1"}},
        {"data": "data"},
        {"json": {}},
        {"id": 1},
        {"output": "file"},
    ],
)
def test_a_request_that_differs_is_another(other):
    assert fingerprint(request(**other)) != fingerprint(request())


def test_a_request_is_known_by_what_it_asks_for_alone():
    assert fingerprint(request(headers={"X-One": "1"}, id=[1])) == fingerprint(request(headers=["X-One: 1"], id=[1]))


def test_a_password_makes_another_request(opened):
    note(opened(), request("http://me:one@some.test/"))
    assert not opened().skips(request("http://me:two@some.test/"))


# What is in the file


def test_a_line_tells_what_has_ended_and_how(opened, path):
    journal = opened()
    note(journal, request("http://one.test/"))
    note(journal, request("http://two.test/"), exitcode=7)
    journal = opened()
    shown = [(line["url"], line["ok"], line["exitcode"]) for line in lines(path)]
    assert shown == [("http://one.test/", True, 0), ("http://two.test/", False, 7)]


def test_no_password_is_written(opened, path):
    note(opened(), request("http://me:secret@some.test/"))
    opened()
    assert "secret" not in path.read_text()


def test_a_second_run_appends(opened, path):
    note(opened(), request("http://one.test/"))
    opened()
    first = path.read_bytes()
    note(opened(), request("http://two.test/"))
    opened()
    assert path.read_bytes().startswith(first)
    assert [line["url"] for line in lines(path)] == ["http://one.test/", "http://two.test/"]


def test_a_line_is_in_the_file_while_the_run_goes_on(opened, path):
    journal = opened()
    note(journal, request())
    gevent.idle()
    assert len(lines(path)) == 1


def test_it_is_behind_until_it_has_taken_up_what_waits(opened, monkeypatch):
    monkeypatch.setattr(journal_module, "BACKLOG_LINES", 2)
    journal, room = opened(), []
    journal.on_room = lambda: room.append(journal.is_behind)
    note(journal, request())
    one = journal.is_behind
    note(journal, request())
    two = journal.is_behind
    gevent.idle()
    assert (one, two, room) == (False, True, [False])


def test_a_run_without_inputs_leaves_an_empty_file(opened, path):
    opened()
    opened()
    assert path.read_bytes() == b""


# What earlier runs have left


def test_a_torn_last_line_does_not_count(opened, path):
    note(opened(), request())
    opened()
    path.write_bytes(path.read_bytes()[:-5])
    assert not opened().skips(request())


def test_a_torn_last_line_spoils_neither_those_before_nor_those_after_it(opened, path):
    journal = opened()
    note(journal, request("http://one.test/"))
    note(journal, request("http://torn.test/"))
    opened()
    path.write_bytes(path.read_bytes()[:-5])
    note(opened(), request("http://two.test/"))
    last = opened()
    assert last.skips(request("http://one.test/"))
    assert last.skips(request("http://two.test/"))


@pytest.mark.parametrize(
    "line", [b"\n", b"text\n", b"[]\n", b"7\n", b"{}\n", b'{"request": 7, "ok": true}\n', b"\xff\xfe\n", b"\0" * 100]
)
def test_a_line_that_is_none_spoils_nothing(opened, path, line):
    note(opened(), request())
    opened()
    path.write_bytes(line + path.read_bytes() if line.endswith(b"\n") else path.read_bytes() + line)
    assert opened().skips(request())


@pytest.mark.parametrize("is_ok", ["1", '"true"', "false", "null"])
def test_only_true_is_a_success(opened, path, is_ok):
    path.write_text(f'{{"request": "{fingerprint(request()).hex()}", "ok": {is_ok}}}\n')
    assert not opened().skips(request())


# Files


def test_a_path_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(ReadError, match=f"cannot read the journal {tmp_path}: Is a directory"):
        Journal(str(tmp_path))


def test_a_path_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(WriteError, match=f"cannot write the journal {tmp_path}/none/journal: No such file"):
        Journal(f"{tmp_path}/none/journal")


def test_a_body_is_on_the_disk_before_its_line_is_written(opened, path, tmp_path, monkeypatch):
    body = tmp_path / "body"
    body.write_bytes(b"data")
    journal, synced = opened(), []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.read_text().count("\n")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    note(journal, request(), body_path=str(body))
    opened()
    assert synced[:2] == [(str(body), 0), (str(path), 1)]


def test_a_body_that_somebody_has_taken_away_is_noted_all_the_same(opened, tmp_path):
    journal = opened()
    note(journal, request(), body_path=str(tmp_path / "gone"))
    assert opened().skips(request())


def test_a_body_that_has_gone_to_a_device_is_noted(opened):
    journal = opened()
    note(journal, request(), body_path="/dev/null")
    assert opened().skips(request())


def test_a_journal_may_be_a_device():
    journal = Journal("/dev/null")
    note(journal, request())
    journal.close()


@pytest.mark.parametrize("body", [{}, {"body_path": "body"}], ids=["journal", "body"])
def test_what_cannot_be_synced_is_an_error(path, tmp_path, monkeypatch, body):
    def fsync(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.chdir(tmp_path)
    Path("body").write_bytes(b"data")
    journal = Journal(str(path))
    monkeypatch.setattr(os, "fsync", fsync)
    note(journal, request(), **body)
    with pytest.raises(WriteError, match=f"cannot write the journal {path}: Input/output error"):
        journal.close()


def test_a_body_that_cannot_be_read_again_is_named(path, tmp_path, monkeypatch):
    journal = Journal(str(path))
    note(journal, request(), body_path=f"{path}/none")
    with pytest.raises(WriteError, match=f"cannot write the journal {path}: {path}/none: Not a directory"):
        journal.close()


FULL_DISK = """
import resource, sys
from tests.fetch.test_journal import Journal, note, request
journal = Journal(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
note(journal, request())
try:
    journal.close()
    print("closed")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("room", ["0", "10"], ids=["at a line", "within a line"])
def test_a_line_for_which_the_disk_has_no_room_is_an_error(path, room):
    command = [sys.executable, "-c", FULL_DISK, str(path), room]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, env=environment(), text=True)
    assert done.stdout == f"WriteError cannot write the journal {path}: File too large\n"


# A whole run


def test_what_is_done_is_noted_though_the_reader_of_stdout_goes_away(start_gtool, peer, tmp_path):
    """As with `| head -3`: the last of them are noted at the end, in a batch."""
    server = peer(lambda connection, head: head.split()[1] != b"/3" and connection.sendall(answer(b"")))
    urls = [f"{server.url}/{n}" for n in range(4)]
    process = start_gtool("fetch", "--json", "--journal", "done", "-o", "{seq}", "-c", "1", *urls)
    for _ in range(3):
        process.stdout.readline()
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141
    assert [line["url"] for line in lines(tmp_path / "done")] == urls[:3]
