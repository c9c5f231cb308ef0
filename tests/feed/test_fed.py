"""A worker's supply: the feeder's log as its own, and what it says when there is no feeder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import gevent
import pytest
from gevent import socket as green_socket

from gtool.errors import GtoolError
from gtool.feed.fed import UNKNOWN, Fed
from gtool.feed.link import Link
from gtool.streams.log import Cursor
from gtool.streams.subscription import Subscription
from tests.feed.linked import MUCH, Linked, Worker
from tests.servers.looped import failures_raise


@pytest.fixture
def linked() -> Iterator[Linked]:
    with failures_raise(), closing(Linked()) as linked:
        yield linked


def test_a_worker_has_a_log_at_once_though_it_knows_nothing_of_it_yet(tmp_path):
    """It is of no epoch that a reader could have an id of."""
    fed = Fed(str(tmp_path / "nobody"))
    log = fed.open_log(3, MUCH)
    assert (log.epoch, log.newest, log.most, log.is_mirror, fed.is_loaded) == (UNKNOWN, 0, 3, True, False)
    fed.close()


def test_a_worker_whose_feeder_has_died_says_so(linked, tmp_path):
    """There is somebody between them, who hangs up."""
    with closing(green_socket.socket(green_socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "between"))
        listener.listen()
        worker = Worker(str(tmp_path / "between")).start()
        ours, _ = listener.accept()
    theirs = green_socket.socket(green_socket.AF_UNIX)
    theirs.connect(linked.link.path)

    def hand_on() -> None:
        while data := theirs.recv(65536):
            ours.sendall(data)

    handing_on = gevent.spawn(hand_on)
    linked.workers.append(worker)
    linked.put("a")
    worker.wait_for(1)
    handing_on.kill()
    ours.close()
    theirs.close()
    worker.end()
    assert (worker.data, str(worker.error)) == ([b"a"], "the process that reads the source has died")


def test_a_worker_without_a_feeder_says_so(tmp_path):
    fed = Fed(str(tmp_path / "nobody"))
    with pytest.raises(GtoolError, match="is not to be reached: No such file or directory"):
        fed.run(fed.open_log(1, 1), lambda size: None)
    fed.close()


def test_a_worker_whose_feeder_has_died_before_its_first_word_says_so(tmp_path):
    with closing(green_socket.socket(green_socket.AF_UNIX)) as listener:
        listener.bind(str(tmp_path / "feeder"))
        listener.listen()
        worker = Worker(str(tmp_path / "feeder")).start()
        ours, _ = listener.accept()
        ours.close()
        worker.end()
    worker.close()
    assert (str(worker.error), worker.fed.is_loaded) == ("the process that reads the source has died", False)


def test_a_worker_waits_for_the_first_word_and_can_be_ended_meanwhile():
    link = Link()
    worker = Worker(link.path).start()
    gevent.sleep(0.02)
    assert (worker.running.dead, worker.fed.is_loaded) == (False, False)
    worker.close()
    link.close()


def test_a_worker_that_is_loaded_can_go_on_from_any_id_that_is_kept(linked):
    linked.put("a", "b", "c")
    worker = linked.loaded()
    assert Subscription(worker.log, Cursor(worker.log.epoch, 2)).is_recovered


def test_a_workers_log_is_the_same_sequence(linked):
    worker = linked.follow()
    linked.put("a", "b")
    worker.wait_for(2)
    assert worker.log.epoch == linked.log.epoch
    assert worker.kept == [(entry.offset, entry.time, entry.data) for entry in linked.log.read(0, 10)]


def test_gaps_in_the_offsets_are_the_same_for_workers(linked):
    worker = linked.follow()
    for offset in (5, 900, 901):
        linked.log.mirror(offset, 1.5, b"x")
    assert worker.wait_for(901).kept == [(5, 1.5, b"x"), (900, 1.5, b"x"), (901, 1.5, b"x")]


def test_a_worker_keeps_no_more_than_it_may(linked):
    worker = linked.follow(most=2)
    linked.put("a", "b", "c")
    assert worker.wait_for(3).data == [b"b", b"c"]
