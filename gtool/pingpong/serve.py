"""Serve others' measurements: bind, say so, answer, drain, leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NamedTuple

import zmq

from gtool.errors import Interrupted
from gtool.log import EventLog
from gtool.pingpong import blocking, green
from gtool.pingpong.endpoints import bind, closing, remove_path
from gtool.pingpong.engine import SMALLEST_LIMIT, Engine
from gtool.pingpong.keys import ServerKeys, admission
from gtool.pingpong.server import Limits, Server
from gtool.runtime import descriptors, interrupts, lifecycle, ready

log = EventLog("pingpong")

LINGER_MS = 500  #: that the last answers may take to leave

Question = Callable[[], bool]


class Settings(NamedTuple):
    """Times are seconds."""

    bind: str
    engine: str
    limits: Limits
    keys: ServerKeys | None = None
    once: bool = False
    duration: float | None = None
    drain_timeout: float = 5.0
    ready_file: str | None = None


def serve(settings: Settings) -> None:
    """Serve until a signal, the duration or the end of the one client. BindError if the endpoint can't be had."""
    if settings.engine == "green":
        lifecycle.run(lambda: _serve(green, settings, lambda: False))  # where a signal is raised, in a wait
    else:
        descriptors.raise_limit()
        with interrupts.noted() as is_stopped:
            _serve(blocking, settings, is_stopped)


def _serve(engine: Engine, settings: Settings, is_stopped: Question) -> None:
    with ExitStack() as stack:
        context = stack.enter_context(closing(zmq.Context()))
        secure = stack.enter_context(admission(context, settings.keys))
        sock = context.socket(zmq.ROUTER)
        sock.linger = LINGER_MS
        sock.sndhwm = sock.rcvhwm = settings.limits.most_queued
        sock.maxmsgsize = max(SMALLEST_LIMIT, settings.limits.max_size)
        secure(sock)
        endpoint = bind(sock, settings.bind)
        stack.callback(remove_path, endpoint)
        server = Server(engine, sock, endpoint, settings.limits, secure)
        stack.callback(server.close)
        ready.announce([endpoint], settings.ready_file)
        log.info("listening", endpoint=endpoint, engine=engine.name)
        with suppress(Interrupted):
            server.run(_either(is_stopped, _is_over(settings, server)))
        log.info("stopping")
        ready.notify("STOPPING=1")
        if settings.ready_file is not None:
            ready.withdraw([endpoint], settings.ready_file)
        server.stop_accepting()
        ends_at = time.monotonic() + settings.drain_timeout
        server.run(lambda: server.is_drained() or time.monotonic() > ends_at)


def _is_over(settings: Settings, server: Server) -> Question:
    ends_at = float("inf") if settings.duration is None else time.monotonic() + settings.duration
    return lambda: time.monotonic() > ends_at or (settings.once and server.is_served())


def _either(*questions: Question) -> Question:
    return lambda: any(question() for question in questions)
