"""Real transfers on the loop: handles in, ended handles out, in rounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import gevent
import pycurl
import pytest
from gevent.hub import get_hub

from gtool.fetch.handles import Handle
from gtool.fetch.multi import Multi
from gtool.fetch.request import Request
from gtool.fetch.settings import Network
from tests.conftest import answer

WAIT_S = 5


def wait_until(condition: Callable[[], bool]) -> None:
    """Run the loop until it is so; for what happens in the threads of a peer there is no event."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, "it does not come to that"
        gevent.sleep(0.001)


class Run:
    """A Multi, its handles, and what has come of them."""

    def __init__(self) -> None:
        self.ended: list[tuple[Handle, int, str]] = []
        self.events: list[str] = []  #: "done" and "round", in the order in which they came
        self.on_round: Callable[[], object] = lambda: None
        self.bodies: dict[Handle, bytearray] = {}
        self.multi = Multi(self._done, self._round)
        self._handles: dict[pycurl.Curl, Handle] = {}
        self._in_flight: set[Handle] = set()

    def add(
        self,
        url: str,
        handle: Handle | None = None,
        write: Callable[[bytes], int | None] | None = None,
        timeout_s: float | None = None,
    ) -> Handle:
        """Send a plain request; its body is kept, unless it is said where it goes."""
        handle = handle or Handle(Network(), self.multi.on_new_socket, None, want_headers=False)
        self._handles[handle.curl] = handle
        self._in_flight.add(handle)
        body = self.bodies[handle] = bytearray()
        handle.prepare(Request(url, url, ""), write or body.extend, timeout_s, None)
        self.multi.add(handle.curl)
        return handle

    def remove(self, handle: Handle) -> None:
        self._in_flight.remove(handle)
        self.multi.remove(handle.curl)

    def wait(self, number: int = 1) -> None:
        """Run the loop until so many have ended."""
        wait_until(lambda: len(self.ended) >= number)

    @property
    def codes(self) -> list[int]:
        return [code for _, code, _ in self.ended]

    def close(self) -> None:
        for handle in list(self._in_flight):
            self.remove(handle)
        for handle in self._handles.values():
            handle.close()
        self.multi.close()

    def _done(self, curl: pycurl.Curl, code: int, message: str) -> None:
        handle = self._handles[curl]
        self._in_flight.remove(handle)
        self.ended.append((handle, code, message))
        self.events.append("done")

    def _round(self) -> None:
        self.events.append("round")
        self.on_round()


@pytest.fixture
def run() -> Iterator[Run]:
    made = Run()
    yield made
    made.close()


@pytest.fixture
def server(peer):
    """Answers each request with its path."""
    return peer(lambda connection, head: connection.sendall(answer(head.split()[1])))


def test_a_transfer_ends_with_its_whole_body(run, server):
    handle = run.add(f"{server.url}/body")
    run.wait()
    assert (run.ended, run.bodies[handle]) == ([(handle, 0, "")], b"/body")


def test_a_failure_ends_with_curls_code_and_message(run, refused_port):
    run.add(f"http://127.0.0.1:{refused_port}/")
    run.wait()
    ((_, code, message),) = run.ended
    assert code == 7
    assert "connect" in message


def test_a_timeout_ends_without_anything_moving(run, peer):
    silent = peer(lambda connection, head: None)
    run.add(silent.url, timeout_s=0.05)
    run.wait()
    assert run.codes == [28]


def test_waiting_for_an_answer_leaves_the_loop_asleep(run, peer):
    silent = peer(lambda connection, head: None)
    run.add(silent.url)
    wait_until(lambda: bool(silent.requests))
    loop, turns = get_hub().loop, []
    watcher = loop.check(ref=False)
    watcher.start(lambda: turns.append(1))
    gevent.sleep(0.02)
    watcher.close()
    assert len(turns) < 10


def test_many_transfers_run_at_once(run, peer):
    """None may wait for the answer to another, or one slow answer holds up all that goes to its host."""
    server = peer(lambda connection, head: None)
    for _ in range(20):
        run.add(server.url)
    wait_until(lambda: len(server.requests) == 20)


def test_each_of_many_transfers_has_its_own_body(run, server):
    handles = [run.add(f"{server.url}/{n}") for n in range(50)]
    run.wait(50)
    assert run.codes == [0] * 50
    assert [run.bodies[handle] for handle in handles] == [b"/%d" % n for n in range(50)]


def test_the_next_request_goes_over_the_same_connection(run, server):
    handle, connects = None, []
    for n in range(1, 4):
        handle = run.add(server.url, handle)
        run.wait(n)
        connects.append(handle.measured().num_connects)
    assert connects == [1, 0, 0]


def test_another_handle_goes_over_that_connection_too(run, server):
    run.add(server.url)
    run.wait()
    second = run.add(server.url)
    run.wait(2)
    assert second.measured().num_connects == 0


def test_a_round_comes_after_what_has_ended(run, server):
    run.add(server.url)
    wait_until(lambda: "round" in run.events)
    assert run.events == ["done", "round"]


def test_what_a_round_adds_is_sent(run, server):
    run.on_round = lambda: len(run.ended) < 100 and run.add(server.url, handle)
    handle = run.add(server.url)
    run.wait(100)
    assert run.codes == [0] * 100


def test_a_malformed_url_ends_at_once(run):
    run.add("http://a b/")
    run.wait()
    assert run.codes == [3]


def test_others_go_on_beside_a_malformed_url(run, server):
    run.add("http://a b/")
    good = run.add(server.url)
    run.wait(2)
    assert sorted(run.codes) == [0, 3]
    assert run.bodies[good] == b"/"


def test_a_malformed_url_in_a_round_has_its_round(run, server):
    """Else whoever adds one in place of each that has ended would wait for ever after a bad one."""
    urls = iter(["http://a b/", "http://c d/", f"{server.url}/last"])
    run.on_round = lambda: run.add(url) if (url := next(urls, None)) else None
    run.add(server.url)
    run.wait(4)
    assert run.codes == [0, 3, 3, 0]


def test_a_removed_transfer_has_its_connection_closed(run, peer):
    closed = threading.Event()

    def send_half(connection, head):
        connection.sendall(answer(b"whole")[:-3])
        if not connection.recv(1):
            closed.set()

    server = peer(send_half)
    handle = run.add(server.url)
    wait_until(lambda: run.bodies[handle] == b"wh")
    run.remove(handle)
    wait_until(closed.is_set)
    assert run.ended == []


def test_others_go_on_beside_a_removed_transfer(run, peer):
    go_on = threading.Event()

    def send_halves(connection, head):
        whole = answer(b"whole")
        connection.sendall(whole[:-3])
        go_on.wait(WAIT_S)
        connection.sendall(whole[-3:])

    going, staying = run.add(peer(send_halves).url), run.add(peer(send_halves).url)
    wait_until(lambda: run.bodies[going] == run.bodies[staying] == b"wh")
    run.remove(going)
    go_on.set()
    run.wait()
    assert (run.codes, run.bodies[staying]) == ([0], b"whole")


def test_a_removed_handle_can_be_used_again(run, peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"")) if b"/now" in head else None)
    handle = run.add(f"{server.url}/never")
    run.remove(handle)
    run.add(f"{server.url}/now", handle)
    run.wait()
    assert run.codes == [0]


def test_a_socket_with_the_number_of_an_earlier_one_is_watched(run, peer):
    """Descriptor numbers are used again at once: each of these connections has that of the one before."""

    def answer_and_close(connection, head):
        connection.sendall(answer(b"", "200 OK", "Connection: close"))

    server = peer(answer_and_close)
    run.on_round = lambda: len(run.ended) < 20 and run.add(server.url, handle)
    handle = run.add(server.url)
    run.wait(20)
    assert (run.codes, handle.measured().num_connects) == ([0] * 20, 1)


def test_a_paused_transfer_goes_on_when_it_is_resumed(run, server):
    answers = iter([pycurl.WRITEFUNC_PAUSE])
    pieces: list[bytes] = []

    def pause_once(data):
        pieces.append(data)
        return next(answers, None)

    handle = run.add(f"{server.url}/body", write=pause_once)
    wait_until(lambda: bool(pieces))
    run.multi.resume(handle.curl)
    run.wait()
    assert (run.codes, pieces) == ([0], [b"/body", b"/body"])


def test_a_paused_transfer_may_fail_when_it_is_resumed(run, server):
    """As one does that turns out to be over --max-size: curl_easy_pause(3) hands over the held piece at once."""
    answers = iter([pycurl.WRITEFUNC_PAUSE, 0])
    pieces: list[bytes] = []

    def pause_then_fail(data):
        pieces.append(data)
        return next(answers)

    handle = run.add(f"{server.url}/body", write=pause_then_fail)
    wait_until(lambda: bool(pieces))
    run.multi.resume(handle.curl)
    run.wait()
    assert run.codes == [23]


def test_closing_it_closes_its_connections(peer):
    closed = threading.Event()

    def answer_and_wait(connection, head):
        connection.sendall(answer(b""))
        if not connection.recv(1):
            closed.set()

    run = Run()
    run.add(peer(answer_and_wait).url)
    run.wait()
    run.close()
    wait_until(closed.is_set)


def test_a_round_that_is_due_when_it_is_closed_is_no_failure(monkeypatch):
    failures: list[object] = []
    monkeypatch.setattr(get_hub(), "handle_error", lambda *failure: failures.append(failure), raising=False)
    run = Run()
    run.add("http://127.0.0.1/")  # plans a round
    run.close()
    gevent.sleep(0.001)
    assert failures == []
