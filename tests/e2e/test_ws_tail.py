"""`gtool ws-tail` as a process: each option and exit code, servers of ours and of others, and bad ones."""

from __future__ import annotations

import array
import base64
import fcntl
import hashlib
import json
import pty
import signal
import socket
import ssl
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.conftest import TIMEOUT_S, Result, answer, command, environment, run_gtool
from tests.e2e.relay import relaying
from tests.e2e.servers import GtoolServer, running
from tests.e2e.ws import (
    CLOSE,
    FIN,
    PING,
    RSV1,
    TEXT,
    ask,
    fed_by_hand,
    feed,
    frame,
    latest,
    put,
    wait_until,
)

ALL = ("--since", "all")
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


# --- what the tests share


def url_of(server: GtoolServer) -> str:
    return server.urls[0].replace("http", "ws", 1)


def tail(url: GtoolServer | str, *args: str | Path, **run: Any) -> Result:
    """Run ws-tail to its end."""
    return run_gtool("ws-tail", url if isinstance(url, str) else url_of(url), *args, **run)


@dataclass
class Ready:
    """Options that have ws-tail show that it is connected: it keeps the id after which it begins."""

    path: Path

    @property
    def options(self) -> tuple[str, Path]:
        return ("--state", self.path)

    def wait(self) -> None:
        wait_until(self.path.exists, "a connection")


@contextmanager
def tailing(url: GtoolServer | str, *args: str | Path, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start ws-tail; it is killed at the end."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    whole = command("ws-tail", url if isinstance(url, str) else url_of(url), *args)
    with subprocess.Popen(whole, **{"env": environment(), **pipes, **popen}) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[bytes]) -> Result:
    """Wait for its end; give what was not read yet."""
    with killed_in_time(process):
        return _ended(process)


@contextmanager
def killed_in_time(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have a test fail rather than wait for ever."""
    timer = threading.Timer(TIMEOUT_S, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _ended(process: subprocess.Popen[bytes]) -> Result:
    out = process.stdout.read() if process.stdout else b""  # communicate() passes over what readline() has buffered
    err = process.stderr.read() if process.stderr else b""
    return Result(process.wait(TIMEOUT_S), out, err.decode())


def next_lines(process: subprocess.Popen[bytes], count: int = 1) -> list[str]:
    assert process.stdout
    return [process.stdout.readline().decode().rstrip("\n") for _ in range(count)]


def put_and_wait(server: GtoolServer, *lines: str) -> None:
    """Have the feed take lines, and see that it has."""
    put(server, *lines)
    wait_until(lambda: latest(server)["data"] == lines[-1], f"{lines[-1]} in the feed")


@pytest.fixture
def ready(tmp_path: Path) -> Ready:
    return Ready(tmp_path / "ready")


@pytest.fixture
def three() -> Iterator[GtoolServer]:
    """A feed that has had three messages."""
    with fed_by_hand() as server:
        put_and_wait(server, "a", "b", "c")
        yield server


@pytest.fixture
def quiet() -> Iterator[GtoolServer]:
    """A feed that has had none."""
    with fed_by_hand() as server:
        yield server


@contextmanager
def foreign(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """Run a server of the websockets package; give its URL."""

    def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            handler(connection)

    with serve(handle, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        scheme, name = ("wss", "localhost") if options.get("ssl") else ("ws", "127.0.0.1")
        try:
            yield f"{scheme}://{name}:{server.socket.getsockname()[1]}/"
        finally:
            server.shutdown()
            thread.join()


def saying(*messages: str | bytes) -> Callable[[ServerConnection], None]:
    """Say these, and close."""

    def handler(connection: ServerConnection) -> None:
        for message in messages:
            connection.send(message)

    return handler


def header_of(head: bytes, name: str) -> str:
    lines = [line.decode("latin-1").partition(":") for line in head.split(b"\r\n")[1:]]
    return next((value.strip() for found, _, value in lines if found.lower() == name.lower()), "")


def switching(head: bytes, *headers: str) -> bytes:
    """The answer that opens a WebSocket."""
    key = header_of(head, "Sec-WebSocket-Key").encode()
    accept = base64.b64encode(hashlib.sha1(key + ACCEPT_GUID).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", *headers, "", ""]).encode()


def said(opcode: int, data: bytes = b"", first: int = FIN) -> bytes:
    """A server's frame."""
    return frame(opcode, data, first, mask=None)


def closing(code: int, reason: bytes = b"") -> bytes:
    return said(CLOSE, code.to_bytes(2, "big") + reason)


def hang_up(connection: socket.socket) -> None:
    """End a connection once the other side has."""
    connection.settimeout(TIMEOUT_S)
    while connection.recv(65536):
        pass
    connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def raw_server(peer) -> Callable[..., str]:
    """Make a WebSocket server that says these bytes to each connection after the handshake."""

    def make(*frames: bytes, headers: tuple[str, ...] = (), ends: bool = True) -> str:
        def handler(connection: socket.socket, head: bytes) -> None:
            connection.sendall(switching(head, *headers) + b"".join(frames))
            if ends:
                connection.shutdown(socket.SHUT_WR)
            hang_up(connection)

        return f"ws://{peer(handler).host}/"

    return make


# --- when to end


def test_count_ends_it_after_so_many(three):
    assert tail(three, *ALL, "--count", "2") == Result(0, b"a\nb\n", "")


def test_n_is_short_for_count(three):
    assert tail(three, *ALL, "-n1") == Result(0, b"a\n", "")


def test_count_waits_for_what_is_missing(three):
    with tailing(three, *ALL, "--count", "4") as process:
        assert next_lines(process, 3) == ["a", "b", "c"]
        put(three, "d")
        assert ended(process) == Result(0, b"d\n", "")


def test_without_since_only_what_comes_is_shown(three, ready):
    with tailing(three, "--count", "1", *ready.options) as process:
        ready.wait()
        put(three, "d")
        assert ended(process) == Result(0, b"d\n", "")


def test_each_message_is_out_at_once(quiet, ready):
    with tailing(quiet, *ready.options) as process:
        ready.wait()
        for number in range(5):
            put(quiet, f"line {number}")
            assert next_lines(process) == [f"line {number}"]


def test_timeout_without_a_message_is_exit_4(quiet):
    done = tail(quiet, "--timeout", "1s")
    assert (done.code, done.out, done.err.count("\n")) == (4, b"", 1)
    assert "no message within 1 s" in done.err


def test_timeout_after_a_message_is_exit_0(three):
    assert tail(three, *ALL, "--timeout", "2s") == Result(0, b"a\nb\nc\n", "")


def test_timeout_with_less_than_count_is_exit_4(three):
    done = tail(three, *ALL, "--timeout", "2s", "--count", "5")
    assert (done.code, done.out) == (4, b"a\nb\nc\n")
    assert "3 of 5 messages" in done.err


def test_timeout_holds_while_there_is_no_answer_to_the_handshake(peer):
    done = tail(peer(lambda connection, _: hang_up(connection)).host, "--timeout", "1s")
    assert (done.code, "no message within 1 s" in done.err) == (4, True)


def test_timeout_holds_while_there_is_nothing_to_connect_to():
    with feed() as server, tailing(server, "--timeout", "2s", "--count", "1000000") as process:
        next_lines(process)
        server.stop(signal.SIGKILL)
        assert ended(process).code == 4


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5"])
def test_a_count_that_is_none_is_exit_2(count):
    assert tail("ws://127.0.0.1:1/", f"--count={count}").code == 2


# --- where to begin


def ids_of(server: GtoolServer) -> list[str]:
    return [record["id"] for record in tail(server, *ALL, "--json", "--count", "3").records]


def test_since_an_id_begins_after_it(three):
    first = ids_of(three)[0]
    assert tail(three, "--since", first, "--count", "2").out == b"b\nc\n"


def test_since_the_last_id_waits_for_the_next_message(three):
    with tailing(three, "--since", ids_of(three)[-1], "--count", "1") as process:
        put(three, "d")
        assert ended(process) == Result(0, b"d\n", "")


def test_since_all_of_nothing_begins_with_the_first(quiet, ready):
    with tailing(quiet, *ALL, "--count", "1", *ready.options) as process:
        ready.wait()
        put(quiet, "a")
        assert ended(process) == Result(0, b"a\n", "")


@pytest.mark.parametrize("id_", ["", "x", "1", "a:b", ":1", "a:", "a:-1", "a b:1", "ALL", "a:1:2"])
def test_an_id_that_is_none_is_exit_2(id_):
    done = tail("ws://127.0.0.1:1/", f"--since={id_}")
    assert (done.code, "--since: " in done.err, done.err.count("\n")) == (2, True, 1)


def test_an_id_of_another_sequence_is_a_gap_and_all_there_is_follows(three):
    done = tail(three, "--since", "another:1", "--count", "3")
    assert (done.code, done.out) == (0, b"a\nb\nc\n")
    assert "WARNING gap" in done.err


def test_an_id_that_is_not_kept_any_more_is_a_gap():
    with fed_by_hand("--backlog", "2") as server:
        put_and_wait(server, *"abcde")
        epoch = latest(server)["id"].partition(":")[0]
        done = tail(server, "--since", f"{epoch}:1", "--count", "2")
        assert (done.code, done.out, done.err.count(" gap ")) == (0, b"d\ne\n", 1)


def test_a_gap_with_strict_is_exit_1(three):
    done = tail(three, "--since", "another:1", "--strict", "--count", "3")
    assert (done.code, done.out) == (1, b"")
    assert "another:1 can't be gone on from" in done.err


def test_strict_without_a_gap_is_exit_0(three):
    assert tail(three, *ALL, "--strict", "--count", "3").code == 0


def test_since_leaves_the_rest_of_the_query_alone(peer):
    server = peer(lambda connection, head: connection.sendall(answer(b"", "404 Not Found")))
    tail(f"ws://{server.host}/feed?token=a+b&empty=&since=x:9", "--since", "y:1")
    assert server.requests[0].splitlines()[0] == b"GET /feed?token=a+b&empty=&since=y:1 HTTP/1.1"


# --- the state file


def test_the_first_run_keeps_the_last_id(three, tmp_path):
    tail(three, *ALL, "--count", "2", "--state", tmp_path / "id")
    assert (tmp_path / "id").read_text() == f"{ids_of(three)[1]}\n"


def test_the_next_run_goes_on_without_loss_or_double(three, tmp_path):
    state = ("--state", tmp_path / "id")
    assert tail(three, *ALL, "--count", "2", *state).out == b"a\nb\n"
    put_and_wait(three, "d")
    assert tail(three, "--count", "2", *state) == Result(0, b"c\nd\n", "")


def test_the_state_is_worth_more_than_since(three, tmp_path):
    state = ("--state", tmp_path / "id")
    tail(three, *ALL, "--count", "2", *state)
    assert tail(three, *ALL, "--count", "1", *state).out == b"c\n"


def test_a_run_in_which_nothing_came_is_gone_on_from_too(three, tmp_path):
    state = ("--state", tmp_path / "id")
    assert tail(three, "--timeout", "1s", *state).code == 4
    put_and_wait(three, "d", "e")
    assert tail(three, "--count", "2", *state) == Result(0, b"d\ne\n", "")


def test_a_run_that_is_killed_before_anything_came_is_gone_on_from(quiet, tmp_path):
    with tailing(quiet, "--state", tmp_path / "id") as process:
        wait_until((tmp_path / "id").exists)
        process.kill()
        process.wait()
    put_and_wait(quiet, "a")
    assert tail(quiet, "--count", "1", "--state", tmp_path / "id") == Result(0, b"a\n", "")


def test_a_run_that_is_killed_repeats_and_loses_nothing(tmp_path):
    state = ("--state", tmp_path / "id")
    with feed("--interval", "2ms", "--backlog", "100000") as server:
        with tailing(server, *ALL, *state) as process:
            before = [json.loads(line)["x"] for line in next_lines(process, 300)]
            wait_until(lambda: not state[1].read_text().endswith(":0\n"), "an id of a message")
            process.kill()
            process.wait()
        after = [json.loads(line)["x"] for line in tail(server, "--count", "300", *state).out.splitlines()]
    assert before == list(range(300))
    assert after == list(range(after[0], after[0] + 300))
    assert after[0] > 0  # it has gone on, and not begun anew


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_last_id_that_was_written(tmp_path, stop):
    state = ("--state", tmp_path / "id")
    with feed("--interval", "5ms", "--backlog", "100000") as server:
        with tailing(server, *ALL, *state) as process:
            next_lines(process, 50)
            process.send_signal(stop)
            rest = ended(process).out.splitlines()
        last = 49 + len(rest)
        assert json.loads(tail(server, "--count", "1", *state).out)["x"] == last + 1


def test_a_state_that_can_not_be_written_is_exit_23(three, tmp_path):
    done = tail(three, *ALL, "--state", tmp_path / "missing" / "id")
    assert (done.code, done.err.count("\n")) == (23, 1)
    assert f"cannot write {tmp_path}/missing/id: No such file or directory" in done.err


@pytest.mark.parametrize(
    "garbage",
    [
        b"rubbish\n",
        b"\xff\xfe",
        b"a:1\nb:2\n",
        pytest.param(b"\0" * 100, id="NUL"),
    ],
)
def test_a_state_that_is_no_id_is_an_error_that_names_the_file(tmp_path, garbage):
    (tmp_path / "id").write_bytes(garbage)
    done = tail("ws://127.0.0.1:1/", "--state", tmp_path / "id")
    assert (done.code, done.err.count("\n")) == (26, 1)
    assert str(tmp_path / "id") in done.err


def test_an_empty_state_is_as_none(three, tmp_path):
    (tmp_path / "id").touch()
    assert tail(three, *ALL, "--count", "1", "--state", tmp_path / "id").out == b"a\n"


def test_a_directory_is_no_state_file(tmp_path):
    assert tail("ws://127.0.0.1:1/", "--state", tmp_path).code == 2


def test_no_other_file_is_left_beside_the_state(three, tmp_path):
    tail(three, *ALL, "--count", "3", "--state", tmp_path / "id")
    assert [path.name for path in tmp_path.iterdir()] == ["id"]


def test_a_server_without_ids_leaves_no_state(tmp_path):
    with foreign(saying("hello")) as url:
        assert tail(url, "--state", tmp_path / "id") == Result(0, b"hello\n", "")
    assert not (tmp_path / "id").exists()


# --- connections that end


def test_a_connection_that_is_cut_loses_nothing_and_repeats_nothing():
    with (
        feed("--interval", "5ms", "--backlog", "100000") as server,
        relaying(server.port) as relay,
        tailing(f"ws://127.0.0.1:{relay.port}/", *ALL, "--strict", "--count", "700") as process,
    ):
        numbers = [json.loads(line)["x"] for line in next_lines(process, 50)]
        for count in (2, 3):
            relay.cut()
            wait_until(lambda wanted=count: relay.count >= wanted)
        done = ended(process)
        numbers += [record["x"] for record in done.records]
        assert (done.code, numbers) == (0, list(range(700)))
        assert done.err.count(" reconnecting ") == 2


def test_a_connection_that_is_cut_before_anything_came_loses_nothing(quiet, ready):
    with (
        relaying(quiet.port) as relay,
        tailing(f"ws://127.0.0.1:{relay.port}/", "--strict", "--count", "2", *ready.options) as process,
    ):
        ready.wait()
        relay.cut()
        put(quiet, "a", "b")
        done = ended(process)
        assert (done.code, done.out) == (0, b"a\nb\n")


@contextmanager
def restarted_feed(port: int) -> Iterator[GtoolServer]:
    with running("ws-feed", "-l", f"127.0.0.1:{port}", "--interval", "20ms") as server:
        yield server


def test_a_server_that_was_killed_and_is_back_is_a_gap():
    with feed("--interval", "20ms") as server, tailing(server) as process:
        next_lines(process, 3)
        server.stop(signal.SIGKILL)
        with restarted_feed(server.port):
            while json.loads(next_lines(process)[0])["x"] != 0:
                pass
            assert json.loads(next_lines(process)[0])["x"] == 1
            process.terminate()
            done = ended(process)
    assert (done.code, done.err.count(" WARNING gap ")) == (143, 1)


def test_a_server_that_was_killed_and_is_back_is_exit_1_with_strict():
    with feed("--interval", "20ms") as server, tailing(server, "--strict") as process:
        next_lines(process, 3)
        server.stop(signal.SIGKILL)
        with restarted_feed(server.port):
            done = ended(process)
    assert (done.code, "can't be gone on from" in done.err) == (1, True)


def test_a_server_that_has_gone_is_exit_4_without_reconnecting():
    with feed("--interval", "20ms") as server, tailing(server, "--no-reconnect") as process:
        next_lines(process)
        server.stop(signal.SIGKILL)
        done = ended(process)
    assert (done.code, " has gone" in done.err, "reconnecting" in done.err) == (4, True, False)


def test_a_server_that_drains_is_come_back_to():
    with feed("--interval", "20ms") as server, tailing(server) as process:
        next_lines(process)
        server.send_signal(signal.SIGTERM)
        server.ended()
        with restarted_feed(server.port):
            while json.loads(next_lines(process)[0])["x"] != 0:
                pass


def test_a_feed_that_has_ended_is_exit_0():
    with fed_by_hand("--at-eof", "close") as server, tailing(server, *ALL) as process:
        put(server, "a")
        assert next_lines(process) == ["a"]
        server.process.stdin.close()
        assert ended(process) == Result(0, b"", "")


def test_a_feed_that_has_ended_before_the_count_is_exit_4():
    with fed_by_hand("--at-eof", "close") as server, tailing(server, *ALL, "--count", "2") as process:
        put(server, "a")
        next_lines(process)
        server.process.stdin.close()
        done = ended(process)
        assert (done.code, "the feed has ended after 1 of 2 messages" in done.err) == (4, True)


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013])
def test_these_closings_are_come_back_from(raw_server, peer, code):
    def handler(connection: socket.socket, head: bytes) -> None:
        again = len(server.requests) > 1
        connection.sendall(switching(head) + (said(TEXT, b"back") if again else closing(code)))
        if not again:
            connection.shutdown(socket.SHUT_WR)
        hang_up(connection)

    server = peer(handler)
    done = tail(f"ws://{server.host}/", "--count", "1")
    assert (done.code, done.out, len(server.requests)) == (0, b"back\n", 2)


def test_a_connection_that_breaks_without_a_closing_is_come_back_from(peer):
    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head) + said(TEXT, b"%d" % len(server.requests)))
        connection.shutdown(socket.SHUT_WR)
        hang_up(connection)

    server = peer(handler)
    assert tail(f"ws://{server.host}/", "--count", "2").out == b"1\n2\n"


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000])
def test_these_closings_are_exit_4(raw_server, code):
    done = tail(raw_server(said(TEXT, b"a"), closing(code, b"because")))
    assert (done.code, done.out, f"({code}): because" in done.err) == (4, b"a\n", True)


def test_a_normal_closing_is_exit_0(raw_server):
    assert tail(raw_server(said(TEXT, b"a"), closing(1000, b"done"))) == Result(0, b"a\n", "")


def test_a_closing_is_answered(peer):
    heard = []

    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head) + closing(1000))
        heard.append(connection.recv(65536))
        connection.shutdown(socket.SHUT_RDWR)

    tail(peer(handler).host)
    assert heard[0][0] == FIN | CLOSE


def test_a_server_that_stays_on_after_its_closing_does_not_hold_it(raw_server):
    assert tail(raw_server(said(TEXT, b"a"), closing(1000), ends=False)) == Result(0, b"a\n", "")


def test_the_reason_of_a_closing_is_harmless_on_a_terminal(raw_server):
    done = tail(raw_server(closing(1008, b"\x1b[31mred")))
    assert (done.code, "\\x1b[31mred" in done.err) == (4, True)


def test_a_server_without_ids_that_was_away_is_a_gap(peer):
    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head) + said(TEXT, b"%d" % len(server.requests)))
        connection.shutdown(socket.SHUT_WR)
        hang_up(connection)

    server = peer(handler)
    done = tail(f"ws://{server.host}/", "--count", "2", "--strict")
    assert (done.code, done.out, "lost: this server tells no ids" in done.err) == (1, b"1\n", True)


def test_a_server_that_refuses_after_a_while_is_exit_5(peer):
    def handler(connection: socket.socket, head: bytes) -> None:
        if len(server.requests) > 1:
            connection.sendall(answer(b"no more", "403 Forbidden"))
        else:
            connection.sendall(switching(head) + closing(1001))
        connection.shutdown(socket.SHUT_WR)

    server = peer(handler)
    done = tail(f"ws://{server.host}/")
    assert (done.code, "HTTP 403: no more" in done.err) == (5, True)


def test_a_server_that_is_ill_for_a_while_is_come_back_to(peer):
    def handler(connection: socket.socket, head: bytes) -> None:
        count = len(server.requests)
        first = switching(head) + closing(1001)
        connection.sendall([first, answer(b"ill", "503 No"), switching(head) + said(TEXT, b"well")][count - 1])
        if count < 3:
            connection.shutdown(socket.SHUT_WR)
        hang_up(connection)

    server = peer(handler)
    done = tail(f"ws://{server.host}/", "--count", "1")
    assert (done.code, done.out) == (0, b"well\n")


def test_resuming_does_not_repeat_what_a_bare_subprotocol_has_shown():
    with (
        feed("--interval", "5ms", "--backlog", "100000") as server,
        relaying(server.port) as relay,
        tailing(f"ws://127.0.0.1:{relay.port}/", *ALL, "--subprotocol", "mine", "--count", "700") as process,
    ):
        numbers = [json.loads(line)["x"] for line in next_lines(process, 50)]
        relay.cut()
        numbers += [record["x"] for record in ended(process).records]
        assert len(set(numbers)) == len(numbers)


# --- connections that do not come about


def refusal_of(done: Result) -> str:
    """Give the one line that says why."""
    assert (done.code, done.out, done.err.count("\n")) == (5, b"", 1), done
    return done.err


def test_nobody_there_is_exit_5(refused_port):
    url = f"ws://127.0.0.1:{refused_port}/"
    assert f"cannot connect to {url}: Connection refused" in refusal_of(tail(url))


def test_a_name_that_is_none_is_exit_5():
    assert "cannot connect to ws://nobody.invalid:80/: " in refusal_of(tail("ws://nobody.invalid/"))


@pytest.mark.parametrize("host", ["a" * 70, "a..b"])
def test_a_name_that_can_be_none_is_a_sentence(host):
    done = tail(f"ws://{host}/")
    assert (done.code in (2, 5), done.err.count("\n"), "bug" in done.err) == (True, 1, False)


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Oh"])
def test_a_refusal_is_exit_5_with_the_servers_sentence(peer, status):
    server = peer(lambda connection, _: connection.sendall(answer(b"this is why\nand more", status)))
    assert refusal_of(tail(server.host)).endswith(f": HTTP {status[:3]}: this is why\n")


def test_a_refusal_without_a_sentence_has_its_reason(peer):
    server = peer(lambda connection, _: connection.sendall(answer(b"", "418 I am a teapot")))
    assert "HTTP 418: I am a teapot" in refusal_of(tail(server.host))


def test_a_refusal_is_harmless_on_a_terminal(peer):
    server = peer(lambda connection, _: connection.sendall(answer(b"\x1b[31mred\x07", "403 Forbidden")))
    assert "HTTP 403: \\x1b[31mred\\x07" in refusal_of(tail(server.host))


def test_a_refusal_in_chunks_has_its_sentence(peer):
    chunked = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthi\r\n7\r\ns is it\r\n0\r\n\r\n"
    server = peer(lambda connection, _: connection.sendall(chunked))
    assert "HTTP 403: this is it" in refusal_of(tail(server.host))


@pytest.mark.xfail(strict=True, reason="websockets refuses to read HTTP/1.0")
def test_a_refusal_over_http_1_0_has_its_status(peer):
    def handler(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.0 404 File not found\r\n\r\nnot here\n")
        connection.shutdown(socket.SHUT_WR)

    assert "404" in refusal_of(tail(peer(handler).host))


def test_our_own_server_says_what_it_wants(three):
    assert "HTTP 404: there is no such page" in refusal_of(tail(url_of(three) + "/nothing"))


def test_a_redirect_is_not_followed(peer):
    server = peer(lambda connection, _: connection.sendall(answer(b"", "302 Found", "Location: ws://127.0.0.1:1/")))
    assert "HTTP 302" in refusal_of(tail(server.host))


def test_a_page_is_no_websocket(peer):
    server = peer(lambda connection, _: connection.sendall(answer(b"<html>")))
    assert "HTTP 200" in refusal_of(tail(server.host))


@pytest.mark.parametrize("said_", [b"SSH-2.0-OpenSSH_9\r\n", b"\0\1\2\3\n", b"HTTP/9.9 wild\r\n\r\n"])
def test_a_server_that_is_no_http_is_exit_5(peer, said_):
    def handler(connection: socket.socket, _: bytes) -> None:
        connection.sendall(said_)
        connection.shutdown(socket.SHUT_WR)

    assert "no WebSocket" in refusal_of(tail(peer(handler).host))


def test_a_server_that_closes_at_once_is_exit_5(peer):
    server = peer(lambda connection, _: connection.shutdown(socket.SHUT_RDWR))
    assert "cannot connect to " in refusal_of(tail(f"ws://{server.host}/"))


def test_a_server_that_never_answers_is_exit_5_after_the_time_for_that(peer):
    server = peer(lambda connection, _: hang_up(connection))
    assert "no answer within 0.5 s" in refusal_of(tail(server.host, "--connect-timeout", "500ms"))


def test_a_server_that_answers_for_ever_is_exit_5_after_the_time_for_that(peer):
    def handler(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        with suppress(OSError):
            while not stop.wait(0.1):
                connection.sendall(b"X: y\r\n")

    stop = threading.Event()
    server = peer(handler)
    try:
        assert "no answer within 1 s" in refusal_of(tail(server.host, "--connect-timeout", "1s"))
    finally:
        stop.set()


def test_a_wrong_accept_header_is_exit_5(peer):
    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head.replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x")))

    assert "Sec-WebSocket-Accept" in refusal_of(tail(peer(handler).host))


@pytest.mark.parametrize("header", ["Sec-WebSocket-Protocol: other", "Sec-WebSocket-Extensions: x-unheard-of"])
def test_what_was_not_offered_can_not_be_agreed_on(raw_server, header):
    assert "no WebSocket: " in refusal_of(tail(raw_server(headers=(header,))))


# --- bad frames


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x83\x01x", 1002),  # an opcode that is none
        (b"\x81\x81\0\0\0\0x", 1002),  # masked
        (said(TEXT, b"x", FIN | RSV1), 1002),  # compressed, which was not agreed on
        (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),  # a ping that is too long
        (said(0, b"x"), 1002),  # the rest of nothing
        (said(TEXT, b"x", 0) + said(TEXT, b"y"), 1002),  # a message within another
        (said(TEXT, b"\xff\xfe"), 1007),
        (said(TEXT, b"\xc3", 0) + said(0, b"("), 1007),
        (said(CLOSE, b"\x03"), 1002),  # half a code
        (said(CLOSE, b"\x03\xe8\xff"), 1007),
        (closing(1005), 1002),  # must not be sent
        (closing(999), 1002),
        (b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
def test_a_bad_frame_is_exit_4_with_its_code(raw_server, frames, code):
    done = tail(raw_server(said(TEXT, b"good"), frames))
    assert (done.code, done.out, f"({code})" in done.err) == (4, b"good\n", True)


def test_the_server_is_told_what_was_wrong_with_its_frame(peer):
    heard = []

    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head) + b"\x83\x01x")
        heard.append(connection.recv(65536))
        connection.shutdown(socket.SHUT_RDWR)

    tail(peer(handler).host)
    first, _, *mask = heard[0][:6]
    code = bytes(byte ^ key for byte, key in zip(heard[0][6:8], mask, strict=False))
    assert (first, int.from_bytes(code, "big")) == (FIN | CLOSE, 1002)


def test_a_server_that_stays_on_after_a_bad_frame_does_not_hold_it(raw_server):
    done = tail(raw_server(b"\x83\x01x", ends=False))
    assert (done.code, "(1002)" in done.err) == (4, True)


def test_a_server_that_goes_on_after_a_bad_frame_does_not_hold_it(peer):
    def handler(connection: socket.socket, head: bytes) -> None:
        connection.sendall(switching(head) + b"\x83\x01x")
        with suppress(OSError):
            while not stop.wait(0.05):
                connection.sendall(said(TEXT, b"more"))

    stop = threading.Event()
    try:
        done = tail(peer(handler).host)
    finally:
        stop.set()
    assert (done.code, "(1002)" in done.err) == (4, True)


def test_a_message_that_is_too_long_is_exit_4(raw_server):
    done = tail(raw_server(said(TEXT, b"x" * 1000), said(TEXT, b"x" * 1001)), "--max-message", "1000")
    assert (done.code, len(done.out), "(1009)" in done.err) == (4, 1001, True)


def test_a_message_of_many_fragments_is_bounded_too(raw_server):
    pieces = [said(TEXT, b"x" * 400, 0), said(0, b"x" * 400, 0), said(0, b"x" * 400)]
    done = tail(raw_server(*pieces), "--max-message", "1000")
    assert (done.code, done.out, "(1009)" in done.err) == (4, b"", True)


def test_a_compressed_message_is_bounded_too():
    with foreign(saying("x" * 5000), compression="deflate") as url:
        done = tail(url, "--max-message", "1000")
    assert (done.code, done.out, "(1009)" in done.err) == (4, b"", True)


ENVELOPED = "Sec-WebSocket-Protocol: gtool.envelope"


@pytest.mark.parametrize(
    "data",
    [
        "rubbish",
        "[1]",
        "1",
        "null",
        '"x"',
        '["id"]',
        '{"id": 1, "time": 1, "data": "x"}',
        '{"id": "x", "time": 1, "data": "x"}',
        '{"id": "a:1", "data": "x"}',
        '{"id": "a:1", "time": "x", "data": "x"}',
        '{"id": "a:1", "time": 1}',
        '{"id": "a:1", "time": 1, "data": 1}',
        '{"id": "a:1", "time": 1, "data": "\\ud800"}',
        '{"id": "a:1", "time": "nan", "data": "x"}',
        '{"id": "a:1", "time": 1e999, "data": "x"}',
        pytest.param('{"id": "a:1", "time": 1' + "0" * 400 + ', "data": "x"}', id="1E400"),
        pytest.param("[" * 100_000, id="deep"),
    ],
    ids=lambda value: value[:40],
)
def test_an_envelope_that_is_none_is_exit_4(raw_server, data):
    done = tail(raw_server(said(TEXT, data.encode()), closing(1000), headers=(ENVELOPED,)), "--json")
    assert (done.code, done.out, "no envelope" in done.err) == (4, b"", True)


def test_an_id_that_is_none_in_the_answer_is_not_kept(raw_server, tmp_path):
    url = raw_server(closing(1000), headers=(ENVELOPED, "Gtool-Cursor: rubbish"))
    tail(url, "--state", tmp_path / "id")
    assert not (tmp_path / "id").exists() or (tmp_path / "id").read_text() != "rubbish\n"


# --- what is shown


def test_text_of_a_foreign_server_is_shown_as_it_is():
    with foreign(saying("one", "zwei ä", "")) as url:
        assert tail(url) == Result(0, "one\nzwei ä\n\n".encode(), "")


def test_binary_of_a_foreign_server_is_base64():
    with foreign(saying(b"\0\xff\x80", b"")) as url:
        assert tail(url) == Result(0, b"AP+A\n\n", "")


def test_json_of_a_foreign_server_has_no_id_and_the_time_at_which_it_came():
    with foreign(saying("text ä", b"\0\xff")) as url:
        first, second = tail(url, "--json").records
    assert (first["id"], first["data"]) == (None, "text ä")
    assert (second["id"], second["base64"]) == (None, "AP8=")
    assert first["time"] > 1_000_000_000


def test_json_of_our_own_server_has_id_and_time(three):
    records = tail(three, *ALL, "--json", "--count", "3").records
    assert [list(record) for record in records] == [["id", "time", "data"]] * 3
    assert [record["data"] for record in records] == ["a", "b", "c"]
    assert records[-1] == latest(three)


def test_binary_goes_into_files_and_their_paths_are_shown(tmp_path):
    with foreign(saying(b"\0\1", "text", b"\2")) as url:
        done = tail(url, "--binary-out", "out/put", cwd=tmp_path)
    assert done == Result(0, b"out/put/000001.bin\ntext\nout/put/000002.bin\n", "")
    assert (tmp_path / "out/put/000001.bin").read_bytes() == b"\0\1"
    assert (tmp_path / "out/put/000002.bin").read_bytes() == b"\2"


def test_files_of_an_earlier_run_are_left_alone(tmp_path):
    with foreign(saying(b"new")) as url:
        (tmp_path / "000001.bin").write_bytes(b"old")
        done = tail(url, "--binary-out", ".", cwd=tmp_path)
    assert (done.out, (tmp_path / "000001.bin").read_bytes()) == (b"./000002.bin\n", b"old")


def test_a_directory_that_can_not_be_made_is_exit_23(tmp_path):
    (tmp_path / "file").touch()
    done = tail("ws://127.0.0.1:1/", "--binary-out", tmp_path / "file" / "out")
    assert (done.code, f"cannot make {tmp_path}/file/out" in done.err) == (23, True)


def test_fragments_are_one_message(raw_server):
    pieces = [said(TEXT, b"on", 0), said(PING, b"!"), said(0, b"e "), said(TEXT, b"two")]
    pieces[2] = said(0, b"e")
    assert tail(raw_server(*pieces, closing(1000))).out == b"one\ntwo\n"


def test_compressed_messages_are_understood():
    with foreign(saying("x" * 5000, "y" * 5000), compression="deflate") as url:
        assert tail(url).out == b"x" * 5000 + b"\n" + b"y" * 5000 + b"\n"


def test_what_comes_with_the_handshake_is_shown(raw_server):
    assert tail(raw_server(said(TEXT, b"early"), closing(1000))).out == b"early\n"


def test_controls_are_raw_in_a_pipe():
    with foreign(saying("\x1b[31mred\x07\x9b1m")) as url:
        assert tail(url).out == "\x1b[31mred\x07\x9b1m\n".encode()


@contextmanager
def on_terminal(url: str, *args: str) -> Iterator[Callable[[], str]]:
    """Run ws-tail with a terminal as its stdout; give what gives all that it shows."""
    ours, its = pty.openpty()
    with (
        open(ours, "rb", buffering=0) as screen,
        open(its, "wb", buffering=0) as stdout,
        tailing(url, *args, stdout=stdout) as process,
    ):
        stdout.close()

        def show() -> str:
            shown = b""
            with suppress(OSError):  # EIO: the process has ended
                while data := screen.read(65536):
                    shown += data
            process.wait(TIMEOUT_S)
            return shown.decode()

        yield show


def test_controls_are_escaped_on_a_terminal():
    with foreign(saying("\x1b[31mred\x07\x7f\x9b1m", "plain ä")) as url, on_terminal(url) as show:
        assert show() == "\\x1b[31mred\\x07\\x7f\\x9b1m\r\nplain ä\r\n"


def test_a_feed_of_several_lines_stays_one_line_on_a_terminal():
    with foreign(saying("a\nb\u2028c\u202ed")) as url, on_terminal(url) as show:
        assert show() == "a\\nb\\u2028c\\u202ed\r\n"


def test_json_is_harmless_on_a_terminal():
    with foreign(saying("\x1b\x7f\x9b1m\u202e")) as url, on_terminal(url, "--json") as show:
        shown = show()
    assert json.loads(shown)["data"] == "\x1b\x7f\x9b1m\u202e"
    assert shown.removesuffix("\r\n").isprintable()


# --- what is sent


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def test_send_sends_each_line_of_stdin():
    with feed("--echo") as server:
        done = tail(server, "--send", "--count", "3", stdin="one\nzwei ä\nlast".encode())
        assert done == Result(0, "one\nzwei ä\nlast\n".encode(), "")


def test_an_empty_line_is_a_message():
    with feed("--echo") as server:
        assert tail(server, "--send", "--count", "2", stdin=b"\nx\n").out == b"\nx\n"


def test_a_line_that_is_not_utf_8_goes_as_binary():
    with feed("--echo") as server:
        assert tail(server, "--send", "--count", "2", stdin=b"\xff\xfe\ntext\n").out == b"//4=\ntext\n"


def test_without_send_stdin_is_not_read():
    with feed("--echo") as server:
        assert tail(server, "--timeout", "1s", stdin=b"one\n").code == 4


def test_the_end_of_stdin_is_not_the_end():
    with foreign(lambda connection: (connection.recv(), connection.send("late"))) as url:
        assert tail(url, "--send", "--count", "1", stdin=b"x\n").out == b"late\n"


def test_lines_are_sent_as_they_come():
    with feed("--echo") as server, tailing(server, "--send", stdin=subprocess.PIPE) as process:
        for number in range(3):
            process.stdin.write(b"%d\n" % number)
            process.stdin.flush()
            assert next_lines(process) == [str(number)]
        process.stdin.close()


def test_lines_are_sent_over_a_new_connection_too():
    with (
        feed("--echo") as server,
        relaying(server.port) as relay,
        tailing(f"ws://127.0.0.1:{relay.port}/", "--send", stdin=subprocess.PIPE) as process,
    ):
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert next_lines(process) == ["one"]
        relay.cut()
        wait_until(lambda: relay.count == 2)
        process.stdin.write(b"two\n")
        process.stdin.flush()
        assert next_lines(process) == ["two"]
        process.stdin.close()


def test_a_line_that_comes_while_there_is_no_connection_waits_for_one(peer):
    heard = []

    def handler(connection: socket.socket, head: bytes) -> None:
        if len(server.requests) == 1:
            connection.sendall(switching(head) + closing(1001))
            connection.shutdown(socket.SHUT_WR)
            hang_up(connection)
        else:
            connection.sendall(switching(head))
            heard.append(connection.recv(65536))
            connection.sendall(said(TEXT, b"thanks") + closing(1000))
            connection.shutdown(socket.SHUT_WR)
            hang_up(connection)

    server = peer(handler)
    with tailing(f"ws://{server.host}/", "--send", stdin=subprocess.PIPE) as process:
        process.stderr.readline()  # reconnecting
        process.stdin.write(b"x\n")
        process.stdin.flush()
        assert ended(process).out == b"thanks\n"
    assert len(heard) == 1


def test_much_is_sent_and_echoed_without_a_standstill(tmp_path):
    line = b"x" * 9999 + b"\n"
    (tmp_path / "lines").write_bytes(line * 3000)
    with (
        feed("--echo") as server,
        open(tmp_path / "lines", "rb") as stdin,
        tailing(server, "--send", "--count", "3000", stdin=stdin) as process,
    ):
        done = ended(process)
        assert (done.code, len(done.out)) == (0, 3000 * 10_000)


def test_a_slow_reader_of_the_echo_does_not_break_what_is_sent(tmp_path):
    """What is sent may have to wait until what comes is read; that must be read meanwhile."""
    random = Random(1)  # nothing that could be compressed
    line_count = 3000
    lines = (b"\xff" + random.randbytes(9998).replace(b"\n", b"x") + b"\n" for _ in range(line_count))
    (tmp_path / "lines").write_bytes(b"".join(lines))
    with (
        feed("--echo") as server,
        open(tmp_path / "lines", "rb") as stdin,
        tailing(server, "--send", "--count", str(line_count), stdin=stdin) as process,
    ):
        wait_until(lambda: is_blocked(process), "a full pipe")
        wait_until(lambda: is_steady(process), "an end of what is sent without an answer being read")
        done = ended(process)
        assert (done.code, done.out.count(b"\n"), done.err) == (0, line_count, "")


def is_steady(process: subprocess.Popen[bytes]) -> bool:
    """Whether it does not read its stdin on: not for as long as that takes to see."""
    place = Path(f"/proc/{process.pid}/fdinfo/0")
    before = place.read_text()
    time.sleep(1)
    return place.read_text() == before


def test_closed_stdin_can_not_be_sent(quiet):
    done = ended_in_shell('"$@" --send <&-', url_of(quiet))
    assert (done.code, "cannot read stdin: it is closed" in done.err) == (26, True)


def ended_in_shell(script: str, url: str, *args: str) -> Result:
    whole = ["sh", "-c", script, "sh", *command("ws-tail", url, *args)]
    done = subprocess.run(whole, capture_output=True, timeout=TIMEOUT_S, env=environment(), stdin=subprocess.DEVNULL)
    return Result(done.returncode, done.stdout, done.stderr.decode())


# --- the request


def request_of(peer: Callable[..., Any], *args: str | Path, path: str = "/", **run: Any) -> bytes:
    """Give the head of what is asked."""
    server = peer(lambda connection, _: connection.sendall(answer(b"", "404 Not Found")))
    assert tail(f"ws://{server.host}{path}", *args, **run).code == 5
    return server.requests[0]


def test_headers_are_sent(peer):
    head = request_of(peer, "-H", "X-One: a: b", "--header", "X-Two:c")
    assert (header_of(head, "X-One"), header_of(head, "X-Two")) == ("a: b", "c")


def test_a_host_header_takes_the_place_of_ours(peer):
    assert request_of(peer, "-H", "Host: other.example").count(b"\r\nHost: ") == 1


@pytest.mark.parametrize("line", ["rubbish", ": x", "", "a: b\r\nc: d", " : x"])
def test_a_header_that_is_none_is_exit_2(line):
    done = tail("ws://127.0.0.1:1/", "-H", line)
    assert (done.code, "is not a header" in done.err) == (2, True)


@pytest.mark.parametrize("line", ["a b: c", "a\x01b: c", "ä: c", "(a): c"])
def test_a_header_name_that_is_none_is_exit_2(line):
    assert tail("ws://127.0.0.1:1/", "-H", line).code == 2


def test_the_token_is_sent_as_bearer(peer):
    assert header_of(request_of(peer, "--token", "s3cret"), "Authorization") == "Bearer s3cret"


def test_the_token_may_stand_in_a_file(peer, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    head = request_of(peer, "--token", f"@{tmp_path}/token")
    assert header_of(head, "Authorization") == "Bearer s3cret"


def test_the_token_opens_a_feed_that_asks_for_it():
    with fed_by_hand("--token", "s3cret") as server:
        put(server, "a")
        wait_until(lambda: ask(server, "/latest?token=s3cret").json["data"] == "a")
        assert tail(server, *ALL, "--count", "1", "--token", "s3cret").out == b"a\n"


def test_without_the_token_a_feed_that_asks_for_it_is_exit_5():
    with fed_by_hand("--token", "s3cret") as server:
        assert "HTTP 401: " in refusal_of(tail(server, "--token", "wrong"))


def test_the_origin_is_sent(peer):
    assert header_of(request_of(peer, "--origin", "https://a.example"), "Origin") == "https://a.example"


def test_a_foreign_origin_is_refused_by_our_own_server(quiet):
    assert "HTTP 403: " in refusal_of(tail(quiet, "--origin", "https://a.example"))


def test_subprotocols_are_offered_in_their_order(peer):
    head = request_of(peer, "--subprotocol", "one", "--subprotocol", "two")
    assert header_of(head, "Sec-WebSocket-Protocol").replace(" ", "") == "one,two"


@pytest.mark.parametrize("name", ["a b", "", "ä", "a,b"])
def test_a_subprotocol_that_is_none_is_exit_2(name):
    assert tail("ws://127.0.0.1:1/", "--subprotocol", name).code == 2


def test_the_path_and_the_query_are_sent(peer):
    head = request_of(peer, path="/a/b?c=d%20e&f")
    assert head.startswith(b"GET /a/b?c=d%20e&f HTTP/1.1\r\n")


@pytest.mark.parametrize("form", ["ws://{}/", "http://{}/", "{}", "{}/", "WS://{}", "Http://{}"])
def test_a_url_may_be_written_like_this(form):
    with foreign(saying("hello")) as url:
        assert tail(form.format(url.split("/")[2])).out == b"hello\n"


@pytest.mark.parametrize("url", ["", "ftp://a/", "ws://", "ws://a:99999/", "ws://a:x/", "ws://[::1/", "ws://a/#b"])
def test_a_url_that_is_none_is_exit_2(url):
    done = tail(url)
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_a_password_in_the_url_is_not_shown(refused_port):
    assert "s3cret" not in tail(f"ws://me:s3cret@127.0.0.1:{refused_port}/").err


# --- TLS


@pytest.fixture
def secure(certificate) -> Iterator[str]:
    with fed_by_hand("--tls-cert", certificate) as server:
        put(server, "a")
        yield f"wss://localhost:{server.port}/"


def test_wss_with_its_authority(secure, ca_file):
    assert tail(secure, *ALL, "--count", "1", "--cacert", ca_file) == Result(0, b"a\n", "")


def test_https_is_wss(secure, ca_file):
    url = secure.replace("wss", "https")
    assert tail(url, *ALL, "--count", "1", "--cacert", ca_file).code == 0


def test_the_authority_may_stand_in_the_environment(secure, ca_file):
    assert tail(secure, *ALL, "--count", "1", SSL_CERT_FILE=str(ca_file)).code == 0


@pytest.mark.parametrize("option", ["-k", "--insecure"])
def test_an_unknown_certificate_is_taken_if_told_so(secure, option):
    assert tail(secure, *ALL, "--count", "1", option).code == 0


def test_an_unknown_certificate_is_exit_5_with_a_sentence(secure):
    assert f"cannot connect to {secure}: the certificate is not trusted: " in refusal_of(tail(secure))


def test_a_certificate_of_another_name_is_exit_5(secure, ca_file):
    url = secure.replace("localhost", "127.0.0.1")
    assert "cannot connect to " in refusal_of(tail(url, "--cacert", ca_file))


def test_a_certificate_that_is_refused_says_why(secure, ca_file):
    why = refusal_of(tail(secure.replace("localhost", "127.0.0.1"), "--cacert", ca_file))
    assert "the certificate is not trusted: " in why
    assert "127.0.0.1" in why.rpartition("/: ")[2]  # as curl: no alternative certificate subject name matches


def test_wss_to_a_server_without_tls_is_exit_5(quiet):
    refusal_of(tail(f"wss://127.0.0.1:{quiet.port}/", "-k"))


def test_ws_to_a_server_with_tls_is_exit_5(secure):
    refusal_of(tail(secure.replace("wss", "ws")))


def test_a_client_certificate_is_shown(authority: trustme.CA, certificate, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    mine = authority.issue_cert("me")
    mine.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with foreign(saying("hello"), ssl=context) as url:
        pair = ("--cert", tmp_path / "cert.pem", "--key", tmp_path / "key.pem")
        assert tail(url, "-k", *pair).out == b"hello\n"


def test_without_the_client_certificate_that_is_asked_for_nothing_comes(authority, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    with foreign(saying("hello"), ssl=context) as url:
        refusal_of(tail(url, "-k"))


def test_key_without_cert_is_exit_2(certificate):
    assert "--key needs --cert" in tail("wss://localhost:1/", "--key", certificate).err


@pytest.mark.parametrize("option", ["--cacert", "--cert"])
def test_files_of_tls_that_can_not_be_used_are_exit_2(tmp_path, option):
    (tmp_path / "rubbish").write_text("rubbish")
    done = tail("wss://localhost:1/", option, tmp_path / "rubbish")
    assert (done.code, f"cannot use {tmp_path}/rubbish: " in done.err, done.err.count("\n")) == (2, True, 1)


# --- stdout, signals, environment


def test_a_closed_stdout_is_exit_141_without_a_word():
    with feed("--interval", "10ms") as server, tailing(server) as process:
        next_lines(process)
        process.stdout.close()
        assert (process.wait(TIMEOUT_S), process.stderr.read()) == (141, b"")


def test_a_closed_stdout_is_noticed_when_nothing_more_comes(three):
    with tailing(three, *ALL) as process:
        next_lines(process, 3)
        process.stdout.close()
        assert (process.wait(TIMEOUT_S), process.stderr.read()) == (141, b"")


def test_a_closed_stdout_is_noticed_while_there_is_no_connection():
    with feed("--interval", "10ms") as server, tailing(server) as process:
        next_lines(process)
        server.stop(signal.SIGKILL)
        process.stderr.readline()  # reconnecting
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 141


def test_head_ends_it(three):
    script = 'set -o pipefail; "$@" | head -1; echo "$?"'
    whole = ["bash", "-c", script, "bash", *command("ws-tail", url_of(three), *ALL)]
    done = subprocess.run(whole, capture_output=True, timeout=TIMEOUT_S, env=environment())
    assert (done.stdout, done.stderr) == (b"a\n141\n", b"")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_with_128_and_its_number(quiet, ready, stop, code):
    with tailing(quiet, *ready.options) as process:
        ready.wait()
        process.send_signal(stop)
        assert ended(process) == Result(code, b"", "")


def test_a_signal_ends_it_while_it_waits_to_reconnect():
    with feed("--interval", "10ms") as server, tailing(server) as process:
        next_lines(process)
        server.stop(signal.SIGKILL)
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert ended(process).code == 130


def test_a_signal_ends_it_while_nobody_reads_its_output():
    with feed("--interval", "0") as server, tailing(server) as process:
        next_lines(process)
        wait_until(lambda: is_blocked(process), "a full pipe")
        process.send_signal(signal.SIGINT)
        assert ended(process).code == 130


def is_blocked(process: subprocess.Popen[bytes]) -> bool:
    """Whether its stdout, a pipe, is full: what is in it does not grow any more."""
    size = array.array("i", [0])
    fcntl.ioctl(process.stdout, termios.FIONREAD, size)
    return size[0] > 60_000


def test_the_server_sees_a_normal_closing(quiet):
    codes = []

    def handler(connection: ServerConnection) -> None:
        connection.send("hello")
        try:
            connection.recv()
        except ConnectionClosed as error:
            codes.append(error.rcvd.code if error.rcvd else None)

    with foreign(handler) as url:
        assert tail(url, "--count", "1").code == 0
    assert codes == [1000]


def test_a_full_disk_is_exit_23(three):
    with open("/dev/full", "wb") as full, tailing(three, *ALL, stdout=full) as process:
        done = ended(process)
    assert (done.code, done.err.count("\n")) == (23, 1)
    assert "cannot write to stdout: No space left on device" in done.err


def test_closed_stdout_from_the_start_is_exit_23(three):
    done = ended_in_shell('"$@" >&-', url_of(three))
    assert (done.code, "cannot write to stdout: it is closed" in done.err) == (23, True)


def test_a_slow_reader_stalls_only_itself():
    with (
        feed("--interval", "1ms", "--backlog", "1000000") as server,
        tailing(server, *ALL) as slow,
        tailing(server, *ALL, "--count", "3000") as fast,
    ):
        next_lines(slow)
        assert len(ended(fast).out.splitlines()) == 3000
        numbers = [json.loads(line)["x"] for line in next_lines(slow, 2999)]
        assert numbers == list(range(1, 3000))


def test_options_may_stand_in_the_environment(three):
    done = tail(three, GTOOL_WS_TAIL_SINCE="all", GTOOL_WS_TAIL_COUNT="2", GTOOL_WS_TAIL_JSON="1")
    assert [record["data"] for record in done.records] == ["a", "b"]


def test_the_token_may_stand_in_the_environment(peer):
    head = request_of(peer, GTOOL_WS_TAIL_TOKEN="s3cret")
    assert header_of(head, "Authorization") == "Bearer s3cret"


def test_headers_in_the_environment_are_one_a_line(peer):
    head = request_of(peer, GTOOL_WS_TAIL_HEADER="X-One: a b\nX-Two: c")
    assert (header_of(head, "X-One"), header_of(head, "X-Two")) == ("a b", "c")


def test_the_command_line_is_worth_more_than_the_environment(three):
    assert tail(three, *ALL, "--count", "1", GTOOL_WS_TAIL_COUNT="2").out == b"a\n"
