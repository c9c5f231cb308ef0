"""The chat server as a whole: a store, the rooms in it, and the site that they are on."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent

from gtool.chat.app import App
from gtool.chat.chat import Chat
from gtool.chat.chat import Settings as ChatSettings
from gtool.chat.store import Store
from gtool.chat.streams import LOADING
from gtool.runtime.connection import Connection
from gtool.runtime.report import exposition, exposition_of
from gtool.runtime.serve import Plan, serve
from gtool.runtime.server import Server
from gtool.runtime.service import Service
from gtool.streams.log import Unavailable
from gtool.web.guard import Guard
from gtool.web.pages import Pages
from gtool.web.server import WebService
from gtool.web.site import Site, Status

TOLD_S = 0.3  #: that it takes at most until readers know who has come
OTHERS_S = 5.0  #: between words to other processes
CLAIMS_S = 600.0  #: between notes that those who read use their names


class Settings(NamedTuple):
    """What chat is told beyond what every server is."""

    guard: Guard = Guard()
    chat: ChatSettings = ChatSettings()
    base_path: str = ""
    head_timeout: float | None = 10.0


class ChatService(Service):
    """One worker's."""

    def __init__(self, settings: Settings, server: Server, store: Store) -> None:
        self._server = server
        self._store = store
        self._chat = Chat(store, settings.chat, secrets.token_urlsafe(6))
        app = App(self._chat, settings.guard)
        status = Status(self._health, self._metrics)
        site = Site(app, settings.guard, settings.base_path, Pages("gtool.chat"), status)
        self._web = WebService(server, site, settings.head_timeout)
        self._greenlets: list[Any] = [
            gevent.spawn(store.run, self._chat.heard),
            gevent.spawn(_every, TOLD_S, self._chat.tell_who_is_here),
            gevent.spawn(_every, OTHERS_S, self._chat.tell_others),
            gevent.spawn(_every, CLAIMS_S, self._keep_claims),
        ]

    def connect(self, connection: Connection, sock: Any) -> None:
        self._web.connect(connection, sock)

    def drain(self) -> None:
        self._web.drain()
        self._chat.delivery.let_go()

    def close(self) -> None:
        gevent.killall(self._greenlets)
        self._chat.close()
        self._web.close()
        self._store.close()

    def _keep_claims(self) -> None:
        with contextlib.suppress(Unavailable):
            self._chat.keep_claims()

    def _metrics(self) -> str:
        log = self._store.log
        return exposition(self._server.counts()) + exposition_of(
            ("chat_last_offset", "gauge", "Offset of the last message.", log.newest_offset)
        )

    def _health(self) -> str:
        return self._store.trouble or ("" if self._store.is_loaded else LOADING)


def run(plan: Plan, settings: Settings, open_store: Callable[[], Store]) -> int:
    """Serve a chat; give the exit code."""
    return serve(plan, lambda server: ChatService(settings, server, open_store()))


def _every(period_s: float, work: Callable[[], None]) -> None:
    while True:
        gevent.sleep(period_s)
        work()
