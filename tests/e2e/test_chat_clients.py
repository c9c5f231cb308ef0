"""`gtool chat-post` and `gtool chat-tail` as processes, against `gtool chat`: each option and exit code."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TIMEOUT_S, Result, answer, command, environment, run_gtool
from tests.e2e.relay import relaying
from tests.e2e.servers import GtoolServer, running
from tests.e2e.test_ws_tail import ended, next_lines
from tests.e2e.ws import LOOPBACK, wait_until

ALL = ("--since", "all")
FAST = ("--post-rate", "100000/s", "--post-burst", "100000")
STAMP = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]"
#: writes the text that it is told of as a line of JSON
SHOW_TEXT = "import json, os; print(json.dumps(os.environ['GTOOL_CHAT_TEXT']), flush=True)"


# --- what the tests share


@contextmanager
def chat(*args: Any, listen: str = LOOPBACK, store: str = "memory:", **how: Any) -> Iterator[GtoolServer]:
    with running("chat", "-l", listen, "--store", store, "--room", "a", "--room", "b", *args, **how) as server:
        yield server


@pytest.fixture
def server() -> Iterator[GtoolServer]:
    with chat(*FAST) as made:
        yield made


def url_of(where: GtoolServer | str) -> str:
    return where if isinstance(where, str) else where.urls[0]


def post(where: GtoolServer | str, *args: str | Path, **run: Any) -> Result:
    """Run chat-post to its end."""
    return run_gtool("chat-post", "--server", url_of(where), *args, **run)


def say(where: GtoolServer | str, *texts: str, room: str = "a", user: str = "bob") -> list[str]:
    """Have messages posted; give their ids."""
    lines = "".join(f"{text}\n" for text in texts).encode()
    done = post(where, room, "--lines", "--as", user, "--json", stdin=lines)
    assert (done.code, len(done.records)) == (0, len(texts)), done
    return [record["id"] for record in done.records]


def tail(where: GtoolServer | str, *args: str | Path, rooms: tuple[str, ...] = ("a",), **run: Any) -> Result:
    """Run chat-tail to its end."""
    return run_gtool("chat-tail", "--server", url_of(where), *rooms, *args, **run)


@contextmanager
def client(name: str, where: GtoolServer | str, *args: str | Path, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start chat-post or chat-tail; it is killed at the end."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    whole = command(name, "--server", url_of(where), *args)
    with subprocess.Popen(whole, **{"env": environment(), **pipes, **popen}) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def tailing(where: GtoolServer | str, *args: str | Path, **popen: Any) -> Iterator[subprocess.Popen[bytes]]:
    with client("chat-tail", where, "a", *args, **popen) as process:
        yield process


def texts_of(where: GtoolServer | str, room: str = "a") -> list[str]:
    """What is in a room, by the API."""
    from urllib.request import urlopen

    with urlopen(f"{url_of(where)}/api/rooms/{room}/messages?limit=500", timeout=TIMEOUT_S) as found:
        return [message["text"] for message in json.load(found)["messages"]]


def token_for(server: GtoolServer, name: str) -> str:
    """Claim a name."""
    from urllib.request import Request, urlopen

    body = json.dumps({"name": name}).encode()
    request = Request(f"{url_of(server)}/api/session", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=TIMEOUT_S) as found:
        token: str = json.load(found)["token"]
        return token


def lines_of(done: Result) -> list[str]:
    """The lines of a tail, without their times."""
    lines = done.out.decode().splitlines()
    assert all(re.match(STAMP, line) for line in lines), lines
    return [re.sub(STAMP + " ", "", line) for line in lines]


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


# --- chat-post: what is posted


def test_an_argument_is_a_message(server):
    assert post(server, "a", "hello there", "--as", "bob") == Result(0, b"", "")
    assert lines_of(tail(server, *ALL, "-n1")) == ["a bob: hello there"]


def test_without_an_argument_stdin_is_a_message_of_any_lines(server):
    assert post(server, "a", stdin="one\ntwo ä\n".encode()).code == 0
    assert texts_of(server) == ["one\ntwo ä"]


def test_json_shows_what_is_stored_with_its_id(server):
    (record,) = post(server, "a", "hello", "--as", "bob", "--json").records
    assert list(record) == ["id", "time", "room", "user", "text"]
    assert tail(server, *ALL, "-n1", "--json").records == [record]


def test_without_a_name_it_is_the_logins(server):
    from gtool.chat.remote import login_name

    assert post(server, "a", "x", "--json").records[0]["user"] == login_name()


def test_lines_are_messages(server):
    assert post(server, "a", "--lines", stdin=b"one\n\ntwo\n \nthree").code == 0
    assert texts_of(server) == ["one", "two", "three"]


def test_lines_are_posted_as_they_come(server):
    with client("chat-post", server, "a", "--lines", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        for number in range(3):
            process.stdin.write(f"line {number}\n".encode())
            process.stdin.flush()
            assert json.loads(next_lines(process)[0])["text"] == f"line {number}"
        process.stdin.close()
        assert ended(process).code == 0


@pytest.mark.parametrize("text", ["$(touch x)", "'; --", "ä 日本 😀", "-n", "<script>", "\u202e"])
def test_an_odd_text_is_text(server, text):
    done = post(server, "--", "a", text)
    if text == "\u202e":  # which shows nothing
        assert (done.code, "this one is blank" in done.err) == (1, True)
    else:
        assert texts_of(server) == [text]


def test_bytes_that_are_no_text_are_shown_as_such(server):
    post(server, "a", stdin=b"a\xffb\0c")
    assert texts_of(server) == ["a\ufffdb\ufffdc"]


# --- chat-post: what is not


def refusal_of(done: Result, code: int) -> str:
    assert (done.code, done.out, done.err.count("\n")) == (code, b"", 1), done
    return done.err


def test_a_room_that_there_is_not_is_exit_1(server):
    assert "not posted to none: there is no room none" in refusal_of(post(server, "none", "x"), 1)


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_a_blank_message_is_exit_1(server, text):
    assert "this one is blank" in refusal_of(post(server, "a", text), 1)


def test_a_message_that_is_too_long_is_exit_1(server):
    assert "a message has up to 4096 bytes" in refusal_of(post(server, "a", "x" * 4097), 1)


def test_a_line_that_is_refused_is_exit_1_and_the_others_are_posted(server):
    done = post(server, "a", "--lines", stdin=b"one\n" + b"x" * 5000 + b"\ntwo\n")
    assert (done.code, "1 lines were not posted" in done.err) == (1, True)
    assert texts_of(server) == ["one", "two"]


def test_somebodys_name_is_exit_1(server):
    token_for(server, "alice")
    assert "Alice is somebody else" in refusal_of(post(server, "a", "x", "--as", "Alice"), 1)
    assert texts_of(server) == []


def test_with_ones_session_it_is_ones_own_name(server, tmp_path):
    (tmp_path / "token").write_text(token_for(server, "alice"))
    assert post(server, "a", "x", "--token-file", tmp_path / "token", "--json").records[0]["user"] == "alice"


def test_a_bad_command_line_is_exit_2(server):
    assert "--lines posts stdin" in refusal_of(post(server, "a", "x", "--lines"), 2)


def test_no_answer_is_exit_4(peer):
    stalled = peer(lambda connection, _: connection.recv(65536) and connection.recv(1))
    assert "not posted within 0.5 s" in refusal_of(post(stalled.url, "a", "x", "--timeout", "500ms"), 4)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}"])
def test_another_server_is_exit_4(peer, body):
    other = peer(lambda connection, _: connection.sendall(answer(body, "201 Created")))
    assert "does not answer as a chat server of gtool does" in refusal_of(post(other.url, "a", "x"), 4)


def test_nobody_there_is_exit_5(refused_port):
    done = post(f"http://127.0.0.1:{refused_port}", "a", "x", "--timeout", "2500ms")
    assert "Connection refused" in refusal_of(done, 5)


@pytest.mark.parametrize("args", [(), ("--lines",)])
def test_closed_stdin_is_exit_26(server, args):
    whole = command("chat-post", "--server", url_of(server), "a", *args)
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *whole], capture_output=True, timeout=TIMEOUT_S, env=environment()
    )
    assert (done.returncode, b"cannot read stdin" in done.stderr) == (26, True)


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_post_that_waits(server, stop, code):
    with client("chat-post", server, "a", "--lines", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(b"x\n")
        process.stdin.flush()
        next_lines(process)
        process.send_signal(stop)
        assert ended(process) == Result(code, b"", "")


def test_a_closed_stdout_is_exit_141(server):
    with client("chat-post", server, "a", "--lines", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.close()
        process.stdin.write(b"x\n")
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 141


# --- chat-post: a server that comes and goes


def test_a_server_that_is_killed_in_the_middle_has_each_line_once(tmp_path):
    store, port = f"sqlite:{tmp_path}/chat.db", free_port()
    where = f"http://127.0.0.1:{port}"
    lines = [f"line {number}" for number in range(300)]
    with client("chat-post", where, "a", "--lines", "--json", "--timeout", "30s", stdin=subprocess.PIPE) as process:
        with chat(*FAST, listen=f"127.0.0.1:{port}", store=store) as first:
            assert process.stdin
            process.stdin.write("".join(f"{line}\n" for line in lines).encode())
            process.stdin.close()
            before = next_lines(process, 50)
            first.stop(signal.SIGKILL)
        with chat(*FAST, listen=f"127.0.0.1:{port}", store=store):
            done = ended(process)
            stored = texts_of(where)
    assert (done.code, stored) == (0, lines)
    assert [json.loads(line)["text"] for line in before] + [record["text"] for record in done.records] == lines


def test_an_answer_that_is_lost_is_a_message_once(server):
    """The relay cuts the connection when the server has stored the message."""
    lost: list[bytes] = []

    def down(data: bytes) -> bytes | None:
        if not lost:
            lost.append(data)
            return None
        return data

    with relaying(server.port, down=down) as relay:
        assert post(f"http://127.0.0.1:{relay.port}", "a", "hello").code == 0
    assert (b" 201 " in lost[0], texts_of(server)) == (True, ["hello"])


def test_a_server_that_starts_later_is_waited_for():
    port = free_port()
    where = f"http://127.0.0.1:{port}"
    with (
        client("chat-post", where, "a", "x", "--timeout", "30s") as process,
        chat(listen=f"127.0.0.1:{port}") as server,
    ):
        assert ended(process).code == 0
        assert texts_of(server) == ["x"]


def test_a_rate_limit_is_waited_for_however_short_the_time():
    with chat("--post-rate", "2/s", "--post-burst", "1") as server:
        done = post(server, "a", "--lines", "--timeout", "500ms", stdin=b"1\n2\n3\n")
        assert (done.code, texts_of(server)) == (0, ["1", "2", "3"])


# --- a private server


@pytest.fixture
def secret(tmp_path) -> Path:
    (tmp_path / "secret").write_text("s3cret\n")
    return tmp_path / "secret"


@pytest.fixture
def private(secret) -> Iterator[GtoolServer]:
    with chat("--token", secret) as server:
        yield server


def test_a_private_server_takes_what_comes_with_its_token(private, secret):
    assert post(private, "a", "x", "--as", "bob", "--token-file", secret).code == 0
    assert lines_of(tail(private, *ALL, "-n1", "--token-file", secret)) == ["a bob: x"]


def test_a_private_server_takes_what_comes_without_a_name(private, secret):
    assert post(private, "a", "x", GTOOL_CHAT_TOKEN_FILE=str(secret)).code == 0


def test_a_private_server_refuses_a_post_without_its_token(private):
    assert "not posted to a: " in refusal_of(post(private, "a", "x"), 1)


def test_a_private_server_says_what_it_wants(private):
    assert "the token is missing, or wrong" in post(private, "a", "x").err


def test_a_private_server_shows_nothing_without_its_token(private):
    assert "HTTP 401: the token is missing" in refusal_of(tail(private, *ALL), 5)


# --- the environment


def test_both_find_the_server_in_the_environment(server):
    variables = {"GTOOL_CHAT_SERVER": url_of(server)}
    assert run_gtool("chat-post", "a", "x", "--as", "bob", **variables).code == 0
    assert lines_of(run_gtool("chat-tail", "a", *ALL, "-n1", **variables)) == ["a bob: x"]


# --- chat-tail: which messages


def test_messages_are_shown_as_they_come(server, tmp_path):
    with tailing(server, "--state", tmp_path / "id") as process:
        wait_until((tmp_path / "id").exists, "a connection")
        for number in range(3):
            say(server, f"m{number}")
            assert re.fullmatch(f"{STAMP} a bob: m{number}", next_lines(process)[0])


def test_rooms_are_those_that_are_named(server):
    for number in range(4):
        say(server, f"m{number}", room="ab"[number % 2])
    assert lines_of(tail(server, *ALL, "-n2", rooms=("b",))) == ["b bob: m1", "b bob: m3"]
    assert lines_of(tail(server, *ALL, "-n4", rooms=("a", "b"))) == [f"{'ab'[n % 2]} bob: m{n}" for n in range(4)]


def test_a_room_that_there_is_not_can_not_be_shown(server):
    assert "HTTP 404: there is no room none" in refusal_of(tail(server, rooms=("a", "none")), 5)


def test_since_an_id_begins_after_it(server):
    ids = say(server, "1", "2", "3")
    assert lines_of(tail(server, "--since", ids[0], "-n2")) == ["a bob: 2", "a bob: 3"]


def test_since_a_time_begins_so_long_ago(server):
    say(server, "1", "2")
    assert lines_of(tail(server, "--since", "1h", "-n2")) == ["a bob: 1", "a bob: 2"]


def test_since_no_time_ago_begins_with_what_comes(server, tmp_path):
    say(server, "old")
    with tailing(server, "--since", "0", "-n1", "--state", tmp_path / "id") as process:
        wait_until((tmp_path / "id").exists, "a connection")
        say(server, "new")
        assert lines_of(ended(process)) == ["a bob: new"]


def test_an_id_of_other_messages_is_a_gap(server):
    say(server, "1")
    done = tail(server, "--since", "other:1", "-n1")
    assert (done.code, lines_of(done), " WARNING gap " in done.err) == (0, ["a bob: 1"], True)
    assert tail(server, "--since", "other:1", "-n1", "--strict").code == 1


def test_json_is_a_message_a_line(server):
    ids = say(server, "ä\u2028b", "2")
    records = tail(server, *ALL, "-n2", "--json").records
    assert [(record["id"], record["text"]) for record in records] == [(ids[0], "ä\u2028b"), (ids[1], "2")]


def test_what_would_be_another_line_or_a_terminals_command_is_escaped(server):
    post(server, "a", "one\ntwo\u202e\x85\u009b31m", "--as", "bob")
    (line,) = lines_of(tail(server, *ALL, "-n1"))
    assert line == "a bob: one\\ntwo\\u202e\ufffd\ufffd31m"


# --- chat-tail: when to end


def test_timeout_without_a_message_is_exit_4(server):
    assert "no message within 0.5 s" in refusal_of(tail(server, "--timeout", "500ms"), 4)


def test_timeout_after_a_message_is_exit_0(server):
    say(server, "1")
    assert lines_of(tail(server, *ALL, "--timeout", "1s")) == ["a bob: 1"]


def test_timeout_with_less_than_count_is_exit_4(server):
    say(server, "1")
    done = tail(server, *ALL, "--timeout", "1s", "-n2")
    assert (done.code, "1 of 2 messages" in done.err) == (4, True)


def test_until_ends_it_with_the_message_that_matches(server):
    say(server, "building", "deployed 1.2", "later")
    done = tail(server, *ALL, "--until", r"^deployed \d", "--timeout", "20s")
    assert (done.code, lines_of(done)) == (0, ["a bob: building", "a bob: deployed 1.2"])


def test_until_waits_for_a_word(server, tmp_path):
    with tailing(server, "--until", "deployed", "--state", tmp_path / "id") as process:
        wait_until((tmp_path / "id").exists, "a connection")
        say(server, "building")
        next_lines(process)
        say(server, "deployed")
        assert ended(process).code == 0


def test_until_without_a_message_that_matches_is_exit_4(server):
    say(server, "building")
    done = tail(server, *ALL, "--until", "deployed", "--timeout", "1s")
    assert (done.code, lines_of(done)) == (4, ["a bob: building"])
    assert "no message that matches within 1 s" in done.err


def test_nobody_there_to_tail_is_exit_5(refused_port):
    assert "Connection refused" in refusal_of(tail(f"http://127.0.0.1:{refused_port}"), 5)


def test_a_server_of_another_kind_is_an_error():
    with running("ws-feed", "-l", LOOPBACK) as feed:
        done = tail(feed, "--timeout", "20s")
        assert (done.code in (4, 5), done.out) == (True, b"")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_tail(server, tmp_path, stop, code):
    with tailing(server, "--state", tmp_path / "id") as process:
        wait_until((tmp_path / "id").exists, "a connection")
        process.send_signal(stop)
        assert ended(process) == Result(code, b"", "")


def test_a_closed_pipe_is_exit_141_without_a_word(server):
    say(server, "1")
    with tailing(server, *ALL) as process:
        next_lines(process)
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert (process.wait(TIMEOUT_S), process.stderr.read()) == (141, b"")


# --- chat-tail: over connections and runs


def test_a_state_is_gone_on_from_without_a_gap_or_a_double(server, tmp_path):
    state = ("--state", tmp_path / "id", "--strict")
    say(server, "0", "1", "2")
    shown = lines_of(tail(server, *ALL, "-n2", *state))
    say(server, "3", "4")
    shown += lines_of(tail(server, "-n1", *state))
    shown += lines_of(tail(server, "-n2", *state))
    assert shown == [f"a bob: {number}" for number in range(5)]


def test_a_run_without_messages_is_gone_on_from(server, tmp_path):
    state = ("--state", tmp_path / "id")
    assert tail(server, "--timeout", "500ms", *state).code == 4
    say(server, "meanwhile")
    assert lines_of(tail(server, "-n1", *state)) == ["a bob: meanwhile"]


def test_a_server_that_is_killed_and_is_back_loses_and_repeats_nothing(tmp_path):
    store = f"sqlite:{tmp_path}/chat.db"
    port = free_port()
    where = f"http://127.0.0.1:{port}"
    lines = [f"m{number}" for number in range(200)]
    with chat(*FAST, listen=f"127.0.0.1:{port}", store=store) as first:
        say(where, *lines[:100])
        process_args = (*ALL, "--strict", "-n", "200")
        with tailing(where, *process_args) as process:
            shown = next_lines(process, 50)
            first.stop(signal.SIGKILL)
            with chat(*FAST, listen=f"127.0.0.1:{port}", store=store):
                say(where, *lines[100:])
                done = ended(process)
    shown += done.out.decode().splitlines()
    assert (done.code, [line.rpartition(": ")[2] for line in shown]) == (0, lines)


def test_a_connection_that_is_cut_loses_and_repeats_nothing(server, tmp_path):
    state = tmp_path / "id"
    with (
        relaying(server.port) as relay,
        tailing(f"http://127.0.0.1:{relay.port}", "--strict", "-n2", "--state", state) as process,
    ):
        wait_until(state.exists, "a connection")
        say(server, "1")
        next_lines(process)
        relay.cut()
        say(server, "2")
        done = ended(process)
    assert (done.code, lines_of(done), done.err.count(" reconnecting ")) == (0, ["a bob: 2"], 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_for_lines_is_exit_23(server):
    say(server, "1")
    with open("/dev/full", "wb") as full, tailing(server, *ALL, stdout=full) as process:
        assert ended(process).code == 23


def test_a_state_that_can_not_be_written_is_exit_23(server, tmp_path):
    done = tail(server, *ALL, "--state", tmp_path / "none" / "id")
    assert f"cannot write {tmp_path}/none/id: No such file or directory" in refusal_of(done, 23)


def test_a_disk_without_room_for_the_state_is_exit_23(server, tmp_path):
    """Files of this process may have no byte."""
    say(server, "1")
    whole = command("chat-tail", "--server", url_of(server), "a", *ALL, "-n1", "--state", tmp_path / "id")
    script = 'trap "" XFSZ; ulimit -f 0; exec "$@"'
    with subprocess.Popen(
        ["bash", "-c", script, "bash", *whole],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
    ) as process:
        done = ended(process)
    assert (done.code, f"cannot write {tmp_path}/id: File too large" in done.err) == (23, True)


# --- chat-tail --exec


def test_a_command_is_run_for_each_message(server):
    say(server, "1", "2", "3")
    done = tail(server, *ALL, "-n3", "--exec", f'{sys.executable} -c "{SHOW_TEXT}"')
    assert [json.loads(line) for line in done.out.decode().splitlines()[1::2]] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "text",
    [
        "$(touch x)",
        "`touch x`",
        "; touch x",
        "| touch x",
        "' touch x '",
        '" && touch x',
        "a\nb",
        "ä 日本 😀",
        "\\",
        "-n",
        "%n",
    ],
)
def test_what_is_said_is_told_and_never_run(server, tmp_path, text):
    post(server, "--", "a", text)
    done = tail(server, *ALL, "-n1", "--exec", f'{sys.executable} -c "{SHOW_TEXT}"', cwd=tmp_path)
    assert (done.code, json.loads(done.out.splitlines()[1]), list(tmp_path.iterdir())) == (0, text, [])


def test_a_command_that_fails_is_told_and_no_end(server):
    say(server, "1", "2")
    done = tail(server, *ALL, "-n2", "--exec", "false")
    assert (done.code, done.err.count("the command has failed")) == (0, 2)


def test_a_command_that_there_is_not_is_exit_2(server):
    say(server, "1")
    done = tail(server, *ALL, "--exec", "./no-such-command")
    assert (done.code, "--exec: cannot run ./no-such-command: No such file" in done.err) == (2, True)


def test_a_message_whose_command_was_not_run_comes_again(server, tmp_path):
    say(server, "1")
    state: tuple[str | Path, ...] = ("--state", tmp_path / "id")
    assert tail(server, *ALL, *state, "--exec", "./no-such-command").code == 2
    assert lines_of(tail(server, "-n1", *state)) == ["a bob: 1"]


def test_a_signal_ends_the_command_too(server, tmp_path):
    pid = tmp_path / "pid"
    say(server, "1")
    script = f"sh -c 'echo $$ > {pid}.part; mv {pid}.part {pid}; exec sleep 600'"
    with tailing(server, *ALL, "--exec", script) as process:
        wait_until(pid.exists, "the command")
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT_S) == 130
        wait_until(lambda: not is_alive(pid.read_text().strip()), "the end of the command")


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- TLS


@pytest.fixture
def secure(certificate) -> Iterator[str]:
    with chat("--tls-cert", certificate, listen="localhost:0") as server:
        yield f"https://localhost:{server.port}"


def test_both_speak_tls(secure, ca_file):
    assert post(secure, "a", "x", "--as", "bob", "--cacert", ca_file).code == 0
    assert lines_of(tail(secure, *ALL, "-n1", "--cacert", ca_file)) == ["a bob: x"]


@pytest.mark.parametrize("run", [lambda url: post(url, "a", "x", "--timeout", "2500ms"), tail], ids=["post", "tail"])
def test_a_certificate_that_is_not_trusted_is_exit_5(secure, run: Callable[[str], Result]):
    assert "the certificate is not trusted" in refusal_of(run(secure), 5)
