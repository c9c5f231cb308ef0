"""One worker of a server: it accepts, keeps to the limits, counts, and drains. What is said is the service's."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent.event import Event
from gevent.hub import get_hub

from gtool.errors import Interrupted
from gtool.log import EventLog, SeldomLog
from gtool.runtime.accept import Acceptor
from gtool.runtime.address import peer_name, plain_host
from gtool.runtime.connection import Connection
from gtool.runtime.gate import Gate
from gtool.runtime.listen import Listener
from gtool.runtime.poller import Poller
from gtool.runtime.service import DatagramListener, Service
from gtool.runtime.settings import Settings
from gtool.runtime.shared import Counts, Shared
from gtool.runtime.tally import Tally

if TYPE_CHECKING:
    from gtool.runtime.gate import IpAddress
    from gtool.runtime.prelude import Prelude

log = EventLog("server")

SWEEPS_PER_TIMEOUT = 10  #: an idle connection is closed this part of its time late at most
CLOSE_S = 1.0  #: that connections have to say good-bye
PUBLISH_S = 1.0  #: how old the counts of another worker may be


class Server:
    """Accepts on listeners, and hands connections to the service."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[Listener],
        shared: Shared,
        worker: int = 0,
        on_stop: Callable[[], None] = lambda: None,
        on_last: Callable[[], None] = lambda: None,
    ) -> None:
        """Be ready to run(). `on_stop` is called once, before listeners close; `on_last` when no turns are left."""
        self._settings = settings
        self._listeners = listeners
        self._shared = shared
        self._on_stop: Callable[[], None] | None = on_stop
        self._on_last = on_last
        self._gate = Gate(settings.limits, shared.free, shared.workers)
        self._tally = Tally(shared.counters.row(worker), worker, shared.workers)
        self._connections: set[Connection] = set()
        self._acceptors: list[Acceptor] = []
        self._datagrams: list[DatagramListener] = []
        self._timers: list[Any] = []
        self._wake = Event()
        self._is_last = False  # there will be no further connection: the server ends with those that there are
        self._is_draining = False
        self.speaks_tls = any(one.scheme == "tls" for one in listeners)
        self._prelude = _prelude_class() if self.speaks_tls or settings.proxy_from is not None else None
        self.datagram_ports = {one.socket.getsockname()[1] for one in listeners if one.is_datagram}
        self.poller = Poller()
        self.seldom = SeldomLog(log)

    def run(self, service: Service, duration: float | None = None) -> None:
        """Serve until stop(), a signal, `duration` seconds, or the last of all connections has ended; then drain."""
        try:
            self._start(service)
            with contextlib.suppress(Interrupted):
                self._wake.wait(duration)
            self._drain()
        finally:
            self._close()
            service.close()

    def stop(self) -> None:
        """Stop accepting, and drain; calling it again changes nothing."""
        if not self._is_draining:
            self._wake.set()

    def finish(self) -> None:
        """Stop accepting, and end when the connections do, however long that takes."""
        self._is_last = True
        self._stop_accepting()
        for connection in [one for one in self._connections if not one.number]:
            connection.driver.close("no turn left")  # in its prelude still
            self.refused(connection.peer, "total")
        self._wake_if_done()

    def finish_all(self) -> None:
        """Have all workers finish: what is served has come to its end."""
        self._on_last()
        self.finish()

    def publish(self) -> None:
        """Bring this worker's counts up to date for whoever reads them."""
        self._tally.publish([*self._connections, *self._datagrams])

    def counts(self) -> Counts:
        """Give the counts of all workers; of others they may be PUBLISH_S old."""
        self.publish()
        return self._shared.counters.read()

    def take_turn(self) -> bool:
        """Count one connection or datagram of those after which the server ends; False if there is none left."""
        left = self._shared.left
        if left is None:
            return True
        has_one = not self._is_last and left.take()
        if not has_one or left.are_gone():
            self._is_last = True
            self._on_last()
            get_hub().loop.run_callback(self.finish)  # whoever asks has a connection to begin with
        return has_one

    def ended(self, connection: Connection, reason: str) -> None:
        """Forget a connection, whose socket is closed."""
        self._connections.remove(connection)
        self._tally.set_open(len(self._connections))
        self._tally.end(connection)
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
        self._wake_if_done()

    def datagrams_ended(self, datagrams: DatagramListener) -> None:
        """Forget a listener for datagrams, whose socket is closed."""
        self._datagrams.remove(datagrams)
        self._tally.end(datagrams)
        self._wake_if_done()

    def refused(self, peer: str, reason: str) -> None:
        """Count a connection that is not served, for one of shared.REFUSALS."""
        self._tally.refuse(reason)
        log.info("connection refused", peer=peer, reason=reason)

    def dropped(self, count: int) -> None:
        """Count messages that a connection was too slow for."""
        self._tally.drop(count)

    def admits_datagram(self, address: Any, is_client: bool) -> bool:
        """Whether a datagram is to be answered, by its source; counts it if not."""
        if not self._gate.allows(self._ip(address)):
            self.refused(peer_name(address), "denied")
            return False
        if not is_client:
            self._tally.refuse("datagram")
            self.seldom.warning("a datagram from a service port is not answered", peer=peer_name(address))
        return is_client

    def _start(self, service: Service) -> None:
        self._service = service
        for listener in self._listeners:
            if listener.is_datagram:
                self._datagrams.append(service.datagrams(listener))
            else:
                self._acceptors.append(Acceptor(listener, self._take, self._exhausted))
        if self._shared.workers > 1:
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
        is_proxied = self._settings.proxy_from is not None
        ip = self._ip(address)
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
        self._tally.set_open(len(self._connections))
        if self._prelude and (is_proxied or connection.is_tls):
            self._prelude(connection, sock, ip, self._settings, self._gate, self)
        else:
            self.accept(connection, sock)

    def accept(self, connection: Connection, sock: Any) -> None:
        """Hand over a connection, all preludes done, to the service."""
        if not self.take_turn():
            sock.close()
            self.ended(connection, "")
            self.refused(connection.peer, "total")
            return
        connection.number = self._tally.accept()
        connection.active_at = monotonic()
        log.info("connection open", peer=connection.peer, connection=connection.number)
        self._service.connect(connection, sock)

    def _ip(self, address: Any) -> IpAddress | None:
        """Give the address of a peer where a rule or a limit asks for it; a Unix socket's has none."""
        if not isinstance(address, tuple) or not (self._gate.wants_ip or self._settings.proxy_from is not None):
            return None
        from ipaddress import ip_address

        return ip_address(plain_host(address[0]).partition("%")[0])

    def _is_proxy(self, ip: IpAddress | None) -> bool:
        return ip is None or any(ip in network for network in self._settings.proxy_from or ())

    def _exhausted(self) -> None:
        self._tally.refuse("descriptors")
        self.seldom.warning(
            "no descriptor for a new connection: it is refused",
            open=len(self._connections),
            hint="raise 'ulimit -Hn', or set --max-connections",
        )

    def _close_idle(self) -> None:
        assert self._settings.idle_timeout
        since = monotonic() - self._settings.idle_timeout
        for connection in [one for one in self._connections if one.active_at <= since]:
            connection.driver.close("idle")

    def _stop_accepting(self) -> None:
        if self._on_stop:
            on_stop, self._on_stop = self._on_stop, None
            on_stop()
        acceptors, self._acceptors = self._acceptors, []
        for acceptor in acceptors:
            acceptor.close()
        for datagrams in list(self._datagrams):
            datagrams.stop()

    def _is_done(self) -> bool:
        return not self._connections and not self._datagrams

    def _wake_if_done(self) -> None:
        if self._is_last and self._is_done():
            self._wake.set()

    def _drain(self) -> None:
        """Let connections go on until they end or the time is up; a signal that comes now has its wish already."""
        self._is_draining = self._is_last = True
        self._stop_accepting()
        if not self._is_done():
            log.notice(
                "draining",
                connections=len(self._connections),
                datagram_listeners=len(self._datagrams) or None,
                timeout_s=self._settings.drain_timeout,
                hint="a second signal ends at once",
            )
            self._service.drain()
            self._wait_until_done(self._settings.drain_timeout)
        for connection in list(self._connections):
            connection.driver.close("drained")
        for datagrams in list(self._datagrams):
            datagrams.close()
        self._wait_until_done(CLOSE_S)  # greenlets say good-bye first

    def _wait_until_done(self, timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        while not self._is_done() and (rest := deadline - monotonic()) > 0:
            self._wake.clear()
            with contextlib.suppress(Interrupted):
                self._wake.wait(rest)

    def _close(self) -> None:
        self._stop_accepting()
        self.publish()
        for timer in self._timers:
            timer.close()
        self.poller.close()


def _prelude_class() -> type[Prelude]:
    """Load what only some servers need; now, for the first connection may come when no file can be opened."""
    from gtool.runtime.prelude import Prelude

    return Prelude
