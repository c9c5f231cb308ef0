"""A stream read into a log, from a real server that comes and goes."""

from __future__ import annotations

import re
from contextlib import closing

import gevent
import pytest
from gevent.event import Event

from gtool.errors import GtoolError
from gtool.log import configure
from gtool.streams.log import Cursor
from gtool.streams.memory import MemoryLog
from gtool.streams.redis import follower as follower_module
from gtool.streams.redis import location as location_module
from gtool.streams.redis.entries import offset_of
from gtool.streams.redis.follower import Follower
from gtool.streams.redis.location import parse_location
from gtool.streams.subscription import Subscription
from tests.conftest import TIMEOUT_S
from tests.e2e.relay import relaying
from tests.streams.redis.followed import (
    MOST_BYTES,
    TRIMMING,
    adding,
    following,
    needs_redis,
    numbers,
    publishing,
    put,
    wait_until,
)


@needs_redis
def test_what_comes_is_followed_in_order(redis_server, url):
    with following(url) as followed:
        redis_server.add("feed", *"abc")
        assert followed.wait_for(3) == ["a", "b", "c"]


@needs_redis
def test_what_is_there_comes_first(redis_server, url):
    redis_server.add("feed", *"ab")
    with following(url) as followed:
        followed.wait_for(2)
        redis_server.add("feed", "c")
        assert followed.wait_for(3) == ["a", "b", "c"]


@needs_redis
def test_offsets_are_made_of_the_ids_of_redis(redis_server, url):
    ids = redis_server.add("feed", *"abc")
    with following(url) as followed:
        followed.wait_for(3)
        assert [entry.offset for entry in followed.log.read(0, 9)] == [offset_of(id_) for id_ in ids]


@needs_redis
def test_the_time_of_a_message_is_that_of_its_id(redis_server, url):
    redis_server.call("XADD", "feed", "1500-7", "data", "x")
    with following(url) as followed:
        followed.wait_for(1)
        assert followed.log.read(0, 1)[0].time == 1.5


@needs_redis
def test_two_followers_tell_the_same_ids(redis_server, url):
    redis_server.add("feed", *"ab")
    with following(url) as one, following(url) as other:
        one.wait_for(2)
        other.wait_for(2)
        redis_server.add("feed", "c")
        one.wait_for(3)
        other.wait_for(3)
        assert [entry[1:] for entry in one.log.read(0, 9)] == [entry[1:] for entry in other.log.read(0, 9)]


@needs_redis
def test_only_the_last_are_loaded(redis_server, url):
    redis_server.add("feed", *numbers(1, 9))
    with following(url, most=4) as followed:
        followed.wait_for(4)
        assert followed.seen == numbers(6, 9)


@needs_redis
def test_the_log_begins_after_the_entry_before_the_loaded_ones(redis_server, url):
    ids = redis_server.add("feed", *numbers(1, 9))
    with following(url, most=4) as followed:
        followed.wait_for(4)
        assert followed.log.floor == offset_of(ids[4])


@needs_redis
def test_a_stream_of_which_all_is_loaded_begins_at_its_begin(redis_server, url):
    redis_server.add("feed", *"ab")
    with following(url) as followed:
        followed.wait_for(2)
        assert followed.log.floor == 0


@needs_redis
def test_a_cursor_from_before_what_was_trimmed_is_not_recovered(redis_server, url):
    ids = redis_server.add("feed", *numbers(1, 9))
    redis_server.trim("feed", 3)
    with following(url) as followed:
        followed.wait_for(3)
        assert not Subscription(followed.log, Cursor(followed.log.epoch, offset_of(ids[2]))).is_recovered


@needs_redis
@pytest.mark.xfail(strict=True, reason="what XDEL takes out of the middle is not seen: lost silently")
def test_a_cursor_from_before_what_was_deleted_is_not_recovered(redis_server, url):
    ids = redis_server.add("feed", *numbers(1, 9))
    redis_server.call("XDEL", "feed", ids[3])
    with following(url) as followed:
        followed.wait_for(8)
        assert not Subscription(followed.log, Cursor(followed.log.epoch, offset_of(ids[2]))).is_recovered


@needs_redis
def test_a_cursor_within_what_is_loaded_is_recovered(redis_server, url):
    ids = redis_server.add("feed", *numbers(1, 9))
    with following(url, most=4) as followed:
        followed.wait_for(4)
        subscription = Subscription(followed.log, Cursor(followed.log.epoch, offset_of(ids[6])))
        assert subscription.is_recovered
        assert [entry.data for entry in subscription.take(9)] == [b"8", b"9"]


@needs_redis
def test_the_newest_cursor_of_a_stream_that_was_emptied_is_recovered(redis_server, url):
    last = redis_server.add("feed", *"abc")[-1]
    redis_server.trim("feed", 0)
    with following(url) as followed:
        redis_server.add("feed", "d")
        followed.wait_for(1)
        assert Subscription(followed.log, Cursor(followed.log.epoch, offset_of(last))).is_recovered


@needs_redis
@pytest.mark.parametrize("data", [b"\xff\xfe", b"\0", "ä".encode(), b"a\nb", b"x" * 1_000_000])
def test_any_bytes_are_a_message_of_text(redis_server, url, data):
    redis_server.add("feed", data)
    with following(url) as followed:
        assert followed.wait_for(1) == [data.decode(errors="replace")]


@needs_redis
def test_a_message_that_is_too_long_is_left_out_with_a_warning(redis_server, url, capfd):
    configure("text", "notice")
    redis_server.add("feed", b"x" * 2_000_000, b"short")
    with following(url) as followed:
        assert followed.wait_for(1) == ["short"]
        assert re.search(r"WARNING a message is too long: left out source=\S+ size=2000000", capfd.readouterr().err)


@needs_redis
def test_a_follower_lets_others_work_while_it_waits(url):
    with following(url):
        for _ in range(20):
            with gevent.Timeout(1, AssertionError("the loop stands still")):
                gevent.sleep(0.01)


@needs_redis
def test_what_is_trimmed_before_it_was_read_counts_as_lost(redis_server, url):
    """Nobody is away: we are just slower than those who write and trim."""
    redis_server.add("feed", "0")
    with following(url) as followed:
        followed.wait_for(1)
        subscription = Subscription(followed.log, "now")
        redis_server.at_once(*adding(1, 50), TRIMMING)
        wait_until(lambda: followed.seen[-1] == "50", "the last message")
        subscription.skip_what_is_gone()
        assert (followed.seen, subscription.lost) == (["0", "49", "50"], 48)


@needs_redis
def test_what_is_trimmed_just_after_it_was_read_is_not_lost(redis_server):
    """Between two questions: those who write and trim do not wait for us. What follows is counted right, too."""
    trims = []

    def up(data: bytes) -> bytes:
        if trims and b"XINFO" in data:
            redis_server.trim("feed", trims.pop())
        return data

    with (
        relaying(redis_server.port, up=up) as relay,
        following(redis_server.url("feed", port=relay.port)) as followed,
    ):
        subscription = Subscription(followed.log, "now")
        redis_server.add("feed", "0")
        followed.wait_for(1)
        trims.append(2)
        redis_server.at_once(*adding(1, 50), ("XTRIM", "feed", "MAXLEN", "10"))
        followed.wait_for(11)
        subscription.skip_what_is_gone()
        redis_server.at_once(*adding(51, 58), TRIMMING)
        followed.wait_for(13)
        losses = [subscription.lost]
        subscription.take(100)
        losses.append(subscription.lost)
        assert (trims, followed.seen) == ([], ["0", *numbers(41, 50), "57", "58"])
        assert losses == [1 + 40, 1 + 40 + 10 + 6]


@needs_redis
def test_a_redis_that_is_full_can_be_read(redis_server, url):
    redis_server.add("feed", "a")
    redis_server.call("CONFIG", "SET", "maxmemory", 1)
    location = parse_location(url)
    log = MemoryLog(9, MOST_BYTES, location.epoch)
    with closing(Follower(location, 9)) as follower:
        with gevent.Timeout(2, False):
            follower.load(log)
        assert (follower.trouble, log.newest) == ("", 1)


@needs_redis
def test_a_stream_that_is_begun_anew_with_smaller_ids_is_an_error(redis_server, url, monkeypatch):
    monkeypatch.setattr(follower_module, "BLOCK_MS", 50)
    redis_server.add("feed", "a")
    location = parse_location(url)
    with closing(Follower(location, 9)) as follower:
        log = MemoryLog(9, MOST_BYTES, location.epoch)
        follower.load(log)
        redis_server.call("DEL", "feed")
        redis_server.call("XADD", "feed", "1-1", "data", "b")
        with gevent.Timeout(TIMEOUT_S), pytest.raises(GtoolError, match="was begun anew, with smaller ids"):
            follower.run(log)


@needs_redis
def test_while_nothing_comes_no_messages_are_asked_for(redis_server, url, monkeypatch):
    monkeypatch.setattr(follower_module, "BLOCK_MS", 10)
    redis_server.add("feed", "a")
    with following(url):
        redis_server.call("CONFIG", "RESETSTAT")
        wait_until(lambda: "xinfo" in str(redis_server.call("INFO", "commandstats")), "a look at the stream")
        assert "xrevrange" not in str(redis_server.call("INFO", "commandstats"))


@needs_redis
def test_what_is_trimmed_after_it_was_read_is_not_lost(redis_server, url):
    with following(url) as followed:
        subscription = Subscription(followed.log, "now")
        for first in (1, 11, 21):
            redis_server.add("feed", *numbers(first, first + 9))
            followed.wait_for(first + 9)
            redis_server.trim("feed", 0)
        subscription.skip_what_is_gone()
        assert (followed.seen, subscription.lost) == (numbers(1, 30), 0)


@needs_redis
def test_gaps_are_counted_one_after_the_other(redis_server, url):
    redis_server.add("feed", "0")
    with following(url) as followed:
        subscription = Subscription(followed.log, "now")
        for last in (50, 100):
            redis_server.at_once(*adding(last - 49, last), TRIMMING)
            wait_until(lambda last=last: followed.seen[-1] == str(last), "the last message")
        subscription.skip_what_is_gone()
        assert (followed.seen, subscription.lost) == (["0", "49", "50", "99", "100"], 48 + 2 + 48)


@needs_redis
def test_a_stream_that_is_deleted_and_begun_anew_is_followed(redis_server, url):
    redis_server.add("feed", *"abc")
    with following(url) as followed:
        redis_server.call("DEL", "feed")
        redis_server.add("feed", "d")
        followed.wait_for(4)
        redis_server.add("feed", "e")
        assert followed.wait_for(5) == ["a", "b", "c", "d", "e"]


@needs_redis
def test_the_log_is_loaded_before_anybody_reads(redis_server, url):
    redis_server.add("feed", *numbers(1, 2000))
    location = parse_location(url)
    log = MemoryLog(5000, MOST_BYTES, location.epoch)
    with closing(Follower(location, 5000)) as follower:
        follower.load(log)
    assert [entry.data.decode() for entry in log.read(0, 5000)] == numbers(1, 2000)


@needs_redis
def test_loading_waits_for_a_server_that_is_away(redis_server, url):
    redis_server.add("feed", "a")
    location = parse_location(url)
    log = MemoryLog(5, MOST_BYTES, location.epoch)
    redis_server.kill()
    with closing(Follower(location, 5)) as follower:
        loading = gevent.spawn(follower.load, log)
        wait_until(lambda: follower.trouble, "trouble")
        redis_server.start()
        loading.get(timeout=TIMEOUT_S)
        assert (follower.trouble, [entry.data for entry in log.read(0, 5)]) == ("", [b"a"])


@needs_redis
def test_each_message_is_paced_before_it_comes_up(redis_server, url):
    location = parse_location(url)
    log = MemoryLog(9, MOST_BYTES, location.epoch)
    paced = []
    with closing(Follower(location, 9)) as follower:
        follower.load(log)
        at_work = gevent.spawn(follower.run, log, lambda size: paced.append((log.newest, size)))
        redis_server.add("feed", "a", "bb", "ccc")
        wait_until(lambda: log.newest == 3, "the third message")
        at_work.kill()
    assert paced == [(0, 1), (1, 2), (2, 3)]


@needs_redis
def test_what_waits_for_the_readers_has_not_been_had(redis_server, url):
    """Else the feed ends, with its last message still to come up."""
    location = parse_location(url)
    log = MemoryLog(9, MOST_BYTES, location.epoch)
    go_on = Event()
    is_asked = Event()

    def pace(_: int) -> None:
        is_asked.set()
        go_on.wait()

    with closing(Follower(location, 9)) as follower:
        follower.load(log)
        at_work = gevent.spawn(follower.run, log, pace)
        try:
            redis_server.call("XADD", "feed", "*", "data", "x", "gtool-from", "p", "gtool-n", 1)
            assert is_asked.wait(TIMEOUT_S)
            assert (log.newest, follower.has_had("p", 1)) == (0, False)
            go_on.set()
            wait_until(lambda: follower.has_had("p", 1), "the message")
            assert log.newest == 1
        finally:
            at_work.kill()


# --- doubles


@needs_redis
def test_what_a_publisher_has_written_twice_comes_once(redis_server, url):
    with following(url) as followed:
        for number in (1, 2, 1, 2, 3):
            redis_server.call("XADD", "feed", "*", "data", f"m{number}", "gtool-from", "p", "gtool-n", number)
        assert followed.wait_for(3) == ["m1", "m2", "m3"]


@needs_redis
def test_doubles_are_dropped_across_what_was_loaded_and_what_is_new(redis_server, url):
    redis_server.call("XADD", "feed", "*", "data", "m1", "gtool-from", "p", "gtool-n", 1)
    with following(url) as followed:
        followed.wait_for(1)
        redis_server.call("XADD", "feed", "*", "data", "m1", "gtool-from", "p", "gtool-n", 1)
        redis_server.call("XADD", "feed", "*", "data", "m2", "gtool-from", "p", "gtool-n", 2)
        assert followed.wait_for(2) == ["m1", "m2"]


@needs_redis
def test_the_same_number_of_another_publisher_is_no_double(redis_server, url):
    with following(url) as followed:
        for name in ("p", "q"):
            redis_server.call("XADD", "feed", "*", "data", name, "gtool-from", name, "gtool-n", 1)
        assert followed.wait_for(2) == ["p", "q"]


@needs_redis
@pytest.mark.parametrize("number", ["x", "-1", "", "\u00b2"])
def test_a_number_that_is_none_makes_no_double(redis_server, url, number):
    with following(url) as followed:
        for message in "ab":
            redis_server.call("XADD", "feed", "*", "data", message, "gtool-from", "p", "gtool-n", number)
        assert followed.wait_for(2) == ["a", "b"]


# --- a server that goes and comes back


@needs_redis
def test_a_server_that_is_killed_and_is_back_loses_nothing(redis_server, url):
    with following(url) as followed, publishing(url) as publisher:
        put(publisher, *numbers(1, 10))
        followed.wait_for(10)
        redis_server.kill()
        for number in numbers(11, 20):
            publisher.put(number.encode())
        wait_until(lambda: followed.follower.trouble, "trouble")
        redis_server.start()
        assert followed.wait_for(20) == numbers(1, 20)


@needs_redis
def test_trouble_says_where_and_ends_when_the_server_is_back(redis_server):
    with following(redis_server.url("feed").replace("//", "//:@")) as followed:
        redis_server.kill()
        wait_until(lambda: followed.follower.trouble, "trouble")
        assert followed.follower.trouble.startswith(
            f"cannot read redis://127.0.0.1:{redis_server.port}/0?stream=feed: "
        )
        redis_server.start()
        wait_until(lambda: not followed.follower.trouble, "an end of it")


@needs_redis
def test_a_server_that_is_held_for_a_while_loses_nothing(redis_server, url, monkeypatch):
    monkeypatch.setattr(location_module, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(follower_module, "BLOCK_MS", 100)
    with following(url) as followed, publishing(url) as publisher:
        put(publisher, "1")
        followed.wait_for(1)
        redis_server.hold()
        for number in numbers(2, 5):
            publisher.put(number.encode())
        wait_until(lambda: followed.follower.trouble, "trouble")
        redis_server.go_on()
        wait_until(lambda: not followed.follower.trouble, "an end of it")
        put(publisher, "6")
        assert followed.wait_for(6) == numbers(1, 6)


@needs_redis
def test_what_was_trimmed_while_the_server_was_away_counts_as_lost(redis_server):
    with relaying(redis_server.port) as relay, following(redis_server.url("feed", port=relay.port)) as followed:
        redis_server.add("feed", "1")
        followed.wait_for(1)
        subscription = Subscription(followed.log, "now")
        relay.cut()
        redis_server.at_once(*adding(2, 9), TRIMMING)
        followed.wait_for(3)
        subscription.skip_what_is_gone()
        assert (followed.seen, subscription.lost) == (["1", "8", "9"], 6)


@needs_redis
@pytest.mark.xfail(
    strict=True, reason="what XDEL takes out behind an entry that is still there is not seen: lost silently"
)
def test_what_was_deleted_while_the_server_was_away_counts_as_lost(redis_server):
    with relaying(redis_server.port) as relay, following(redis_server.url("feed", port=relay.port)) as followed:
        redis_server.add("feed", "1")
        followed.wait_for(1)
        subscription = Subscription(followed.log, "now")
        relay.cut()
        deleted = [("XADD", "feed", "9999999999999-1", "data", "2"), ("XDEL", "feed", "9999999999999-1")]
        redis_server.at_once(*deleted, ("XADD", "feed", "9999999999999-2", "data", "3"))
        followed.wait_for(2)
        subscription.skip_what_is_gone()
        assert (followed.seen, subscription.lost > 0) == (["1", "3"], True)


@needs_redis
def test_nothing_counts_as_lost_when_nothing_was_trimmed(redis_server):
    with relaying(redis_server.port) as relay, following(redis_server.url("feed", port=relay.port)) as followed:
        redis_server.add("feed", "1")
        followed.wait_for(1)
        subscription = Subscription(followed.log, "now")
        relay.cut()
        redis_server.at_once(*adding(2, 9))
        followed.wait_for(9)
        subscription.skip_what_is_gone()
        assert (followed.seen, subscription.lost) == (numbers(1, 9), 0)
