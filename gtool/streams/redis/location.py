"""Where a stream is, and a client of the server there."""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from gtool.errors import BindError, UsageError
from gtool.runtime.patch import patch

SCHEMES = ("redis", "rediss", "unix")
TIMEOUT_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0  #: before Redis is asked again
MOST_SHOWN = 200  #: characters of an error


class Location(NamedTuple):
    """A stream: the URL of its server and database, and its key."""

    url: str
    stream: str

    @property
    def epoch(self) -> str:
        return "r" + hashlib.sha256(self.stream.encode()).hexdigest()[:11]

    @property
    def name(self) -> str:
        """The location without a password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}?stream={self.stream}"


def parse_location(url: str, default: str | None = None) -> Location:
    """Read redis://HOST/DB?stream=NAME, where NAME may have a default.

    UsageError for what is none; it is not shown, as it may have a password.
    """
    error = UsageError("the URL of a stream is such as redis://localhost/0?stream=NAME")
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise error from None
    names = [value for name, value in query if name == "stream"] or ([default] if default else [])
    rest = urlencode([pair for pair in query if pair[0] != "stream"])
    is_database = parts.scheme == "unix" or re.fullmatch(r"/?\d*", parts.path, re.ASCII)
    if parts.scheme not in SCHEMES or len(names) != 1 or not names[0] or not is_database:
        raise error
    return Location(url.partition("?")[0] + (f"?{rest}" if rest else ""), names[0])


def check(location: Location) -> None:
    """See whether the server answers, before anything waits on the loop. BindError if not, UsageError for a bad URL."""
    client = connect(location)
    try:
        kind = client.type(location.stream)
    except (TypeError, ValueError) as error:  # of an option that redis-py does not know, of a host that is none
        raise UsageError(f"{location.name} can't be used: {one_line(error)}") from error
    except (RedisError, OSError) as error:
        raise BindError(f"cannot use {location.name}: {one_line(error)}") from error
    finally:
        client.close()
    if kind not in (b"stream", b"none"):
        raise UsageError(f"{location.name} is a {kind.decode()}, not a stream")


def green_client(location: Location) -> Any:
    """Give a client that waits on the loop."""
    patch(redis.connection)
    return connect(location)


def connect(location: Location) -> Any:
    """Give a client of redis-py, that asks once. UsageError for an option that it does not know."""
    try:
        return redis.Redis.from_url(
            location.url,
            protocol=2,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # its own pauses would stall the loop
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"{location.name} can't be read: {error}") from error


def event(error: Exception) -> str:
    """Name an error for the log."""
    return "redis refuses" if isinstance(error, ResponseError) else "redis is away"


def one_line(error: Exception) -> str:
    """Say what is wrong; not the command with its data, that a pipeline's error quotes first."""
    text = " ".join(str(error).rpartition("caused error: ")[2].split())
    return text[:MOST_SHOWN] or type(error).__name__
