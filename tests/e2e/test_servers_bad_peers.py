"""Servers among peers that misbehave, and on machines that run out of things: they keep serving the others."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, environment
from tests.e2e.probes import descriptors, events, exchange, is_dropped, resident_bytes
from tests.e2e.servers import GtoolServer, receive_all, receive_exactly, running

LOOPBACK = "127.0.0.1:0"
RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) sends RST
FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 48; exec "$@"', "sh")
MAX_GROWTH_BYTES = 16 << 20
FLOOD_BYTES = 64 << 20  #: more than the buffers of the kernel hold on a way there and back


def connect_from(server: GtoolServer, host: str) -> socket.socket:
    return socket.create_connection(server.target(), TIMEOUT_S, source_address=(host, 0))


def is_served(client: socket.socket) -> bool:
    """Whether a connection is served, and not closed at once."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except (ConnectionResetError, BrokenPipeError):
        return False


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def troubles(server: GtoolServer) -> list[str]:
    """The lines of the log that are more than news."""
    return [line for line in server.err.splitlines() if " WARNING " in line or " ERROR " in line or line[:1] != "2"]


def reasons(server: GtoolServer) -> list[str]:
    """Why connections were refused, as `-v` logs it."""
    return [event["reason"] for event in events(server, "connection refused")]


@contextmanager
def several(server: GtoolServer, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(count)]


# --- limits


def test_a_full_server_closes_one_more_connection_at_once_and_says_why():
    words = ["-l", LOOPBACK, "--max-connections", "2"]
    with running("-v", "echo-server", *words) as server, several(server, 2) as clients:
        for client in clients:
            exchange(client)
        with server.connect() as client:
            assert is_dropped(client)
        assert server.counts()["refused"] == 1
        assert reasons(server) == ["full"]
        for client in clients:
            exchange(client)


def test_a_place_that_has_become_free_is_given_to_the_next():
    with running("echo-server", "-l", LOOPBACK, "--max-connections", "1") as server:
        for _ in range(5):
            with server.connect() as client:
                exchange(client)
            server.wait_for_counts(open=0)


def test_an_address_with_too_many_connections_gets_no_more_while_others_do():
    with running("-v", "echo-server", "-l", LOOPBACK, "--max-connections-per-ip", "1") as server:
        with connect_from(server, "127.0.0.1") as first, connect_from(server, "127.0.0.2") as other:
            exchange(first)
            exchange(other)
            with connect_from(server, "127.0.0.1") as client:
                assert is_dropped(client)
            assert server.counts()["refused"] == 1
            assert reasons(server) == ["full_for_ip"]
        server.wait_for_counts(open=0)
        with connect_from(server, "127.0.0.1") as client:
            exchange(client)


def test_connections_beyond_the_accept_rate_are_closed_at_once():
    with running("-v", "echo-server", "-l", LOOPBACK, "--max-accept-rate", "2/m") as server:
        with several(server, 3) as clients:
            assert is_served(clients[0])
            assert all(is_dropped(client) for client in clients[1:])
        assert server.counts()["refused"] == 2
        assert set(reasons(server)) == {"rate"}


def test_the_accept_rate_admits_more_as_time_goes_by():
    with running("echo-server", "-l", LOOPBACK, "--max-accept-rate", "5/s") as server:
        begun = time.monotonic()
        served = 0
        while served < 10:
            assert time.monotonic() - begun < TIMEOUT_S
            with server.connect() as client:
                served += is_served(client)
        assert time.monotonic() - begun > 0.9  # five at once, five more in a second
        assert server.counts()["refused"] > 0


def test_only_the_addresses_allowed_are_served():
    with running("-v", "echo-server", "-l", LOOPBACK, "--allow", "127.0.0.2") as server:
        with connect_from(server, "127.0.0.1") as client:
            assert is_dropped(client)
        with connect_from(server, "127.0.0.2") as client:
            exchange(client)
        assert server.counts()["refused"] == 1
        assert reasons(server) == ["denied"]


def test_the_addresses_denied_are_not_served():
    with running("echo-server", "-l", LOOPBACK, "--deny", "127.0.0.2/32") as server:
        with connect_from(server, "127.0.0.2") as client:
            assert is_dropped(client)
        with connect_from(server, "127.0.0.1") as client:
            exchange(client)


def test_the_closest_rule_counts():
    rules = ["--deny", "127.0.0.0/8", "--allow", "127.0.0.4/30", "--deny", "127.0.0.5"]
    with running("echo-server", "-l", LOOPBACK, *rules) as server:
        served = {}
        for host in ("127.0.0.1", "127.0.0.5", "127.0.0.6"):
            with connect_from(server, host) as client:
                served[host] = is_served(client)
    assert served == {"127.0.0.1": False, "127.0.0.5": False, "127.0.0.6": True}


def test_rules_hold_for_a_socket_of_both_families():
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        descriptor = listener.fileno()
        words = ["-l", f"fd:{descriptor}", "--deny", "127.0.0.2"]
        with running("echo-server", *words, pass_fds=[descriptor]) as server:
            server.urls = [f"tcp://127.0.0.1:{server.port}"]
            with connect_from(server, "127.0.0.2") as client:  # ::ffff:127.0.0.2 for the server
                assert is_dropped(client)
            with connect_from(server, "127.0.0.1") as client:
                exchange(client)


# --- idle ones


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
def test_an_idle_connection_is_closed_and_an_active_one_stays(
    is_tls: bool, certificate: Path, trusting: ssl.SSLContext
):
    words = ["-l", LOOPBACK, "--idle-timeout", "400ms", *(["--tls-cert", certificate] if is_tls else [])]
    with running("-v", "echo-server", *words) as server, ExitStack() as stack:
        idle, active = (stack.enter_context(server.connect()) for _ in range(2))
        if is_tls:
            idle, active = (
                stack.enter_context(trusting.wrap_socket(sock, server_hostname="localhost")) for sock in (idle, active)
            )
        exchange(idle)
        begun = time.monotonic()
        while not select.select([idle], [], [], 0.05)[0]:
            exchange(active)
            assert time.monotonic() - begun < TIMEOUT_S
        assert time.monotonic() - begun > 0.35
        server.wait_for_log("connection closed")
        exchange(active)
        assert [event["reason"] for event in events(server, "connection closed")] == ["idle"]


def test_a_connection_that_takes_what_it_is_sent_is_not_idle():
    words = ["-l", LOOPBACK, "--service", "chargen", "--idle-timeout", "300ms"]
    with running("echo-server", *words) as server, server.connect() as client:
        begun = time.monotonic()
        while time.monotonic() - begun < 0.8:
            receive_exactly(client, 1 << 20)


def test_a_client_that_does_not_read_is_idle_when_nothing_more_goes_through():
    with running("-v", "echo-server", "-l", LOOPBACK, "--idle-timeout", "300ms") as server, server.connect() as client:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(bytes(FLOOD_BYTES))
        server.wait_for_log("reason=idle")


# --- no descriptors


def fill(server: GtoolServer, stack: ExitStack) -> list[socket.socket]:
    """Connect until the server has no descriptor for more; give the connections that are served."""
    clients = []
    while True:
        client = stack.enter_context(server.connect())
        if not is_served(client):
            return clients
        clients.append(client)


def test_without_descriptors_new_connections_are_closed_at_once_and_the_others_are_served():
    with running("echo-server", "-l", LOOPBACK, under=FEW_DESCRIPTORS) as server, ExitStack() as stack:
        clients = fill(server, stack)
        assert len(clients) > 20
        for _ in range(20):
            with server.connect() as client:
                assert is_dropped(client)
        for client in clients:
            exchange(client)
        counts = server.counts()
        assert counts["open"] == counts["accepted"] == len(clients)
        assert counts["refused"] >= 21
        assert server.stop().code == 0


def test_that_there_are_no_descriptors_is_logged_once_a_second_at_most():
    with running("-v", "echo-server", "-l", LOOPBACK, under=FEW_DESCRIPTORS) as server, ExitStack() as stack:
        begun = time.monotonic()
        fill(server, stack)
        while time.monotonic() - begun < 2.5:
            with server.connect() as client:
                assert is_dropped(client)
        server.counts()
        warnings = events(server, "no descriptor for a new connection: it is refused")
        assert 2 <= len(warnings) <= 1 + time.monotonic() - begun
        assert int(warnings[-1]["left_out"]) > 1
        assert "ulimit" in warnings[-1]["hint"]


def test_a_server_recovers_when_descriptors_are_free_again():
    with running("echo-server", "-l", LOOPBACK, under=FEW_DESCRIPTORS) as server:
        for _ in range(2):
            with ExitStack() as stack:
                count = len(fill(server, stack))
            server.wait_for_counts(open=0)
        with several(server, count) as clients:
            for client in clients:
                exchange(client)


def test_the_descriptor_limit_is_raised_as_far_as_it_may_be():
    under = ("sh", "-c", 'ulimit -Sn 48; exec "$@"', "sh")
    with running("echo-server", "-l", LOOPBACK, under=under) as server, several(server, 60) as clients:
        for client in clients:
            exchange(client)


# --- peers that say nothing, reset, flood, trickle


def test_clients_that_say_nothing_do_not_keep_the_others_from_being_served():
    with running("echo-server", "-l", LOOPBACK) as server, several(server, 100), server.connect() as client:
        exchange(client)
        assert server.counts()["open"] == 101


def test_clients_that_reset_leave_nothing_behind_and_no_line_in_the_log():
    with running("echo-server", "-l", LOOPBACK) as server:
        with server.connect() as client:
            exchange(client)
        server.wait_for_counts(open=0)
        before = descriptors(server.process.pid)
        for _ in range(50):
            client = server.connect()
            client.sendall(b"hello")
            reset(client)
        server.wait_for_counts(accepted=51, open=0)
        assert descriptors(server.process.pid) == before
        assert troubles(server) == []
        with server.connect() as client:
            exchange(client)


def test_a_client_that_resets_in_the_middle_of_an_answer_leaves_the_others_be():
    with running("echo-server", "-l", LOOPBACK) as server, server.connect() as other:
        client = server.connect()
        client.settimeout(0.2)
        with suppress(TimeoutError):
            client.sendall(bytes(FLOOD_BYTES))  # until the server waits for it to read
        reset(client)
        server.wait_for_counts(open=1)
        exchange(other)
        assert troubles(server) == []


@pytest.mark.parametrize(
    "options",
    [[], ["--line"], ["--latency", "1ms"], ["--bandwidth", "1k"], ["--tls-cert"], ["--line", "--tls-cert"]],
    ids=lambda options: " ".join(options) or "plain",
)
def test_a_client_that_floods_and_does_not_read_is_stopped_and_costs_no_memory(
    options: list[str], certificate: Path, trusting: ssl.SSLContext
):
    is_tls = "--tls-cert" in options
    words = ["-l", LOOPBACK, *options, *([certificate] if is_tls else [])]
    with running("echo-server", *words) as server, ExitStack() as stack:
        if is_tls:
            with trusting.wrap_socket(server.connect(), server_hostname="localhost") as client:
                exchange(client, b"the first costs what TLS takes\n")
        before = resident_bytes(server.process.pid)
        for _ in range(3):
            client = stack.enter_context(server.connect())
            if is_tls:
                client = stack.enter_context(trusting.wrap_socket(client, server_hostname="localhost"))
            assert is_stopped(client, (b"x" * 999 + b"\n") * 64)
        assert resident_bytes(server.process.pid) - before < MAX_GROWTH_BYTES


@pytest.mark.parametrize(
    "options", [[], ["--line"], ["--latency", "1ms"]], ids=lambda options: " ".join(options) or "plain"
)
def test_a_client_that_was_stopped_costs_no_processor_time(options: list[str]):
    with running("echo-server", "-l", LOOPBACK, *options) as server, server.connect() as client:
        assert is_stopped(client, (b"x" * 999 + b"\n") * 64)
        before = processor_s(server.process.pid)
        time.sleep(0.5)  # what is measured, not a wait
        assert processor_s(server.process.pid) - before < 0.2


def processor_s(pid: int) -> float:
    """How long a process has run, in its own code and in the kernel (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_stopped(client: socket.socket, data: bytes) -> bool:
    """Send and never read; whether the server stops us before so much has gone that somebody has to keep it."""
    client.settimeout(0.3)
    try:
        for _ in range(FLOOD_BYTES // len(data)):
            client.sendall(data)
    except TimeoutError:
        return True
    return False


def test_a_client_that_was_stopped_gets_all_when_it_reads_at_last():
    message = bytes(range(256)) * (FLOOD_BYTES >> 10)
    with running("echo-server", "-l", LOOPBACK) as server, server.connect() as client:
        client.setblocking(False)
        sent, received = 0, b""
        while select.select([], [client], [], 0.3)[1]:
            sent += client.send(message[sent : sent + 65_536])
        assert 0 < sent < len(message)
        client.setblocking(True)
        client.settimeout(TIMEOUT_S)
        received = receive_exactly(client, sent)
        assert received == message[:sent]
        exchange(client)


def test_a_client_that_sends_one_byte_at_a_time_gets_each_back():
    with running("echo-server", "-l", LOOPBACK) as server, server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in bytes(range(256)):
            client.sendall(bytes([byte]))
            assert client.recv(10) == bytes([byte])


@pytest.mark.parametrize("options", [[], ["--latency", "1ms"]], ids=["plain", "faults"])
@pytest.mark.parametrize("how", [reset, socket.socket.close])
def test_500_connections_dropped_at_once_make_no_line_in_the_log(
    how: Callable[[socket.socket], None], options: list[str]
):
    with running("echo-server", "-l", LOOPBACK, *options) as server:
        with several(server, 500) as clients:
            for client in clients:
                client.sendall(b"x")
            for client in clients:
                assert client.recv(1) == b"x"
            for client in clients:
                how(client)
        server.wait_for_counts(accepted=500, open=0)
        assert troubles(server) == []


# --- the PROXY protocol


def v2(command: int, family: int, addresses: bytes, extra: bytes = b"") -> bytes:
    body = addresses + extra
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20 | command, family << 4 | 1, len(body)) + body


def v2_addresses(family: int, source: str, port: int) -> bytes:
    return socket.inet_pton(family, source) * 2 + struct.pack("!HH", port, 443)


V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 4242 443\r\n"
V2 = v2(1, 1, v2_addresses(socket.AF_INET, "203.0.113.7", 4242))
GOOD = {
    "v1": (V1, "203.0.113.7:4242"),
    "v1-ipv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 4242 443\r\n", "[2001:db8::7]:4242"),
    "v2": (V2, "203.0.113.7:4242"),
    "v2-ipv6": (v2(1, 2, v2_addresses(socket.AF_INET6, "2001:db8::7", 4242)), "[2001:db8::7]:4242"),
    "v2-tlv": (v2(1, 1, v2_addresses(socket.AF_INET, "203.0.113.7", 4242), b"\x04\x00\x64" + bytes(100)),
               "203.0.113.7:4242"),
}  # fmt: skip
NAMELESS = {"v1-unknown": b"PROXY UNKNOWN\r\n", "v2-local": v2(0, 0, b""), "v2-unix": v2(1, 3, bytes(216))}
BAD = {
    "v1-cut": (V1[:-7], "cut short"),
    "v2-cut": (V2[:-3], "cut short"),
    "nothing": (b"", "cut short"),
    "v1-oversized": (b"PROXY TCP4 " + b"1" * 200, "oversized"),
    "v2-oversized": (v2(1, 1, bytes(12), bytes(65_000)), "oversized"),
    "missing": (b"GET / HTTP/1.0\r\n\r\n", "no PROXY header"),
    "v1-malformed": (b"PROXY TCP4 203.0.113.700 198.51.100.1 4242 443\r\n", "malformed"),
    "v1-port": (b"PROXY TCP4 203.0.113.7 198.51.100.1 70000 443\r\n", "malformed"),
    "v2-version": (V2[:12] + b"\x31" + V2[13:], "malformed"),
    "v2-short": (v2(1, 1, bytes(4)), "malformed"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_proxy_header_is_taken_off_and_its_address_is_in_the_log(name: str):
    header, peer = GOOD[name]
    with running("-v", "echo-server", "-l", LOOPBACK, "--proxy-protocol") as server, server.connect() as client:
        client.sendall(header + b"hello")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"hello"
        server.wait_for_log("connection closed")
        for event in ("connection open", "connection closed"):
            assert [fields["peer"] for fields in events(server, event)] == [peer]


@pytest.mark.parametrize("name", NAMELESS)
def test_a_proxy_header_without_an_address_leaves_the_proxys_in_the_log(name: str):
    with running("-v", "echo-server", "-l", LOOPBACK, "--proxy-protocol") as server, server.connect() as client:
        client.sendall(NAMELESS[name] + b"hello")
        assert receive_exactly(client, 5) == b"hello"
        server.wait_for_log("connection open")
        assert events(server, "connection open")[0]["peer"] == "{}:{}".format(*client.getsockname())


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_proxy_header_may_come_byte_by_byte(header: bytes):
    with running("echo-server", "-l", LOOPBACK, "--proxy-protocol") as server, server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header:
            client.sendall(bytes([byte]))
        exchange(client)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_proxy_header_ends_its_connection_with_the_reason_in_the_log(name: str):
    sent, reason = BAD[name]
    with running("echo-server", "-l", LOOPBACK, "--proxy-protocol") as server:
        with server.connect() as client:
            with suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
            assert is_dropped(client)  # and nothing came back
        server.wait_for_counts(refused=1, open=0, accepted=0)
        (warning,) = events(server, "bad PROXY header")
        assert reason in warning["reason"]
        with server.connect() as client:
            client.sendall(V1)
            exchange(client)


def test_a_proxy_header_has_to_be_there_in_time_however_busily_it_comes():
    words = ["-l", LOOPBACK, "--proxy-protocol", "--handshake-timeout", "300ms"]
    with running("echo-server", *words) as server, server.connect() as client:
        for byte in V1 * 2:
            if select.select([client], [], [], 0.05)[0]:
                break
            client.sendall(bytes([byte]))
        assert is_dropped(client)
        server.wait_for_log("bad PROXY header")
        assert "timed out" in events(server, "bad PROXY header")[0]["reason"]


def test_a_proxy_header_from_an_untrusted_address_is_refused_at_once():
    words = ["-l", LOOPBACK, "--proxy-protocol", "--proxy-from", "10.0.0.0/8"]
    with running("-v", "echo-server", *words) as server, server.connect() as client:
        assert is_dropped(client)
        peer = "{}:{}".format(*client.getsockname())
        assert server.wait_for_counts(refused=1)["accepted"] == 0
        assert events(server, "connection refused") == [{"peer": peer, "reason": "proxy"}]


def test_address_rules_are_about_the_client_behind_the_proxy():
    words = ["-l", LOOPBACK, "--proxy-protocol", "--deny", "203.0.113.0/24"]
    with running("-v", "echo-server", *words) as server:
        with server.connect() as client:
            client.sendall(V1)
            assert is_dropped(client)
        with server.connect() as client:
            client.sendall(V1.replace(b"203.0.113.7", b"203.0.114.7"))
            exchange(client)
        server.wait_for_log("connection refused")
        assert events(server, "connection refused") == [{"peer": "203.0.113.7:4242", "reason": "denied"}]


def test_address_rules_are_about_mapped_addresses_behind_a_proxy_too():
    words = ["-l", LOOPBACK, "--proxy-protocol", "--deny", "203.0.113.0/24"]
    with running("echo-server", *words) as server, server.connect() as client:
        client.sendall(b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4242 443\r\nhello")
        assert is_dropped(client)


def test_the_limit_for_an_address_is_about_the_client_behind_the_proxy():
    words = ["-l", LOOPBACK, "--proxy-protocol", "--max-connections-per-ip", "1"]
    with running("echo-server", *words) as server, several(server, 3) as clients:
        clients[0].sendall(V1)
        exchange(clients[0])
        clients[1].sendall(V1)
        assert is_dropped(clients[1])
        clients[2].sendall(V1.replace(b"203.0.113.7", b"203.0.114.7"))
        exchange(clients[2])


def test_connections_whose_header_is_still_to_come_count_for_max_connections():
    words = ["-l", LOOPBACK, "--proxy-protocol", "--max-connections", "1"]
    with running("echo-server", *words) as server, server.connect() as silent:
        server.wait_for_counts(open=1)
        with server.connect() as client:
            assert is_dropped(client)
        silent.sendall(V1)
        exchange(silent)


def test_the_proxy_header_comes_before_the_tls_handshake(certificate: Path, trusting: ssl.SSLContext):
    words = ["-l", LOOPBACK, "--proxy-protocol", "--tls-cert", certificate]
    with running("-v", "echo-server", *words) as server, server.connect() as sock:
        sock.sendall(V2)
        with trusting.wrap_socket(sock, server_hostname="localhost") as client:
            exchange(client)
        server.wait_for_log("connection open")
        assert events(server, "connection open")[0]["peer"] == "203.0.113.7:4242"


# --- a machine that has run out of disk, and shells that have closed things


def test_a_full_disk_under_the_log_stops_neither_the_server_nor_its_good_end():
    with (
        open("/dev/full", "wb") as full,
        running("-vv", "echo-server", "-l", LOOPBACK, stderr=full) as server,
    ):
        for _ in range(100):
            with server.connect() as client:
                exchange(client)
        assert server.stop().code == 0


def test_a_closed_stderr_is_no_place_for_a_socket_that_the_log_would_be_written_to():
    under = ("sh", "-c", 'exec "$@" 2>&-', "sh")
    with running("-vv", "echo-server", "-l", LOOPBACK, under=under) as server, several(server, 5) as clients:
        assert os.readlink(f"/proc/{server.process.pid}/fd/2") == os.devnull
        for client in clients:
            exchange(client)
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
        assert server.stop().code == 0


def test_a_server_with_a_closed_stdout_serves_and_tells_others_that_it_is_ready(tmp_path: Path):
    path = tmp_path / "ready"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(TIMEOUT_S)
        systemd.bind(str(tmp_path / "notify"))
        popen = {"under": ("sh", "-c", 'exec "$@" >&-', "sh"), "env": environment(NOTIFY_SOCKET=systemd.getsockname())}
        with running("echo-server", "-l", LOOPBACK, "--ready-file", path, listeners=0, **popen) as server:
            assert systemd.recv(100).startswith(b"READY=1")
            assert os.readlink(f"/proc/{server.process.pid}/fd/1") == os.devnull
            server.urls = path.read_text().splitlines()
            with server.connect() as client:
                exchange(client)
            assert server.stop().code == 0


def test_a_stdout_that_cannot_be_written_ends_the_server_with_one_line_and_removes_its_path(tmp_path: Path):
    path = tmp_path / "echo.sock"
    with (
        open("/dev/full", "wb") as full,
        running("echo-server", "-l", f"unix:{path}", listeners=0, stdout=full) as server,
    ):
        ended = server.ended()
    assert ended.code == 23
    assert ended.err.count("\n") == 1
    assert "stdout" in ended.err
    assert not path.exists()
