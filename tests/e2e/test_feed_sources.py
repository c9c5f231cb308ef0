"""ws-feed's sources: the walk, the lines of stdin, the lines of a command, and --echo."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, command, environment, run_gtool
from tests.e2e.probes import events, resident_bytes, wait_until_ended
from tests.e2e.servers import GtoolServer
from tests.e2e.ws import (
    BINARY,
    CONT,
    FAST,
    FIN,
    PING,
    PONG,
    TEXT,
    ask,
    connect,
    end_input,
    events_of,
    fed_by_hand,
    feed,
    frame,
    latest,
    put,
    put_bytes,
    raw,
    read_answer,
    receive,
    receive_json,
    receive_to_end,
    request,
    wait_until,
)

MEBIBYTE = 1 << 20
MAX_GROWTH_BYTES = 24 << 20


def warnings(server: GtoolServer) -> list[str]:
    return [line for line in server.err.splitlines() if " WARNING " in line]


# --- the walk


def test_the_walk_counts_x_and_takes_y_from_1_to_5():
    with feed(*FAST) as server, connect(server, "/?since=all") as client:
        steps = receive_json(client, 50)
        assert [step["x"] for step in steps] == list(range(50))
        assert {step["y"] for step in steps} == {1, 2, 3, 4, 5}


def test_a_step_of_the_walk_is_what_the_seed_of_this_tool_has_sent():
    with feed(*FAST, "--seed", "1") as server, connect(server, "/?since=all") as client:
        assert client.recv(TIMEOUT_S) == '{"x": 0, "y": 2}'


def test_a_step_comes_every_half_second_unless_told_otherwise():
    with feed() as server, connect(server, "/?since=all&envelope=1") as client:
        times = [message["time"] for message in receive_json(client, 4)]
        assert 1.45 < times[-1] - times[0] < 5


def test_the_interval_is_kept_on_average_and_does_not_drift():
    with feed("--interval", "20ms") as server, connect(server, "/?since=all&envelope=1") as client:
        times = [message["time"] for message in receive_json(client, 101)]
        assert 1.95 < times[-1] - times[0] < 4


def test_the_same_seed_gives_the_same_walk():
    walks = []
    for _ in range(2):
        with feed(*FAST, "--seed", "47") as server, connect(server, "/?since=all") as client:
            walks.append(receive(client, 40))
    assert walks[0] == walks[1]


def test_without_a_seed_walks_differ():
    walks = []
    for _ in range(2):
        with feed(*FAST) as server, connect(server, "/?since=all") as client:
            walks.append(receive(client, 40))
    assert walks[0] != walks[1]


def test_all_clients_see_the_same_walk():
    with feed(*FAST) as server, connect(server, "/?since=all") as one, connect(server, "/?since=all") as other:
        assert receive(one, 30) == receive(other, 30)


def test_an_interval_of_nothing_is_flat_out():
    with feed("--interval", "0") as server, connect(server, close_timeout=0.1) as client:
        numbers = [step["x"] for step in receive_json(client, 3000)]
        assert numbers == list(range(numbers[0], numbers[0] + 3000))


# --- stdin


def test_each_line_of_stdin_is_a_message_for_every_client():
    with fed_by_hand() as server, connect(server) as one, connect(server) as other:
        put(server, "one", "", "three €")
        assert receive(one, 3) == receive(other, 3) == ["one", "", "three €"]


def test_a_line_is_sent_when_it_comes_and_not_when_the_next_does():
    with fed_by_hand() as server, connect(server) as client:
        for number in range(20):
            put(server, str(number))
            assert client.recv(TIMEOUT_S) == str(number)


def test_a_carriage_return_before_the_line_feed_belongs_to_it():
    with fed_by_hand() as server, connect(server) as client:
        put_bytes(server, b"a\r\nb\rc\r\n\r\n")
        assert receive(client, 3) == ["a", "b\rc", ""]


def test_the_last_line_needs_no_line_feed():
    with fed_by_hand() as server, connect(server) as client:
        put_bytes(server, b"first\nlast")
        end_input(server)
        assert receive(client, 2) == ["first", "last"]


def test_a_line_may_come_in_pieces():
    with fed_by_hand() as server, connect(server) as client:
        for byte in "zwölf\n".encode():
            put_bytes(server, bytes([byte]))
        assert client.recv(TIMEOUT_S) == "zwölf"


def test_a_file_is_read_as_a_pipe_is(tmp_path: Path):
    path = tmp_path / "lines"
    path.write_text("".join(f"{number}\n" for number in range(500)))
    with path.open() as file, feed("--stdin", stdin=file) as server, connect(server, "/?since=all") as client:
        assert receive(client, 500) == [str(number) for number in range(500)]


def test_at_the_end_of_stdin_the_backlog_is_still_served():
    with fed_by_hand() as server:
        put(server, "a", "b")
        end_input(server)
        server.wait_for_log("the source has ended")
        with connect(server, "/?since=all") as client:
            assert receive(client, 2) == ["a", "b"]
        assert latest(server)["data"] == "b"
        assert server.process.poll() is None


def test_with_at_eof_close_every_client_gets_everything_and_a_good_bye():
    lines = [f"{number} {'x' * 1000}" for number in range(3000)]
    with fed_by_hand("--at-eof", "close", "--backlog", "5000") as server:
        clients = [connect(server) for _ in range(10)]
        received: list[tuple[list[str], int | None]] = [([], None)] * 10

        def read(number: int) -> None:
            with clients[number] as client:
                received[number] = receive_to_end(client)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        put(server, *lines)
        end_input(server)
        for thread in threads:
            thread.join()
        assert received == [(lines, 1000)] * 10
        assert server.ended().code == 0


def test_with_at_eof_close_a_server_without_clients_ends_with_its_source():
    with fed_by_hand("--at-eof", "close") as server:
        put(server, "to nobody")
        end_input(server)
        assert server.ended().code == 0


def test_with_at_eof_close_an_event_stream_ends_when_all_is_said():
    with fed_by_hand("--at-eof", "close") as server, events_of(server) as stream:
        put(server, "a", "b")
        end_input(server)
        assert [event.data for event in stream] == ["a", "b"]
        assert server.ended().code == 0


def test_with_at_eof_close_a_connection_kept_alive_does_not_keep_the_server():
    words = ("--at-eof", "close", "--handshake-timeout", "10m")
    with fed_by_hand(*words) as server, server.connect() as idle:
        idle.sendall(request("/healthz"))
        assert read_answer(idle).status == 200
        end_input(server)
        assert server.ended().code == 0


# --- lines that are none


def test_a_line_that_is_too_long_is_left_out_with_one_warning_and_the_rest_goes_on():
    with fed_by_hand("--max-message", "1k") as server, connect(server) as client:
        put(server, "before", "x" * 1024, "y" * 1025, "after")
        assert receive(client, 3) == ["before", "x" * 1024, "after"]
        server.wait_for_log("too long")
        assert len(warnings(server)) == 1


def test_a_carriage_return_does_not_count_for_the_length_of_a_line():
    with fed_by_hand("--max-message", "1k") as server, connect(server) as client:
        put_bytes(server, b"x" * 1024 + b"\r\n" + b"y" * 1025 + b"\r\nend\r\n")
        assert receive(client, 2) == ["x" * 1024, "end"]


def test_a_last_line_that_is_too_long_is_left_out_too():
    with fed_by_hand("--max-message", "1k", "--at-eof", "close") as server, connect(server) as client:
        put_bytes(server, b"good\n" + b"x" * 5000)
        end_input(server)
        assert receive_to_end(client) == (["good"], 1000)
        server.wait_for_log("too long")
        assert len(warnings(server)) == 1


def test_a_line_of_100_megabytes_takes_no_memory():
    with fed_by_hand() as server, connect(server) as client:
        put(server, "before")
        assert client.recv(TIMEOUT_S) == "before"
        before = resident_bytes(server.process.pid)
        for _ in range(100):
            put_bytes(server, b"x" * 1_000_000)
        put_bytes(server, b"\nafter\n")
        assert client.recv(TIMEOUT_S) == "after"
        assert resident_bytes(server.process.pid) - before < MAX_GROWTH_BYTES
        server.wait_for_log("too long")
        assert len(warnings(server)) == 1


def test_the_longest_line_without_max_message_is_of_a_mebibyte():
    with fed_by_hand() as server, connect(server) as client:
        put(server, "x" * MEBIBYTE, "y" * (MEBIBYTE + 1), "end")
        assert receive(client, 2) == ["x" * MEBIBYTE, "end"]


def test_what_is_not_utf8_is_replaced_with_one_warning_and_the_rest_goes_on():
    with fed_by_hand() as server, connect(server) as client:
        put(server, b"a\xff\xfeb", b"\xed\xa0\x80", "gut ö")
        assert receive(client, 3) == ["a\ufffd\ufffdb", "\ufffd\ufffd\ufffd", "gut ö"]
        server.wait_for_log("not UTF-8")
        assert len(warnings(server)) == 1


def test_control_characters_of_a_line_come_as_they_are():
    line = "".join(map(chr, range(1, 32))).replace("\n", "") + "\x7f\x1b[31m\0"
    with fed_by_hand() as server, connect(server) as client:
        put(server, line)
        assert client.recv(TIMEOUT_S) == line


def test_random_lines_in_random_pieces_come_as_they_were_written():
    seeded = random.Random(5)
    lines = ["".join(seeded.choices("aä€😀 \t\"'<&", k=seeded.randrange(200))) for _ in range(500)]
    data = "".join(f"{line}\n" for line in lines).encode()
    with fed_by_hand() as server, connect(server, "/?since=all") as client:
        at = 0
        while at < len(data):
            size = seeded.randrange(1, 3000)
            put_bytes(server, data[at : at + size])
            at += size
        assert receive(client, 500) == lines


def test_a_closed_stdin_is_one_line_and_no_server():
    words = ["sh", "-c", 'exec "$@" <&-', "sh", *command("ws-feed", "-l", "127.0.0.1:0", "--stdin")]
    done = subprocess.run(words, capture_output=True, env=environment(), timeout=TIMEOUT_S)
    assert done.returncode not in (0, 70)
    assert done.stderr.count(b"\n") == 1
    assert b"stdin" in done.stderr


# --- a command


def python(script: str) -> str:
    return f"exec {sys.executable} -c '{script}'"


def test_each_line_of_a_command_is_a_message():
    with (
        feed("--command", "echo one; echo; printf 'dr\\303\\266i\\n'") as server,
        connect(server, "/?since=all") as client,
    ):
        assert receive(client, 3) == ["one", "", "dröi"]


def test_the_lines_of_a_program_that_holds_back_its_output_come_at_once():
    script = 'import time\nfor n in range(1000):\n    print(n)\n    time.sleep(0.2)\n'  # fmt: skip
    with feed("--command", python(script)) as server, connect(server, "/?since=all&envelope=1") as client:
        times = [message["time"] for message in receive_json(client, 6)]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert min(gaps) > 0.1


def test_a_line_feed_of_a_command_stays_one_character():
    with feed("--command", "printf 'a\\tb\\r\\nc\\n'") as server, connect(server, "/?since=all") as client:
        assert receive(client, 2) == ["a\tb", "c"]


def test_a_command_is_not_echoed_what_it_does_not_read():
    with feed("--command", "cat; echo done") as server, connect(server, "/?since=all") as client:
        assert client.recv(TIMEOUT_S) == "done"


def test_what_a_command_says_on_stderr_passes():
    with (
        feed("--command", "echo to the shell >&2; echo to clients") as server,
        connect(server, "/?since=all") as client,
    ):
        assert client.recv(TIMEOUT_S) == "to clients"
        server.wait_for_log("to the shell\n")


def test_all_that_a_command_has_written_before_its_end_is_there():
    count = 20_000
    with feed("--command", f"seq {count}", "--backlog", str(count)) as server:
        server.wait_for_log("the source has ended")
        with connect(server, "/?since=all") as client:
            assert receive(client, count) == [str(number) for number in range(1, count + 1)]


def test_a_command_that_fails_is_a_warning_with_its_exit_code_and_the_backlog_is_served():
    with feed("--command", "echo a; exit 7") as server:
        server.wait_for_log("the command has ended")
        assert events(server, "the command has ended") == [{"exit_code": "7"}]
        assert len(warnings(server)) == 1
        with connect(server, "/?since=all") as client:
            assert client.recv(TIMEOUT_S) == "a"


def test_a_command_that_is_killed_is_a_warning():
    with feed("--command", "echo $$; exec sleep 1000") as server, connect(server, "/?since=all") as client:
        os.kill(int(client.recv(TIMEOUT_S)), signal.SIGKILL)
        server.wait_for_log("the command has ended")
        assert events(server, "the command has ended") == [{"exit_code": "-9"}]


def test_a_command_that_is_not_there_is_a_warning_with_the_shells_code():
    with feed("--command", "/no/such/command") as server:
        server.wait_for_log("the command has ended")
        assert events(server, "the command has ended") == [{"exit_code": "127"}]


def test_a_command_that_ends_well_is_no_warning():
    with feed("--command", "echo a") as server:
        server.wait_for_log("the command has ended")
        assert warnings(server) == []


def test_a_command_is_started_again_later_each_time():
    with feed("--command", "echo again", "--restart") as server, connect(server, "/?since=all&envelope=1") as client:
        times = [message["time"] for message in receive_json(client, 3)]
        first, second = times[1] - times[0], times[2] - times[1]
        assert 0.4 < first < second
        server.wait_for_log("is started again", 3)
        pauses = [float(fields["after_s"]) for fields in events(server, "the command is started again")]
        assert pauses[:3] == [0.5, 1.0, 2.0]


@pytest.fixture(params=["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def deadly(request: pytest.FixtureRequest) -> int:
    return signal.Signals[request.param]


def test_a_command_and_its_children_end_with_the_server(deadly: int):
    script = "sleep 1000 & echo $! $$; sleep 1000 | cat"
    with feed("--command", script) as server:
        with connect(server, "/?since=all") as client:
            pids = [int(text) for text in client.recv(TIMEOUT_S).split()]
        server.stop(deadly)
        wait_until_ended(pids)


def test_a_command_that_ignores_the_hang_up_ends_with_the_server_too():
    with feed("--command", "trap '' TERM HUP; echo $$; while :; do sleep 0.1; done") as server:
        with connect(server, "/?since=all") as client:
            pid = int(client.recv(TIMEOUT_S))
        assert server.stop().code == 0
        wait_until_ended([pid])


def test_what_a_command_leaves_behind_ends_with_it():
    with feed("--command", "sleep 1000 & echo $!") as server, connect(server, "/?since=all") as client:
        wait_until_ended([int(client.recv(TIMEOUT_S))])


def test_a_command_does_not_have_our_sockets():
    with feed("--command", "ls -l /proc/self/fd | grep -c socket; echo over") as server:
        with connect(server, "/?since=all") as client:
            lines = [client.recv(TIMEOUT_S)]
            while lines[-1] != "over":
                lines.append(client.recv(TIMEOUT_S))
        assert lines == ["0", "over"]


def test_a_command_gets_signals_as_any_program_does():
    """Neither blocked nor ignored: the server's own mask is none of its business."""
    with (
        feed("--command", "grep -E 'Sig(Blk|Ign)' /proc/self/status") as server,
        connect(server, "/?since=all") as client,
    ):
        masks = dict(line.split() for line in receive(client, 2))
        ignored = int(masks["SigIgn:"], 16)
        assert int(masks["SigBlk:"], 16) == 0
        assert not ignored & (1 << (signal.SIGTERM - 1) | 1 << (signal.SIGHUP - 1) | 1 << (signal.SIGPIPE - 1))


# --- echo


@pytest.mark.parametrize("message", ["", "hello", "grüße €😀", b"", b"\x00\xff\x80", "x" * 70_000, b"\0" * 1_000_000])
def test_a_client_gets_its_message_back_of_the_kind_that_it_was(message: str | bytes):
    with feed("--echo") as server, connect(server) as client:
        client.send(message)
        assert client.recv(TIMEOUT_S) == message


def test_clients_get_only_their_own_messages_back():
    with feed("--echo") as server, connect(server) as one, connect(server) as other:
        one.send("one")
        other.send("other")
        assert (one.recv(TIMEOUT_S), other.recv(TIMEOUT_S)) == ("one", "other")


def test_messages_come_back_in_order():
    with feed("--echo") as server, connect(server) as client:
        for number in range(500):
            client.send(str(number))
        assert receive(client, 500) == [str(number) for number in range(500)]


def test_fragments_come_back_as_one_message():
    with feed("--echo") as server, raw(server) as client:
        text = "zwölf €".encode()
        client.send(TEXT, text[:3], first=0)  # within a character
        client.send(CONT, b"", first=0)
        client.send(CONT, text[3:])
        assert client.read() == (FIN | TEXT, text)


def test_a_ping_between_fragments_is_answered_before_they_are():
    with feed("--echo") as server, raw(server) as client:
        client.sock.sendall(frame(BINARY, b"a", first=0) + frame(PING, b"there?") + frame(CONT, b"b"))
        assert client.read() == (FIN | PONG, b"there?")
        assert client.read() == (FIN | BINARY, b"ab")


def test_a_pong_that_nobody_has_asked_for_is_ignored():
    with feed("--echo") as server, raw(server) as client:
        client.send(PONG, b"hm")
        client.send(TEXT, b"x")
        assert client.read_text() == "x"


def test_the_first_subprotocol_that_is_offered_is_chosen():
    with feed("--echo") as server, connect(server, subprotocols=["b.example", "a.example"]) as client:
        assert client.subprotocol == "b.example"


def test_no_subprotocol_is_chosen_where_none_is_offered():
    with feed("--echo") as server, raw(server) as client:
        assert "sec-websocket-protocol" not in client.answer.headers


def test_compression_is_used_by_those_who_ask_and_comes_back():
    message = "abc " * 5000
    with feed("--echo") as server, connect(server, compression="deflate") as client:
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        client.send(message)
        assert client.recv(TIMEOUT_S) == message


def test_compressed_echoes_of_many_sizes_come_back_as_they_were():
    seeded = random.Random(1)
    with feed("--echo") as server, connect(server, compression="deflate") as client:
        for size in (0, 1, 125, 126, 255, 256, 257, 65_535, 65_536, 300_000):
            message = bytes(seeded.choices(b"abcd", k=size))
            client.send(message)
            assert client.recv(TIMEOUT_S) == message


def test_an_echo_may_have_16_mebibytes():
    message = os.urandom(16 * MEBIBYTE)
    with feed("--echo") as server, connect(server) as client:
        client.send(message)
        assert client.recv(TIMEOUT_S) == message


def test_a_get_without_upgrade_is_told_what_echo_is_for():
    with feed("--echo") as server:
        answer = ask(server, "/")
        assert answer.status == 426
        assert answer.headers["upgrade"] == "websocket"


def test_two_sources_are_a_usage_error():
    result = run_gtool("ws-feed", "--stdin", "--echo")
    assert result.code == 2
    assert "--stdin" in result.err
    assert "--echo" in result.err


def test_messages_that_nobody_reads_are_kept_up_to_the_backlog():
    with fed_by_hand("--backlog", "3") as server:
        put(server, *"abcdef")
        wait_until(lambda: latest(server)["data"] == "f")
        with connect(server, "/?since=all") as client:
            assert receive(client, 3) == ["d", "e", "f"]


def test_the_backlog_has_a_bound_in_bytes_too():
    with fed_by_hand("--backlog-size", "10k") as server:
        put(server, *(f"{number:01000}" for number in range(100)))
        wait_until(lambda: (latest(server)["data"] or "").endswith("99"))
        with connect(server, "/?since=all") as client:
            assert [int(text) for text in receive(client, 10)] == list(range(90, 100))


def test_latest_of_the_walk_is_a_step_of_it():
    with feed(*FAST) as server:
        found = wait_until(lambda: latest(server)["data"])
        assert set(json.loads(found)) == {"x", "y"}
        assert abs(latest(server)["time"] - time.time()) < TIMEOUT_S
