"""Where Redis is, as commands are told."""

from __future__ import annotations

import sys

import pytest

from gtool.commands.redis_options import redis_location
from gtool.errors import BindError, UsageError
from tests.e2e.redis_server import RedisServer, redis_server_fixture  # noqa: F401, a fixture


@pytest.mark.needs("redis-server")
def test_a_stream_that_can_be_used(redis_server: RedisServer):
    assert redis_location(redis_server.url("feed")).stream == "feed"


def test_nobody_there(refused_port: int):
    with pytest.raises(BindError, match="cannot use redis://"):
        redis_location(f"redis://127.0.0.1:{refused_port}/0?stream=feed")


def test_no_stream_is_named():
    with pytest.raises(UsageError):
        redis_location("redis://localhost/0")


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "gtool.streams.redis.location", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(UsageError, match=r"pip install 'gtool\[redis\]'"):
        redis_location("redis://localhost/0?stream=feed")
