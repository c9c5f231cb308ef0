"""Runs that end before their work does: signals, a closed pipe, kill -9, a deadline, a first failure."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.conftest import TIMEOUT_S, Peer, answer

PIPE_BYTES = 1 << 16
POLL_S = 0.005

Process = subprocess.Popen[bytes]


class Server:
    """Answers at once but under /held, where it sends half a body and then nothing until `release` is set."""

    def __init__(self, peer: Callable[..., Peer]) -> None:
        self.release = Event()
        self.is_gone = Event()  #: somebody who waited under /held has hung up
        self._peer = peer(self._answer)
        self.url = self._peer.url

    @property
    def paths(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(head.split()[1].decode() for head in self._peer.requests)

    def _answer(self, connection: socket.socket, head: bytes) -> None:
        path = head.split()[1]
        whole = answer(path)
        if not path.startswith(b"/held"):
            connection.sendall(whole)
            return
        connection.sendall(whole[:-4])
        connection.settimeout(POLL_S)
        while not self.release.is_set():
            try:
                connection.recv(1)
            except TimeoutError:
                continue
            self.is_gone.set()
            return
        connection.settimeout(None)
        connection.sendall(whole[-4:])


@pytest.fixture
def server(peer) -> Iterator[Server]:
    made = Server(peer)
    yield made
    made.release.set()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another process brings about; fail if it does not."""
    give_up_at = time.monotonic() + TIMEOUT_S / 3
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(POLL_S)


def read_records(process: Process, count: int) -> list[dict[str, Any]]:
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def finish(process: Process, stop: signal.Signals | None = None) -> tuple[int, bytes, str]:
    """Send a signal, if one is given, and wait for the end: the exit code, and what was left in the pipes."""
    if stop:
        process.send_signal(stop)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err.decode()


def parts(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*.part*")]


# Signals


@pytest.fixture
def half_done(start_gtool, server) -> Callable[..., Process]:
    """Start a run of four inputs, two of which get stuck; give it when they are."""

    def start(*options: str) -> Process:
        urls = [f"{server.url}/{name}" for name in ("0", "held-1", "2", "held-3")]
        process = start_gtool("fetch", *options, *urls)
        wait_until(lambda: len(server.paths) == 4)
        return process

    return start


@pytest.mark.parametrize(
    ("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda value: str(value)
)
def test_a_signal_ends_the_run_with_128_and_its_number(half_done, stop, code):
    assert finish(half_done("--json"), stop)[0] == code


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [["--json"], [], ["-o", "{seq}"]], ids=["json", "bodies", "files"])
def test_a_signal_is_no_reason_to_write_to_stderr(half_done, stop, options):
    assert finish(half_done(*options), stop)[2] == ""


def test_sigint_leaves_the_records_of_what_is_done_and_whole_lines(half_done):
    process = half_done("--json")
    done = read_records(process, 2)
    _, rest, _ = finish(process, signal.SIGINT)
    assert sorted(record["seq"] for record in done) == [0, 2]
    assert rest == b""


def test_sigint_brings_out_records_that_wait_for_an_earlier_one(start_gtool, server):
    urls = [f"{server.url}/{name}" for name in ("held-0", "1", "2", "held-3")]
    process = start_gtool("fetch", "--json", "--ordered", "-c", "2", *urls)
    wait_until(lambda: server.paths["/held-3"])  # the two before it are done: there was room for it
    _, out, _ = finish(process, signal.SIGINT)
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2]


def test_sigint_removes_files_in_progress_and_keeps_finished_ones(half_done, tmp_path):
    process = half_done("-o", "out/{path}")
    wait_until(
        lambda: len(parts(tmp_path)) == 2 and (tmp_path / "out" / "0").exists() and (tmp_path / "out/2").exists()
    )
    finish(process, signal.SIGINT)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "2"]


def test_sigint_keeps_files_in_progress_for_resume(half_done, tmp_path):
    process = half_done("-o", "out/{path}", "--resume")
    wait_until(lambda: (tmp_path / "out" / "held-1.part").exists())
    finish(process, signal.SIGINT)
    assert (tmp_path / "out" / "held-1.part").exists()


def test_sigint_while_stdin_is_awaited_ends_the_run(start_gtool, server):
    process = start_gtool("fetch", "--json", "-i", "-")
    process.stdin.write(f"{server.url}/0\n".encode())
    process.stdin.flush()
    read_records(process, 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 130


def test_the_parts_of_bodies_that_are_out_stay_as_they_are_after_sigint(half_done):
    process = half_done()
    begun = process.stdout.read(len("/0/he"))
    code, rest, _ = finish(process, signal.SIGINT)
    assert begun + rest == b"/0/he"  # the head of the line, as far as it came; nothing of the ones after it
    assert code == 130


@pytest.fixture
def stuck(start_gtool, peer, server) -> Process:
    """A run whose stdout is full and is not read."""
    big = peer(lambda connection, head: connection.sendall(answer(bytes(PIPE_BYTES * 4))))
    process = start_gtool("fetch", big.url, f"{server.url}/held")
    wait_until(lambda: unread(process) == PIPE_BYTES and server.paths)
    return process


def unread(process: Process) -> int:
    """Bytes in the pipe from its stdout."""
    size = fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4))
    return int(struct.unpack("i", size)[0])


def test_a_second_sigint_ends_at_once_though_stdout_is_stuck(stuck, server):
    stuck.send_signal(signal.SIGINT)
    assert server.is_gone.wait(TIMEOUT_S)  # it has taken the first one: transfers are given up
    stuck.send_signal(signal.SIGINT)
    assert stuck.wait(TIMEOUT_S) == 130


def test_after_sigint_a_slow_reader_still_gets_what_is_done(start_gtool, server, peer):
    quick = peer(lambda connection, head: connection.sendall(answer(b"x" * 1000)))
    urls = [f"{quick.url}/{number}" for number in range(200)]
    process = start_gtool("fetch", "--json", "-c", "1", *urls, f"{server.url}/held")
    wait_until(lambda: server.paths)  # its turn has come: the others are done, and more than the pipe takes
    process.send_signal(signal.SIGINT)
    assert server.is_gone.wait(TIMEOUT_S)
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert [len(json.loads(line)["body"]) for line in out.splitlines()] == [1000] * 200


# A closed pipe


@pytest.mark.parametrize("options", [["--json"], ["-w", "%{url}"], []], ids=["json", "write-out", "bodies"])
def test_a_closed_pipe_ends_the_run_with_141_though_nothing_more_is_written(half_done, options):
    process = half_done(*options)
    process.stdout.read(2)
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141


@pytest.mark.parametrize("options", [["--json"], ["-w", "%{url}"], []], ids=["json", "write-out", "bodies"])
def test_a_closed_pipe_ends_an_endless_run_with_141(start_gtool, server, tmp_path, options):
    (tmp_path / "urls").write_text(f"{server.url}/some/line\n" * 100_000)
    process = start_gtool("fetch", *options, "-i", "urls")
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141


@pytest.mark.parametrize("options", [["--json"], ["-w", "%{url}"], []], ids=["json", "write-out", "bodies"])
def test_a_closed_pipe_is_no_reason_to_write_to_stderr(half_done, options):
    process = half_done(*options)
    process.stdout.close()
    process.wait(TIMEOUT_S)
    assert process.stderr.read() == b""


def test_a_pipe_closed_while_stdin_is_awaited_ends_the_run(start_gtool):
    process = start_gtool("fetch", "--json", "-i", "-")
    process.stdout.close()
    assert process.wait(TIMEOUT_S) == 141


def test_a_closed_pipe_removes_files_in_progress(half_done, tmp_path):
    process = half_done("--json", "-o", "out/{path}")
    wait_until(lambda: len(parts(tmp_path)) == 2)
    process.stdout.close()
    process.wait(TIMEOUT_S)
    assert parts(tmp_path) == []


# kill -9 and the journal


class Killed:
    """A run with --journal that was killed when 10 of its 20 inputs were noted there."""

    def __init__(self, server: Server, directory: Path, process: Process) -> None:
        self.urls = (directory / "urls").read_text().split()
        self._noted = directory / "journal"
        self.records = read_records(process, 10)
        wait_until(lambda: self._noted.exists() and self._noted.read_bytes().count(b"\n") == 10)
        process.kill()
        process.wait()
        self.done = {record["url"] for record in self.records}
        server.release.set()


@pytest.fixture
def killed(start_gtool, server, tmp_path) -> Killed:
    names = [f"{'held-' if number % 2 else ''}{number}" for number in range(20)]
    (tmp_path / "urls").write_text("".join(f"{server.url}/{name}\n" for name in names))
    process = start_gtool("fetch", "--json", "-i", "urls", "--journal", "journal", "-o", "out/{name}")
    return Killed(server, tmp_path, process)


AGAIN = ["fetch", "--json", "-i", "urls", "--journal", "journal", "-o", "out/{name}"]


def test_a_second_run_with_the_journal_fetches_what_was_not_done(gtool, killed):
    result = gtool(*AGAIN)
    assert {record["url"] for record in result.records} == set(killed.urls) - killed.done
    assert result.code == 0


def test_a_second_run_with_the_journal_asks_for_nothing_that_was_done(gtool, killed, server):
    gtool(*AGAIN)
    asked = {f"{server.url}{path}": count for path, count in server.paths.items()}
    assert {asked[url] for url in killed.done} == {1}


def test_after_a_kill_and_a_second_run_every_body_is_there_and_whole(gtool, killed, tmp_path):
    gtool(*AGAIN)
    bodies = {path.name: path.read_text() for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    names = [url.rpartition("/")[2] for url in killed.urls]
    assert bodies == {name: f"/{name}" for name in names}


def test_a_third_run_with_the_journal_has_nothing_to_do(gtool, killed, server):
    gtool(*AGAIN)
    before = server.paths
    result = gtool(*AGAIN)
    assert (result.code, result.out, server.paths) == (0, b"", before)


def test_a_torn_last_line_of_the_journal_costs_that_input_alone(gtool, killed, tmp_path):
    journal = tmp_path / "journal"
    whole = journal.read_bytes()
    torn = json.loads(whole.splitlines()[-1])["url"]
    journal.write_bytes(whole[:-20])
    result = gtool(*AGAIN)
    assert {record["url"] for record in result.records} == set(killed.urls) - killed.done | {torn}


def test_what_is_noted_after_a_torn_line_counts(gtool, killed, tmp_path):
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes()[:-20])
    gtool(*AGAIN)
    assert gtool(*AGAIN).out == b""


def test_noise_in_the_journal_is_left_aside(gtool, server, tmp_path):
    (tmp_path / "journal").write_bytes(b"\xff\x00\n[]\n{}\n7\n")
    result = gtool("fetch", "--json", "--journal", "journal", f"{server.url}/x")
    assert (len(result.records), result.code) == (1, 0)


def test_what_has_failed_is_fetched_again_with_the_journal(gtool, peer):
    answers = iter([answer(b"", "500 Oh No"), answer(b"well")])
    unsteady = peer(lambda connection, head: connection.sendall(next(answers)))
    assert gtool("fetch", "--journal", "journal", unsteady.url).code == 22
    assert gtool("fetch", "--journal", "journal", unsteady.url).out == b"well"


def test_a_url_that_is_there_twice_is_fetched_twice_with_the_journal(gtool, server):
    url = f"{server.url}/x"
    gtool("fetch", "--journal", "journal", url)
    assert len(gtool("fetch", "--json", "--journal", "journal", url, url).records) == 1


def test_an_input_is_noted_when_its_body_is_out(half_done, server, tmp_path):
    process = half_done("--journal", "journal")
    wait_until(lambda: b"/0" in (tmp_path / "journal").read_bytes())
    noted = (tmp_path / "journal").read_text()
    finish(process, signal.SIGINT)
    assert f"{server.url}/2" not in noted  # it waits behind one that is stuck


def test_sigint_leaves_what_is_done_in_the_journal(half_done, server, tmp_path):
    process = half_done("--json", "--journal", "journal")
    done = {record["url"] for record in read_records(process, 2)}
    finish(process, signal.SIGINT)
    assert {json.loads(line)["url"] for line in (tmp_path / "journal").read_text().splitlines()} == done


# --deadline


def test_a_deadline_gives_every_input_a_record_unread_ones_too(gtool, server, tmp_path):
    (tmp_path / "urls").write_text(f"{server.url}/held\n" * 50)
    result = gtool("fetch", "--json", "-c", "2", "--lookahead", "5", "--deadline", "500ms", "-i", "urls")
    assert {record["seq"]: record["exitcode"] for record in result.records} == dict.fromkeys(range(50), 28)


def test_a_deadline_says_that_it_was_the_reason(gtool, server):
    result = gtool("fetch", "--json", "-c", "1", "--deadline", "300ms", f"{server.url}/held", f"{server.url}/1")
    assert all("--deadline" in record["errormsg"] for record in result.records)


def test_a_deadline_leaves_what_is_done_as_it_is(start_gtool, server):
    process = start_gtool("fetch", "--json", "--deadline", "1s", f"{server.url}/0", f"{server.url}/held")
    code, out, _ = finish(process)
    assert {record["seq"]: record["exitcode"] for record in map(json.loads, out.splitlines())} == {0: 0, 1: 28}
    assert code == 28


def test_a_deadline_keeps_input_order(gtool, server):
    urls = [f"{server.url}/held", *(f"{server.url}/{number}" for number in range(5))]
    result = gtool("fetch", "--json", "--ordered", "--deadline", "500ms", *urls)
    assert [record["seq"] for record in result.records] == list(range(6))


def test_a_deadline_ends_a_run_whose_stdin_stays_open(start_gtool, server):
    process = start_gtool("fetch", "--json", "--deadline", "300ms", "-i", "-")
    assert process.wait(TIMEOUT_S) == 0  # nothing came, so nothing has failed


def test_a_deadline_ends_the_wait_for_a_retry(gtool, peer):
    busy = peer(lambda connection, head: connection.sendall(answer(b"", "503 Busy", "Retry-After: 20")))
    result = gtool("fetch", "--json", "--retry", "5", "--deadline", "500ms", busy.url, busy.url, "-c", "1")
    assert {record["exitcode"] for record in result.records} <= {22, 28}
    assert len(result.records) == 2


def test_a_deadline_logs_each_input_that_did_not_run_where_there_are_no_records(gtool, server):
    result = gtool("fetch", "-c", "1", "--deadline", "300ms", *[f"{server.url}/held"] * 3)
    assert [line.count("exitcode=28") for line in result.err.splitlines()] == [1, 1, 1]


def test_a_deadline_removes_files_in_progress(gtool, server, tmp_path):
    gtool("fetch", "--deadline", "500ms", "-o", "out/{seq}", f"{server.url}/held", f"{server.url}/1")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


# --fail-early


def test_fail_early_starts_nothing_after_the_first_failure(gtool, server):
    urls = [f"{server.url}/0", "file:x", f"{server.url}/2"]
    result = gtool("fetch", "--json", "--fail-early", "-c", "1", *urls)
    assert [record["exitcode"] for record in result.records] == [0, 1]
    assert list(server.paths) == ["/0"]


def test_fail_early_ends_with_the_code_of_the_failure(gtool, server, refused_port):
    result = gtool("fetch", "--fail-early", f"127.0.0.1:{refused_port}", f"{server.url}/held")
    assert result.code == 7


def test_fail_early_drops_transfers_in_progress(gtool, server, refused_port, tmp_path):
    gtool("fetch", "--fail-early", "-o", "{seq}", f"{server.url}/held", f"127.0.0.1:{refused_port}")
    assert list(tmp_path.iterdir()) == []


def test_fail_early_brings_out_the_record_of_the_failure_in_input_order_too(gtool, server):
    result = gtool("fetch", "--json", "--ordered", "--fail-early", f"{server.url}/held", "file:x")
    assert [record["exitcode"] for record in result.records] == [1]


def test_fail_early_lets_a_retry_have_its_try(gtool, peer):
    answers = iter([answer(b"", "503 Busy", "Retry-After: 0"), answer(b"well")])
    unsteady = peer(lambda connection, head: connection.sendall(next(answers)))
    assert gtool("fetch", "--fail-early", "--retry", "1", unsteady.url).out == b"well"
