"""Where servers listen, whom they tell, and how they refuse to start: real processes and real sockets."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.conftest import TIMEOUT_S, command, environment
from tests.e2e.servers import GtoolServer, receive_all, receive_exactly, running

LOOPBACK = "127.0.0.1:0"
SYSTEMD = ("sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh")
"""What systemd does: LISTEN_PID is the number of the very process that gtool becomes."""


def echoes(server: GtoolServer, number: int = 0, message: bytes = b"hello") -> bool:
    """Whether the listener with that number sends back what it is sent."""
    with server.connect(number) as client:
        client.sendall(message)
        if client.type == socket.SOCK_DGRAM:
            return client.recv(65536) == message
        return receive_exactly(client, len(message)) == message


@contextmanager
def inherited(*sockets: socket.socket) -> Iterator[dict[str, object]]:
    """How to start a process that has these sockets as its descriptors 3, 4 ..., as systemd gives them."""
    copies = [fcntl.fcntl(sock, fcntl.F_DUPFD, 100) for sock in sockets]  # none that the moves overwrite
    moves = " ".join(f"{number}<&{copy} {copy}<&-" for number, copy in enumerate(copies, start=3))
    try:
        # bash, for dash takes one digit only
        yield {
            "under": ("bash", "-c", f'LISTEN_PID=$$ exec "$@" {moves}', "bash"),
            "pass_fds": copies,
            "env": environment(LISTEN_FDS=str(len(sockets))),
        }
    finally:
        for copy in copies:
            os.close(copy)


@pytest.fixture
def notify_socket(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd listens on for what its services have to say."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.bind(str(tmp_path / "notify"))
        yield sock


# --- each kind of address


def test_tcp_is_what_an_address_without_a_scheme_means():
    with running("echo-server", "-l", LOOPBACK) as server:
        assert server.urls == [f"tcp://127.0.0.1:{server.port}"]
        assert server.port
        assert echoes(server)


def test_ipv6_is_in_brackets_when_asked_for_and_when_announced():
    with running("echo-server", "-l", "[::1]:0") as server:
        assert server.urls == [f"tcp://[::1]:{server.port}"]
        assert echoes(server)


def test_udp_sends_datagrams_back():
    with running("echo-server", "-l", f"udp://{LOOPBACK}") as server:
        assert server.urls == [f"udp://127.0.0.1:{server.port}"]
        assert echoes(server)


def test_a_unix_path_is_there_while_the_server_runs_and_gone_after_it(tmp_path: Path):
    path = tmp_path / "echo.sock"
    with running("echo-server", "-l", f"unix:{path}") as server:
        assert server.urls == [f"unix:{path}"]
        assert echoes(server)
        assert server.stop().code == 0
    assert not path.exists()


def test_tls_serves_a_client_that_trusts_the_certificate(certificate: Path, ca_file: Path):
    with running("echo-server", "-l", f"tls://{LOOPBACK}", "--tls-cert", certificate) as server:
        assert server.urls == [f"tls://127.0.0.1:{server.port}"]
        context = ssl.create_default_context(cafile=str(ca_file))
        with context.wrap_socket(server.connect(), server_hostname="localhost") as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_a_certificate_makes_addresses_without_a_scheme_speak_tls(certificate: Path):
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", certificate) as server:
        assert server.urls[0].startswith("tls://")


def test_the_key_may_be_in_a_file_of_its_own(authority: trustme.CA, tmp_path: Path, ca_file: Path):
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    with running("echo-server", "-l", LOOPBACK, "--tls-cert", cert, "--tls-key", key) as server:
        context = ssl.create_default_context(cafile=str(ca_file))
        with context.wrap_socket(server.connect(), server_hostname="localhost") as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_an_inherited_descriptor_is_served_and_announced_with_its_real_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        descriptor = listener.fileno()
        with running("echo-server", "-l", f"fd:{descriptor}", pass_fds=[descriptor]) as server:
            assert server.urls == [f"tcp://127.0.0.1:{listener.getsockname()[1]}"]
            assert echoes(server)


def test_an_inherited_datagram_socket_is_served_as_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with running("echo-server", "-l", f"fd:{sock.fileno()}", pass_fds=[sock.fileno()]) as server:
            assert server.urls == [f"udp://127.0.0.1:{sock.getsockname()[1]}"]
            assert echoes(server)


def test_the_path_of_an_inherited_socket_stays_for_it_is_not_ours(tmp_path: Path):
    path = tmp_path / "inherited.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with running("echo-server", "-l", f"fd:{listener.fileno()}", pass_fds=[listener.fileno()]) as server:
            assert echoes(server)
            server.stop()
    assert path.exists()


def test_several_addresses_of_all_kinds_are_served_and_announced_in_their_order(tmp_path: Path, certificate: Path):
    path = tmp_path / "echo.sock"
    addresses = [f"tcp://{LOOPBACK}", f"udp://{LOOPBACK}", f"unix:{path}", "tcp://[::1]:0"]
    options = [word for address in addresses for word in ("-l", address)]
    with running("echo-server", *options, listeners=len(addresses)) as server:
        assert [url.partition(":")[0] for url in server.urls] == ["tcp", "udp", "unix", "tcp"]
        assert all(echoes(server, number) for number in range(len(addresses)))


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_all_interfaces_are_served_in_both_families_on_one_port(scheme: str):
    with running("echo-server", "-l", f"{scheme}://:0", listeners=2) as server:
        assert server.urls == [f"{scheme}://0.0.0.0:{server.port}", f"{scheme}://[::]:{server.port}"]
        server.urls = [f"{scheme}://127.0.0.1:{server.port}", f"{scheme}://[::1]:{server.port}"]
        assert echoes(server, 0)
        assert echoes(server, 1)


# --- systemd


def test_sockets_that_systemd_opened_stand_for_the_default_address():
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = [sock.getsockname()[1] for sock in (first, second)]
        with inherited(first, second) as popen, running("echo-server", listeners=2, **popen) as server:
            assert server.urls == [f"tcp://127.0.0.1:{port}" for port in ports]
            assert echoes(server, 0)
            assert echoes(server, 1)
            server.stop()
            assert server.process.stdout.read() == b""


def test_sockets_that_systemd_opened_are_served_beside_addresses_that_were_asked_for():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with inherited(listener) as popen, running("echo-server", "-l", LOOPBACK, listeners=2, **popen) as server:
            assert server.urls[0] == f"tcp://127.0.0.1:{port}"
            assert echoes(server, 0)
            assert echoes(server, 1)


def test_sockets_that_are_meant_for_another_process_are_left_alone():
    env = environment(LISTEN_FDS="7", LISTEN_PID="1")
    with running("echo-server", "-l", LOOPBACK, env=env) as server:
        assert echoes(server)
        server.stop()
        assert server.process.stdout.read() == b""


def test_sockets_that_systemd_did_not_pass_are_an_error_of_one_line():
    done = subprocess.run(
        [*SYSTEMD, *command("echo-server")], env=environment(LISTEN_FDS="1"), capture_output=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 5
    assert done.stderr.count(b"\n") == 1
    assert b"fd:3" in done.stderr


def test_systemd_is_told_when_the_server_is_ready(notify_socket: socket.socket):
    env = environment(NOTIFY_SOCKET=notify_socket.getsockname())
    with running("echo-server", "-l", LOOPBACK, env=env) as server:
        assert notify_socket.recv(4096).splitlines()[0] == b"READY=1"
        assert echoes(server)


def test_systemd_is_told_on_an_abstract_socket_too():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.bind("")  # the kernel chooses an abstract name
        name = "@" + sock.getsockname()[1:].decode()
        with running("echo-server", "-l", LOOPBACK, env=environment(NOTIFY_SOCKET=name)):
            assert sock.recv(4096).splitlines()[0] == b"READY=1"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_is_told_once_when_the_server_stops(notify_socket: socket.socket, workers: str):
    env = environment(NOTIFY_SOCKET=notify_socket.getsockname())
    with running("echo-server", "-l", LOOPBACK, "--workers", workers, env=env) as server:
        notify_socket.recv(4096)
        server.stop()
        assert notify_socket.recv(4096).splitlines()[0] == b"STOPPING=1"
        notify_socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            notify_socket.recv(4096)


# --- ready


def test_the_ready_file_has_the_lines_of_stdout(tmp_path: Path):
    path = tmp_path / "ready"
    addresses = ["-l", LOOPBACK, "-l", f"udp://{LOOPBACK}"]
    with running("echo-server", *addresses, "--ready-file", path, listeners=2) as server:
        assert path.read_text().splitlines() == server.urls


def test_the_ready_file_appears_whole_for_it_replaces_what_was_there(tmp_path: Path):
    path = tmp_path / "ready"
    path.write_text("of an earlier run\n")
    with path.open() as earlier, running("echo-server", "-l", LOOPBACK, "--ready-file", path):
        assert earlier.read() == "of an earlier run\n"  # not overwritten in place
        assert os.fstat(earlier.fileno()).st_nlink == 0
        assert os.listdir(tmp_path) == ["ready"]


def test_the_ready_file_goes_with_its_server(tmp_path: Path):
    path = tmp_path / "ready"
    with running("echo-server", "-l", LOOPBACK, "--ready-file", path) as server:
        server.stop()
        assert not path.exists()


def test_the_ready_file_of_another_server_stays(tmp_path: Path):
    path = tmp_path / "ready"
    words = ("echo-server", "-l", LOOPBACK, "--ready-file", path)
    with running(*words) as first, running(*words) as second:
        first.stop()
        assert path.read_text().splitlines() == second.urls


def test_a_ready_file_that_cannot_be_written_ends_the_server_and_removes_its_path(gtool, tmp_path: Path):
    path = tmp_path / "echo.sock"
    result = gtool("echo-server", "-l", f"unix:{path}", "--ready-file", tmp_path / "missing" / "ready")
    assert result.code == 23
    assert result.err.count("\n") == 1
    assert str(tmp_path / "missing" / "ready") in result.err
    assert not path.exists()


def test_a_server_whose_stdout_nobody_reads_ends_and_removes_its_path(tmp_path: Path):
    path = tmp_path / "echo.sock"
    reader, writer = os.pipe()
    os.close(reader)
    with (
        open(writer, "wb") as stdout,
        running("echo-server", "-l", f"unix:{path}", listeners=0, stdout=stdout) as server,
    ):
        ended = server.ended()
    assert (ended.code, ended.err) == (141, "")
    assert not path.exists()


# --- addresses that can't be had: exit 5, one line


def refused(result) -> str:
    """The one line with which a server has refused to start."""
    assert result.code == 5, result.err
    assert result.out == b""
    assert result.err.count("\n") == 1, result.err
    return result.err


def test_a_port_in_use_is_named_and_what_to_do_about_it(gtool):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = refused(gtool("echo-server", "-l", address))
        assert f"tcp://{address}" in line
        assert "in use" in line
        assert "ss -ltnup" in line


def test_a_udp_port_in_use_is_refused_too(gtool):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{taken.getsockname()[1]}"
        assert address in refused(gtool("echo-server", "-l", address))


def test_a_port_in_use_for_one_family_is_not_served_for_the_other(gtool):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        address = f":{taken.getsockname()[1]}"
        assert address in refused(gtool("echo-server", "-l", address))


def test_an_address_of_another_machine_is_refused(gtool):
    line = refused(gtool("echo-server", "-l", "192.0.2.1:0"))
    assert "192.0.2.1" in line
    assert "no interface of this machine" in line


def test_a_host_that_cannot_be_resolved_is_refused(gtool):
    assert "no-such-host.invalid" in refused(gtool("echo-server", "-l", "no-such-host.invalid:0"))


def test_one_address_that_cannot_be_had_takes_the_others_with_it(gtool, tmp_path: Path):
    path = tmp_path / "echo.sock"
    refused(gtool("echo-server", "-l", f"unix:{path}", "-l", "192.0.2.1:0"))
    assert not path.exists()


def test_a_unix_path_that_a_live_server_has_is_refused_and_left_to_it(gtool, tmp_path: Path):
    path = tmp_path / "echo.sock"
    with running("echo-server", "-l", f"unix:{path}") as server:
        line = refused(gtool("echo-server", "-l", f"unix:{path}"))
        assert f"unix:{path}" in line
        assert "another server" in line
        assert echoes(server)


def test_a_unix_path_that_a_dead_server_left_is_replaced(tmp_path: Path):
    path = tmp_path / "echo.sock"
    with running("echo-server", "-l", f"unix:{path}") as server:
        server.stop(signal.SIGKILL)
    assert path.exists()
    with running("echo-server", "-l", f"unix:{path}") as server:
        assert echoes(server)


def test_a_regular_file_at_a_unix_path_is_refused_and_untouched(gtool, tmp_path: Path):
    path = tmp_path / "echo.sock"
    path.write_text("precious")
    assert f"unix:{path}" in refused(gtool("echo-server", "-l", f"unix:{path}"))
    assert path.read_text() == "precious"


def test_a_link_at_a_unix_path_is_refused_and_untouched(gtool, tmp_path: Path):
    path = tmp_path / "echo.sock"
    path.symlink_to(tmp_path / "elsewhere")
    refused(gtool("echo-server", "-l", f"unix:{path}"))
    assert stat.S_ISLNK(path.lstat().st_mode)


def test_a_path_that_another_server_has_taken_over_is_left_to_it(tmp_path: Path):
    path = tmp_path / "echo.sock"
    with running("echo-server", "-l", f"unix:{path}") as first:
        path.unlink()
        with running("echo-server", "-l", f"unix:{path}") as second:
            assert first.stop().code == 0
            assert echoes(second)


def test_a_missing_directory_of_a_unix_path_is_named(gtool, tmp_path: Path):
    assert "no such directory" in refused(gtool("echo-server", "-l", f"unix:{tmp_path}/missing/echo.sock"))


def test_a_descriptor_that_is_not_open_is_refused(gtool):
    assert "fd:77" in refused(gtool("echo-server", "-l", "fd:77"))


def test_a_descriptor_that_is_no_socket_is_refused(gtool):
    assert "fd:0" in refused(gtool("echo-server", "-l", "fd:0"))


def test_a_socket_that_does_not_listen_is_refused():
    with socket.socket() as sock:
        address = f"fd:{sock.fileno()}"
        words = command("echo-server", "-l", address)
        done = subprocess.run(
            words, pass_fds=[sock.fileno()], env=environment(), capture_output=True, timeout=TIMEOUT_S
        )
    assert done.returncode == 5
    assert address in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.needs("setpriv")
def test_a_privileged_port_says_which_privilege_it_wants():
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free <= 1:
        pytest.skip("every port is free for everybody here: net.ipv4.ip_unprivileged_port_start")
    without = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    address = f"127.0.0.1:{first_free - 1}"
    words = [*(without if os.geteuid() == 0 else []), *command("echo-server", "-l", address)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert f"tcp://{address}" in done.stderr
    assert "CAP_NET_BIND_SERVICE" in done.stderr


# --- bad values: exit 2, one line that names the value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--listen", "localhost"),
        ("--listen", "localhost:65536"),
        ("--listen", "::1:8000"),
        ("--listen", "http://localhost:80"),
        ("--listen", "unix:"),
        ("--listen", "unix:" + "x" * 108),
        ("--listen", "udp://unix:/tmp/x"),
        ("--listen", "fd:three"),
        ("--metrics", "nowhere"),
        ("--allow", "10.0.0.0/33"),
        ("--deny", "10.0.0.1/8"),
        ("--proxy-from", "somewhere"),
        ("--idle-timeout", "5 parsecs"),
        ("--handshake-timeout", "-1s"),
        ("--duration", "nan"),
        ("--drain-timeout", "soon"),
        ("--max-bytes", "64q"),
        ("--max-line", "-1"),
        ("--bandwidth", "fast"),
        ("--max-accept-rate", "0/s"),
        ("--max-connections", "0"),
        ("--workers", "none"),
        ("--toxicity", "2"),
        ("--seed", "-1"),
        ("--service", "telnet"),
    ],
)
def test_a_bad_value_is_a_usage_error_of_one_line_that_names_it(gtool, option: str, value: str):
    result = gtool("echo-server", option, value)
    assert (result.code, result.out) == (2, b"")
    assert result.err.count("\n") == 1
    assert option in result.err
    assert value in result.err


def usage_error(result) -> str:
    assert (result.code, result.out) == (2, b""), result.err
    assert result.err.count("\n") == 1
    return result.err


def test_tls_without_a_certificate_is_a_usage_error(gtool):
    line = usage_error(gtool("echo-server", "-l", f"tls://{LOOPBACK}"))
    assert "tls://" in line
    assert "--tls-cert" in line


def test_a_key_without_a_certificate_is_a_usage_error(gtool, certificate: Path):
    assert "--tls-cert" in usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-key", certificate))


def test_a_certificate_that_is_not_there_is_a_usage_error(gtool, tmp_path: Path):
    path = tmp_path / "missing.pem"
    assert str(path) in usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-cert", path))


def test_a_certificate_that_cannot_be_read_is_a_usage_error(gtool, tmp_path: Path):
    assert str(tmp_path) in usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-cert", tmp_path))


def test_a_key_that_is_not_there_is_a_usage_error(gtool, tmp_path: Path, certificate: Path):
    path = tmp_path / "missing.key"
    result = gtool("echo-server", "-l", LOOPBACK, "--tls-cert", certificate, "--tls-key", path)
    assert str(path) in usage_error(result)


@pytest.mark.parametrize("content", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_broken_certificate_is_a_usage_error(gtool, tmp_path: Path, content: str):
    path = tmp_path / "broken.pem"
    path.write_text(content)
    assert str(path) in usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-cert", path))


def test_a_certificate_without_its_key_says_that_the_key_is_wanted(gtool, authority: trustme.CA, tmp_path: Path):
    path = tmp_path / "cert.pem"
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(path))
    line = usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-cert", path))
    assert str(path) in line
    assert "--tls-key" in line


def test_a_key_of_another_certificate_is_a_usage_error(gtool, authority: trustme.CA, tmp_path: Path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority.issue_cert("localhost").cert_chain_pems[0].write_to_path(str(cert))
    authority.issue_cert("localhost").private_key_pem.write_to_path(str(key))
    line = usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-cert", cert, "--tls-key", key))
    assert "does not belong" in line
    assert str(cert) in line
    assert str(key) in line


@pytest.mark.needs("openssl")
def test_a_key_under_a_password_is_a_usage_error_and_asks_nobody(gtool, authority: trustme.CA, tmp_path: Path):
    issued, cert, key, locked = authority.issue_cert("localhost"), *(tmp_path / name for name in ("c", "k", "locked"))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    words = ["openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:secret"]
    subprocess.run(words, check=True, capture_output=True, timeout=TIMEOUT_S)
    assert str(locked) in usage_error(gtool("echo-server", "-l", LOOPBACK, "--tls-cert", cert, "--tls-key", locked))


def test_a_server_that_was_stopped_listens_no_more():
    with running("echo-server", "-l", LOOPBACK) as server:
        target = server.target()
        assert server.stop().code == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(target, TIMEOUT_S)


def test_the_stream_ends_cleanly_when_the_server_is_drained():
    with running("echo-server", "-l", LOOPBACK, "--drain-timeout", "100ms") as server, server.connect() as client:
        client.sendall(b"hello")
        assert receive_exactly(client, 5) == b"hello"
        server.send_signal(signal.SIGTERM)
        assert receive_all(client) == b""
        assert server.ended().code == 0
