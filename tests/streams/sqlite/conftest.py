"""What tests of what is in a SQLite file have in common."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have connections that nobody closes be closed: of these tests one is about that (test_database)."""
    yield
    gc.collect()
