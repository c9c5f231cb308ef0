"""The settings of servers: without options they limit nothing but the time of a handshake and of a drain."""

from __future__ import annotations

from gtool.runtime.settings import Limits, Settings


def test_by_default_everybody_is_served_for_ever():
    assert Settings() == Settings(Limits(), idle_timeout=None, proxy_from=None, tls=None)
    assert set(Limits()) == {None, ()}


def test_by_default_a_handshake_and_a_drain_end():
    assert Settings().handshake_timeout
    assert Settings().drain_timeout
