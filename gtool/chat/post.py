"""chat-post: says something in a room, and comes back only once it is kept there."""

from __future__ import annotations

import http.client
import secrets
import socket
import ssl
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from time import monotonic
from typing import Any, NamedTuple

import gevent
import simplejson

from gtool.chat.remote import Remote, connection_to, login_name
from gtool.errors import BindError, GtoolError, PeerGone, UsageError
from gtool.log import EventLog
from gtool.runtime.patch import patch
from gtool.runtime.pauses import doubling
from gtool.web.attempt import secured, why_not, within

log = EventLog("post")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
LONGEST_ASKED_S = 30.0  #: that we wait beside our own time when we are told to
BUSY = (429, 502, 503, 504)  #: statuses after which it is worth coming back
STALE = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)
MOST_ANSWERED = 1 << 20  #: bytes of an answer


class NotPosted(GtoolError):
    """The server does not take a message, and would not later either."""


class Answer(NamedTuple):
    status: int
    fields: Mapping[str, Any]
    retry_after_s: float | None

    @property
    def reason(self) -> str:
        return str(self.fields.get("error") or f"status {self.status}")


class Poster:
    """Posts one message after the other, each once, however often it has to be sent."""

    def __init__(self, remote: Remote, user: str | None, tls: Any, timeout_s: float) -> None:
        """Without a name, that of the token's session, or of the login. `timeout_s` is for one message."""
        patch(http.client)
        self._remote = remote
        self._user = user
        self._tls = tls
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def post(self, room: str, text: str) -> Mapping[str, Any]:
        """Wait until a message is kept; give it, with its id.

        NotPosted if the server does not take it; PeerGone if that takes too long, BindError if it was never there.
        """
        body = {"text": text, "user": self._name()}
        path = self._remote.path("api", "rooms", room, "messages")
        answer = self._insist("POST", path, body, {"Idempotency-Key": secrets.token_urlsafe(16)})
        if answer.status != 201:
            raise NotPosted(f"not posted to {room}: {answer.reason}")
        if "id" not in answer.fields:
            raise PeerGone(f"{self._remote.url} does not answer as a chat server of gtool does")
        return answer.fields

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None

    def _name(self) -> str:
        """Give the name to post under, by asking whose session it is, if need be."""
        if self._user is None:
            names: list[object] = []
            if self._remote.token:
                answer = self._insist("GET", self._remote.path("api", "session"))
                found = answer.fields.get("names")
                if answer.status != 200 or not isinstance(found, list | None):
                    raise NotPosted(f"it can't be told whose the token is: {answer.reason}")
                names = found or []
            self._user = str(names[0]) if names else login_name()
        return self._user

    def _insist(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask again and again until there is an answer, in the time that there is; being told to wait takes none."""
        pauses = doubling(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        deadline = monotonic() + self._timeout_s
        has_connected, why = False, ""
        while True:
            pause_s = next(pauses)
            try:
                with within(max(0.0, deadline - monotonic()), "no answer"):
                    answer = self._ask(method, path, body, headers or {})
            except UnicodeError as error:  # of IDNA: a label of the host that is empty, or too long
                raise UsageError(f"{self._remote.url} has no host that could be") from error
            except (OSError, http.client.HTTPException) as error:
                has_connected = has_connected or self._connection is not None
                self.close()
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise BindError(f"cannot connect to {self._remote.url}: {why_not(error)}") from error
                why = why if why and isinstance(error, TimeoutError) else why_not(error)
            else:
                if answer.status not in BUSY:
                    return answer
                has_connected, why = True, answer.reason
                if answer.retry_after_s is not None:
                    pause_s = max(FIRST_PAUSE_S, answer.retry_after_s)
                if answer.status == 429 and pause_s <= LONGEST_ASKED_S:
                    deadline += pause_s
            if monotonic() + pause_s > deadline:
                if not has_connected:
                    raise BindError(f"cannot connect to {self._remote.url}: {why}")
                raise PeerGone(f"not posted within {self._timeout_s:g} s to {self._remote.url}: {why}")
            log.info("trying again", reason=why, after_s=round(pause_s, 1))
            gevent.sleep(pause_s)

    def _ask(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Answer:
        """Send a request over the connection that there is; OSError, HTTPException."""
        is_old = self._connection is not None
        try:
            return self._ask_once(method, path, body, headers)
        except STALE:
            if not is_old:
                raise
            self.close()  # the server has closed it meanwhile
            return self._ask_once(method, path, body, headers)

    def _ask_once(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Answer:
        connection = self._connection = self._connection or self._connect()
        data = None if body is None else simplejson.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **self._remote.headers, **headers})
        response = connection.getresponse()
        content = response.read(MOST_ANSWERED)
        is_cut = len(content) < MOST_ANSWERED if response.length else response.length is None and not content
        if is_cut:
            raise http.client.IncompleteRead(content, response.length)  # read(n) says nothing of that
        return Answer(response.status, _object(content), _seconds(response.getheader("Retry-After")))

    def _connect(self) -> http.client.HTTPConnection:
        connection = connection_to(self._remote, self._tls)
        with ExitStack() as stack:
            stack.callback(connection.close)
            http.client.HTTPConnection.connect(connection)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if isinstance(connection, http.client.HTTPSConnection):
                connection.sock = secured(connection.sock, self._tls, connection.host)
                connection.sock.do_handshake()
            stack.pop_all()
        return connection


def post_all(poster: Poster, room: str, lines: Iterable[str | None], show: Any) -> None:
    """Post each line that is not blank; go on after one that is refused, or None: too long. GtoolError in the end."""
    refused = 0
    for line in lines:
        if line is None:
            refused += 1
            log.warning("a line is too long: left out")
            continue
        if not line.strip():
            continue
        try:
            show(poster.post(room, line))
        except NotPosted as error:
            refused += 1
            log.warning("a line is left out", reason=error.message)
    if refused:
        raise GtoolError(f"{refused} lines were not posted")


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        found = simplejson.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 6 else None
