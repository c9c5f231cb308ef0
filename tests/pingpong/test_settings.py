"""Settings are the options of `ping`, by their names and with their defaults."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest

from gtool.commands.zmq_ping import ping
from gtool.pingpong.settings import Settings

#: what the command makes of other options: --engine, and the --curve ones
MADE = {"engines", "keys"}
FIELDS = {field.name: field.default for field in fields(Settings) if field.name not in MADE}


def test_every_field_is_a_parameter():
    assert FIELDS.keys() <= {param.name for param in ping.params}


@pytest.mark.parametrize("name", [name for name, default in FIELDS.items() if default is not MISSING])
def test_a_field_has_the_default_of_its_option(name):
    defaults = ping.make_context("ping", ["tcp://127.0.0.1:1"]).params
    assert FIELDS[name] == defaults[name]
