"""A server's whole life: listen, announce, serve in this process or in workers, leave nothing behind."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple, Protocol

from gtool.errors import BindError
from gtool.log import EventLog
from gtool.runtime import lifecycle, ready
from gtool.runtime.address import Address
from gtool.runtime.interrupts import STOP_SIGNALS
from gtool.runtime.listen import Listener, inherited_addresses, open_listeners
from gtool.runtime.report import Report
from gtool.runtime.server import Server
from gtool.runtime.service import Obedient, Service
from gtool.runtime.settings import Settings
from gtool.runtime.shared import Counters, Shared, Tickets

log = EventLog("server")

WAITING = (*STOP_SIGNALS, signal.SIGUSR1)


class Plan(NamedTuple):
    """Where a server listens, who is told, and in how many processes it works. Times are seconds."""

    settings: Settings
    listen: tuple[Address, ...]
    default_listen: Address
    workers: int = 1
    max_total: int | None = None
    duration: float | None = None
    ready_file: str | None = None
    stats_period_s: float | None = None
    metrics: Address | None = None
    is_web: bool = False  #: what is spoken is HTTP: ready lines say so


class Sockets(NamedTuple):
    service: Sequence[Listener]
    metrics: Sequence[Listener]


def serve(
    plan: Plan, make_service: Callable[[Server], Service], make_companion: Callable[[], Companion] | None = None
) -> int:
    """Serve until a signal, the duration or the total ends it; give the exit code. BindError if it can't listen.

    A companion is a process beside the workers, for what only one of them may do; a single worker has none.
    """
    with _signals_wait(), ExitStack() as stack:
        sockets = _open(plan, stack)
        shared = _make_shared(plan, stack)
        if plan.workers == 1:
            return _run_alone(plan, sockets, shared, make_service)
        return _run_workers(plan, sockets, shared, make_service, make_companion)


class Companion(Obedient, Protocol):
    def run(self) -> None:
        """Do the work, until stop(); or until it is done, after finish()."""


def _open(plan: Plan, stack: ExitStack) -> Sockets:
    """Listen on all addresses; sockets that systemd has opened, and nobody has named, stand for the default one."""
    opened: list[Sequence[Listener]] = []
    scheme = "tls" if plan.settings.tls else "tcp"
    metrics = (plan.metrics,) if plan.metrics else ()
    named = [address.descriptor for address in (*plan.listen, *metrics)]
    for address in metrics:
        if address.descriptor is not None and named.count(address.descriptor) > 1:
            raise BindError(f"cannot listen on fd:{address.descriptor} twice")
    inherited = [address for address in inherited_addresses() if address.descriptor not in named]
    wanted = (*inherited, *plan.listen) or (plan.default_listen,)
    for addresses, default in ((wanted, scheme), (metrics, "tcp")):
        opened.append(open_listeners(addresses, default))
        for listener in opened[-1]:
            stack.callback(listener.remove)
    return Sockets(*opened)


def _make_shared(plan: Plan, stack: ExitStack) -> Shared:
    def tickets(count: int | None) -> Tickets | None:
        return None if count is None else stack.enter_context(closing(Tickets(count)))

    return Shared(
        Counters(plan.workers), tickets(plan.settings.limits.max_connections), tickets(plan.max_total), plan.workers
    )


def _announce(plan: Plan, sockets: Sockets) -> None:
    urls = _urls(plan, sockets)
    ready.announce(urls, plan.ready_file)
    for url in urls:
        log.info("listening", url=url)


def _stop_listening(plan: Plan, sockets: Sockets) -> None:
    """Leave nothing behind that says that we listen: what drains now may yet be killed."""
    log.info("stopping")
    ready.notify("STOPPING=1")
    if plan.ready_file is not None:
        ready.withdraw(_urls(plan, sockets), plan.ready_file)
    for listener in sockets.service:
        listener.unlink()


def _urls(plan: Plan, sockets: Sockets) -> list[str]:
    metrics = [f"{_as_web(listener.url)}/metrics" for listener in sockets.metrics]
    return [*(_as_web(listener.url) if plan.is_web else listener.url for listener in sockets.service), *metrics]


def _as_web(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return {"tcp": "http", "tls": "https"}.get(scheme, scheme) + separator + rest


def _run_alone(plan: Plan, sockets: Sockets, shared: Shared, make_service: Callable[[Server], Service]) -> int:
    def main() -> None:
        server = Server(plan.settings, sockets.service, shared, on_stop=lambda: _stop_listening(plan, sockets))
        report = Report(shared.counters)

        def log_counts() -> None:
            server.publish()
            report.log()

        with ExitStack() as stack:
            stack.enter_context(lifecycle.every(plan.stats_period_s, log_counts))
            stack.enter_context(lifecycle.on_signal(signal.SIGUSR1, log_counts))
            _serve_metrics(sockets, server, stack)
            service = make_service(server)  # before anybody is told that we are there: it may fail
            _announce(plan, sockets)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITING)
            server.run(service, plan.duration)

    lifecycle.run(main)
    return 0


def _run_workers(
    plan: Plan,
    sockets: Sockets,
    shared: Shared,
    make_service: Callable[[Server], Service],
    make_companion: Callable[[], Companion] | None,
) -> int:
    from gtool.runtime.workers import Master, obey

    def work(number: int, control: socket.socket, last_call: Callable[[], None]) -> None:
        if make_companion and number == plan.workers:
            companion = make_companion()
            with closing(obey(control, companion)):
                companion.run()
            return
        server = Server(plan.settings, sockets.service, shared, number, on_last=last_call)
        with ExitStack() as stack:
            stack.enter_context(closing(obey(control, server)))
            _serve_metrics(sockets, server, stack)
            server.run(make_service(server))

    def bury(number: int) -> None:
        if number == plan.workers:
            return
        places = shared.counters.clear_open(number)
        if shared.free:
            shared.free.give_back(places)

    master = Master(plan.workers + bool(make_companion), work, bury, plan.settings.drain_timeout)

    def stop_listening() -> None:
        _stop_listening(plan, sockets)
        for listener in sockets.service:
            listener.close()  # ours: the kernel would go on taking connections for it

    report = Report(shared.counters)
    master.start()
    _announce(plan, sockets)
    return master.run(plan.duration, plan.stats_period_s, report.log, stop_listening)


def _serve_metrics(sockets: Sockets, server: Server, stack: ExitStack) -> None:
    if not sockets.metrics:
        return
    from gtool.runtime.metrics import Metrics

    for listener in sockets.metrics:
        stack.enter_context(closing(Metrics(listener, server.counts)))


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Have signals wait until the loop, or the master, takes them: a start-up takes some ms, and is not to be torn.

    Only a name server could make it longer; getaddrinfo(3) would not be interrupted by a handler of Python either.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
