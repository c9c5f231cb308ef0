"""What the meter costs is measured, and little."""

from __future__ import annotations

import pytest

from gtool.pingpong import blocking, green
from gtool.pingpong.meter import empty_loop


@pytest.mark.parametrize("engine", [green, blocking])
def test_a_round_trip_to_nowhere_takes_next_to_nothing(engine):
    assert 1e-7 < empty_loop(engine) < 1e-3
