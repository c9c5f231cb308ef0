"""Peers that are not there, not what they should be, or gone halfway: a sentence, an exit code, nothing left behind."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import time
from contextlib import contextmanager

import pytest
import zmq

from tests.conftest import TIMEOUT_S, Result
from tests.e2e.zmq_peers import (
    ENGINES,
    MAGIC,
    PATTERNS,
    ROUND_TRIPS,
    agreeing,
    ask,
    asking,
    client_processes,
    document,
    echo,
    ended,
    is_running,
    ping,
    pinging,
    reply,
    serving,
    silent,
    tcp_peer,
    wait_until,
    wait_until_busy,
    zmq_peer,
)

BRIEF = ("--timeout", "300ms")
SHORT = ("--count", "60", "--warmup", "5")
AT_ONCE_S = 2.5  #: to begin with Python, and to end, on a busy machine; well below the time-out of 5 s
CTRL_C_S = 6  #: a second, and what a busy machine takes
LONG = ("--duration", "1h", "--json")


def fails_with(done, *said):
    """Check that it is exit code 4 and one line that says so."""
    assert done.code == 4, done
    assert done.err.count("\n") == 1, done.err
    for text in said:
        assert text in done.err


# Nobody of ours


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_nobody_there_is_said(refused_port, pattern, engine):
    done = ping(f"tcp://127.0.0.1:{refused_port}", "--pattern", pattern, "--engine", engine, *BRIEF)
    fails_with(done, f"nobody at tcp://127.0.0.1:{refused_port} within 0.3 s")
    assert done.out == b""


@pytest.mark.parametrize("engine", ENGINES)
def test_nobody_there_is_said_with_plain_too(refused_port, engine):
    done = ping(f"tcp://127.0.0.1:{refused_port}", "--plain", "--engine", engine, *BRIEF)
    fails_with(done, "nobody at ", "within 0.3 s")


def test_nobody_on_an_ipc_path_is_said(tmp_path):
    fails_with(ping(f"ipc://{tmp_path}/none", *BRIEF), "nobody at ipc://", "within 0.3 s")


def test_a_host_that_cannot_be_found_is_said():
    fails_with(ping("tcp://no-such-host.invalid:5555", *BRIEF), "no-such-host.invalid:5555 can't be found")


def test_a_listener_that_says_nothing_is_said():
    with tcp_peer() as endpoint:
        fails_with(ping(endpoint, *BRIEF), f"no handshake with {endpoint} within 0.3 s")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 64])
def test_a_server_of_another_kind_is_said(answer):
    with tcp_peer(answer) as endpoint:
        fails_with(ping(endpoint, *BRIEF), endpoint)


@pytest.mark.parametrize("kind", [zmq.PUB, zmq.PULL, zmq.SUB, zmq.REQ])
def test_a_socket_of_another_pattern_is_said_well_before_the_time_out(kind):
    started = time.monotonic()
    with zmq_peer(kind) as endpoint:
        fails_with(ping(endpoint), endpoint, "pattern")  # not always sure of it: its RST may overtake its greeting
    assert time.monotonic() - started < AT_ONCE_S


def test_a_peer_that_sends_back_our_hello_is_said():
    with zmq_peer(zmq.REP, echo) as endpoint:
        fails_with(ping(endpoint, *SHORT), "it sends back our own question", "--plain measures any")


@pytest.mark.parametrize("pattern", ROUND_TRIPS)
@pytest.mark.parametrize("engine", ENGINES)
def test_plain_measures_any_that_sends_back_what_comes(pattern, engine):
    with zmq_peer(zmq.REP, echo) as endpoint:
        done = ping(endpoint, "--plain", "--json", "--pattern", pattern, "--engine", engine, *SHORT)
    assert document(done)["rows"][0]["received"] == 60


def test_a_peer_that_never_answers_the_hello_is_said():
    with zmq_peer(zmq.REP, silent) as endpoint:
        fails_with(ping(endpoint, *BRIEF), f"no answer from {endpoint} within 0.3 s")


@pytest.mark.parametrize(
    "answer",
    [b"", b"rubbish", b"{}", b"[]", b"3", b"null", b"\xff\xfe", b'{"id": 1}', b"[" * 100_000],
    ids=lambda answer: answer[:10].decode("latin-1"),
)
def test_rubbish_in_answer_to_the_hello_is_no_bug(answer):
    def say(sock, frames):
        sock.send_multipart([*frames[:-1], answer])

    with zmq_peer(zmq.ROUTER, say) as endpoint:
        fails_with(ping(endpoint, *BRIEF), endpoint)


@pytest.mark.parametrize("more", [{"session": "x"}, {"session": 1}, {"session": 1, "endpoint": 3}, {"endpoint": ":1"}])
def test_rubbish_in_answer_to_open_is_no_bug(more):
    def say(sock, frames):
        sock.send_multipart(reply(frames, protocol=1, **more))

    with zmq_peer(zmq.ROUTER, say) as endpoint:
        done = ping(endpoint, "--pattern", "push-pull", *BRIEF)
    assert done.code == 4, done
    assert done.err.count("\n") == 1


def test_rubbish_in_a_report_is_no_bug():
    with zmq_peer(zmq.PULL) as data:

        def say(sock, frames):
            sock.send_multipart(reply(frames, protocol=1, session=1, endpoint=data, is_over=True, received="many"))

        with zmq_peer(zmq.ROUTER, say) as endpoint:
            done = ping(endpoint, "--pattern", "push-pull", *SHORT, *BRIEF)
    assert done.code == 4, done
    assert done.err.count("\n") == 1


def test_another_protocol_is_said():
    def say(sock, frames):
        sock.send_multipart(reply(frames, protocol=2, engine="quantum"))

    with zmq_peer(zmq.ROUTER, say) as endpoint:
        fails_with(ping(endpoint, *SHORT), f"{endpoint} speaks another protocol", "both sides want the same gtool")


def test_a_server_that_does_not_agree_is_quoted_without_its_control_characters():
    def say(sock, frames):
        sock.send_multipart(reply(frames, error="\x1b[31mno\x07\nway"))

    with zmq_peer(zmq.ROUTER, say) as endpoint:
        fails_with(ping(endpoint, *SHORT), r"does not agree: \x1b[31mno\x07\nway")


# Bad answers


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)], ids=str)
def test_nothing_raw_of_a_rubbish_answer_comes_to_the_terminal(engine, form):
    def say(sock, frames):
        sock.send_multipart([*frames[:-1], b"\x1b]0;pwned\x07\r\xff"])

    with zmq_peer(zmq.ROUTER, agreeing(say)) as endpoint:
        done = ping(endpoint, "--engine", engine, *form, *BRIEF)
    fails_with(done, "answers rubbish", "it has to send back what comes")
    assert not {*done.out, *done.err.encode()} & {*range(32)} - {10}


def test_nothing_raw_of_a_rubbish_hello_comes_to_the_terminal():
    def say(sock, frames):
        sock.send_multipart(reply(frames, protocol="\x1b]0;pwned\x07", engine="\x1b[31m"))

    with zmq_peer(zmq.ROUTER, say) as endpoint:
        done = ping(endpoint, *SHORT)
    assert not {*done.out, *done.err.encode()} & {*range(32)} - {10}


@pytest.mark.parametrize("form", [(), ("--json",)], ids=str)
def test_nothing_raw_of_what_a_server_says_it_is_comes_to_the_terminal(form):
    def say(sock, frames):
        if frames[-2] == MAGIC:
            sock.send_multipart(reply(frames, protocol=1, engine="\x1b[31m", versions={"\x1b": "\x07"}))
        else:
            echo(sock, frames)

    with zmq_peer(zmq.ROUTER, say) as endpoint:
        done = ping(endpoint, *form, *SHORT)
    assert not {*done.out, *done.err.encode()} & {*range(32)} - {10}


@pytest.mark.parametrize("engine", ENGINES)
def test_an_answer_cut_short_is_rubbish(engine):
    def say(sock, frames):
        sock.send_multipart([*frames[:-1], frames[-1][:-1]])

    with zmq_peer(zmq.ROUTER, agreeing(say)) as endpoint:
        fails_with(ping(endpoint, "--engine", engine, *BRIEF), "answers rubbish")


@pytest.mark.parametrize("engine", ENGINES)
def test_answers_that_come_twice_are_counted(engine):
    def say(sock, frames):
        echo(sock, frames)
        echo(sock, frames)

    with zmq_peer(zmq.ROUTER, agreeing(say)) as endpoint:
        done = ping(endpoint, "--pattern", "dealer-router", "--json", "--engine", engine, *SHORT)
    [row] = document(done)["rows"]
    assert (row["received"], row["lost"]) == (60, 0)
    assert row["duplicates"] >= 59


def test_a_late_answer_is_counted_as_lost_and_late():
    held = []

    def say(sock, frames):
        if frames[-1][:8] == b"\x05\0\0\0\0\0\0\0":
            held.append(frames)
            return
        for message in held:
            echo(sock, message)
        held.clear()
        echo(sock, frames)

    with zmq_peer(zmq.ROUTER, agreeing(say)) as endpoint:
        args = ("--pattern", "dealer-router", "--json", "--retries", "1", *SHORT, *BRIEF)
        [row] = document(ping(endpoint, *args))["rows"]
    assert (row["received"], row["lost"], row["retried"], row["late"]) == (60, 1, 1, 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ROUND_TRIPS)
def test_a_peer_that_falls_silent_ends_it_with_what_was_measured(pattern, engine):
    answered = []

    def say(sock, frames):
        if len(answered) < 20:
            answered.append(frames)
            echo(sock, frames)

    with zmq_peer(zmq.ROUTER, agreeing(say)) as endpoint:
        done = ping(endpoint, "--pattern", pattern, "--engine", engine, "--json", *SHORT, *BRIEF)
    fails_with(done, f"no answer from {endpoint} within 0.3 s")
    [row] = document(done)["rows"]
    assert (row["received"], row["lost"], row["complete"]) == (15, 1, False)


@pytest.mark.parametrize("engine", ENGINES)
def test_retries_are_as_many_as_they_are_said_to_be(engine):
    asked = []

    def say(sock, frames):
        asked.append(frames)

    with zmq_peer(zmq.ROUTER, agreeing(say)) as endpoint:
        args = ("--warmup", "0", "--count", "1", "--retries", "2", "--timeout", "100ms", "--json", "--engine", engine)
        [row] = document(ping(endpoint, *args))["rows"]
    assert len(asked) == 3
    assert (row["received"], row["lost"], row["retried"]) == (0, 3, 2)


# Killed and restarted


@contextmanager
def killed_mid_run(*args, bind=None, tmp_path=None):
    """Kill a server in the middle of a run; give the ping, and the endpoint on which the server was."""
    bind = bind or f"ipc://{tmp_path}/socket"
    with serving(bind=bind) as server, pinging(server.urls[0], *args, *BRIEF) as process:
        wait_until_busy(server)
        server.send_signal(signal.SIGKILL)
        server.process.wait()
        yield process, server.urls[0]


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ROUND_TRIPS)
def test_with_retries_it_goes_on_when_the_server_is_back(tmp_path, transport, engine, pattern):
    bind = "tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/socket"
    args = (*LONG, "--retries", "100", "--pattern", pattern, "--engine", engine)
    with killed_mid_run(*args, bind=bind) as (process, endpoint), serving(bind=endpoint) as back:
        wait_until_busy(back)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert (done.code, done.err) == (130, "")
    [row] = document(done)["rows"]
    assert row["lost"] == row["retried"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ROUND_TRIPS)
def test_without_retries_a_server_that_is_killed_ends_it_with_what_was_measured(tmp_path, engine, pattern):
    args = ("--pattern", pattern, "--engine", engine, "--duration", "1h")
    with killed_mid_run(*args, tmp_path=tmp_path) as (process, endpoint):
        done = ended(process)
    fails_with(done, endpoint)
    [row] = [line for line in done.out.decode().splitlines() if line.startswith(engine)]
    assert int(row.split()[2].replace(",", "")) > 100
    assert f"partial: {endpoint} has gone, and not come back within 0.3 s" in done.out.decode()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", ["push-pull"])
def test_a_server_that_is_killed_while_it_counts_ends_it(tmp_path, engine, pattern):
    args = (*LONG, "--pattern", pattern, "--engine", engine)
    with killed_mid_run(*args, tmp_path=tmp_path) as (process, _):
        done = ended(process)
    fails_with(done)
    [row] = document(done)["rows"]
    assert (row["complete"], row["received"]) == (False, None)
    assert row["sent"] > 0


def test_a_server_that_is_killed_while_it_counts_a_feed_ends_it(tmp_path):
    """A PUB socket does not mind: it is when the server is to say what has come that it shows."""
    args = ("--json", "--duration", "2s", "--pattern", "pub-sub")
    with killed_mid_run(*args, tmp_path=tmp_path) as (process, _):
        done = ended(process)
    fails_with(done)
    assert document(done)["rows"][0]["received"] is None


def test_a_server_that_is_started_anew_does_not_know_what_was_counted(tmp_path):
    args = ("--json", "--duration", "2s", "--pattern", "pub-sub")
    with killed_mid_run(*args, tmp_path=tmp_path) as (process, endpoint), serving(bind=endpoint):
        done = ended(process)
    fails_with(done)
    assert document(done)["rows"][0]["complete"] is False


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_stalls_ends_it_with_what_was_measured(engine):
    with serving() as server, pinging(server.urls[0], *LONG, *BRIEF, "--engine", engine) as process:
        wait_until_busy(server)
        server.send_signal(signal.SIGSTOP)
        done = ended(process)
    fails_with(done, "it is connected, but does not answer")
    assert document(done)["rows"][0]["received"] > 100


# At the server


def is_well(server):
    assert document(ping(server.urls[0], "--json", *SHORT))["rows"][0]["received"] == 60
    assert server.process.poll() is None
    assert "Traceback" not in server.err


def rubbish(size):
    return secrets.token_bytes(size)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", b"\xff", rubbish(64), rubbish(1 << 18)],
    ids=["http", "nothing", "a byte", "64 random bytes", "256k random bytes"],
)
def test_the_server_goes_on_after_a_client_of_another_kind(engine, data):
    with serving("--engine", engine) as server:
        address = server.target()
        for _ in range(3):
            with socket.create_connection(address) as client:
                client.settimeout(5)
                try:
                    client.sendall(data)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(65536):
                        pass
                except OSError:
                    pass  # it may well cut it off
        is_well(server)


@pytest.fixture(scope="module", params=ENGINES)
def shared(request):
    """One server of each engine for all that ask it nonsense."""
    with serving("--engine", request.param) as server:
        yield server


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"", b""],
        [b"", MAGIC],
        [MAGIC],
        [b"", MAGIC, b""],
        [b"", MAGIC, b"rubbish"],
        [b"", MAGIC, b"\xff\xfe"],
        [b"", MAGIC, b"[" * 100_000],
        [b"", MAGIC, b"3"],
        [b"", MAGIC, b'{"do": ["hello"]}'],
        [b"", MAGIC, b'{"do": "hello", "protocol": 1, "pattern": ["req-rep"], "sizes": 3}'],
        [b"", MAGIC, b'{"do": "hello", "protocol": 1, "pattern": "req-rep", "sizes": [null, "x"]}'],
        [b"", MAGIC, b'{"do": "open", "pattern": "push-pull", "size": 1e400, "idle_s": NaN}'],
        [b"", MAGIC, b'{"do": "open", "pattern": "push-pull", "size": 8, "idle_s": NaN}'],
        [b"", MAGIC, b'{"do": "open", "pattern": "push-pull", "size": true, "idle_s": true}'],
        [b"", MAGIC, b'{"do": "report", "session": [], "sent": 3}'],
        [b"", MAGIC, b'{"do": "report", "session": {}, "sent": 3}'],
        [b"", MAGIC, b'{"do": "bye", "run": {}}'],
        [b"", MAGIC, b'{"do": "\\ud800"}'],
    ],
    ids=lambda frames: str(frames[1:])[:60],
)
def test_the_server_goes_on_after_a_question_that_makes_no_sense(shared, frames):
    with asking(zmq.DEALER, shared.urls[0]) as sock:
        sock.send_multipart(frames)
        assert sock.recv_multipart()
        assert "error" not in ask(sock, "hello", protocol=1, pattern="push-pull", sizes=[8], pipeline=1)
    assert " ERROR " not in shared.err


@pytest.mark.parametrize("engine", ENGINES)
def test_the_server_counts_on_after_rubbish_among_messages(engine):
    with serving("--engine", engine) as server:
        with asking(zmq.DEALER, server.urls[0]) as control:
            hello = ask(control, "hello", protocol=1, pattern="push-pull", sizes=[8], pipeline=1)
            opened = ask(control, "open", pattern="push-pull", size=8, idle_s=5)
            assert "error" not in {**hello, **opened}
            data = server.urls[0].rpartition(":")[0] + opened["endpoint"]
            with asking(zmq.PUSH, data) as push:
                for message in (b"", b"x" * 7, b"x" * 9, bytes(8), b"\x01" + bytes(7)):
                    push.send(message)
                push.send_multipart([b"\x02" + bytes(7), b"a frame too many"])
                wait_until(lambda: ask(control, "report", session=1, sent=3)["is_over"], "it waits for more")
            report = ask(control, "report", session=1, sent=3)
        assert (report["received"], report["lost"], report["rubbish"]) == (3, 0, 4)
        is_well(server)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("pattern", "client_engine"), [*((pattern, "green") for pattern in PATTERNS), ("req-rep", "blocking")]
)
def test_the_server_goes_on_after_a_client_that_is_killed(pattern, engine, client_engine):
    with serving("--engine", engine) as server:
        args = ("--duration", "1h", "--pattern", pattern, "--engine", client_engine)
        with pinging(server.urls[0], *args) as process:
            wait_until_busy(server)
            process.kill()
            process.wait()
        is_well(server)


@pytest.mark.parametrize(("engine", "pattern"), [("green", "push-pull"), ("blocking", "req-rep")])
def test_once_ends_after_a_client_that_is_killed(pattern, engine):
    with (
        serving("--once", "--engine", engine) as server,
        pinging(server.urls[0], "--duration", "1h", "--pattern", pattern) as process,
    ):
        wait_until_busy(server)
        process.kill()
        process.wait()
        assert server.process.wait(TIMEOUT_S) == 0


# Ctrl-C


@pytest.mark.parametrize("clients", ["1", "5"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_ctrl_c_ends_it_within_a_second_with_what_was_measured(pattern, engine, clients):
    with serving() as server:
        args = ("--pattern", pattern, "--engine", engine, "--clients", clients)
        with pinging(server.urls[0], *LONG, *args) as process:
            wait_until_busy(server)
            children = client_processes(process.pid)
            assert len(children) == (int(clients) if engine == "blocking" else 0)
            interrupted_at = time.monotonic()
            process.send_signal(signal.SIGINT)
            done = ended(process)
            assert time.monotonic() - interrupted_at < CTRL_C_S
        assert (done.code, done.err) == (130, "")
        [row] = document(done)["rows"]
        assert (row["complete"], row["error"]) == (False, "interrupted")
        assert row["received"] > 100
        assert not any(map(is_running, children))


@pytest.mark.parametrize("clients", ["1", "3"])
@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_loses_nothing_that_was_pushed(engine, clients):
    with serving() as server:
        args = ("--pattern", "push-pull", "--engine", engine, "--clients", clients)
        with pinging(server.urls[0], *LONG, *args) as process:
            wait_until_busy(server)
            process.send_signal(signal.SIGINT)
            done = ended(process)
    assert document(done)["rows"][0]["lost"] == 0


def interrupted(endpoint, *args) -> Result:
    """Interrupt it as a terminal does, with all its processes, when it is connected or about to be."""
    with pinging(endpoint, *args, start_new_session=True) as process:
        wait_until(lambda: _watches_for_signals(process.pid), "it has not begun")
        os.killpg(process.pid, signal.SIGINT)
        return ended(process)


def _watches_for_signals(pid):
    """Whether SIGTERM is caught (proc_pid_status(5)), which is when the run has begun."""
    with open(f"/proc/{pid}/status") as status:
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    return caught & 1 << signal.SIGTERM - 1


@pytest.mark.parametrize("form", [(), ("--json",)], ids=str)
def test_ctrl_c_while_nobody_answers_ends_it(form):
    with tcp_peer() as endpoint:
        done = interrupted(endpoint, *form)
    assert (done.code, done.err) == (130, "")
    if form:
        assert document(done)["rows"] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_of_a_terminal_is_one_signal_to_all_of_its_processes(engine):
    with serving() as server:
        args = (*LONG, "--engine", engine, "--clients", "2")
        with pinging(server.urls[0], *args, start_new_session=True) as process:
            wait_until_busy(server)
            os.killpg(process.pid, signal.SIGINT)
            done = ended(process)
    assert (done.code, done.err) == (130, "")
    assert document(done)["rows"][0]["received"] > 100


@pytest.mark.parametrize("engine", ENGINES)
def test_sigterm_ends_it_with_what_was_measured(engine):
    with serving() as server, pinging(server.urls[0], *LONG, "--engine", engine) as process:
        wait_until_busy(server)
        process.send_signal(signal.SIGTERM)
        done = ended(process)
    assert done.code == 143
    assert document(done)["rows"][0]["received"] > 100


def test_what_was_measured_until_ctrl_c_is_marked_in_the_table():
    with serving() as server, pinging(server.urls[0], "--duration", "1h") as process:
        wait_until_busy(server)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    assert (done.code, done.err) == (130, "")
    assert b"partial: interrupted\n" in done.out


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_clients_of_a_ping_that_is_killed_end_too(pattern):
    with serving() as server:
        args = ("--duration", "1h", "--engine", "blocking", "--clients", "3", "--pattern", pattern)
        with pinging(server.urls[0], *args) as process:
            wait_until_busy(server)
            children = client_processes(process.pid)
            assert len(children) == 3
            process.kill()
            process.wait()
            wait_until(lambda: not any(map(is_running, children)), "a client is left running")


def test_a_client_process_that_is_killed_ends_the_ping_with_a_sentence():
    with serving() as server, pinging(server.urls[0], *LONG, "--engine", "blocking", "--clients", "2") as process:
        wait_until_busy(server)
        os.kill(client_processes(process.pid)[0], signal.SIGKILL)
        done = ended(process)
    assert done.code == 1
    assert "a client's process has ended with -9" in done.err
    assert document(done)["rows"][0]["complete"] is False
