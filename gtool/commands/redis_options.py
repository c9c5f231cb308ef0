"""Where Redis is, for the commands that can work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gtool.errors import UsageError

if TYPE_CHECKING:
    from gtool.streams.redis.location import Location


def redis_location(url: str, default_stream: str | None = None) -> Location:
    """Read redis://HOST/DB?stream=NAME, and see whether somebody answers there. UsageError; BindError if not."""
    try:
        from gtool.streams.redis.location import check, parse_location
    except ImportError as error:
        raise UsageError("redis:// needs the package redis", "pip install 'gtool[redis]'") from error
    location = parse_location(url, default_stream)
    check(location)
    return location
