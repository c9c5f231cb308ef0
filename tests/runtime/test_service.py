"""What a service leaves out is refused in words, or is nothing to it."""

from __future__ import annotations

from typing import Any

import pytest

from gtool.runtime.service import Service

NOTHING: Any = None


def test_a_service_without_connections_says_so():
    with pytest.raises(NotImplementedError, match="without connections"):
        Service().connect(NOTHING, NOTHING)


def test_a_service_without_datagrams_says_so():
    with pytest.raises(NotImplementedError, match="refuses udp://"):
        Service().datagrams(NOTHING)


def test_a_service_with_nothing_to_let_go_of_is_drained_and_closed():
    Service().drain()
    Service().close()
