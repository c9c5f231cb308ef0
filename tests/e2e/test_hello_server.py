"""hello-server as telnet, nc and raw sockets meet it: it speaks first, counts, and closes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S
from tests.e2e.probes import LOOPBACK, events, is_dropped, is_turned_away, stopped, wait_for_metric, workers
from tests.e2e.servers import receive_all, receive_exactly, running

HELLO = ("-v", "hello-server", "-l", LOOPBACK)
HELLO_UDP = ("-v", "hello-server", "-l", f"udp://{LOOPBACK}")
SAID = b"Hello from a telnet!\n0\n1\n2\n3\n4\n"


def said(*args: str | Path) -> bytes:
    """All that one client is told."""
    with running(*HELLO, *args) as server, server.connect() as client:
        return receive_all(client)


def shown_by(*client: str) -> bytes:
    """What a client program shows of a server; PORT stands for its port. Its stdin stays open, as a terminal's does."""
    with running(*HELLO) as server:
        command = [argument.replace("PORT", str(server.port)) for argument in client]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            shown = process.stdout.read(len(SAID))
            assert process.stdin
            process.stdin.close()
            shown += process.stdout.read()
            assert process.wait(TIMEOUT_S) == 0
        return shown


@pytest.mark.needs("nc")
def test_nc_shows_the_message_and_five_numbered_lines():
    assert shown_by("nc", "127.0.0.1", "PORT") == SAID


@pytest.mark.needs("nc")
def test_nc_that_reads_nothing_from_stdin_shows_the_same():
    assert shown_by("nc", "-d", "127.0.0.1", "PORT") == SAID


@pytest.mark.needs("ncat")
def test_ncat_shows_the_same():
    assert shown_by("ncat", "127.0.0.1", "PORT") == SAID


@pytest.mark.needs("ncat")
def test_ncat_that_only_receives_shows_the_same():
    assert shown_by("ncat", "--recv-only", "127.0.0.1", "PORT") == SAID


@pytest.mark.needs("socat")
def test_socat_shows_the_same():
    assert shown_by("socat", "-", "TCP:127.0.0.1:PORT") == SAID


@pytest.mark.needs("bash")
def test_a_shell_shows_the_same():
    assert shown_by("bash", "-c", "cat < /dev/tcp/127.0.0.1/PORT") == SAID


def test_a_socket_receives_the_same_and_the_end_of_the_stream():
    assert said() == SAID


def test_the_end_comes_at_once_whatever_the_client_does():
    with running(*HELLO) as server, server.connect() as client:
        client.settimeout(1)  # less than a server waits for a client to close
        assert receive_all(client) == SAID


def test_a_client_that_has_shut_down_its_side_first_is_told_all():
    with running(*HELLO) as server, server.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == SAID


def test_the_default_address_is_port_5000_on_loopback(gtool):
    help_text = " ".join(gtool("hello-server", "--help").out.decode().split())
    assert "Repeatable. [default: 127.0.0.1:5000]" in help_text


def test_message_is_the_first_line():
    assert said("--message", "220 mail.example ESMTP", "--count", "1") == b"220 mail.example ESMTP\n0\n"


def test_an_empty_message_is_none():
    assert said("--message", "", "--count", "2") == b"0\n1\n"


def test_a_message_may_be_in_any_script_and_in_no_encoding_at_all():
    assert said("--message", "Grüß Gott", "--count", "0") == "Grüß Gott\n".encode()
    assert said("--message", os.fsdecode(b"caf\xe9"), "--count", "0") == b"caf\xe9\n"


def test_message_file_is_said_as_it_is(tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "banner").write_bytes(content)
    assert said("--message-file", tmp_path / "banner", "--count", "1") == content + b"0\n"


def test_an_empty_message_file_is_no_message(tmp_path):
    (tmp_path / "banner").touch()
    assert said("--message-file", tmp_path / "banner", "--count", "1") == b"0\n"


def test_count_says_so_many_lines():
    assert said("--count", "100000") == b"Hello from a telnet!\n" + b"".join(b"%d\n" % n for n in range(100_000))


def test_nothing_to_say_is_an_empty_stream():
    assert said("--message", "", "--count", "0") == b""


def test_template_makes_each_line_of_all_its_fields():
    with running(*HELLO, "--message", "", "--count", "2", "--template", "{n} {time} {peer} {connection}") as server:
        with server.connect() as client:
            receive_all(client)
        with server.connect() as client:
            host, port = client.getsockname()
            lines = receive_all(client).decode().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert all(re.fullmatch(rf"{n} {stamp} {host}:{port} 2", line) for n, line in enumerate(lines))
    assert len(lines) == 2


def test_a_template_may_format_its_fields_and_have_braces():
    assert said("--message", "", "--count", "2", "--template", "{{{n:03}}}") == b"{000}\n{001}\n"


def test_a_template_without_fields_is_said_again_and_again():
    assert said("--message", "", "--count", "3", "--template", "tick") == b"tick\n" * 3


@pytest.mark.parametrize("template", ["{m}", "{}", "{0}", "{n", "n}", "{n.real}", "{peer[0]}", "{n:%Y}", "{n!x}"])
def test_a_bad_template_is_a_usage_error_that_names_it(gtool, template):
    result = gtool("hello-server", "-l", LOOPBACK, "--template", template)
    assert (result.code, result.out) == (2, b"")
    assert result.err.count("\n") == 1
    assert template in result.err


def test_message_and_message_file_are_one_too_many(gtool, tmp_path):
    result = gtool("hello-server", "-l", LOOPBACK, "--message", "a", "--message-file", tmp_path / "b")
    assert (result.code, result.err.count("\n")) == (2, 1)


def test_a_message_file_that_is_not_there_is_an_error_before_it_listens(gtool, tmp_path):
    result = gtool("hello-server", "-l", LOOPBACK, "--message-file", tmp_path / "banner")
    assert result.code not in (0, 70)
    assert result.out == b""
    assert f"{tmp_path}/banner: No such file" in result.err


@pytest.mark.parametrize("args", [("--count", "-1"), ("--chunk-size", "0"), ("--close", "slowly"), ("--interval", "x")])
def test_a_value_that_makes_no_sense_is_a_usage_error(gtool, args):
    result = gtool("hello-server", "-l", LOOPBACK, *args)
    assert result.code == 2
    assert args[0] in result.err


def test_crlf_ends_the_message_and_each_line_with_it():
    assert said("--crlf") == SAID.replace(b"\n", b"\r\n")


def test_crlf_leaves_a_message_file_as_it_is(tmp_path):
    (tmp_path / "banner").write_bytes(b"one\ntwo\n")
    assert said("--message-file", tmp_path / "banner", "--crlf", "--count", "1") == b"one\ntwo\n0\r\n"


def test_interval_waits_before_each_line():
    with running(*HELLO, "--interval", "150ms", "--count", "3") as server, server.connect() as client:
        began = time.monotonic()
        times = []
        for line in (b"Hello from a telnet!\n", b"0\n", b"1\n", b"2\n"):
            assert receive_exactly(client, len(line)) == line
            times.append(time.monotonic() - began)
        assert client.recv(1) == b""
        assert all(0.15 * n <= times[n] < 0.15 * n + 5 for n in range(4)), times


def test_many_clients_are_told_at_their_own_pace():
    with running(*HELLO, "--interval", "100ms") as server:
        began = time.monotonic()
        clients = [server.connect() for _ in range(40)]
        assert [receive_all(client) for client in clients] == [SAID] * 40
        for client in clients:
            client.close()
        assert 0.5 <= time.monotonic() - began < 10  # not 20


def test_wait_for_input_says_nothing_before_the_client_does():
    with running(*HELLO, "--wait-for-input", "--metrics", LOOPBACK, listeners=2) as server, server.connect() as client:
        wait_for_metric(server, "open_connections", 1)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        client.settimeout(TIMEOUT_S)
        client.sendall(b"\r\n")
        assert receive_all(client) == SAID


def test_wait_for_input_says_nothing_to_a_client_that_goes_without_a_word():
    with running(*HELLO, "--wait-for-input") as server, server.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


def test_close_fin_ends_the_stream_cleanly_and_then_the_connection():
    with running(*HELLO, "--close", "fin") as server, server.connect() as client:
        assert receive_all(client) == SAID
        client.shutdown(socket.SHUT_WR)
        server.wait_for_log("reason=served")


def test_close_fin_does_not_wait_for_ever_for_a_client_to_close():
    with running(*HELLO, "--close", "fin") as server, server.connect() as client:
        assert receive_all(client) == SAID
        server.wait_for_log("reason=served")  # 2 seconds later


def test_close_rst_says_all_and_resets():
    with running(*HELLO, "--close", "rst") as server, server.connect() as client:
        assert receive_exactly(client, len(SAID)) == SAID
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_close_linger_ends_the_stream_and_waits_for_the_client():
    with running(*HELLO, "--close", "linger", "--metrics", LOOPBACK, listeners=2) as server:
        with server.connect() as client:
            assert receive_all(client) == SAID
            client.sendall(b"still here")
            assert wait_for_metric(server, "received_bytes_total", 10)["open_connections"] == 1
        server.wait_for_log("reason=served")


def test_close_never_leaves_the_connection_open_until_the_client_closes():
    with running(*HELLO, "--close", "never", "--metrics", LOOPBACK, listeners=2) as server:
        with server.connect() as client:
            assert receive_exactly(client, len(SAID)) == SAID
            client.sendall(b"still here")
            wait_for_metric(server, "received_bytes_total", 10)
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
        server.wait_for_log("connection closed")


def test_a_connection_that_is_never_closed_is_closed_when_it_idles():
    with running(*HELLO, "--close", "never", "--idle-timeout", "200ms") as server, server.connect() as client:
        assert receive_all(client) == SAID
        server.wait_for_log("reason=idle")


def test_chunk_size_sends_pieces_of_so_many_bytes(certificate, trusting):
    """Over TLS a piece is a record, which the client gets one at a time."""
    with (
        running(*HELLO, "--chunk-size", "12", "--tls-cert", certificate) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost") as client,
    ):
        pieces = list(iter(lambda: client.recv(99), b""))
        assert pieces == [SAID[:12], SAID[12:24], SAID[24:]]


def test_a_chunk_size_changes_nothing_in_what_is_said():
    assert said("--chunk-size", "1") == SAID


@pytest.mark.parametrize("args", [(), ("--close", "linger"), ("--wait-for-input",)])
def test_a_client_that_has_sent_much_before_it_is_greeted_receives_every_byte_and_no_reset(args):
    with running(*HELLO, *args) as server:
        with stopped(server.process.pid):
            client = server.connect()
            client.sendall(bytes(100_000))  # into the kernel's buffers
        with client:
            assert receive_all(client) == SAID


def test_a_client_that_goes_on_sending_is_not_reset_before_it_has_read():
    with running(*HELLO, "--count", "20000") as server, server.connect() as client:
        client.sendall(bytes(3_000_000))
        assert receive_all(client) == b"Hello from a telnet!\n" + b"".join(b"%d\n" % n for n in range(20_000))


def test_a_client_that_does_not_read_holds_up_no_other():
    with running(*HELLO, "--count", "3000000", "--template", "x" * 20) as server, server.connect() as client:
        server.wait_for_log("connection open")
        with server.connect() as other:
            assert receive_exactly(other, len(b"Hello")) == b"Hello"
        assert client.recv(5) == b"Hello"


def test_a_client_that_goes_in_the_middle_is_logged_and_ends_nothing():
    with running(*HELLO, "--count", "3000000") as server:
        with server.connect() as client:
            client.recv(5)
        server.wait_for_log("reason=reset")
        ended = server.stop()
        assert (ended.code, "ERROR" in ended.err) == (0, False)


def test_it_speaks_tls_and_ends_it_cleanly(certificate, trusting):
    with (
        running(*HELLO, "--tls-cert", certificate) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as client,
    ):
        assert receive_all(client) == SAID


def test_over_tls_a_client_that_has_sent_much_receives_every_byte(certificate, trusting):
    with (
        running(*HELLO, "--interval", "50ms", "--tls-cert", certificate) as server,
        trusting.wrap_socket(server.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as client,
    ):
        client.sendall(bytes(100_000))
        assert receive_all(client) == SAID


def test_it_speaks_over_a_unix_socket(tmp_path):
    with running("-v", "hello-server", "-l", f"unix:{tmp_path}/s") as server, server.connect() as client:
        assert receive_all(client) == SAID


def test_each_worker_says_it():
    with running(*HELLO, "--workers", "2") as server:
        for pid in workers(server, 2):
            with stopped(pid), server.connect() as client:
                assert receive_all(client) == SAID


def test_once_says_it_once():
    with running(*HELLO, "--once") as server:
        with server.connect() as client:
            assert receive_all(client) == SAID
            assert is_turned_away(server)
        assert server.ended().code == 0


def test_who_is_one_too_many_is_told_nothing():
    args = ("--max-connections", "1", "--close", "never")
    with running(*HELLO, *args) as server, server.connect() as client, server.connect() as refused:
        assert receive_exactly(client, len(SAID)) == SAID
        assert is_dropped(refused)


def test_who_is_denied_is_told_nothing():
    with running(*HELLO, "--deny", "127.0.0.1/32") as server, server.connect() as client:
        assert is_dropped(client)
        server.wait_for_log("reason=denied")


def test_a_datagram_is_answered_with_all_of_it_in_one():
    with running(*HELLO_UDP) as server, server.connect() as client:
        client.send(b"")
        assert client.recv(65_536) == SAID


def test_what_does_not_fit_into_a_datagram_is_cut_off():
    with running(*HELLO_UDP, "--count", "100000") as server, server.connect() as client:
        client.send(b"?")
        answer = client.recv(65_536)
        assert len(answer) == 65_507
        assert answer.startswith(SAID)


def test_sigterm_lets_it_finish_what_it_says():
    with running(*HELLO, "--interval", "100ms") as server, server.connect() as client:
        assert client.recv(99) == b"Hello from a telnet!\n"
        server.send_signal(signal.SIGTERM)
        assert receive_all(client) == SAID.partition(b"\n")[2]
        client.close()
        assert server.ended().code == 0


def test_sigterm_ends_what_is_never_closed_when_the_drain_timeout_passes():
    args = ("--close", "never", "--drain-timeout", "200ms")
    with running(*HELLO, *args) as server, server.connect() as client:
        assert receive_exactly(client, len(SAID)) == SAID
        server.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        assert server.ended().code == 0


def test_a_connection_is_logged_with_what_was_said():
    with running(*HELLO) as server:
        with server.connect() as client:
            receive_all(client)
        server.wait_for_log("connection closed")
        (fields,) = events(server, "connection closed")
        assert (fields["reason"], fields["received"], fields["sent"]) == ("served", "0", str(len(SAID)))


def test_options_can_be_set_in_the_environment(gtool):
    result = gtool("hello-server", "-l", LOOPBACK, GTOOL_HELLO_SERVER_TEMPLATE="{m}")
    assert result.code == 2
