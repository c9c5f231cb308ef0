"""One process feeds the workers: each has all of it, and who does not read holds up nobody for long."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.errors import Interrupted
from gtool.feed import feeder as feeder_module
from gtool.feed.fed import UNKNOWN
from gtool.feed.feeder import ENTRIES
from gtool.streams.log import Cursor
from gtool.streams.memory import MemoryLog
from gtool.streams.subscription import Subscription
from tests.feed.linked import MUCH, Linked, Supply, Worker
from tests.servers.looped import TIMEOUT_S, failures_raise

BIG = b"x" * 100_000  # some of which are more than a socket holds

fixed = settings(derandomize=True, deadline=None, max_examples=40)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The end of a feeder waits for no worker that may be starting."""
    monkeypatch.setattr(feeder_module, "QUIET_S", 0.001)


@pytest.fixture
def make() -> Iterator[Any]:
    made: list[Linked] = []

    def run(*args: Any, **options: Any) -> Linked:
        made.append(Linked(*args, **options))
        gevent.idle()
        return made[-1]

    with failures_raise():
        yield run
        for one in made:
            one.close()


@pytest.fixture
def linked(make) -> Linked:
    return make()


# What workers have


def test_a_worker_has_what_comes(linked):
    worker = linked.follow()
    linked.put("a", "b")
    assert worker.wait_for(2).data == [b"a", b"b"]


def test_a_worker_that_comes_later_has_what_is_kept(make):
    linked = make(most=3)
    linked.put(*range(1, 8))
    worker = linked.follow().wait_for(7)
    assert (worker.data, worker.log.floor) == ([b"5", b"6", b"7"], 4)


def test_a_worker_that_comes_before_the_first_message_knows_that_it_has_all(make):
    log = MemoryLog(10, MUCH, "epoch")
    log.begin_after(40)
    linked = make(log=log)
    worker = linked.loaded()
    assert (worker.log.epoch, worker.log.floor, worker.log.newest_offset) == ("epoch", 40, 40)


def test_a_worker_is_loaded_when_it_has_what_was_there_and_not_before(make):
    """Nobody is to read its log until then."""
    linked = make()
    linked.put(*[BIG] * 20)
    worker, seen = linked.follow(), []
    with gevent.Timeout(TIMEOUT_S):
        while not worker.fed.is_loaded:
            seen.append(worker.log.newest)
            gevent.sleep(0)
    assert (seen[0], worker.log.newest) == (0, 20)


def test_a_worker_hears_nothing_until_what_feeds_it_is_loaded(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "LOADED_S", 0.001)
    monkeypatch.setattr(Supply, "is_loaded", False)
    linked = make()
    worker = linked.follow()
    linked.put("a")
    gevent.sleep(0.02)
    assert (worker.log.epoch, worker.log.newest, worker.fed.is_loaded) == (UNKNOWN, 0, False)
    monkeypatch.setattr(Supply, "is_loaded", True)
    worker.load()
    assert (worker.log.epoch, worker.data, worker.paced) == (linked.log.epoch, [b"a"], [])


def test_who_has_an_id_of_before_the_worker_came_can_go_on_when_it_is_loaded(linked):
    linked.put("a", "b", "c")
    log = linked.loaded().log
    assert [entry.data for entry in Subscription(log, Cursor(linked.log.epoch, 1)).take(10)] == [b"b", b"c"]


def test_offsets_as_large_as_ids_may_have_come_as_they_are(linked):
    worker = linked.follow()
    linked.log.mirror(10**30 - 1, 1.5, b"x")
    assert worker.wait_for(10**30 - 1).log.newest_offset == 10**30 - 1


def test_all_workers_have_the_same(linked):
    workers = [linked.follow() for _ in range(5)]
    for number in range(1, 21):
        linked.put(number)
    assert [worker.wait_for(20).data for worker in workers] == [[b"%d" % n for n in range(1, 21)]] * 5


@pytest.mark.parametrize("data", [b"", b"\xc3\xa4", b"x" * 3_000_000])
def test_a_message_of_any_size_comes_whole(linked, data):
    worker = linked.follow()
    linked.put(data, b"next")
    assert worker.wait_for(2).data == [data, b"next"]


@fixed
@given(st.lists(st.integers(0, 70_000), max_size=30), st.integers(0, 30))
def test_whatever_the_sizes_and_whenever_it_comes_a_worker_has_all(sizes, before):
    with failures_raise():
        linked = Linked()
        linked.put(*[bytes([65 + number]) * size for number, size in enumerate(sizes[:before])])
        worker = linked.follow()
        linked.put(*[bytes([65 + number]) * size for number, size in enumerate(sizes[before:], before)])
        data = worker.wait_for(len(sizes)).data[: len(sizes)]
        linked.close()
    assert data == [bytes([65 + number]) * size for number, size in enumerate(sizes)]


def test_a_worker_has_its_readers_paced_before_each_message(linked):
    worker = linked.loaded()
    linked.put("a", "bb", "ccc")
    assert worker.wait_for(3).paced == [(0, 1), (1, 2), (2, 3)]


def test_what_was_there_before_is_paced_for_nobody(linked):
    """There are no readers yet."""
    linked.put("a", "bb")
    worker = linked.loaded()
    linked.put("ccc")
    assert worker.wait_for(3).paced == [(2, 3)]


@pytest.mark.parametrize("count", [0, 1, ENTRIES, 5 * ENTRIES + 1])
def test_a_worker_that_is_loaded_has_all_that_is_kept(linked, count):
    for number in range(count):
        linked.log.append(b"%d" % number)
    assert linked.loaded().data == [b"%d" % number for number in range(count)]


def test_a_worker_that_loads_has_what_came_while_it_did(make, monkeypatch):
    """What it could not be given any more is lost, and it is told that too."""
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 0.01)
    linked = make(most=4)
    worker = linked.follow()
    linked.put(*[BIG] * 40)
    worker.wait_for(40)
    assert (worker.log.floor, len(worker.data)) == (36, 4)


def test_what_was_lost_before_it_came_counts_as_much_for_workers(linked):
    worker = linked.follow()
    linked.log.mirror(5, 1.5, b"x")
    worker.wait_for(5)
    linked.log.lose(90, 7)
    linked.log.mirror(91, 1.5, b"y")
    log = worker.wait_for(91).log
    assert (log.newest, log.floor, worker.data) == (9, 90, [b"y"])


def test_a_worker_that_comes_after_a_loss_begins_behind_it(linked):
    linked.log.mirror(5, 1.5, b"x")
    linked.log.lose(10**30 - 2, 7)
    linked.log.mirror(10**30 - 1, 1.5, b"y")
    worker = linked.loaded()
    assert (worker.log.floor, worker.data) == (10**30 - 2, [b"y"])


# The pace


@pytest.mark.parametrize("most", [1, 10])
def test_workers_that_read_miss_nothing_and_wait_for_nothing_however_fast_it_comes(make, monkeypatch, most):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 600.0)
    linked = make(most=most)
    worker = linked.follow()
    linked.put("first")
    worker.wait_for(1)
    linked.put(*range(200))
    assert len(worker.wait_for(201, 5.0).data) == 201


def test_a_worker_that_reads_misses_nothing_from_the_first_message_on(make):
    linked = make(most=10)
    worker = linked.follow()
    gevent.idle()
    linked.put(*range(100))
    assert len(worker.wait_for(100).data) == 100


def test_a_source_without_an_end_stalls_nobody_where_there_is_no_worker_yet():
    linked, turns, seen = Linked(most=10), [], []

    def fast(log, pace):
        gevent.spawn(turns.append, "another greenlet's")
        for number in range(10_000):
            pace(5)
            log.append(b"%d" % number)
        seen.extend(turns)

    linked.supply.run = fast
    gevent.idle()
    with gevent.Timeout(TIMEOUT_S):
        while linked.log.newest < 10_000:
            gevent.sleep(0.001)
    linked.close()
    assert seen


def test_workers_that_read_miss_nothing_however_large_it_is(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 600.0)
    linked = make(log=MemoryLog(10_000, 300_000))
    worker = linked.loaded()
    linked.put(*[BIG] * 50)
    assert len(worker.wait_for(50).data) == 50


def test_a_large_loss_holds_up_nobody(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 3600.0)
    linked = make()
    worker = linked.follow()
    linked.put("a")
    worker.wait_for(1)
    linked.log.lose(50, 200)
    linked.put("b")
    try:
        worker.wait_for(51, 1.0)
    except gevent.Timeout:
        pytest.fail("it was held up")
    finally:
        worker.close()


def test_a_worker_that_does_not_read_holds_up_others_only_so_long(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 0.01)
    linked = make(most=4)
    stuck, other = linked.stuck(), linked.follow()
    linked.put(*[BIG] * 40)
    assert other.wait_for(40).log.newest_offset == 40
    assert stuck.log.newest == 0
    stuck.is_free.set()


def test_a_worker_that_reads_again_is_told_that_it_has_lost_something(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 0.01)
    linked = make(most=4)
    worker, other = linked.stuck(), linked.follow()
    reader = Subscription(worker.log, "now")
    linked.put(*[BIG] * 40)
    other.wait_for(40)
    worker.is_free.set()
    worker.wait_for(40)
    assert (worker.log.floor, len(worker.data)) == (36, 4)
    assert [entry.offset for entry in reader.take(100)] == [37, 38, 39, 40]
    assert reader.lost > 0


def test_who_is_in_the_part_that_was_lost_can_not_go_on_and_is_told_so(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 0.01)
    linked = make(most=4)
    worker, other = linked.stuck(), linked.follow()
    linked.put(*[BIG] * 40)
    other.wait_for(40)
    worker.is_free.set()
    worker.wait_for(40)
    cursors = [Cursor(worker.log.epoch, offset) for offset in (1, 35, 36, 40)]
    assert [Subscription(worker.log, cursor).is_recovered for cursor in cursors] == [False, False, True, True]


def test_a_worker_that_has_gone_holds_up_nobody(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "PATIENCE_S", 600.0)
    linked = make(most=2)
    gone, other = linked.follow(), linked.follow()
    linked.put("a")
    for worker in (gone, other):
        worker.wait_for(1)
    gone.close()
    linked.put(*range(50))
    assert other.wait_for(51, 5.0).log.newest == 51


# The end


def test_at_the_end_of_a_source_that_closes_workers_are_told(make):
    linked = make(closes_at_end=True)
    worker = linked.follow()
    linked.put("a", "b")
    linked.supply.put.put(None)
    worker.end()
    assert (worker.data, worker.error) == ([b"a", b"b"], None)


def test_a_worker_that_comes_after_the_end_has_what_is_kept_and_is_told(make):
    linked = make(closes_at_end=True)
    linked.put("a")
    linked.supply.put.put(None)
    gevent.idle()
    worker = linked.follow()
    worker.end()
    assert worker.data == [b"a"]


def test_at_the_end_of_a_source_that_stays_workers_follow_on(linked):
    worker = linked.follow()
    linked.put("a")
    linked.supply.put.put(None)
    worker.wait_for(1)
    gevent.idle()
    assert not worker.running.dead


def test_a_feeder_that_was_stopped_goes_on_for_workers_until_they_have_gone(linked):
    worker = linked.follow()
    linked.feeder.stop()
    linked.put("a")
    assert worker.wait_for(1).error is None
    assert not linked.is_over()
    worker.close()
    linked.wait()


def test_a_feeder_that_was_interrupted_goes_on_for_workers_until_they_have_gone(linked):
    worker = linked.follow()
    linked.running.kill(Interrupted(signal.SIGINT), block=False)
    linked.put("a")
    assert worker.wait_for(1).error is None
    assert not linked.is_over()
    worker.close()
    linked.wait()


@pytest.mark.parametrize("ending", ["stop", "finish"])
def test_a_feeder_that_is_to_end_waits_a_moment_for_a_worker_that_is_just_starting(make, monkeypatch, ending):
    monkeypatch.setattr(feeder_module, "QUIET_S", 0.2)
    linked = make()
    linked.put("a")
    getattr(linked.feeder, ending)()
    assert not linked.is_over()
    worker = linked.follow()
    gevent.sleep(0.3)
    assert (worker.data, worker.error, linked.is_over()) == ([b"a"], None, False)
    worker.close()
    linked.wait()


def test_a_feeder_that_is_to_end_waits_for_the_next_worker_when_one_has_gone(make, monkeypatch):
    monkeypatch.setattr(feeder_module, "QUIET_S", 0.2)
    linked = make()
    worker = linked.follow()
    gevent.idle()
    linked.feeder.stop()
    worker.close()
    assert not linked.is_over()
    other = linked.follow()
    gevent.sleep(0.3)
    assert not linked.is_over()
    other.close()
    linked.wait()


def test_a_feeder_that_was_not_asked_to_end_goes_on_without_workers(linked):
    worker = linked.follow()
    gevent.idle()
    worker.close()
    gevent.sleep(0.02)
    assert not linked.is_over()
    assert linked.follow().error is None


def test_a_feeder_that_was_stopped_lets_go_of_its_source(linked):
    linked.feeder.stop()
    linked.wait()
    assert linked.supply.is_closed


def test_a_feeder_that_is_to_finish_does_so_where_there_is_no_worker(linked):
    linked.feeder.finish()
    linked.wait()


def test_a_feeder_that_is_to_finish_goes_on_for_workers_that_have_got_something(linked):
    worker = linked.follow()
    linked.put("a")
    worker.wait_for(1)
    linked.feeder.finish()
    linked.put("b")
    assert worker.wait_for(2).error is None


def test_a_feeder_that_is_to_finish_goes_on_for_workers_that_wait_for_the_first_message(linked):
    linked.follow()
    gevent.idle()
    linked.feeder.finish()
    assert not linked.is_over()


def test_a_feeder_that_is_to_finish_does_so_when_the_workers_have_gone_after_the_end(make):
    linked = make(closes_at_end=True)
    worker = linked.follow()
    linked.put("a")
    linked.supply.put.put(None)
    worker.end()
    linked.feeder.finish()
    worker.close()
    linked.wait()


def test_a_feeder_that_is_to_finish_does_so_when_the_workers_have_gone_though_nothing_comes_any_more(linked):
    worker = linked.follow()
    linked.put("a")
    worker.wait_for(1)
    linked.feeder.finish()
    worker.close()
    linked.wait()


def test_publishing_is_nothing_to_a_feeder(linked):
    linked.feeder.publish()


@pytest.fixture
def wait_for_trouble(monkeypatch) -> Callable[[Worker, str], None]:
    monkeypatch.setattr(feeder_module, "WATCH_S", 0.001)

    def wait(worker: Worker, text: str) -> None:
        with gevent.Timeout(TIMEOUT_S):
            while worker.fed.trouble != text:
                gevent.sleep(0.001)

    return wait


def test_a_worker_knows_when_the_supply_is_in_trouble_and_when_it_is_not_any_more(wait_for_trouble, make):
    linked = make()
    worker = linked.follow()
    for text in ("redis is away", ""):
        linked.supply.trouble = text
        wait_for_trouble(worker, text)


def test_a_worker_that_comes_later_knows_of_the_trouble_too(wait_for_trouble, make):
    linked = make()
    linked.supply.trouble = "redis is away"
    wait_for_trouble(linked.follow(), "redis is away")
    wait_for_trouble(linked.follow(), "redis is away")
