"""One worker of a server: it accepts, keeps to the limits, counts, and drains. What is said is the service's."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from time import monotonic
from typing import Any, NamedTuple, Protocol

from gevent.event import Event
from gevent.hub import get_hub

from gtool.errors import Interrupted
from gtool.log import EventLog, SeldomLog
from gtool.runtime import shared
from gtool.runtime.accept import Acceptor
from gtool.runtime.address import peer_name, plain_host
from gtool.runtime.connection import Connection
from gtool.runtime.gate import Gate, IpAddress
from gtool.runtime.listen import Listener
from gtool.runtime.poller import Poller
from gtool.runtime.settings import Settings

log = EventLog("server")

SWEEPS_PER_TIMEOUT = 10  #: an idle connection is closed this part of its time late at most
CLOSE_S = 1.0
PUBLISH_S = 1.0  #: how old the counts of another worker may be


class Shared(NamedTuple):
    """What the workers of a server have in common, made before the fork."""

    counters: shared.Counters
    free: shared.Tickets | None = None  #: places for connections
    left: shared.Tickets | None = None  #: connections or datagrams until the server ends
    workers: int = 1


class Counted(Protocol):
    """Counts bytes and messages."""

    received: int
    sent: int
    messages: int


class Datagrams(Counted, Protocol):
    def close(self) -> None: ...


class Service(Protocol):
    """What a server says. It is made in the worker that it serves in."""

    def connect(self, connection: Connection, sock: Any) -> None:
        """Take over a connection: see to its driver. `sock` does not block; under TLS it is one of gevent's."""

    def datagrams(self, listener: Listener, server: Server) -> Datagrams:
        """Answer the datagrams of a listener from now on."""


class Server:
    """Accepts on listeners, and hands connections to the service."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener], common: Shared, worker: int = 0) -> None:
        self._settings = settings
        self._listeners = listeners
        self._common = common
        self._worker = worker
        self._row = common.counters.row(worker)
        self._gate = Gate(settings.limits, common.free, common.workers)
        self._accepted = 0
        self._ended = [0, 0, 0]  # what ended connections have received, sent, answered
        self._connections: set[Connection] = set()
        self._acceptors: list[Acceptor] = []
        self._datagrams: list[Datagrams] = []
        self._timers: list[Any] = []
        self._wake = Event()
        self._is_last = False  # there will be no further connection
        self.poller = Poller()
        self.seldom = SeldomLog(log)

    def run(self, service: Service, duration: float | None = None, on_stop: Callable[[], None] = lambda: None) -> None:
        """Serve until stop(), a signal, `duration` seconds, or the last of all connections has ended; then drain."""
        try:
            self._start(service)
            with contextlib.suppress(Interrupted):
                self._wake.wait(duration)
            on_stop()
            self._drain()
        finally:
            self._close()

    def stop(self) -> None:
        """Stop accepting, and drain."""
        self._wake.set()

    def finish(self) -> None:
        """Stop accepting, and end when the connections do, however long that takes."""
        self._is_last = True
        self._stop_accepting()
        if not self._connections:
            self._wake.set()

    def publish(self) -> None:
        """Bring this worker's counts up to date for whoever reads them."""
        counted: list[Counted] = [*self._connections, *self._datagrams]
        self._row[shared.RECEIVED] = self._ended[0] + sum(one.received for one in counted)
        self._row[shared.SENT] = self._ended[1] + sum(one.sent for one in counted)
        self._row[shared.MESSAGES] = self._ended[2] + sum(one.messages for one in counted)

    def take_turn(self) -> bool:
        """Count one connection or datagram of those after which the server ends; False if there is none left."""
        left = self._common.left
        if left is None:
            return True
        has_one = not self._is_last and left.take()
        if not has_one or left.are_gone():
            self._is_last = True
            get_hub().loop.run_callback(self.finish)  # whoever asks has a connection to begin with
        return has_one

    def ended(self, connection: Connection, reason: str) -> None:
        """Forget a connection, whose socket is closed."""
        self._connections.remove(connection)
        self._row[shared.OPEN] = len(self._connections)
        self._add(connection)
        self._gate.leave(connection.ip)
        if connection.number:
            log.info(
                "connection closed",
                peer=connection.peer,
                connection=connection.number,
                reason=reason,
                duration_s=round(monotonic() - connection.opened_at, 3),
                received=connection.received,
                sent=connection.sent,
            )
        if self._is_last and not self._connections:
            self._wake.set()

    def refused(self, peer: str, reason: str) -> None:
        """Count a connection that is not served, for one of shared.REFUSALS."""
        self._row[shared.REFUSED[reason]] += 1
        log.info("connection refused", peer=peer, reason=reason)

    def refuse_datagram(self, peer: str) -> None:
        """Count a datagram that comes from a service, not from a client."""
        self._row[shared.REFUSED["datagram"]] += 1
        self.seldom.warning("a datagram from a service port is not answered", peer=peer, hint="see --allow-any-source")

    def _start(self, service: Service) -> None:
        self._service = service
        for listener in self._listeners:
            if listener.is_datagram:
                self._datagrams.append(service.datagrams(listener, self))
            else:
                self._acceptors.append(Acceptor(listener, self._take, self._exhausted))
        if self._common.workers > 1:
            self._every(PUBLISH_S, self.publish)
        if self._settings.idle_timeout:
            self._every(self._settings.idle_timeout / SWEEPS_PER_TIMEOUT, self._close_idle)

    def _every(self, period_s: float, callback: Any) -> None:
        timer: Any = get_hub().loop.timer(period_s, period_s)
        timer.start(callback)
        self._timers.append(timer)

    def _take(self, listener: Listener, sock: socket.socket, address: Any) -> None:
        """Serve a connection that has just been accepted, or close it at once."""
        peer = peer_name(address)
        ip: IpAddress | None = None
        is_proxied = self._settings.proxy_from is not None
        if isinstance(address, tuple) and (self._gate.wants_ip or is_proxied):
            ip = ip_address(plain_host(address[0]).partition("%")[0])
        if is_proxied and not self._is_proxy(ip):
            reason: str | None = "proxy"
        else:
            now = monotonic()
            reason = self._gate.enter(now) if is_proxied else self._gate.admit(ip, now)
        if reason:
            sock.close()
            self.refused(peer, reason)
            return
        connection = Connection(self, peer, None if is_proxied else ip, is_tls=listener.scheme == "tls")
        self._connections.add(connection)
        self._row[shared.OPEN] = len(self._connections)
        if is_proxied or connection.is_tls:
            from gtool.runtime.prelude import Prelude  # few need it

            Prelude(connection, self._settings, self._gate, self).start(sock)
        else:
            self.accept(connection, sock)

    def accept(self, connection: Connection, sock: Any) -> None:
        """Hand over a connection, all preludes done, to the service."""
        if not self.take_turn():
            sock.close()
            self.ended(connection, "")
            return
        self._accepted += 1
        self._row[shared.ACCEPTED] += 1
        connection.number = (self._accepted - 1) * self._common.workers + self._worker + 1
        log.info("connection open", peer=connection.peer, connection=connection.number)
        self._service.connect(connection, sock)

    def _is_proxy(self, ip: IpAddress | None) -> bool:
        return ip is None or any(ip in network for network in self._settings.proxy_from or ())

    def _exhausted(self) -> None:
        self._row[shared.REFUSED["descriptors"]] += 1
        self.seldom.warning(
            "no descriptor for a new connection: it is refused",
            open=len(self._connections),
            hint="raise 'ulimit -Hn', or set --max-connections",
        )

    def _add(self, counted: Counted) -> None:
        for number, value in enumerate((counted.received, counted.sent, counted.messages)):
            self._ended[number] += value

    def _close_idle(self) -> None:
        assert self._settings.idle_timeout
        since = monotonic() - self._settings.idle_timeout
        for connection in [one for one in self._connections if one.active_at <= since]:
            connection.driver.close("idle")

    def _stop_accepting(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for datagrams in self._datagrams:
            datagrams.close()
            self._add(datagrams)
        self._acceptors, self._datagrams = [], []

    def _drain(self) -> None:
        self._stop_accepting()
        if not self._connections:
            return
        log.notice(
            "draining",
            connections=len(self._connections),
            timeout_s=self._settings.drain_timeout,
            hint="a second signal ends at once",
        )
        self._is_last = True
        self._wake.clear()
        self._wake.wait(self._settings.drain_timeout)
        for connection in list(self._connections):
            connection.driver.close("drained")
        self._wake.wait(CLOSE_S)  # greenlets end when they next run

    def _close(self) -> None:
        self._stop_accepting()
        self.publish()
        for timer in self._timers:
            timer.close()
        self.poller.close()
