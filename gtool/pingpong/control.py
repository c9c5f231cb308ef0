"""A client's side of the agreement with a server."""

from __future__ import annotations

import itertools
import time
import uuid
from typing import Any

from gtool import __version__
from gtool.errors import PeerGone
from gtool.log import escape_controls
from gtool.pingpong import protocol
from gtool.pingpong.connection import Connection

TICK_S = 0.05
MOST = 1 << 62  #: that any number of a report can be
PLAIN = "--plain measures any that sends back what comes"


class Control:
    """Asks a server, over a DEALER; for one greenlet."""

    def __init__(self, connection: Connection, endpoint: str, timeout_s: float) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._run = uuid.uuid4().hex
        self._numbers = itertools.count(1)

    def hello(self, pattern: str, sizes: list[int], pipeline: int) -> dict[str, Any]:
        """Agree on what is to be measured; give what the server is. PeerGone if it does not agree, or is none of us."""
        offer: dict[str, Any] = {"pattern": pattern, "sizes": sizes, "pipeline": pipeline}
        answer = self._ask("hello", protocol=protocol.VERSION, gtool=__version__, **offer)
        if answer.get("protocol") != protocol.VERSION:
            raise PeerGone(
                f"{self._endpoint} speaks another protocol: {answer!r:.80}", "both sides want the same gtool"
            )
        versions = answer.get("versions")
        if not isinstance(versions, dict):
            raise self._rubbish(answer)
        named = {str(name): escape_controls(str(version)) for name, version in versions.items()}
        return {"engine": escape_controls(str(answer.get("engine"))), "versions": named}

    def open(self, pattern: str, size: int, idle_s: float) -> tuple[int, str]:
        """Have the server take one client's messages; give the number of the session, and where it takes them."""
        answer = self._ask("open", pattern=pattern, size=size, idle_s=idle_s)
        session, told = answer.get("session"), answer.get("endpoint")
        try:
            if not isinstance(session, int) or not isinstance(told, str):
                raise ValueError(session)
            return session, protocol.data_endpoint(self._endpoint, told)
        except ValueError:
            raise self._rubbish(answer) from None

    def reports(self, sent: dict[int, int], within_s: float) -> list[dict[str, float]]:
        """Say how many were sent to each session; give what has come, when all is there, or nothing more comes.

        What is there when the time is up is given as it is.
        """
        deadline = time.monotonic() + within_s
        while True:
            answers = [self._ask("report", within_s, session=session, sent=count) for session, count in sent.items()]
            if all(answer.get("is_over") for answer in answers) or time.monotonic() > deadline:
                return [self._figures(answer, count) for answer, count in zip(answers, sent.values(), strict=True)]
            self._connection.engine.sleep(TICK_S)

    def bye(self) -> None:
        """Say that it is over. Nobody waits for what becomes of it."""
        self._send("bye")

    def _ask(self, do: str, within_s: float | None = None, **more: Any) -> dict[str, Any]:
        number = self._send(do, **more)
        deadline = time.monotonic() + (self._timeout_s if within_s is None else within_s)
        while (rest_s := deadline - time.monotonic()) > 0:
            frames = self._connection.link.receive(rest_s)
            if frames is None:
                break
            answer = self._read(frames)
            if answer.get("id") == number or "id" not in answer:
                if "error" in answer:
                    raise PeerGone(f"{self._endpoint} does not agree: {escape_controls(str(answer['error'])[:300])}")
                return answer
        raise self._connection.silence()

    def _send(self, do: str, **more: Any) -> int:
        number = next(self._numbers)
        message = {"do": do, "id": number, "run": self._run, **more}
        if not self._connection.link.send([b"", *protocol.encode(message)], self._timeout_s):
            raise self._connection.silence()
        return number

    def _read(self, frames: list[bytes]) -> dict[str, Any]:
        try:
            answer = protocol.decode(frames)
        except ValueError:
            raise self._rubbish(frames[-1]) from None
        if "do" in answer:
            raise PeerGone(f"{self._endpoint} is no gtool server: it sends back our own question", PLAIN)
        return answer

    def _figures(self, answer: dict[str, Any], sent: int) -> dict[str, float]:
        """Take what a report says, if it can be: numbers of messages, and two times."""
        counts: dict[str, Any] = {name: answer.get(name) for name in protocol.COUNTED}
        first_at: Any = answer.get("first_at")
        last_at: Any = answer.get("last_at")
        are_counts = all(type(count) is int and 0 <= count <= MOST for count in counts.values())
        are_times = type(first_at) is float and type(last_at) is float and 0 <= first_at <= last_at <= MOST
        if not (are_counts and are_times):
            raise PeerGone(f"{self._endpoint} reports what can't be of {sent:,} messages: {answer!r:.80}")
        return {**counts, "first_at": first_at, "last_at": last_at}

    def _rubbish(self, answer: object) -> PeerGone:
        message = f"{self._endpoint} is no gtool server: it answers {answer!r:.80}"
        return PeerGone(message, PLAIN)
