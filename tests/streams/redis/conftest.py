"""A Redis server of a test's own."""

from __future__ import annotations

import pytest

from tests.e2e.redis_server import RedisServer, redis_server_fixture  # noqa: F401  for the arguments of tests


@pytest.fixture
def url(redis_server: RedisServer) -> str:
    """The location of a stream that is not there yet."""
    return redis_server.url("feed")
