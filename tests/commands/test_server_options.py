"""The options of all servers: from the command line to the plan; what the plan does is tested where it is done."""

from __future__ import annotations

import re
import ssl
from ipaddress import ip_address, ip_network

import click
import pytest

from gtool.commands.options import Command
from gtool.commands.server_options import plan, server_options
from gtool.errors import UsageError
from gtool.runtime.address import Address
from gtool.runtime.gate import Limits
from gtool.runtime.serve import Plan
from gtool.runtime.server import Settings

DEFAULT = "127.0.0.1:9"
COMMANDS = ["echo-server", "hello-server"]


@click.command("serve", cls=Command)
@server_options(DEFAULT)
def serve(**options):
    return plan(options, DEFAULT)


def planned(*args: str) -> Plan:
    return serve.main(list(args), standalone_mode=False)


@pytest.fixture
def cert(authority, tmp_path) -> str:
    """A file with a certificate and its key."""
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    return str(tmp_path / "cert.pem")


def test_without_options_it_listens_on_loopback_until_it_is_told_to_end():
    assert planned() == Plan(Settings(), (), Address(None, "127.0.0.1", 9))


def test_the_plan_has_what_the_options_say():
    found = planned(
        *("-l", ":7", "--listen", "udp://:7", "--ready-file", "ready", "--workers", "3", "--metrics", ":9100"),
        *("--max-total", "100", "--duration", "1m", "--stats", "5s"),
    )
    assert found == Plan(
        Settings(),
        (Address(None, "", 7), Address("udp", "", 7)),
        Address(None, "127.0.0.1", 9),
        workers=3,
        max_total=100,
        duration=60.0,
        ready_file="ready",
        stats_period_s=5.0,
        metrics=Address(None, "", 9100),
    )


def test_the_limits_are_those_of_the_options():
    found = planned(
        *("--max-connections", "10", "--max-connections-per-ip", "2", "--max-accept-rate", "60/m"),
        *("--allow", "10.0.0.0/8", "--allow", "::1", "--deny", "10.1.0.0/16"),
    )
    allow, deny = (ip_network("10.0.0.0/8"), ip_network("::1")), (ip_network("10.1.0.0/16"),)
    assert found.settings.limits == Limits(10, 2, 1.0, allow, deny)


def test_the_times_are_those_of_the_options():
    settings = planned("--idle-timeout", "1m", "--handshake-timeout", "500ms", "--drain-timeout", "0").settings
    assert (settings.idle_timeout, settings.handshake_timeout, settings.drain_timeout) == (60.0, 0.5, 0.0)


@pytest.mark.parametrize("name", ["--idle-timeout", "--stats"])
def test_a_time_of_0_is_without(name):
    assert planned(name, "0") == planned()


def test_once_is_a_total_of_one():
    assert planned("--once") == planned("--max-total", "1") == planned("--once", "--max-total", "1")


# The PROXY protocol


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1"])
def test_a_proxy_header_is_taken_from_loopback(ip):
    assert any(ip_address(ip) in network for network in planned("--proxy-protocol").settings.proxy_from)


@pytest.mark.parametrize("ip", ["10.0.0.1", "192.168.0.1", "::2", "0.0.0.0"])
def test_a_proxy_header_is_taken_from_nobody_else(ip):
    assert not any(ip_address(ip) in network for network in planned("--proxy-protocol").settings.proxy_from)


def test_those_whose_proxy_header_is_taken_can_be_named():
    found = planned("--proxy-protocol", "--proxy-from", "10.0.0.0/8", "--proxy-from", "::2")
    assert found.settings.proxy_from == (ip_network("10.0.0.0/8"), ip_network("::2"))


# TLS


def test_a_certificate_is_loaded(cert):
    assert isinstance(planned("--tls-cert", cert).settings.tls, ssl.SSLContext)


def test_a_certificate_allows_tls_addresses(cert):
    assert planned("--tls-cert", cert, "-l", "tls://:1").listen == (Address("tls", "", 1),)


def test_a_key_may_be_in_another_file(cert):
    assert isinstance(planned("--tls-cert", cert, "--tls-key", cert).settings.tls, ssl.SSLContext)


# What is wrong


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--tls-key", "x"], "--tls-key needs --tls-cert"),
        (["-l", ":1", "-l", "tls://:2"], "tls:// needs --tls-cert"),
        (["--once", "--max-total", "2"], "--once and --max-total"),
        (["--stats", "1us"], "--stats is for every 100ms at most"),
        (["--proxy-from", "10.0.0.0/8"], "--proxy-from needs --proxy-protocol"),
        (["--metrics", "udp://:1"], "--metrics speaks HTTP over TCP"),
        (["--metrics", "tls://:1"], "--metrics speaks HTTP over TCP"),
        (["--metrics", "unix:/run/x"], "--metrics speaks HTTP over TCP"),
        (["--tls-cert", "/none"], "cannot read /none"),
    ],
)
def test_options_that_contradict_each_other_are_a_usage_error(args, named):
    with pytest.raises(UsageError, match=named):
        planned(*args)


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["-l", "8000"], "'--listen'.*'8000' is not an address: it wants a host and a port"),
        (["--metrics", "http://:1"], "'--metrics'.*http:// is not one of"),
        (["--allow", "10.0.0.1/8"], "'--allow'.*has host bits set"),
        (["--deny", "localhost"], "'--deny'.*'localhost' is not a CIDR"),
        (["--proxy-from", "x"], "'--proxy-from'"),
        (["--max-connections", "0"], "'--max-connections'"),
        (["--max-connections-per-ip", "0"], "'--max-connections-per-ip'"),
        (["--max-accept-rate", "0"], "'--max-accept-rate'"),
        (["--max-total", "0"], "'--max-total'"),
        (["--workers", "0"], "'--workers'"),
        (["--workers", "1025"], "'--workers'"),
        (["--idle-timeout", "x"], "'--idle-timeout'"),
        (["--duration", "-1"], "'--duration'"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_value_that_is_none_is_named(args, named):
    with pytest.raises(click.UsageError) as caught:
        planned(*args)
    assert re.search(named, caught.value.format_message())


# Both servers


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_server_has_all_of_them(gtool, command):
    text = gtool(command, "--help").out.decode()
    assert [option for param in serve.params for option in param.opts if option not in text] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_contradictions_are_one_line_and_exit_2(gtool, command):
    result = gtool(command, "--tls-key", "x")
    assert (result.code, result.out, result.err) == (2, b"", "gtool: error: --tls-key needs --tls-cert\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_environment_sets_options_a_value_a_line(gtool, command):
    variable = f"GTOOL_{command.upper().replace('-', '_')}_LISTEN"
    result = gtool(command, "--duration", "1us", **{variable: "127.0.0.1:0\n[x"})
    assert result.code == 2
    assert "'[x' is not an address" in result.err
