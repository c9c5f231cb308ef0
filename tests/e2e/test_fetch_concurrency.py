"""How much runs at once, how fast it starts, what waits for what, and what is tried again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from threading import Event, Lock

import pytest

from tests.conftest import TIMEOUT_S, Peer, answer, read_head

MIB = 1 << 20
MEMORY_KB = 80 << 10

Process = subprocess.Popen[bytes]


@pytest.fixture
def release(peer) -> Iterator[Event]:
    """What answers are held back by; set at the end at the latest, before the peers close."""
    event = Event()
    yield event
    event.set()


@pytest.fixture
def quick(peer) -> Peer:
    """A server that answers at once, with the path."""
    return peer(lambda connection, head: connection.sendall(answer(path_of(head))))


@pytest.fixture
def slow(peer, release) -> Peer:
    """A server that answers, with the path, when it is released."""

    def handle(connection: socket.socket, head: bytes) -> None:
        release.wait(TIMEOUT_S)
        connection.sendall(answer(path_of(head)))

    return peer(handle)


def path_of(head: bytes) -> bytes:
    return head.split()[1]


def reset(connection: socket.socket) -> None:
    """Close at once with RST in the place of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another process brings about; fail if it does not."""
    give_up_at = time.monotonic() + TIMEOUT_S / 3
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.005)


def settled(count: Callable[[], int]) -> int:
    """Give a count when it has not changed for a while. Right code is not failed by a while that is too short."""
    seen = -1
    while seen != count():
        seen = count()
        time.sleep(0.2)
    return seen


def send_lines(process: Process, *urls: str) -> None:
    process.stdin.write("".join(f"{url}\n" for url in urls).encode())
    process.stdin.flush()


def peak_memory_kb(pid: int) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1])


# How much at once


class Crowd:
    """Counts who is busy at a server. Nobody is let go before as many as are wanted have been there at once."""

    def __init__(self, wanted: int) -> None:
        self.most = 0
        self._wanted = wanted
        self._busy = 0
        self._lock = Lock()
        self._is_full = Event()

    def answer(self, connection: socket.socket, head: bytes) -> None:
        with self._lock:
            self._busy += 1
            self.most = max(self.most, self._busy)
            if self._busy == self._wanted:
                self._is_full.set()
        self._is_full.wait(TIMEOUT_S / 2)
        Event().wait(0.01)  # time for one too many to come
        with self._lock:
            self._busy -= 1
        connection.sendall(answer(b"done"))


@pytest.mark.parametrize("concurrency", [1, 7, 20])
def test_as_many_transfers_run_at_once_as_concurrency_says_and_no_more(gtool, peer, concurrency):
    crowd = Crowd(concurrency)
    result = gtool("fetch", "-c", str(concurrency), *[peer(crowd.answer).url] * 50)
    assert result.out == b"done" * 50
    assert crowd.most == concurrency


def test_twenty_transfers_run_at_once_by_default(gtool, peer):
    crowd = Crowd(20)
    gtool("fetch", *[peer(crowd.answer).url] * 50)
    assert crowd.most == 20


def test_as_many_transfers_run_at_once_to_a_host_as_concurrency_per_host_says(gtool, peer):
    crowds = Crowd(2), Crowd(2)
    urls = [peer(crowd.answer).url for crowd in crowds]
    result = gtool("fetch", "--concurrency-per-host", "2", *urls * 10)
    assert result.out == b"done" * 20
    assert [crowd.most for crowd in crowds] == [2, 2]


def slow_first(release: Event) -> Callable[[socket.socket, bytes], None]:
    """Answer at once, but under /slow, where the end of the body comes when it is released."""

    def handle(connection: socket.socket, head: bytes) -> None:
        if path_of(head) != b"/slow":
            connection.sendall(answer(b"done"))
            return
        connection.sendall(answer(b"slow")[:-1])
        release.wait(TIMEOUT_S)
        connection.sendall(b"w")

    return handle


def first_two(process: Process) -> set[int]:
    return {json.loads(process.stdout.readline())["seq"] for _ in range(2)}


def test_a_slow_first_answer_does_not_hold_up_others_of_its_host(start_gtool, peer, release):
    server = peer(slow_first(release))
    process = start_gtool("fetch", "--json", "-m", "5s", *[f"{server.url}/{name}" for name in ("slow", "1", "2")])
    assert first_two(process) == {1, 2}


class TlsPeer(Peer):
    """The same over TLS; it closes what it has opened."""

    def _treat(self, connection: socket.socket) -> None:
        with suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
            while head := read_head(secure):
                self._handler(secure, head)


@pytest.fixture(params=[["http/1.1"], []], ids=["ALPN", "no ALPN"])
def slow_first_over_tls(authority, release, request) -> Iterator[str]:
    """The address of a server that speaks HTTP/1.1 over TLS, whether it says so in the handshake or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if request.param:
        context.set_alpn_protocols(request.param)
    server = TlsPeer(slow_first(release), context)
    yield f"https://localhost:{server.host.partition(':')[2]}"
    release.set()
    server.close()


def test_a_slow_first_answer_does_not_hold_up_others_of_its_host_over_tls(start_gtool, slow_first_over_tls, ca_file):
    urls = [f"{slow_first_over_tls}/{name}" for name in ("slow", "1", "2")]
    process = start_gtool("fetch", "--json", "-m", "5s", "--cacert", ca_file, *urls)
    assert first_two(process) == {1, 2}


# Looking ahead


def test_a_slow_host_does_not_hold_up_others(start_gtool, slow, quick):
    process = start_gtool("fetch", "--json", "-c", "3", "--concurrency-per-host", "2", "-i", "-")
    send_lines(process, *[slow.url] * 30, quick.url)
    assert json.loads(process.stdout.readline())["seq"] == 30  # while all of the slow ones are still held


def test_lookahead_bounds_how_far_others_may_overtake(start_gtool, slow, quick, release):
    process = start_gtool("fetch", "--json", "--concurrency-per-host", "1", "--lookahead", "5", "-i", "-")
    send_lines(process, *[slow.url] * 30, quick.url)
    release.set()
    process.stdin.close()
    order = [json.loads(line)["seq"] for line in process.stdout]
    assert order.index(30) >= 20


def test_a_host_with_room_takes_its_inputs_in_order(gtool, quick):
    urls = [f"{quick.url}/{number}" for number in range(30)]
    gtool("fetch", "--concurrency-per-host", "1", *urls)
    assert [path_of(head) for head in quick.requests] == [b"/%d" % number for number in range(30)]


# Rates


class Clock(Peer):
    """Answers at once and notes when each request came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        super().__init__(self._note)

    def _note(self, connection: socket.socket, head: bytes) -> None:
        self.times.append(time.monotonic())
        connection.sendall(answer(b""))


@pytest.fixture
def clocks() -> Iterator[list[Clock]]:
    made = [Clock(), Clock()]
    yield made
    for clock in made:
        clock.close()


# A start may be late at the server, so the time between two may come out shorter than it was: half is allowed for that.


def test_rate_bounds_the_starts_of_all_hosts_together(gtool, clocks):
    gtool("fetch", "--rate", "40/s", *[clock.url for clock in clocks] * 12)
    times = sorted(clocks[0].times + clocks[1].times)
    assert len(times) == 24
    assert times[-1] - times[0] > 0.25  # 24 starts, 4 of them at once, take 0.5 s


def test_rate_per_host_bounds_the_starts_of_each_host(gtool, clocks):
    gtool("fetch", "--rate-per-host", "20/s", *[clock.url for clock in clocks] * 12)
    assert [len(clock.times) for clock in clocks] == [12, 12]
    assert min(clock.times[-1] - clock.times[0] for clock in clocks) > 0.25  # 12 starts, 2 at once, take 0.5 s


def test_rate_per_host_does_not_slow_other_hosts(start_gtool, clocks):
    busy, other = clocks
    process = start_gtool("fetch", "--json", "--rate-per-host", "1/m", busy.url, busy.url, busy.url, other.url)
    assert {json.loads(process.stdout.readline())["seq"] for _ in range(2)} == {0, 3}


def test_rate_does_not_limit_how_many_are_in_flight(start_gtool, slow):
    process = start_gtool("fetch", "--rate", "100/s", "-c", "3", "-i", "-")
    send_lines(process, *[slow.url] * 10)
    wait_until(lambda: len(slow.requests) == 3)


# Retries


class Script:
    """Does with each connection what is next in its list."""

    def __init__(self, *steps: bytes | Callable[[socket.socket, bytes], None]) -> None:
        self._steps = iter(steps)
        self.times: list[float] = []  #: when each request came

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        self.times.append(time.monotonic())
        step = next(self._steps)
        if callable(step):
            step(connection, head)
        else:
            connection.sendall(step)


def reset_in_the_middle(connection: socket.socket, head: bytes) -> None:
    connection.sendall(answer(bytes(1000))[:500])
    reset(connection)


AT_ONCE = answer(b"later", "503 Service Unavailable", "Retry-After: 0")
WELL = answer(b"well")


@pytest.mark.parametrize(
    "status", ["408 Request Timeout", "429 Too Many Requests", "500 Oh No", "503 Busy", "504 Late"]
)
def test_a_transient_status_is_retried(gtool, peer, status):
    server = peer(Script(answer(b"later", status, "Retry-After: 0"), WELL))
    [record] = gtool("fetch", "--json", "--retry", "1", server.url).records
    assert (record["response_code"], record["body"]) == (200, "well")


def test_the_record_tells_how_many_retries_it_took(gtool, peer):
    server = peer(Script(AT_ONCE, AT_ONCE, WELL))
    [record] = gtool("fetch", "--json", "--retry", "5", server.url).records
    assert record["num_retries"] == 2


def test_nothing_is_retried_by_default(gtool, peer):
    server = peer(Script(AT_ONCE, WELL))
    assert gtool("fetch", server.url).code == 22
    assert len(server.requests) == 1


def test_retries_end_with_the_last_failure(gtool, peer):
    server = peer(Script(*[AT_ONCE] * 3))
    [record] = gtool("fetch", "--json", "--retry", "2", server.url).records
    assert (record["exitcode"], record["num_retries"], len(server.requests)) == (22, 2, 3)


def test_what_is_retried_has_one_record(gtool, peer):
    server = peer(Script(AT_ONCE, AT_ONCE, WELL))
    assert len(gtool("fetch", "--json", "--retry", "2", server.url).records) == 1


def test_a_retry_without_retry_after_backs_off_and_comes(gtool, peer):
    server = peer(Script(answer(b"", "503 Busy"), WELL))
    assert gtool("fetch", "--retry", "1", server.url).out == b"well"


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "400 Bad Request"])
def test_a_status_that_stays_is_not_retried(gtool, peer, status):
    server = peer(Script(answer(b"", status, "Retry-After: 0"), WELL))
    assert gtool("fetch", "--retry", "3", server.url).code == 22
    assert len(server.requests) == 1


def test_retry_all_errors_retries_a_404_too(gtool, peer):
    server = peer(Script(answer(b"", "404 Not Found", "Retry-After: 0"), WELL))
    assert gtool("fetch", "--retry", "1", "--retry-all-errors", server.url).out == b"well"


def test_a_status_is_retried_where_it_is_no_failure_too(gtool, peer):
    server = peer(Script(AT_ONCE, WELL))
    [record] = gtool("fetch", "--json", "--no-fail", "--retry", "1", server.url).records
    assert record["body"] == "well"


def test_the_body_of_a_status_that_is_retried_does_not_reach_stdout(gtool, peer):
    server = peer(Script(answer(bytes(MIB), "503 Busy", "Retry-After: 0"), WELL))
    assert gtool("fetch", "--no-fail", "--retry", "1", server.url).out == b"well"


@pytest.mark.parametrize("options", [["--json"], ["-o", "{seq}"]], ids=["json", "files"])
def test_after_a_reset_the_body_starts_anew(gtool, peer, tmp_path, options):
    server = peer(Script(reset_in_the_middle, WELL))
    result = gtool("fetch", "--retry", "1", *options, server.url)
    body = result.records[0]["body"] if "--json" in options else (tmp_path / "0").read_text()
    assert (result.code, body) == (0, "well")


def test_after_a_reset_the_digest_starts_anew(gtool, peer):
    server = peer(Script(reset_in_the_middle, WELL))
    [record] = gtool("fetch", "--json", "--retry", "1", "--sha256", server.url).records
    assert record["sha256"] == hashlib.sha256(b"well").hexdigest()


def test_a_body_that_waits_in_line_starts_anew_after_a_reset(gtool, peer, slow, release):
    def then_release(connection: socket.socket, head: bytes) -> None:
        connection.sendall(WELL)
        release.set()

    server = peer(Script(reset_in_the_middle, then_release))
    assert gtool("fetch", "--retry", "1", f"{slow.url}/head,", server.url).out == b"/head,well"


def test_a_post_is_sent_whole_again(gtool, peer):
    bodies: list[bytes] = []

    def note_body(reply: bytes) -> Callable[[socket.socket, bytes], None]:
        def handle(connection: socket.socket, head: bytes) -> None:
            bodies.append(connection.recv(7, socket.MSG_WAITALL))
            connection.sendall(reply)

        return handle

    gtool("fetch", "--retry", "1", "-d", "payload", peer(Script(note_body(AT_ONCE), note_body(WELL))).url)
    assert bodies == [b"payload", b"payload"]


def test_a_retry_log_line_says_why_with_v(gtool, peer):
    result = gtool("-v", "fetch", "--retry", "1", peer(Script(AT_ONCE, WELL)).url)
    assert re.search(r"INFO +retrying .*exitcode=22 .*attempt=1", result.err)


def test_retry_after_in_seconds_is_waited_for(gtool, peer):
    script = Script(answer(b"", "503 Busy", "Retry-After: 1"), WELL)
    assert gtool("fetch", "--retry", "1", peer(script).url).out == b"well"
    assert script.times[1] - script.times[0] >= 1


def test_retry_after_as_a_date_is_waited_for(gtool, peer):
    date = int(time.time()) + 2  # at least one second away, and a whole one, as dates are
    second = Event()

    def note_time(connection: socket.socket, head: bytes) -> None:
        if time.time() >= date:
            second.set()
        connection.sendall(WELL)

    script = Script(answer(b"", "503 Busy", f"Retry-After: {formatdate(date, usegmt=True)}"), note_time)
    assert gtool("fetch", "--retry", "1", peer(script).url).out == b"well"
    assert second.is_set()


def test_retry_after_pauses_all_inputs_of_its_host(gtool, peer):
    script = Script(answer(b"", "429 Slow Down", "Retry-After: 1"), WELL, WELL, WELL)
    server = peer(script)
    gtool("fetch", "--retry", "1", "-c", "1", *[server.url] * 3)
    assert len(script.times) == 4
    assert script.times[1] - script.times[0] >= 1


def test_retry_after_does_not_pause_other_hosts(gtool, peer, quick):
    server = peer(Script(answer(b"", "429 Slow Down", "Retry-After: 1"), WELL, WELL))
    result = gtool("fetch", "--json", "--retry", "1", "-c", "1", server.url, server.url, quick.url)
    assert result.records[0]["seq"] == 2


def test_no_retry_is_made_that_retry_after_puts_beyond_retry_max_time(gtool, peer):
    server = peer(Script(answer(b"", "503 Busy", "Retry-After: 3600")))
    [record] = gtool("fetch", "--json", "--retry", "5", "--retry-max-time", "10s", server.url).records
    assert (record["exitcode"], record["num_retries"]) == (22, 0)


def test_retry_max_time_ends_retries(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(AT_ONCE))
    [record] = gtool("fetch", "--json", "--retry", "1000000", "--retry-max-time", "300ms", server.url).records
    assert record["exitcode"] == 22
    assert 0 < record["num_retries"] < 1_000_000


def test_max_time_is_for_all_attempts_together(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(AT_ONCE))
    [record] = gtool("fetch", "--json", "--retry", "1000000", "--max-time", "300ms", server.url).records
    assert record["exitcode"] in (22, 28)


def test_a_refused_connection_is_retried(gtool, refused_port):
    [record] = gtool("fetch", "--json", "--retry", "1", f"127.0.0.1:{refused_port}").records
    assert (record["exitcode"], record["num_retries"]) == (7, 1)


# Retries of a body that is on its way out

BODY = b"".join(b"%04d," % number for number in range(200))
HALF = 500


class Halves:
    """A server whose first answer is reset when half of the body is on stdout; its second one is up to `again`."""

    def __init__(self, *headers: str, again: Callable[[bytes], bytes]) -> None:
        self.half_is_out = Event()
        self.second_head = b""
        self._headers = headers
        self._again = again

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        if self.half_is_out.is_set():
            self.second_head = head
            connection.sendall(self._again(head))
            return
        connection.sendall(answer(BODY, "200 OK", *self._headers)[: HALF - len(BODY)])
        self.half_is_out.wait(TIMEOUT_S)
        reset(connection)


def rest(head: bytes) -> bytes:
    """Answer with what a Range header asks for."""
    asked = re.search(rb"\r\nRange: bytes=(\d+)-\r\n", head)
    assert asked
    first = int(asked[1])
    return answer(BODY[first:], "206 Partial Content", f"Content-Range: bytes {first}-{len(BODY) - 1}/{len(BODY)}")


def fetch_halves(start_gtool, peer, halves: Halves) -> tuple[int, bytes]:
    """Fetch from it to stdout with a retry, telling it when half is there: the exit code, and stdout."""
    process = start_gtool("fetch", "--retry", "3", peer(halves).url)
    out = process.stdout.read(HALF)
    halves.half_is_out.set()
    more, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out + more


@pytest.mark.parametrize("validator", ['ETag: "one"', "Last-Modified: Sun, 22 Nov 2026 11:00:00 GMT"])
def test_a_body_that_is_half_out_goes_on_by_a_range_request(start_gtool, peer, validator):
    assert fetch_halves(start_gtool, peer, Halves(validator, again=rest)) == (0, BODY)


def test_a_body_that_is_half_out_is_asked_for_from_there_if_it_is_still_the_same(start_gtool, peer):
    halves = Halves('ETag: "one"', again=rest)
    fetch_halves(start_gtool, peer, halves)
    assert b"\r\nRange: bytes=%d-\r\n" % HALF in halves.second_head
    assert b'\r\nIf-Range: "one"\r\n' in halves.second_head


UNFIT = {
    "the whole": lambda head: answer(BODY, "200 OK", 'ETag: "two"'),
    "another part": lambda head: answer(BODY[100:], "206 Partial", f"Content-Range: bytes 100-999/{len(BODY)}"),
    "a part without its place": lambda head: answer(BODY[HALF:], "206 Partial"),
    "the rest of another body": lambda head: answer(
        BODY[HALF:], "206 Partial", f"Content-Range: bytes {HALF}-999/{len(BODY)}", 'ETag: "two"'
    ),
    "no such range": lambda head: answer(b"", "416 Range Not Satisfiable"),
}


@pytest.mark.parametrize("again", UNFIT.values(), ids=UNFIT.keys())
def test_nothing_is_out_twice_where_the_second_answer_does_not_fit(start_gtool, peer, again):
    code, out = fetch_halves(start_gtool, peer, Halves('ETag: "one"', again=again))
    assert out == BODY[:HALF]
    assert code in (18, 22)


def test_a_body_that_is_half_out_and_cannot_go_on_fails_with_18(start_gtool, peer):
    halves = Halves('ETag: "one"', again=lambda head: answer(BODY, "200 OK", 'ETag: "two"'))
    assert fetch_halves(start_gtool, peer, halves)[0] == 18


@pytest.mark.parametrize("headers", [[], ['ETag: W/"weak"']], ids=["no validator", "weak validator"])
def test_a_body_that_is_half_out_is_not_asked_for_again_where_nothing_tells_that_it_is_the_same(
    start_gtool, peer, headers
):
    halves = Halves(*headers, again=rest)
    assert fetch_halves(start_gtool, peer, halves) == (18, BODY[:HALF])
    assert halves.second_head == b""


def test_after_a_body_that_is_half_out_the_next_one_follows(start_gtool, peer, quick):
    halves = Halves(again=rest)
    process = start_gtool("fetch", "--retry", "3", peer(halves).url, f"{quick.url}/next")
    out = process.stdout.read(HALF)
    halves.half_is_out.set()
    assert out + process.communicate(timeout=TIMEOUT_S)[0] == BODY[:HALF] + b"/next"


# Input as it comes


@pytest.mark.parametrize("options", [["--json"], ["-w", "%{url}"], []], ids=["json", "write-out", "bodies"])
def test_an_input_is_done_before_the_next_one_is_given(start_gtool, quick, options):
    process = start_gtool("fetch", *options, "-i", "-")
    for path in ("/one", "/two"):
        send_lines(process, quick.url + path)
        assert path in process.stdout.read1().decode()


def test_input_is_read_no_further_than_it_is_needed(start_gtool, slow):
    process = start_gtool("fetch", "--json", "-c", "2", "-i", "-")
    lines = f"{slow.url}/{'x' * 1000}\n".encode() * 1000
    os.set_blocking(process.stdin.fileno(), False)
    taken = 0

    def offer() -> int:
        nonlocal taken
        with suppress(BlockingIOError):
            taken += os.write(process.stdin.fileno(), lines[taken:])
        return taken

    wait_until(lambda: offer() and len(slow.requests) == 2)
    assert settled(offer) < len(lines) / 2


# Slow stdout


class Endless:
    """Sends a large body as fast as it is taken; notes how far it came, and whether it got stuck."""

    size = 64 * MIB

    def __init__(self, patience_s: float = 0.5) -> None:
        self.sent = 0
        self._patience_s = patience_s
        self.is_stuck = Event()

    def __call__(self, connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
        connection.settimeout(self._patience_s)
        block = memoryview(bytes(64 << 10))
        while self.sent < self.size:
            try:
                self.sent += connection.send(block[: self.size - self.sent])
            except TimeoutError:
                self.is_stuck.set()


@pytest.fixture
def stuck(start_gtool, peer) -> tuple[Process, Endless]:
    """A run whose stdout nobody reads, while its server sends 64 MiB."""
    endless = Endless()
    process = start_gtool("fetch", peer(endless).url)
    assert endless.is_stuck.wait(TIMEOUT_S)
    return process, endless


def test_a_server_has_to_wait_while_stdout_is_not_read(stuck):
    _, endless = stuck
    assert endless.sent < 32 * MIB


def test_memory_stays_small_while_stdout_is_not_read(stuck):
    process, _ = stuck
    assert peak_memory_kb(process.pid) < MEMORY_KB


def test_a_body_comes_whole_after_stdout_was_not_read_for_a_while(stuck):
    process, endless = stuck
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, len(out), err) == (0, endless.size, b"")


def test_a_transfer_does_not_stall_out_while_stdout_is_not_read(start_gtool, peer):
    endless = Endless(patience_s=1.2)
    process = start_gtool("fetch", "--stall-timeout", "500ms", peer(endless).url)
    assert endless.is_stuck.wait(TIMEOUT_S)
    assert len(process.communicate(timeout=TIMEOUT_S)[0]) == endless.size


def test_records_wait_in_bounded_memory_while_stdout_is_not_read(start_gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"x" * MIB)))
    process = start_gtool("fetch", "--json", "-c", "4", "-i", "-")
    send_lines(process, *[server.url] * 200)
    wait_until(lambda: server.requests)
    assert settled(lambda: len(server.requests)) < 50
    assert peak_memory_kb(process.pid) < MEMORY_KB


# Order


def test_bodies_behind_a_slow_head_wait_and_come_in_order(start_gtool, slow, peer, release):
    marks = [bytes([number]) * (16 * MIB) for number in range(1, 5)]  # together more than is kept in memory
    server = peer(lambda connection, head: connection.sendall(answer(marks[int(path_of(head)[1:])])))
    process = start_gtool("fetch", f"{slow.url}/head", *[f"{server.url}/{number}" for number in range(4)])
    wait_until(lambda: len(server.requests) == 4)
    release.set()
    out, _ = process.communicate(timeout=TIMEOUT_S)
    assert hashlib.sha256(out).digest() == hashlib.sha256(b"/head" + b"".join(marks)).digest()


def test_bodies_behind_a_slow_head_take_little_memory(start_gtool, slow, peer):
    served: list[bytes] = []

    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(answer(bytes(16 * MIB)))
        connection.recv(1, socket.MSG_PEEK)  # the next request on this connection: this one is done
        served.append(head)

    server = peer(handle)
    process = start_gtool("fetch", "-c", "2", f"{slow.url}/head", "-i", "-")
    send_lines(process, *[server.url] * 8)
    wait_until(lambda: len(served) == 7)
    assert peak_memory_kb(process.pid) < MEMORY_KB


def test_the_body_at_the_head_flows_before_it_is_complete(start_gtool, peer, release):
    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(answer(b"half" + b"rest")[:-4])
        release.wait(TIMEOUT_S)
        connection.sendall(b"rest")

    process = start_gtool("fetch", peer(handle).url)
    assert process.stdout.read(4) == b"half"
    release.set()
    assert process.stdout.read() == b"rest"


def test_records_come_in_completion_order(start_gtool, slow, quick, release):
    process = start_gtool("fetch", "--json", slow.url, quick.url)
    assert json.loads(process.stdout.readline())["seq"] == 1
    release.set()
    assert json.loads(process.stdout.readline())["seq"] == 0


@pytest.mark.parametrize("options", [["--json"], ["-w", "%{seq}"]], ids=["json", "write-out"])
def test_ordered_has_input_order(gtool, slow, peer, release, options):
    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(WELL)
        if path_of(head) == b"/last":
            release.set()  # the first input answers when the last one has been

    server = peer(handle)
    urls = [slow.url, "file:x", *[server.url] * 5, f"{server.url}/last"]
    lines = gtool("fetch", *options, "--ordered", *urls).out.splitlines()
    seqs = [json.loads(line)["seq"] if "--json" in options else int(line) for line in lines]
    assert seqs == list(range(8))


def test_ordered_reads_ahead_no_further_than_lookahead(start_gtool, slow, quick):
    process = start_gtool("fetch", "--json", "--ordered", "--lookahead", "10", "-i", "-")
    send_lines(process, slow.url, *[quick.url] * 100)
    wait_until(lambda: len(quick.requests) == 9)
    assert settled(lambda: len(quick.requests)) == 9
