"""What client and server agree on before they measure, and tell each other afterwards. Pure.

A message of this kind has two last frames: MAGIC, and a JSON object. A question has `do`, `id` and `run`, which is the
same for all that one `ping` asks; its answer has that `id`, and `error`, a sentence, where it can't be done.

    hello   protocol, pattern, sizes,   ->  protocol, versions, engine
            pipeline
    open    pattern, size, idle_s       ->  session, endpoint: its end   a session takes one client's messages, one way
    report  session, sent               ->  what has come of them; is_over when no more is waited for
    bye                                 ->
"""

from __future__ import annotations

import re
from typing import Any

import simplejson

MAGIC = b"\x00gtool-pingpong"
VERSION = 1  #: of this protocol
COUNTED = ("received", "timed", "gaps", "duplicates")  #: numbers of messages that a report has
LONGEST_IDLE_S = 3600.0  #: that a session may be asked to wait


class Refused(Exception):
    """What a client asks for can't be done; the text tells it why."""


def encode(message: dict[str, Any]) -> list[bytes]:
    return [MAGIC, simplejson.dumps(message, ignore_nan=True).encode()]


def is_control(frames: list[bytes]) -> bool:
    return len(frames) > 1 and frames[-2] == MAGIC


def decode(frames: list[bytes]) -> dict[str, Any]:
    """Read a message. ValueError if it is none."""
    if not is_control(frames):
        raise ValueError(f"no control message: {frames[-1][:40]!r}")
    try:
        message = simplejson.loads(frames[-1])
    except RecursionError:
        raise ValueError("brackets without end") from None
    if not isinstance(message, dict):
        raise ValueError("no JSON object")
    return message


def data_endpoint(server: str, told: str) -> str:
    """Give where a client finds a session: where it found the server, but for the end. ValueError for anywhere else."""
    if server.startswith("tcp://") and re.fullmatch(r":\d{1,5}", told, re.ASCII):
        return re.sub(r":[^:]*$", told, server)
    if server.startswith("ipc://") and re.fullmatch(r"\.\d{1,18}", told, re.ASCII):
        return server + told
    raise ValueError(told)
