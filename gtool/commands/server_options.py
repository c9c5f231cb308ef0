"""The options that all servers have, and the plan that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gtool.commands.options import option, under
from gtool.commands.types import ADDRESS, CIDR, DURATION, RATE
from gtool.errors import UsageError

if TYPE_CHECKING:
    from gtool.runtime.serve import Plan

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

SHORTEST_STATS_S = 0.1
LOOPBACK = ("127.0.0.0/8", "::1/128")

SIGNALS = "SIGTERM and SIGINT stop accepting, drain, and exit 0; a second one ends at once. SIGUSR1 logs the counts."
EXIT_STATUS = "0; 2 usage, 5 an address that can't be listened on, 70 a bug in gtool."


def server_options(default: str) -> Callable[[Decorated], Decorated]:
    """Apply the shared options; `default` is the address without --listen."""

    def decorate(function: Decorated) -> Decorated:
        for group in reversed(_groups(default)):
            function = group(function)
        return function

    return decorate


def _groups(default: str) -> list[Callable[[Any], Any]]:
    return [
        under(
            "Listening",
            option("-l", "--listen", multiple=True, type=ADDRESS, metavar="ADDRESS",
                   help="Listen there: host:port, :port for all interfaces, unix:/path, fd:3; with udp:// or tls:// in "
                        f"front for those. Port 0 picks a free one. Repeatable.  [default: {default}]"),
            option("--tls-cert", type=click.Path(), metavar="FILE", help="Certificate chain, PEM: speak TLS."),
            option("--tls-key", type=click.Path(), metavar="FILE", help="Its key, PEM, if that is in another file."),
            option("--ready-file", type=click.Path(dir_okay=False), metavar="FILE",
                   help="Write the addresses to FILE too, once they can be connected to."),
            option("--workers", type=click.IntRange(1, 1024), default=1, metavar="N",
                   help="Serve in N processes, on the same port."),
            option("--proxy-protocol", is_flag=True,
                   help="Expect a PROXY header, v1 or v2, before each connection's bytes."),
            option("--proxy-from", multiple=True, type=CIDR, metavar="CIDR",
                   help="Take it from there only, and from Unix sockets. Repeatable.  [default: loopback]"),
        ),
        under(
            "Limits",
            option("--max-connections", type=click.IntRange(1), metavar="N",
                   help="Connections at once; more are closed at once.  [default: as many as descriptors]"),
            option("--max-connections-per-ip", type=click.IntRange(1), metavar="N",
                   help="The same for each address; with --workers, in each of them."),
            option("--max-accept-rate", type=RATE, metavar="RATE",
                   help="New connections, as 100/s; each of --workers has its part of it."),
            option("--idle-timeout", type=DURATION, metavar="TIME",
                   help="Close a connection without a byte for so long."),
            option("--handshake-timeout", type=DURATION, default="10s", metavar="TIME",
                   help="For the PROXY header, the TLS handshake, and the head of an HTTP request."),
            option("--allow", multiple=True, type=CIDR, metavar="CIDR",
                   help="Serve these addresses only. The closest of all rules counts. Repeatable."),
            option("--deny", multiple=True, type=CIDR, metavar="CIDR", help="Refuse these addresses. Repeatable."),
        ),
        under(
            "Life",
            option("--once", is_flag=True, help="Serve one connection, then exit."),
            option("--max-total", type=click.IntRange(1), metavar="N", help="Serve N connections, then exit."),
            option("--duration", type=DURATION, metavar="TIME", help="Serve so long, then drain and exit."),
            option("--drain-timeout", type=DURATION, default="5s", metavar="TIME",
                   help="How long connections may go on after a signal."),
            option("--stats", type=DURATION, metavar="TIME", help="Log the counts every TIME."),
            option("--metrics", type=ADDRESS, metavar="ADDRESS",
                   help="Serve the counts at http://ADDRESS/metrics, for Prometheus."),
        ),
    ]  # fmt: skip


def plan(options: dict[str, Any], default: str, *, is_web: bool = False) -> Plan:
    """Make the plan of a server from its options. UsageError for those that contradict each other."""
    from gtool.runtime.address import parse_address
    from gtool.runtime.serve import Plan
    from gtool.runtime.settings import Limits, Settings

    _check(options)
    limits = Limits(**{name: options[name] for name in Limits._fields})
    settings = Settings(
        limits,
        idle_timeout=options["idle_timeout"] or None,
        handshake_timeout=options["handshake_timeout"],
        drain_timeout=options["drain_timeout"],
        proxy_from=_proxies(options["proxy_from"]) if options["proxy_protocol"] else None,
        tls=_tls(options),
    )
    return Plan(
        settings,
        options["listen"],
        parse_address(default),
        workers=options["workers"],
        max_total=1 if options["once"] else options["max_total"],
        duration=options["duration"],
        ready_file=options["ready_file"],
        stats_period_s=options["stats"] or None,
        metrics=options["metrics"],
        is_web=is_web,
    )


def _proxies(given: tuple[Any, ...]) -> tuple[Any, ...]:
    from ipaddress import ip_network  # for those behind one

    return given or tuple(ip_network(text) for text in LOOPBACK)


def _check(options: dict[str, Any]) -> None:
    if options["tls_key"] and not options["tls_cert"]:
        raise UsageError("--tls-key needs --tls-cert")
    if not options["tls_cert"] and any(address.scheme == "tls" for address in options["listen"]):
        raise UsageError("tls:// needs --tls-cert, and --tls-key if the key is in another file")
    if options["once"] and options["max_total"] not in (None, 1):
        raise UsageError("--once and --max-total contradict each other")
    if options["proxy_from"] and not options["proxy_protocol"]:
        raise UsageError("--proxy-from needs --proxy-protocol")
    if options["stats"] and options["stats"] < SHORTEST_STATS_S:
        raise UsageError("--stats is for every 100ms at most")
    metrics = options["metrics"]
    if metrics is not None and (metrics.scheme not in (None, "tcp") or metrics.path):
        raise UsageError("--metrics speaks HTTP over TCP: it wants host:port")


def _tls(options: dict[str, Any]) -> Any:
    if not options["tls_cert"]:
        return None
    from gtool.runtime.tls import server_context

    return server_context(options["tls_cert"], options["tls_key"])
