"""ws-feed as a whole: a source, its log, and the service that delivers from it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import gevent

from gtool.errors import Interrupted
from gtool.feed.app import LOADING, App
from gtool.feed.fed import Fed
from gtool.feed.feeder import Feeder
from gtool.feed.link import Link
from gtool.feed.supply import Supply
from gtool.live.delivery import Delivery
from gtool.live.reader import Bounds
from gtool.log import EventLog
from gtool.runtime.connection import Connection
from gtool.runtime.report import exposition, exposition_of
from gtool.runtime.serve import Plan, serve
from gtool.runtime.server import Server
from gtool.runtime.service import Service
from gtool.web.guard import Guard
from gtool.web.pages import Pages
from gtool.web.server import WebService
from gtool.web.site import Site, Status

log = EventLog("feed")

LOAD_S, LOOK_S = 2.0, 0.01  #: for a supply to be loaded, and between looks at whether it is


class Settings(NamedTuple):
    """What ws-feed is told beyond what every server is. Sizes are bytes, times seconds."""

    guard: Guard = Guard()
    bounds: Bounds = Bounds()
    backlog: int = 1000
    backlog_bytes: int = 64 << 20
    max_message: int = 1 << 20
    base_path: str = ""
    is_echo: bool = False
    closes_at_end: bool = False
    head_timeout: float | None = 10.0


class FeedService(Service):
    """One worker's."""

    def __init__(self, settings: Settings, server: Server, supply: Supply) -> None:
        self._server = server
        self._settings = settings
        self._supply = supply
        self._log = supply.open_log(settings.backlog, settings.backlog_bytes)
        self._delivery = Delivery(self._log, settings.bounds, server.dropped)
        pages = Pages("gtool.feed")
        app = App(
            self._delivery,
            settings.guard,
            pages,
            settings.max_message,
            settings.is_echo,
            lambda: self._supply.is_loaded,
        )
        site = Site(app, settings.guard, settings.base_path, pages, Status(self._health, self._metrics))
        self._web = WebService(server, site, settings.head_timeout)
        self._producer = gevent.spawn(self._produce)
        self._wait_for_supply()

    def _wait_for_supply(self) -> None:
        """Give the supply a moment to have what was there before: after that, readers are told to come back."""
        try:
            with gevent.Timeout(LOAD_S, False):  # type: ignore[arg-type]
                while not self._supply.is_loaded and not self._producer.dead:
                    gevent.sleep(LOOK_S)
        except Interrupted:
            self._server.stop()

    def connect(self, connection: Connection, sock: Any) -> None:
        self._web.connect(connection, sock)

    def drain(self) -> None:
        self._producer.kill(block=False)
        self._web.drain()

    def close(self) -> None:
        self._producer.kill()
        self._supply.close()
        self._delivery.close()
        self._web.close()

    def _produce(self) -> None:
        self._supply.run(self._log, self._delivery.pace)
        log.notice("the source has ended", closes=self._settings.closes_at_end)
        if self._settings.closes_at_end:
            self._delivery.end()
            self._web.end_requests()
            self._server.finish_all()

    def _metrics(self) -> str:
        newest = ("feed_messages_total", "counter", "Messages of the feed.", self._log.newest)
        return exposition(self._server.counts()) + exposition_of(newest)

    def _health(self) -> str:
        return self._supply.trouble or ("" if self._supply.is_loaded else LOADING)


def run(plan: Plan, settings: Settings, make_supply: Callable[[], Supply], is_shared: bool) -> int:
    """Serve a feed; give the exit code. Workers share a supply, if it can be had more than once; else one is fed."""
    if plan.workers == 1 or is_shared:
        return serve(plan, lambda server: FeedService(settings, server, make_supply()))

    def make_feeder() -> Feeder:
        supply = make_supply()
        return Feeder(link, supply, supply.open_log(settings.backlog, settings.backlog_bytes), settings.closes_at_end)

    with closing(Link()) as link:
        return serve(plan, lambda server: FeedService(settings, server, Fed(link.path)), make_feeder)
