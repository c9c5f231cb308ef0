"""Addresses become listening sockets, all of them or none; and what stands in the way is said."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gtool.errors import BindError, UsageError
from gtool.runtime.address import Address
from gtool.runtime.listen import PACKET_INFO, Listener, inherited_addresses
from tests.conftest import ROOT, TIMEOUT_S, environment
from tests.runtime.conftest import connects

UNASSIGNED = "192.0.2.1"  # RFC 5737: of no machine
NOBODY = 65534


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of loopback on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def ports(listeners: list[Listener]) -> list[int]:
    return [listener.socket.getsockname()[1] for listener in listeners]


def test_it_listens_where_it_says(listen):
    (listener,) = listen("127.0.0.1:0")
    assert listener.url == f"tcp://127.0.0.1:{ports([listener])[0]}"
    assert connects(listener)


def test_the_ready_line_brackets_an_ipv6_address(listen):
    (listener,) = listen("[::1]:0")
    assert listener.url == f"tcp://[::1]:{ports([listener])[0]}"
    assert connects(listener)


def test_port_0_is_a_free_port(listen):
    assert 0 not in (chosen := ports(listen("127.0.0.1:0", "127.0.0.1:0")))
    assert len(set(chosen)) == 2


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_no_host_is_both_families_on_one_port(listen, scheme):
    four, six = listen(f"{scheme}://:0")
    assert (four.socket.family, six.socket.family) == (socket.AF_INET, socket.AF_INET6)
    assert ports([four])[0] == ports([six])[0] != 0
    assert (four.url, six.url) == tuple(f"{scheme}://{host}:{ports([four])[0]}" for host in ("0.0.0.0", "[::]"))


def test_a_socket_of_ipv6_leaves_ipv4_to_its_own(listen):
    _, six = listen(":0")
    assert six.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_port_that_is_taken_for_ipv6_is_no_choice_for_port_0(listen, monkeypatch):
    """The first port that the kernel offers for IPv4 is taken for IPv6 here."""
    with socket.socket(socket.AF_INET6) as occupied:
        occupied.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        offered: list[int] = []

        class Socket(socket.socket):
            def bind(self, address):
                super().bind(address)
                if self.family == socket.AF_INET:
                    offered.append(self.getsockname()[1])
                    if len(offered) == 1:
                        occupied.bind(("::", offered[0]))

        monkeypatch.setattr(socket, "socket", Socket)
        four, six = listen(":0")
        monkeypatch.undo()
        assert ports([four]) == ports([six]) == offered[1:]


def test_all_addresses_are_listened_on(listen, path):
    assert [listener.scheme for listener in listen("127.0.0.1:0", f"unix:{path}", "udp://127.0.0.1:0")] == [
        "tcp",
        "tcp",
        "udp",
    ]


def test_the_default_scheme_is_for_those_that_name_none(listen):
    one, other = listen("127.0.0.1:0", "tcp://127.0.0.1:0", scheme="tls")
    assert (one.scheme, other.scheme) == ("tls", "tcp")
    assert one.url.startswith("tls://")


def test_it_does_not_block(listen, path):
    assert [listener.socket.getblocking() for listener in listen("127.0.0.1:0", "udp://:0", f"unix:{path}")] == [
        False
    ] * 4


def test_what_is_accepted_sends_small_pieces_at_once(listen):
    (listener,) = listen("127.0.0.1:0")
    with socket.create_connection(listener.socket.getsockname()):
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("address", ["udp://0.0.0.0:0", "udp://[::]:0"])
def test_a_socket_for_datagrams_knows_from_the_first_which_address_was_asked(listen, address):
    (listener,) = listen(address)
    level, option = PACKET_INFO[listener.socket.family]
    assert listener.socket.getsockopt(level, option) == 1


def test_a_port_can_be_listened_on_again_at_once(listen):
    (listener,) = listen("127.0.0.1:0")
    (port,) = ports([listener])
    with socket.create_connection(("127.0.0.1", port)):
        listener.socket.accept()[0].close()  # we close first: TIME_WAIT is ours
    listener.close()
    assert ports(listen(f"127.0.0.1:{port}")) == [port]


def test_a_port_in_use_is_named_and_what_to_do(listen, taken):
    with pytest.raises(BindError) as caught:
        listen(f"127.0.0.1:{taken}")
    assert caught.value.message == f"cannot listen on tcp://127.0.0.1:{taken}: Address already in use"
    assert "another process listens there" in caught.value.hint
    assert caught.value.exit_code == 5


def test_a_port_in_use_for_datagrams_is_named_too(listen):
    (first,) = listen("udp://127.0.0.1:0")
    with pytest.raises(BindError, match=f"cannot listen on {first.url}: Address already in use"):
        listen(first.url)


def test_an_address_that_is_no_ones_here_is_named(listen):
    with pytest.raises(BindError) as caught:
        listen(f"{UNASSIGNED}:0")
    assert caught.value.message == f"cannot listen on tcp://{UNASSIGNED}:0: Cannot assign requested address"
    assert "no interface" in caught.value.hint


def test_a_name_that_is_no_ones_is_named(listen):
    with pytest.raises(BindError, match=r"cannot listen on tcp://no-such-host\.invalid:80: "):
        listen("no-such-host.invalid:80")


def test_a_name_that_can_be_none_is_named(listen):
    with pytest.raises(BindError, match=r"cannot listen on tcp://a\.\.b:80: "):
        listen("a..b:80")


@pytest.mark.skipif(
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text().strip() == "0", reason="every port is for all"
)
def test_a_port_that_is_for_root_has_a_hint():
    script = f"""
import os, encodings.idna  # which others may not be allowed to read
from gtool.errors import BindError
from gtool.runtime.address import parse_address
from gtool.runtime.listen import open_listeners
if os.getuid() == 0:
    os.setgroups([])
    os.setuid({NOBODY})
try:
    open_listeners([parse_address("127.0.0.1:1")])
except BindError as error:
    print(error.exit_code, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, cwd=ROOT, env=environment()
    )
    assert done.stdout.startswith("5 cannot listen on tcp://127.0.0.1:1: Permission denied (ports below 1024")


def test_all_are_listened_on_or_none(listen, path, taken):
    with pytest.raises(BindError):
        listen(f"unix:{path}", "127.0.0.1:0", f"127.0.0.1:{taken}")
    assert not path.exists()  # and no_leaks sees to the sockets


def test_one_family_in_use_closes_that_of_the_other(listen):
    (six,) = listen("[::]:0")
    (port,) = ports([six])
    with pytest.raises(BindError, match=f"cannot listen on tcp://:{port}: "):
        listen(f":{port}")


def test_an_inherited_socket_is_served_as_it_is(listen):
    with socket.create_server(("127.0.0.1", 0)) as outer:
        port = outer.getsockname()[1]
        (listener,) = listen(f"fd:{outer.detach()}")
    assert listener.url == f"tcp://127.0.0.1:{port}"
    assert connects(listener)


def test_an_inherited_socket_speaks_tls_if_the_server_does(listen):
    with socket.create_server(("127.0.0.1", 0)) as outer:
        (listener,) = listen(f"fd:{outer.detach()}", scheme="tls")
    assert listener.scheme == "tls"


def test_an_inherited_unix_socket_has_a_path_that_is_not_ours_to_remove(listen, path):
    with socket.socket(socket.AF_UNIX) as outer:
        outer.bind(str(path))
        outer.listen()
        (listener,) = listen(f"fd:{outer.detach()}")
    assert listener.url == f"unix:{path}"
    listener.remove()
    assert path.exists()


def test_an_inherited_socket_for_datagrams_says_so_itself(listen):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outer:
        outer.bind(("127.0.0.1", 0))
        (listener,) = listen(f"fd:{outer.detach()}", scheme="tls")
    assert (listener.scheme, listener.is_datagram) == ("udp", True)


def test_an_inherited_socket_is_not_inherited_again(listen):
    with socket.create_server(("127.0.0.1", 0)) as outer:
        outer.set_inheritable(True)
        (listener,) = listen(f"fd:{outer.detach()}")
    assert not listener.socket.get_inheritable()


def test_an_inherited_socket_that_does_not_listen_is_refused_and_left_open(listen):
    with (
        socket.socket() as outer,
        pytest.raises(BindError, match=f"fd:{outer.fileno()}: it is no socket that listens"),
    ):
        listen(f"fd:{outer.fileno()}")


def test_a_descriptor_that_is_no_socket_is_refused(listen, tmp_path):
    with (
        (tmp_path / "file").open("w") as file,
        pytest.raises(BindError, match=f"cannot listen on fd:{file.fileno()}: "),
    ):
        listen(f"fd:{file.fileno()}")


def test_a_descriptor_that_is_not_open_is_refused(listen):
    with pytest.raises(BindError, match=r"cannot listen on fd:99999: .*whoever starts gtool has to open it") as caught:
        listen("fd:99999")
    assert caught.value.exit_code == 5


def test_systemds_sockets_are_taken_if_they_are_meant_for_us(monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    assert inherited_addresses() == [Address(None, descriptor=3), Address(None, descriptor=4)]


def test_systemds_sockets_are_taken_once_and_not_by_children(monkeypatch):
    for name, value in {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"}.items():
        monkeypatch.setenv(name, value)
    inherited_addresses()
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
    assert inherited_addresses() == []


@pytest.mark.parametrize("pid", ["1", "", None])
def test_systemds_sockets_for_another_process_are_left_to_it(monkeypatch, pid):
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.delenv("LISTEN_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("LISTEN_PID", pid)
    assert inherited_addresses() == []
    assert os.environ["LISTEN_FDS"] == "1"


@pytest.mark.parametrize("count", ["", "many", "-1", "1.5"])
def test_a_count_of_sockets_that_is_no_number_is_said(monkeypatch, count):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(UsageError, match="is not a number"):
        inherited_addresses()
