"""The server sends back what comes, agrees or says why not, and counts; nothing that comes ends it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import gevent
import pytest
import simplejson
import zmq

from gtool.pingpong import blocking, green, protocol, server, sessions
from gtool.pingpong.endpoints import bind, closing, connect
from gtool.pingpong.sequence import Numbering
from gtool.pingpong.server import Limits, Server
from tests.conftest import environment

LONG_S = 10.0
MAX_SIZE = 1000
GONE_S = 0.1
HELLO = {"protocol": protocol.VERSION, "gtool": "1", "pattern": "push-pull", "sizes": [8], "pipeline": 1, "run": "mine"}
OPEN = {"pattern": "push-pull", "size": 8, "idle_s": LONG_S, "run": "mine"}


@pytest.fixture(params=[green, blocking], ids=["green", "blocking"])
def engine(request):
    return request.param


@contextmanager
def running(engine, main):
    """Run it in a greenlet, or in a thread."""
    if engine is green:
        greenlet = gevent.spawn(main)
        try:
            yield
        finally:
            greenlet.get(timeout=LONG_S)
    else:
        thread = threading.Thread(target=main)
        thread.start()
        try:
            yield
        finally:
            thread.join(LONG_S)


class Served:
    def __init__(self, engine, context, endpoint, ports):
        self.engine = engine
        self._context = context
        self._links = []
        sock = context.socket(zmq.ROUTER)
        sock.linger = 0
        self.endpoint = bind(sock, endpoint)
        self.server = Server(engine, sock, self.endpoint, Limits(MAX_SIZE, ports), lambda sock: None)

    def client(self):
        return Client(self)

    def link(self, kind, endpoint):
        sock = self._context.socket(kind)
        connect(sock, endpoint)
        self._links.append(self.engine.link(sock))
        return self._links[-1]

    def close(self):
        for link in self._links:
            link.close()
        self.server.close()

    def wait_until(self, is_so):
        deadline = time.monotonic() + LONG_S
        while not is_so():
            assert time.monotonic() < deadline
            self.engine.sleep(0.005)


class Client:
    def __init__(self, served):
        self.link = served.link(zmq.DEALER, served.endpoint)

    def exchange(self, *frames):
        assert self.link.send(list(frames), LONG_S)
        return self.link.receive(LONG_S)

    def ask(self, do, **more):
        answer = self.exchange(b"", *protocol.encode({"do": do, "id": 1, **more}))
        return protocol.decode(answer)

    def leave(self):
        self.link.close()


@contextmanager
def serving(engine, endpoint="tcp://127.0.0.1:*", ports=None):
    with closing(zmq.Context()) as context:
        served = Served(engine, context, endpoint, ports)
        is_over = threading.Event()
        try:
            with running(engine, lambda: served.server.run(is_over.is_set)):
                try:
                    yield served
                finally:
                    is_over.set()
        finally:
            served.close()


@pytest.fixture
def served(engine):
    with serving(engine) as served:
        yield served


@pytest.fixture
def client(served):
    return served.client()


@pytest.fixture
def port():
    """A port that nobody else is given while the test runs; who asks for it may have it."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"a"],
        [b"", b"a"],
        [b"one", b"two", b"", b"a"],
        [protocol.MAGIC],
        [protocol.MAGIC, b"a", b"b"],
        [b"a" * 60_000],
    ],
    ids=["empty", "dealer", "req", "envelopes", "magic alone", "magic before", "large"],
)
def test_what_comes_is_sent_back_with_its_envelope(client, frames):
    assert client.exchange(*frames) == frames


def test_each_client_gets_its_own(served):
    clients = [served.client() for _ in range(5)]
    for number, client in enumerate(clients):
        client.link.send([b"%d" % number], LONG_S)
    assert [client.link.receive(LONG_S) for client in clients] == [[b"%d" % number] for number in range(5)]


def test_one_that_reads_nothing_holds_up_nobody(served, client):
    silent = served.client()
    for _ in range(5000):
        silent.link.send([b"a" * MAX_SIZE], LONG_S)
    assert client.exchange(b"a") == [b"a"]


def test_hello_is_answered_with_what_the_server_is(client, engine):
    answer = client.ask("hello", **HELLO)
    assert (answer["id"], answer["protocol"], answer["engine"]) == (1, protocol.VERSION, engine.name)
    assert answer["versions"]["libzmq"] == zmq.zmq_version()


@pytest.mark.parametrize("version", [0, 2, "1", None, [], {"a": 1}])
def test_another_protocol_is_refused(client, version):
    assert "both sides want the same gtool" in client.ask("hello", **{**HELLO, "protocol": version})["error"]


@pytest.mark.parametrize("pattern", ["pair", "", None, 1, [], {}])
@pytest.mark.parametrize("do", ["hello", "open"])
def test_an_unknown_pattern_is_refused(client, do, pattern):
    assert "the server knows no pattern" in client.ask(do, **{**HELLO, **OPEN, "pattern": pattern})["error"]


@pytest.mark.parametrize("size", [MAX_SIZE + 1, 0, -1, 1.5, True, "8", None, [], 10**30])
@pytest.mark.parametrize("do", ["hello", "open"])
def test_a_size_that_is_not_taken_is_refused(client, do, size):
    error = client.ask(do, **{**HELLO, **OPEN, "size": size, "sizes": [8, size]})["error"]
    assert "the server takes 1 to 1,000 bytes (its --max-size), not" in error


def test_hello_without_sizes_is_refused(client):
    assert "--max-size" in client.ask("hello", **{**HELLO, "sizes": None})["error"]


@pytest.mark.parametrize("idle_s", [0, -1, 1e9, float("inf"), "1", None, [], 10**400])
def test_a_wait_that_is_none_is_refused(client, idle_s):
    assert "idle_s" in client.ask("open", **{**OPEN, "idle_s": idle_s})["error"]


RUBBISH = [
    b"", b"{", b"[]", b"1", b'"hello"', b"null", b"\xff", b"[" * 60_000, b'{"a":' * 10_000, b"{}",
    b'{"do": null}', b'{"do": []}',
    b'{"do": "dance"}', b'{"do": "hello"}', b'{"do": "open"}', b'{"do": "report"}',
    b'{"do": "report", "session": [], "sent": 1}', b'{"do": "report", "session": {}, "sent": 1}',
    b'{"do": "report", "session": 1, "sent": "1"}', b'{"do": "report", "session": NaN, "sent": 1}',
    b'{"do": "\\ud800"}', b'{"do": "hello", "protocol": 1, "pattern": "req-rep", "sizes": [NaN]}',
]  # fmt: skip


@pytest.mark.parametrize("question", RUBBISH, ids=lambda question: question[:50].decode("latin-1"))
def test_a_question_that_is_none_is_answered_with_a_sentence_and_ends_nothing(client, question):
    answer = client.exchange(b"", protocol.MAGIC, question)
    assert simplejson.loads(answer[-1])["error"]
    assert client.exchange(b"a") == [b"a"]


def test_a_question_that_is_not_known_is_named(client):
    assert "does not know 'dance'" in client.ask("dance")["error"]


def test_a_server_that_stops_takes_nobody_new_and_goes_on_with_the_others(served, client):
    served.server.stop_accepting()
    assert client.ask("hello", **HELLO)["error"] == "the server is stopping"
    assert client.exchange(b"a") == [b"a"]


def test_clients_that_never_said_bye_do_not_keep_others_out(client, monkeypatch):
    monkeypatch.setattr(server, "MOST_RUNS", 3)
    assert ["error" in client.ask("hello", **{**HELLO, "run": str(number)}) for number in range(10)] == [False] * 10


def session_of(client, served, **changes):
    """Open a session; give its number and endpoint."""
    answer = client.ask("open", **{**OPEN, **changes})
    assert "error" not in answer
    return answer["session"], protocol.data_endpoint(served.endpoint, answer["endpoint"])


def report_of(client, served, number, sent):
    """Ask until the session is over."""
    answers = []

    def is_over():
        answers.append(client.ask("report", session=number, sent=sent, run="mine"))
        return answers[-1]["is_over"]

    served.wait_until(is_over)
    return answers[-1]


@pytest.mark.parametrize(("pattern", "kind"), [("push-pull", zmq.PUSH), ("pub-sub", zmq.XPUB)])
@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:*", "ipc://{}/path"])
def test_what_is_sent_one_way_is_counted(engine, tmp_path, endpoint, pattern, kind):
    with serving(engine, endpoint.format(tmp_path)) as served:
        client = served.client()
        number, where = session_of(client, served, pattern=pattern)
        link = served.link(kind, where)
        if kind == zmq.XPUB:
            assert link.receive(LONG_S)  # it has subscribed
        assert link.send_all(Numbering(8).messages(0, 100), LONG_S) == 100
        report = report_of(client, served, number, 100)
    assert (report["received"], report["lost"]) == (100, 0)


def test_sessions_are_counted_apart(served, client):
    opened = [session_of(client, served) for _ in range(3)]
    for count, (_, where) in enumerate(opened, 1):
        served.link(zmq.PUSH, where).send_all(Numbering(8).messages(0, count), LONG_S)
    reports = [report_of(client, served, number, count) for count, (number, _) in enumerate(opened, 1)]
    assert [report["received"] for report in reports] == [1, 2, 3]


def test_a_session_that_there_is_not_is_told(client):
    assert "no such session" in client.ask("report", session=7, sent=1, run="mine")["error"]


def test_bye_ends_the_sessions_of_a_run_and_of_no_other(served, client):
    (mine, _), (other, _) = session_of(client, served), session_of(client, served, run="other")
    client.ask("bye", run="mine")
    assert "error" in client.ask("report", session=mine, sent=1, run="mine")
    assert "error" not in client.ask("report", session=other, sent=1, run="other")


def test_no_more_sessions_are_opened_than_there_may_be(client, monkeypatch):
    monkeypatch.setattr(sessions, "MOST", 2)
    answers = [client.ask("open", **OPEN) for _ in range(3)]
    assert ["error" in answer for answer in answers] == [False, False, True]
    assert "too many one-way clients" in answers[2]["error"]


def test_a_session_that_is_over_makes_room(served, client, monkeypatch):
    monkeypatch.setattr(sessions, "MOST", 1)
    number, where = session_of(client, served)
    served.link(zmq.PUSH, where).send_all(Numbering(8).messages(0, 1), LONG_S)
    report_of(client, served, number, 1)
    session_of(client, served)


def test_sessions_listen_on_the_ports_they_are_given(engine, port):
    with serving(engine, ports=(port, port)) as served:
        assert served.client().ask("open", **OPEN)["endpoint"] == f":{port}"


def test_ports_that_are_used_up_are_told(engine, port):
    with serving(engine, ports=(port, port)) as served:
        client = served.client()
        client.ask("open", **OPEN)
        error = client.ask("open", **OPEN)["error"]
        assert error.startswith(f"the server can bind no socket for it: cannot bind to tcp://127.0.0.1:{port}: ")
        assert client.exchange(b"a") == [b"a"]


def test_a_port_is_free_when_bye_is_answered(engine, port):
    with serving(engine, ports=(port, port)) as served:
        client = served.client()
        client.ask("open", **OPEN)
        client.ask("bye", run="mine")
        assert "error" not in client.ask("open", **OPEN)


CLOSED_AFTER_BYE = """
import zmq
from gtool.pingpong import blocking
from gtool.pingpong.endpoints import closing
from gtool.pingpong.sessions import Sessions
with closing(zmq.Context()) as context:
    sessions = Sessions(blocking, context, "tcp://127.0.0.1:0", None, lambda sock: None)
    for _ in range(20):
        sessions.open("run", "push-pull", 8, 60.0)
    sessions.end("run")
    sessions.close()
"""


def test_the_end_waits_for_sessions_that_bye_has_ended():
    process = subprocess.run(
        [sys.executable, "-c", CLOSED_AFTER_BYE], capture_output=True, env=environment(), timeout=5
    )
    assert (process.returncode, process.stderr) == (0, b"")


def test_paths_of_sessions_are_removed_with_bye_and_at_the_end(engine, tmp_path):
    with serving(engine, f"ipc://{tmp_path}/path") as served:
        client = served.client()
        client.ask("open", **OPEN)
        client.ask("open", **{**OPEN, "run": "other"})
        client.ask("bye", run="mine")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["path", "path.2"]
    assert [path.name for path in tmp_path.iterdir() if path.name != "path"] == []


def test_it_ends_while_there_is_always_something_to_answer(engine):
    with serving(engine) as served:
        link = served.link(zmq.DEALER, served.endpoint)
        link.send_all([b"a" * MAX_SIZE] * 5000, LONG_S)
        ended_at = time.monotonic()
    assert time.monotonic() - ended_at < LONG_S / 2


@pytest.fixture
def beside(monkeypatch):
    """A server on our own loop: what it thinks of its clients may be asked while it runs."""
    monkeypatch.setattr(server, "GONE_S", GONE_S)
    with serving(green) as served:
        yield served


def test_one_that_nobody_was_at_has_not_served(beside):
    beside.engine.sleep(2 * GONE_S)
    assert not beside.server.is_served()


def test_it_has_served_when_who_was_there_has_gone(beside):
    client = beside.client()
    client.exchange(b"a")
    assert not beside.server.is_served()
    client.leave()
    beside.wait_until(beside.server.is_served)


def test_it_has_served_as_soon_as_all_have_said_bye(beside):
    client = beside.client()
    for run in ("mine", "other"):
        client.ask("hello", **{**HELLO, "run": run})
    client.ask("bye", run="mine")
    assert not beside.server.is_served()
    client.ask("bye", run="other")
    assert beside.server.is_served()


def test_a_bye_without_a_hello_does_not_count(beside):
    client = beside.client()
    client.ask("bye", run="mine")
    assert not beside.server.is_served()


def test_it_is_drained_when_nobody_is_in_the_middle_of_something(beside):
    client = beside.client()
    client.exchange(b"a")
    assert beside.server.is_drained()
    client.ask("hello", **HELLO)
    assert not beside.server.is_drained()
    client.ask("bye", run="mine")
    assert beside.server.is_drained()


def test_it_is_drained_when_who_was_in_the_middle_of_something_has_gone(beside):
    client = beside.client()
    client.ask("hello", **HELLO)
    client.leave()
    assert not beside.server.is_drained()
    beside.wait_until(beside.server.is_drained)


def test_one_that_comes_back_has_not_gone(beside):
    client = beside.client()
    client.ask("hello", **HELLO)
    client.leave()
    again = beside.client()
    again.exchange(b"a")
    beside.engine.sleep(2 * GONE_S)
    assert not beside.server.is_drained()
