"""What tests of a chat with a store in a file have in common."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have connections that nobody closes be closed: tests/streams/sqlite/test_database.py is about that."""
    yield
    gc.collect()
