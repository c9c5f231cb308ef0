"""What a location is, and whether its server can be used."""

from __future__ import annotations

import secrets

import pytest
import redis.connection

from gtool.errors import BindError, GtoolError, UsageError
from gtool.streams.log import Cursor, parse_cursor
from gtool.streams.redis import location as location_module
from gtool.streams.redis.follower import Follower
from gtool.streams.redis.location import Location, check, parse_location
from tests.streams.redis.followed import (
    needs_redis,
)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://localhost/0?stream=feed", Location("redis://localhost/0", "feed")),
        ("redis://localhost?stream=feed", Location("redis://localhost", "feed")),
        ("redis://u:p@host:7000/3?stream=a%3Ab", Location("redis://u:p@host:7000/3", "a:b")),
        ("rediss://host/0?stream=feed", Location("rediss://host/0", "feed")),
        ("unix:///run/redis.sock?stream=feed", Location("unix:///run/redis.sock", "feed")),
        ("unix://u:p@/run/redis.sock?stream=feed&db=2", Location("unix://u:p@/run/redis.sock?db=2", "feed")),
        ("redis://h/0?health_check_interval=5&stream=feed", Location("redis://h/0?health_check_interval=5", "feed")),
        ("redis://h/0?stream=feed&client_name=a%26b", Location("redis://h/0?client_name=a%26b", "feed")),
        ("redis://[::1]:7000/0?stream=feed", Location("redis://[::1]:7000/0", "feed")),
    ],
)
def test_a_location_is_a_server_and_a_stream(url, location):
    assert parse_location(url) == location


BAD_URLS = [
    "",
    "feed",
    "http://localhost/0?stream=feed",
    "redis://localhost/0",
    "redis://localhost/0?stream=",
    "redis://localhost/0?stream=a&stream=b",
    "redis://localhost/feed?stream=a",
    "redis://localhost/0?stream=a&flag",
    "redis://[::1/0?stream=feed",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_what_is_no_location_is_refused(url):
    with pytest.raises(UsageError):
        parse_location(url)


@pytest.mark.parametrize("url", ["redis://me:s3cret@localhost/0", "redis://:s3cret@h/0?stream=a&stream=b"])
def test_a_password_is_not_shown_when_the_url_is_refused(url):
    with pytest.raises(UsageError) as caught:
        parse_location(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("option", ["flag=1", "socket_timeout=1&db=x", "max_connections=x"])
def test_an_option_that_redis_py_does_not_know_is_refused_without_the_password(option):
    with pytest.raises(UsageError) as caught:
        check(parse_location(f"redis://me:s3cret@127.0.0.1:1/0?stream=feed&{option}"))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("database", ["feed", "-1", "0/1", "1.5"])
def test_a_database_is_a_number(database):
    with pytest.raises(GtoolError):
        check(parse_location(f"redis://127.0.0.1:1/{database}?stream=feed"))


def test_the_name_of_a_location_has_no_password():
    assert parse_location("redis://me:s3cret@host:1/2?stream=feed").name == "redis://host:1/2?stream=feed"


def test_the_name_of_a_location_has_no_password_of_the_query():
    assert "s3cret" not in parse_location("redis://host/0?stream=feed&password=s3cret").name


def test_the_epoch_is_the_same_on_every_machine():
    assert Location("redis://localhost/0", "feed").epoch == Location("redis://10.0.0.1/0", "feed").epoch


def test_each_stream_has_an_epoch_of_its_own():
    assert Location("redis://h", "a").epoch != Location("redis://h", "b").epoch


def test_an_epoch_is_good_for_a_cursor():
    epoch = Location("redis://h", "ä b:c").epoch
    assert parse_cursor(f"{epoch}:1") == Cursor(epoch, 1)


@needs_redis
def test_a_stream_that_is_not_there_yet_can_be_used(redis_server):
    check(parse_location(redis_server.url("new")))


@needs_redis
def test_a_key_of_another_type_is_refused(redis_server):
    redis_server.call("SET", "feed", "x")
    with pytest.raises(UsageError, match="is a string, not a stream"):
        check(parse_location(redis_server.url("feed")))


def test_a_server_that_is_not_there_is_an_error(refused_port):
    with pytest.raises(BindError, match="Connection refused"):
        check(parse_location(f"redis://127.0.0.1:{refused_port}/0?stream=feed"))


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "nobody.invalid"])
def test_a_host_that_is_none_is_an_error(host):
    with pytest.raises(GtoolError):
        check(parse_location(f"redis://{host}/0?stream=feed"))


@pytest.mark.parametrize("port", ["x", "99999"])
def test_a_port_that_is_none_is_an_error(port):
    with pytest.raises(GtoolError):
        check(parse_location(f"redis://localhost:{port}/0?stream=feed"))


@needs_redis
def test_a_server_that_does_not_answer_is_an_error(redis_server, monkeypatch):
    monkeypatch.setattr(location_module, "TIMEOUT_S", 0.3)
    redis_server.hold()
    with pytest.raises(BindError):
        check(parse_location(redis_server.url("feed")))


@needs_redis
def test_a_wrong_password_is_an_error_without_it(redis_server):
    redis_server.call("CONFIG", "SET", "requirepass", "right")
    with pytest.raises(BindError) as caught:
        check(parse_location(f"redis://:s3cret@127.0.0.1:{redis_server.port}/0?stream=feed"))
    assert "s3cret" not in str(caught.value)


def test_the_library_waits_on_the_loop():
    Follower(Location("redis://127.0.0.1:1", secrets.token_hex(4)), 1).close()
    assert redis.connection.socket.__name__ == "gevent.socket"
