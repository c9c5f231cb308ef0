"""Settings are the options of `gtool fetch`, by their names and with their defaults."""

from __future__ import annotations

import click
import pytest

from gtool.commands.fetch import fetch
from gtool.fetch.retry_policy import RetryPolicy
from gtool.fetch.schedule import Limits
from gtool.fetch.settings import Network, Output, Settings

FIELDS = [(settings, name) for settings in (Network, Output, Limits, RetryPolicy) for name in settings._fields]
JOINED = (Network, "data")  #: given many times, and put together by the command
#: options that Settings has in another form
IN_SETTINGS = {"urls", "inputs", "is_null", "journal", "deadline", "fail_early", "summary", "json_data"}


@pytest.fixture
def defaults(monkeypatch):
    """What click hands to the command where only a URL is given."""
    for name in ("GTOOL_FETCH_CACERT", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return fetch.make_context("fetch", ["http://h/"]).params


@pytest.mark.parametrize(("settings", "name"), FIELDS)
def test_every_field_is_an_option(settings, name):
    assert name in {param.name for param in fetch.params}


@pytest.mark.parametrize(("settings", "name"), [field for field in FIELDS if field != JOINED])
def test_a_field_has_the_default_of_its_option(settings, name, defaults):
    assert settings._field_defaults[name] == defaults[name]


def test_no_field_is_in_two_places():
    names = [name for _, name in FIELDS]
    assert len(set(names)) == len(names)


def test_every_option_is_a_field():
    options = {param.name for param in fetch.params if isinstance(param, click.Option)}
    assert options - {name for _, name in FIELDS} <= IN_SETTINGS


def test_settings_can_be_made_of_defaults_alone():
    assert Settings(Network(), Output(), Limits(), RetryPolicy()).separator == b"\n"
