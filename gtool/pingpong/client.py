"""What a client does, on either engine: connect, warm up, then ask, or push as fast as it can."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol

import zmq

from gtool.errors import GtoolError, PeerGone
from gtool.pingpong.connection import connected
from gtool.pingpong.endpoints import new_socket
from gtool.pingpong.engine import DEFAULT_HWM, SMALLEST_LIMIT, Engine, Link
from gtool.pingpong.job import Job
from gtool.pingpong.patterns import PATTERNS
from gtool.pingpong.round_trips import RoundTrips, Silence
from gtool.pingpong.sequence import Numbering
from gtool.pingpong.tally import Tally

CHUNK_BYTES, CHUNK_MESSAGES = 1 << 20, 256  #: pushed between two looks at the clock

clock = time.monotonic


class Orders(Protocol):
    """Who has given the job."""

    def wait_for_start(self) -> None:
        """Return when all clients are connected and warmed up, as this one is."""

    def finish(self, tally: Tally) -> None:
        """Take what was measured; return when the connection may be closed, and what is unsent with it be dropped."""


def measure(engine: Engine, context: zmq.Context[Any], job: Job, orders: Orders) -> None:
    """Do a job. What ends it early is in the tally, with all that was measured until then."""
    tally = Tally()
    pattern = PATTERNS[job.pattern]
    with ExitStack() as stack:
        try:
            sock = new_socket(context, pattern.client)
            sock.sndhwm = sock.rcvhwm = max(DEFAULT_HWM, job.pipeline)
            sock.maxmsgsize = max(SMALLEST_LIMIT, job.size)
            if pattern.client == zmq.REQ and not job.is_strict:
                sock.req_relaxed = sock.req_correlate = True
            connection = stack.enter_context(connected(engine, sock, job.endpoint, job.keys, job.timeout))
            if pattern.is_one_way:
                _push(engine, connection.link, job, tally, orders)
            else:
                _ask(engine, connection.link, job, tally, orders, connection.silence)
        except GtoolError as error:
            tally.fail(error)
        orders.finish(tally)


def _ask(engine: Engine, link: Link, job: Job, tally: Tally, orders: Orders, silence: Silence) -> None:
    warmup = replace(job, count=job.warmup, duration=None, rate=None)
    asked = RoundTrips(engine, link, warmup, Tally(), silence).run()
    orders.wait_for_start()
    RoundTrips(engine, link, job, tally, silence, asked).run()


def _push(engine: Engine, link: Link, job: Job, tally: Tally, orders: Orders) -> None:
    """Send as fast as there is room, or at the rate. PeerGone if there is none in time."""
    numbering = Numbering(job.size)
    silence = PeerGone(f"{job.endpoint} has taken nothing for {job.timeout:g} s", "it has stopped, or cannot keep up")
    if job.pattern == "pub-sub" and link.receive(job.timeout) is None:
        raise PeerGone(f"{job.endpoint} does not subscribe within {job.timeout:g} s")
    if link.send_all([numbering.warmup] * job.warmup, job.timeout) < job.warmup:
        raise silence
    orders.wait_for_start()
    most = max(1, min(CHUNK_MESSAGES, CHUNK_BYTES // job.size))
    tally.started_at = clock()
    first_at = tally.started_at + job.phase
    ends_at = tally.started_at + (math.inf if job.duration is None else job.duration)
    count = math.inf if job.count is None else job.count
    try:
        while tally.sent < count and (now := clock()) < ends_at:
            due = math.inf if job.rate is None else math.floor((now - first_at) * job.rate) + 1
            wanted = int(min(most, count - tally.sent, due - tally.sent))
            if wanted <= 0:
                engine.sleep(min(ends_at, first_at + tally.sent / (job.rate or 1.0)) - now)
                continue
            sent = link.send_all(numbering.messages(tally.sent, wanted), job.timeout)
            tally.sent += sent
            if sent < wanted:
                raise silence
    finally:
        tally.ended_at = clock()
