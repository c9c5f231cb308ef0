"""Messages written into a stream, each once."""

from __future__ import annotations

import re

import gevent
import pytest

from gtool.log import configure
from gtool.streams.redis.publisher import LEAST_KEPT
from tests.conftest import TIMEOUT_S
from tests.e2e.relay import relaying
from tests.streams.redis.followed import (
    following,
    needs_redis,
    numbers,
    publishing,
    put,
    wait_until,
)


@needs_redis
def test_what_is_published_comes_back_in_order(url):
    with following(url, most=5000) as followed, publishing(url, most=5000) as publisher:
        put(publisher, *numbers(1, 2000))
        assert followed.wait_for(2000) == numbers(1, 2000)


@needs_redis
@pytest.mark.parametrize(("most", "kept"), [(100, LEAST_KEPT), (15_000, 15_000)])
def test_the_stream_is_kept_to_about_what_is_wanted_and_not_to_less_than_others_need(redis_server, url, most, kept):
    with publishing(url, most) as publisher:
        put(publisher, *numbers(1, 20_000))
    assert kept <= redis_server.length("feed") <= kept + 500  # whole nodes of the stream: of 100 entries


@needs_redis
def test_each_message_has_its_publisher_and_a_number(redis_server, url):
    with publishing(url) as publisher:
        put(publisher, "a", "b")
        name = publisher.name.encode()
        assert publisher.count == 2
    assert [fields for _, fields in redis_server.call("XRANGE", "feed", "-", "+")] == [
        {b"data": b"a", b"gtool-from": name, b"gtool-n": b"1"},
        {b"data": b"b", b"gtool-from": name, b"gtool-n": b"2"},
    ]


@needs_redis
def test_a_follower_knows_what_it_has_had_of_a_publisher(url):
    with following(url) as followed, publishing(url) as publisher:
        put(publisher, "a", "b")
        followed.wait_for(2)
        had = [followed.follower.has_had(publisher.name, number) for number in (1, 2, 3)]
        assert (had, followed.follower.has_had("another", 1)) == ([True, True, False], False)


@needs_redis
def test_a_message_that_has_been_trimmed_since_does_not_keep_its_publisher_waiting(redis_server, url):
    """The follower has had a later one of the same publisher."""
    with following(url) as followed, publishing(url) as publisher:
        redis_server.call("XADD", "feed", "*", "data", "x", "gtool-from", publisher.name, "gtool-n", 7)
        followed.wait_for(1)
        assert followed.follower.has_had(publisher.name, 6)


@needs_redis
def test_trouble_of_writing_says_where_and_ends(redis_server):
    redis_server.call("CONFIG", "SET", "maxmemory", 1)
    with publishing(redis_server.url("feed").replace("//", "//:@")) as publisher:
        publisher.put(b"private")
        wait_until(lambda: publisher.trouble, "trouble")
        assert publisher.trouble.startswith(f"cannot write to redis://127.0.0.1:{redis_server.port}/0?stream=feed: ")
        assert "private" not in publisher.trouble
        redis_server.call("CONFIG", "SET", "maxmemory", 0)
        wait_until(lambda: not publisher.trouble, "an end of it")
    assert redis_server.length("feed") == 1


@needs_redis
def test_two_publishers_may_write_to_one_stream(url):
    with following(url) as followed, publishing(url) as one, publishing(url) as other:
        put(one, "a")
        put(other, "b")
        put(one, "c")
        assert followed.wait_for(3) == ["a", "b", "c"]


@needs_redis
def test_wait_waits_for_redis(redis_server, url):
    redis_server.hold()
    with publishing(url) as publisher:
        publisher.put(b"a")
        with gevent.Timeout(0.5, False) as patience:
            publisher.wait(0)
        assert patience.pending is False
        redis_server.go_on()
        with gevent.Timeout(TIMEOUT_S, AssertionError("it does not come back")):
            publisher.wait(0)
    assert redis_server.length("feed") == 1


@needs_redis
def test_what_was_not_written_is_said_at_the_end(redis_server, url, capfd):
    configure("text", "notice")
    redis_server.kill()
    with publishing(url) as publisher:
        publisher.put(b"a")
        gevent.sleep(0)
    assert re.search(r"WARNING messages are lost: they were not written to=\S+ count=1", capfd.readouterr().err)


@needs_redis
def test_what_redis_took_and_could_not_say_is_not_there_twice(redis_server):
    """The connection ends between the command and its answer."""
    lost = []

    def down(data: bytes) -> bytes | None:
        if not lost and b"-" in data and redis_server.length("feed"):
            lost.append(data)
            return None
        return data

    with (
        relaying(redis_server.port, down=down) as relay,
        following(redis_server.url("feed")) as followed,
        publishing(redis_server.url("feed", port=relay.port)) as publisher,
    ):
        put(publisher, *numbers(1, 20))
        put(publisher, "21")
        assert (followed.wait_for(21), redis_server.length("feed") > 21) == (numbers(1, 21), True)


@needs_redis
def test_a_message_that_redis_refuses_once_is_not_lost(redis_server):
    """The first of a batch is refused, those after it would not be; then all are written again."""
    refused = []

    def up(data: bytes) -> bytes:
        if not refused and data.count(b"XADD") >= 10:
            refused.append(data)
            return data.replace(b"XADD", b"XBAD", 1)  # which Redis does not know
        return data

    with (
        relaying(redis_server.port, up=up) as relay,
        following(redis_server.url("feed")) as followed,
        publishing(redis_server.url("feed", port=relay.port)) as publisher,
    ):
        put(publisher, *numbers(1, 10))
        put(publisher, "11")
        wait_until(lambda: "11" in followed.seen, "the last message")
        assert refused
        assert followed.seen == numbers(1, 11)
    assert redis_server.length("feed") == 11
