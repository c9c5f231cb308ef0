"""Faults as a client meets them: late, slow, in pieces, changed, lost, cut off; and the same again with a seed."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from contextlib import ExitStack

import pytest

from gtool.echo.faults import Faults, transit_for
from tests.conftest import TIMEOUT_S
from tests.e2e.probes import LOOPBACK, events, exchange, is_dropped, metrics, wait_for_metric
from tests.e2e.servers import receive_all, receive_exactly, running

ECHO = ("-v", "echo-server", "-l", LOOPBACK)
ECHO_UDP = ("-v", "echo-server", "-l", f"udp://{LOOPBACK}")
MEASURED_UDP = (*ECHO_UDP, "--metrics", LOOPBACK)
DATA_SEGMENTS_IN = struct.Struct("=152xI")  #: tcpi_data_segs_in of struct tcp_info (linux/tcp.h)


def echo_of(client, message):
    client.sendall(message)
    return receive_exactly(client, len(message))


def seconds_for(client, message):
    began = time.monotonic()
    assert echo_of(client, message) == message
    return time.monotonic() - began


def received_until_cut_off(client):
    """Read until the connection ends: what came, and whether the end was a reset."""
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionResetError:
        return received, True
    return received, False


def corrupted(message, *args):
    with running(*ECHO, *args) as server, server.connect() as client:
        return echo_of(client, message)


def surviving_datagrams(count, *args):
    """Which of so many datagrams come back, by their numbers, in the order in which they come."""
    with running(*MEASURED_UDP, *args, listeners=2) as server, server.connect() as client:
        for number in range(count):
            client.send(b"%04d" % number)
        counts = wait_for_metric(server, "received_bytes_total", 4 * count)
        while counts != (counts := metrics(server)):
            pass  # answers leave a turn of the loop later than questions come
        return [int(client.recv(9)) for _ in range(int(counts["messages_total"]))]


def hit_connections(count, *args):
    """Which of so many connections, one after the other, are closed after their first byte."""
    with running(*ECHO, "--close-after", "1b", *args) as server:
        hit = []
        for number in range(count):
            with server.connect() as client:
                client.sendall(b"ab")
                client.shutdown(socket.SHUT_WR)
                if receive_all(client) == b"a":
                    hit.append(number)
        return hit


def test_latency_delays_each_message_by_so_much():
    with running(*ECHO, "--latency", "100ms") as server, server.connect() as client:
        delays = [seconds_for(client, b"ping") for _ in range(3)]
        assert min(delays) >= 0.1


def test_latency_is_not_added_up_over_messages_on_their_way():
    with running(*ECHO, "--latency", "300ms") as server, server.connect() as client:
        began = time.monotonic()
        for _ in range(50):
            client.sendall(b"ping")
        assert receive_exactly(client, 200) == b"ping" * 50
        assert 0.3 <= time.monotonic() - began < 8  # not 15


def test_each_connection_has_its_own_latency():
    with running(*ECHO, "--latency", "300ms") as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(50)]
        began = time.monotonic()
        for client in clients:
            client.sendall(b"ping")
        assert [receive_exactly(client, 4) for client in clients] == [b"ping"] * 50
        assert time.monotonic() - began < 8  # not 15


def test_what_is_late_still_comes_after_the_client_has_shut_down_its_side():
    with running(*ECHO, "--latency", "200ms") as server, server.connect() as client:
        client.sendall(b"the last words")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"the last words"


def test_what_is_late_still_comes_while_the_server_drains():
    with running(*ECHO, "--latency", "300ms") as server, server.connect() as client:
        exchange(client)
        client.sendall(b"the last words")
        client.shutdown(socket.SHUT_WR)
        server.process.terminate()
        assert receive_all(client) == b"the last words"
        assert server.ended().code == 0


def test_jitter_varies_the_latency_within_its_bounds():
    with running(*ECHO, "--latency", "60ms", "--jitter", "50ms", "--seed", "1") as server, server.connect() as client:
        delays = [seconds_for(client, b"ping") for _ in range(8)]
        assert min(delays) >= 0.01
        assert max(delays) - min(delays) > 0.03


def test_jitter_is_that_of_the_seed():
    """Each answer is at least as late as its seed has it; of another seed's, one would come earlier."""
    faults = Faults(latency=0.15, jitter=0.15)
    transit, other = (transit_for(faults, seed, 1) for seed in (7, 8))
    wanted = [transit.due(0) for _ in range(6)]
    assert any(other.due(0) < due - 0.1 for due in wanted)
    args = ("--latency", "150ms", "--jitter", "150ms", "--seed", "7")
    with running(*ECHO, *args) as server, server.connect() as client:
        delays = [seconds_for(client, b"ping") for _ in wanted]
    assert all(delay >= due - 0.001 for delay, due in zip(delays, wanted, strict=True)), (delays, wanted)


def test_jitter_has_datagrams_overtake_each_other_and_the_same_ones_for_the_same_seed():
    def order(seed):
        args = ("--latency", "300ms", "--jitter", "300ms", "--seed", seed)
        with running(*ECHO_UDP, *args) as server, server.connect() as client:
            for number in range(4):
                client.send(b"%d" % number)
            return b"".join(client.recv(9) for _ in range(4))

    assert order("9") == order("9") != b"0123"


def test_bandwidth_is_at_most_so_many_bytes_a_second():
    with running(*ECHO, "--bandwidth", "64k") as server, server.connect() as client:
        seconds = seconds_for(client, bytes(32_768))
        assert 0.4 <= seconds < 5  # the first tenth of a second's bytes leave at once


def test_each_connection_has_the_bandwidth_to_itself():
    with running(*ECHO, "--bandwidth", "64k") as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(30)]
        began = time.monotonic()
        for client in clients:
            client.sendall(bytes(32_768))
        for client in clients:
            receive_exactly(client, 32_768)
        assert time.monotonic() - began < 8  # not 15


def test_a_bandwidth_of_a_few_bytes_still_lets_them_through():
    with running(*ECHO, "--bandwidth", "20") as server, server.connect() as client:
        assert 0.2 <= seconds_for(client, b"123456") < 5


@pytest.mark.parametrize(("args", "segments"), [(("--slice", "3"), 3), (("--slice", "100"), 1)])
def test_each_slice_goes_over_the_wire_in_a_segment_of_its_own(args, segments):
    with running(*ECHO, *args) as server, server.connect() as client:
        assert echo_of(client, b"123456789") == b"123456789"
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        assert DATA_SEGMENTS_IN.unpack_from(info)[0] == segments


def test_corruption_changes_about_so_many_bytes_and_their_number_not_at_all():
    message = bytes(100_000)
    changed = len(message) - corrupted(message, "--corrupt-rate", "1%", "--seed", "1").count(0)
    assert changed == pytest.approx(1000, abs=150)


def test_the_same_seed_corrupts_the_same_bytes_and_another_seed_others():
    message = bytes(20_000)
    first = corrupted(message, "--corrupt-rate", "0.01", "--seed", "1")
    assert first == corrupted(message, "--corrupt-rate", "0.01", "--seed", "1")
    assert first != corrupted(message, "--corrupt-rate", "0.01", "--seed", "2")


def test_corruption_does_not_depend_on_the_chunks_in_which_bytes_come():
    message = bytes(20_000)
    with running(*ECHO, "--corrupt-rate", "0.01", "--seed", "1") as server, server.connect() as client:
        in_pieces = b"".join(echo_of(client, message[start : start + 700]) for start in range(0, len(message), 700))
    assert in_pieces == corrupted(message, "--corrupt-rate", "0.01", "--seed", "1")


def test_a_second_connection_is_corrupted_in_another_way():
    args = ("--corrupt-rate", "0.1", "--seed", "1")
    with running(*ECHO, *args) as server, server.connect() as one, server.connect() as other:
        assert echo_of(one, bytes(1000)) != echo_of(other, bytes(1000))


def test_faults_are_active_from_the_first_byte():
    with running(*ECHO, "--corrupt-rate", "1") as server, server.connect() as client:
        assert echo_of(client, b"\0") != b"\0"


def test_a_seed_that_was_drawn_is_logged_and_has_the_same_again():
    message = bytes(5_000)
    with running("echo-server", "-l", LOOPBACK, "--corrupt-rate", "0.1") as server, server.connect() as client:
        first = echo_of(client, message)
        (fields,) = events(server, "faults are on")
    assert corrupted(message, "--corrupt-rate", "0.1", "--seed", fields["seed"]) == first


def test_two_servers_without_a_seed_draw_different_ones():
    seeds = set()
    for _ in range(2):
        with running("echo-server", "-l", LOOPBACK, "--corrupt-rate", "0.1") as server:
            server.wait_for_log("faults are on")
            seeds |= {fields["seed"] for fields in events(server, "faults are on")}
    assert len(seeds) == 2


def test_without_faults_no_seed_is_spoken_of():
    with running("echo-server", "-l", LOOPBACK, "--toxicity", "0.5") as server:
        assert server.stop().err == ""


def test_a_drop_rate_of_0_loses_no_datagram():
    assert surviving_datagrams(50, "--drop-rate", "0", "--latency", "0") == list(range(50))


def test_a_drop_rate_of_1_loses_every_datagram():
    assert surviving_datagrams(50, "--drop-rate", "1") == []


def test_a_drop_rate_loses_that_share_and_the_same_ones_for_the_same_seed():
    first = surviving_datagrams(100, "--drop-rate", "0.5", "--seed", "1")
    assert len(first) == pytest.approx(50, abs=15)
    assert first == surviving_datagrams(100, "--drop-rate", "0.5", "--seed", "1")
    assert first != surviving_datagrams(100, "--drop-rate", "0.5", "--seed", "2")


def test_toxicity_spares_the_datagrams_that_it_does_not_hit():
    survivors = surviving_datagrams(100, "--drop-rate", "1", "--toxicity", "0.3", "--seed", "1")
    assert len(survivors) == pytest.approx(70, abs=15)


def test_a_datagram_is_as_late_as_the_latency():
    with running(*ECHO_UDP, "--latency", "100ms") as server, server.connect() as client:
        assert 0.1 <= seconds_for(client, b"ping") < 0.3


def test_datagrams_are_corrupted_but_keep_their_length():
    with running(*ECHO_UDP, "--corrupt-rate", "1") as server, server.connect() as client:
        client.send(b"\0" * 10)
        answer = client.recv(99)
        assert len(answer) == 10
        assert 0 not in answer


@pytest.mark.parametrize("size", ["1000", "1"])
@pytest.mark.parametrize(("option", "is_reset"), [("--reset-after", True), ("--close-after", False)])
def test_a_connection_is_cut_off_after_exactly_so_many_bytes(option, is_reset, size):
    message = bytes(range(250)) * 20
    with running(*ECHO, option, size) as server, server.connect() as client:
        client.sendall(message)
        assert received_until_cut_off(client) == (message[: int(size)], is_reset)


@pytest.mark.parametrize(("option", "is_reset"), [("--reset-after", True), ("--close-after", False)])
def test_a_connection_is_cut_off_after_so_many_bytes_of_many_messages(option, is_reset):
    with running(*ECHO, option, "10") as server, server.connect() as client:
        assert echo_of(client, b"1234") == b"1234"
        assert echo_of(client, b"5678") == b"5678"
        client.sendall(b"9012")
        assert received_until_cut_off(client) == (b"90", is_reset)


@pytest.mark.parametrize(("option", "is_reset"), [("--reset-after", True), ("--close-after", False)])
def test_a_connection_is_cut_off_after_so_long_even_if_it_is_silent(option, is_reset):
    with running(*ECHO, option, "300ms") as server, server.connect() as client:
        began = time.monotonic()
        assert received_until_cut_off(client) == (b"", is_reset)
        assert 0.29 <= time.monotonic() - began < 5


def test_a_connection_is_cut_off_after_so_long_while_it_is_busy():
    with running(*ECHO, "--close-after", "300ms") as server, server.connect() as client:
        began = time.monotonic()
        client.sendall(b"!")
        while client.recv(1):
            client.sendall(b"!")
        assert 0.29 <= time.monotonic() - began < 5


def test_a_connection_is_cut_off_after_so_long_even_if_its_client_does_not_read():
    with running(*ECHO, "--reset-after", "300ms") as server, server.connect() as client:
        with pytest.raises(ConnectionError):
            client.sendall(bytes(100_000_000))
        server.wait_for_log("fault: reset")


@pytest.mark.parametrize(("option", "reason"), [("--reset-after", "fault: reset"), ("--close-after", "fault: closed")])
def test_a_connection_that_a_fault_has_cut_off_is_logged_as_that(option, reason):
    with running(*ECHO, option, "1b") as server:
        with server.connect() as client:
            client.sendall(b"ab")
            received_until_cut_off(client)
        server.wait_for_log("connection closed")
        (fields,) = events(server, "connection closed")
        assert (fields["reason"], fields["sent"]) == (reason, "1")


def test_after_no_byte_a_connection_is_reset_at_once():
    with running(*ECHO, "--reset-after", "0") as server, server.connect() as client:
        assert is_dropped(client)


def test_toxicity_hits_that_share_of_connections_and_the_same_ones_for_the_same_seed():
    first = hit_connections(30, "--toxicity", "0.5", "--seed", "1")
    assert len(first) == pytest.approx(15, abs=9)
    assert first == hit_connections(30, "--toxicity", "0.5", "--seed", "1")
    assert first != hit_connections(30, "--toxicity", "0.5", "--seed", "2")


@pytest.mark.parametrize(("toxicity", "hit"), [("0", []), ("1", [0, 1, 2, 3, 4])])
def test_toxicity_of_0_hits_no_connection_and_of_1_hits_all(toxicity, hit):
    assert hit_connections(5, "--toxicity", toxicity) == hit


def secure(server, trusting):
    return trusting.wrap_socket(server.connect(), server_hostname="localhost")


def test_over_tls_each_slice_is_a_record(certificate, trusting):
    with running(*ECHO, "--slice", "4", "--tls-cert", certificate) as server, secure(server, trusting) as client:
        client.sendall(b"1234567890")
        assert [client.recv(99), client.recv(99), client.recv(99)] == [b"1234", b"5678", b"90"]


def test_over_tls_what_is_late_is_late(certificate, trusting):
    with running(*ECHO, "--latency", "100ms", "--tls-cert", certificate) as server, secure(server, trusting) as client:
        assert 0.1 <= seconds_for(client, b"ping") < 0.3


def test_over_tls_the_text_is_corrupted_and_not_the_records(certificate, trusting):
    args = ("--corrupt-rate", "0.1", "--seed", "1")
    with running(*ECHO, *args, "--tls-cert", certificate) as server, secure(server, trusting) as client:
        assert echo_of(client, bytes(1000)) == corrupted(bytes(1000), *args)


def test_over_tls_a_connection_is_reset_after_exactly_so_many_bytes(certificate, trusting):
    args = ("--reset-after", "10", "--tls-cert", certificate)
    with running(*ECHO, *args) as server, secure(server, trusting) as client:
        client.sendall(b"0123456789abcdef")
        assert client.recv(99) == b"0123456789"
        with socket.socket(fileno=os.dup(client.fileno())) as raw:  # ssl takes a reset for an EOF before Python 3.11.9
            raw.settimeout(TIMEOUT_S)
            assert received_until_cut_off(raw) == (b"", True)


def test_over_tls_a_connection_is_closed_cleanly_after_exactly_so_many_bytes(certificate, trusting):
    args = ("--close-after", "10", "--tls-cert", certificate)
    with running(*ECHO, *args) as server, secure(server, trusting) as client:
        client.suppress_ragged_eofs = False  # an end without close_notify is an error
        client.sendall(b"0123456789abcdef")
        assert received_until_cut_off(client) == (b"0123456789", False)


def test_a_line_is_late_when_it_is_complete():
    with running(*ECHO, "--line", "--latency", "100ms") as server, server.connect() as client:
        client.sendall(b"be")
        began = time.monotonic()
        client.sendall(b"gun\nnot")
        assert receive_exactly(client, 6) == b"begun\n"
        assert time.monotonic() - began >= 0.1
        client.sendall(b" yet\n")
        assert receive_exactly(client, 8) == b"not yet\n"


def test_lines_are_cut_off_like_bytes():
    with running(*ECHO, "--line", "--close-after", "5") as server, server.connect() as client:
        client.sendall(b"one\ntwo\nthree\n")
        assert received_until_cut_off(client) == (b"one\nt", False)


def test_faults_are_met_by_what_a_server_says_first():
    with running(*ECHO, "--service", "daytime", "--close-after", "3") as server, server.connect() as client:
        assert re.fullmatch(rb"\w{3}", receive_all(client))


def test_faults_over_a_unix_socket(tmp_path):
    args = ("--close-after", "3", "--latency", "50ms")
    with running("echo-server", "-l", f"unix:{tmp_path}/s", *args) as server, server.connect() as client:
        began = time.monotonic()
        client.sendall(b"12345")
        assert received_until_cut_off(client) == (b"123", False)
        assert time.monotonic() - began >= 0.05


def test_workers_keep_to_the_seed():
    """Of two connections one is each worker's first; which worker it is decides its number, 1 or 2."""
    message, args = bytes(1000), ("--corrupt-rate", "0.1", "--seed", "1")
    with running(*ECHO, *args) as server, server.connect() as one, server.connect() as two:
        alone = {echo_of(one, message), echo_of(two, message)}
    with running(*ECHO, *args, "--workers", "2") as server, server.connect() as client:
        assert echo_of(client, message) in alone


@pytest.mark.parametrize(
    "args", [("--drop-rate", "1.5"), ("--toxicity", "-1"), ("--bandwidth", "0"), ("--slice", "0"), ("--seed", "-1")]
)
def test_a_fault_that_makes_no_sense_is_a_usage_error(gtool, args):
    result = gtool("echo-server", "-l", LOOPBACK, *args)
    assert result.code == 2
    assert args[0] in result.err
