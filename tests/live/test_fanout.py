"""Passes over all readers: each pulls after a wake, nobody twice for nothing, and everything else has its turn."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import gevent
import pytest
from gevent.hub import get_hub

from gtool.live import fanout as fanout_module
from gtool.live.fanout import Fanout
from tests.servers.looped import failures_raise

TIMEOUT_S = 10


class Puller:
    """Notes its pulls in a list that it may share, and does what the test has it do."""

    def __init__(self, name: str = "", pulls: list[str] | None = None) -> None:
        self.name = name
        self.pulls = [] if pulls is None else pulls
        self.act: Callable[[], object] = lambda: None

    def pull(self) -> None:
        self.pulls.append(self.name)
        self.act()


@pytest.fixture
def fanout() -> Iterator[Fanout]:
    with failures_raise():
        made = Fanout()
        yield made
        made.close()


@pytest.fixture
def pulls() -> list[str]:
    return []


@pytest.fixture
def readers(fanout, pulls) -> list[Puller]:
    """Three readers, in the fanout already."""
    made = [Puller(name, pulls) for name in "abc"]
    for reader in made:
        fanout.add(reader)
    return made


def settle(fanout: Fanout) -> None:
    with gevent.Timeout(TIMEOUT_S):
        fanout.wait()


def test_each_reader_pulls_after_a_wake(fanout, readers, pulls):
    fanout.wake()
    settle(fanout)
    assert sorted(pulls) == ["a", "b", "c"]


def test_nobody_pulls_without_a_wake(fanout, readers, pulls):
    settle(fanout)
    gevent.idle()
    assert pulls == []


def test_nobody_pulls_before_the_loop_turns(fanout, readers, pulls):
    fanout.wake()
    assert pulls == []


def test_many_wakes_before_a_pass_are_one(fanout, readers, pulls):
    for _ in range(3):
        fanout.wake()
    settle(fanout)
    assert sorted(pulls) == ["a", "b", "c"]


def test_a_wake_after_a_pass_makes_another(fanout, readers, pulls):
    for _ in range(2):
        fanout.wake()
        settle(fanout)
    assert sorted(pulls) == sorted("aabbcc")


def test_a_wake_during_a_pass_has_everybody_pull_again(fanout, readers, pulls):
    """Also those who have pulled already, who know nothing of what is new."""
    wakes = [fanout.wake] * 2
    readers[1].act = lambda: wakes and wakes.pop()()
    fanout.wake()
    settle(fanout)
    assert [pulls.count(name) for name in "abc"] == [3, 3, 3]


def test_a_pass_is_over_before_the_next_begins(fanout, readers, pulls):
    wakes = [fanout.wake]
    for reader in readers:
        reader.act = lambda: wakes and wakes.pop()()
    fanout.wake()
    settle(fanout)
    assert sorted(pulls[:3]) == sorted(pulls[3:]) == ["a", "b", "c"]


def test_one_who_is_added_during_a_pass_pulls_in_the_next(fanout, readers, pulls):
    late = Puller("late", pulls)
    readers[1].act = lambda: fanout.add(late)
    fanout.wake()
    settle(fanout)
    fanout.wake()
    settle(fanout)
    assert "late" in pulls[3:]


def test_one_who_is_removed_does_not_pull(fanout, readers, pulls):
    fanout.remove(readers[0])
    fanout.wake()
    settle(fanout)
    assert sorted(pulls) == ["b", "c"]


def test_one_who_is_removed_during_a_pass_does_not_pull_in_the_next(fanout, readers, pulls):
    readers[1].act = lambda: fanout.remove(readers[1])
    for _ in range(2):
        fanout.wake()
        settle(fanout)
    assert [pulls.count(name) for name in "abc"] == [2, 1, 2]


def test_all_may_be_removed_during_a_pass(fanout, readers):
    for reader in readers:
        reader.act = lambda: [fanout.remove(one) for one in readers]
    fanout.wake()
    settle(fanout)
    assert len(fanout) == 0


def test_one_may_be_removed_who_is_not_there(fanout, readers):
    fanout.remove(Puller())
    assert len(fanout) == 3


def test_one_who_is_added_twice_pulls_once(fanout):
    reader = Puller("once")
    fanout.add(reader)
    fanout.add(reader)
    fanout.wake()
    settle(fanout)
    assert (reader.pulls, len(fanout)) == (["once"], 1)


def test_one_who_asks_again_pulls_after_the_others(fanout, readers, pulls):
    asks = [fanout.again]
    for reader in readers:
        reader.act = lambda reader=reader: asks and asks.pop()(reader)
    fanout.wake()
    settle(fanout)
    assert sorted(pulls[:3]) == ["a", "b", "c"]
    assert pulls[3:] == pulls[:1]


def test_one_who_asks_again_twice_pulls_once(fanout, readers, pulls):
    fanout.again(readers[0])
    fanout.again(readers[0])
    gevent.idle()
    assert pulls == ["a"]


def test_one_who_is_removed_while_it_is_behind_does_not_pull(fanout, readers, pulls):
    fanout.again(readers[0])
    fanout.remove(readers[0])
    gevent.idle()
    assert pulls == []


def test_one_who_asks_again_when_nothing_goes_on_pulls_alone(fanout, readers, pulls):
    fanout.again(readers[2])
    gevent.idle()
    assert pulls == ["c"]


def test_waiting_without_a_pass_does_not_wait(fanout, readers):
    with gevent.Timeout(0):
        fanout.wait()


def test_waiting_ends_when_the_passes_do(fanout, readers, pulls):
    wakes = [fanout.wake] * 4
    readers[0].act = lambda: wakes and wakes.pop()()
    fanout.wake()
    settle(fanout)
    assert len(pulls) == 15


def test_a_pass_over_nobody_ends(fanout):
    fanout.wake()
    settle(fanout)


def test_everything_else_has_its_turn_during_a_pass(monkeypatch, fanout, readers, pulls):
    monkeypatch.setattr(fanout_module, "TURN_S", -1.0)  # a slice is one pull
    ours, theirs = socket.socketpair()
    with ours, theirs, closing(get_hub().loop.io(ours.fileno(), 1)) as watcher:
        theirs.send(b"always ready to be read")
        watcher.start(pulls.append, "socket")
        fanout.wake()
        settle(fanout)
    assert "socket" in pulls[pulls.index("c") : pulls.index("a")]


def test_a_pass_in_slices_has_everybody_pull_once(monkeypatch, fanout, readers, pulls):
    monkeypatch.setattr(fanout_module, "TURN_S", -1.0)
    fanout.wake()
    settle(fanout)
    assert sorted(pulls) == ["a", "b", "c"]


def test_a_pass_in_slices_is_not_over_after_the_first(monkeypatch, fanout, readers, pulls):
    monkeypatch.setattr(fanout_module, "TURN_S", -1.0)
    seen = []
    for reader in readers:
        reader.act = lambda: seen.append(fanout._is_idle.is_set())
    fanout.wake()
    settle(fanout)
    assert seen == [False] * 3


def test_a_wake_between_slices_has_everybody_pull_again(monkeypatch, fanout, readers, pulls):
    monkeypatch.setattr(fanout_module, "TURN_S", -1.0)
    wakes = [fanout.wake]
    for reader in readers:
        reader.act = lambda: wakes and gevent.spawn(wakes.pop())
    fanout.wake()
    settle(fanout)
    assert sorted(pulls) == sorted("aabbcc")


def test_a_short_pass_is_one_slice(fanout, readers, pulls):
    readers[2].act = readers[1].act = lambda: gevent.spawn(pulls.append, "other")
    fanout.wake()
    settle(fanout)
    assert "other" not in pulls[:3]


def failing(fanout: Fanout, reader: Puller) -> None:
    def fail() -> None:
        reader.act = lambda: None
        raise ValueError("a bug")

    with failures_raise():
        reader.act = fail
        fanout.wake()
        gevent.sleep(0.01)


def test_the_failure_of_a_reader_is_not_hidden(fanout, readers):
    with pytest.raises(ValueError, match="a bug"):
        failing(fanout, readers[1])


def test_who_waits_is_not_left_waiting_when_a_reader_fails(fanout, readers, pulls):
    with pytest.raises(ValueError, match="a bug"):
        failing(fanout, readers[2])
    fanout.wake()
    with gevent.Timeout(0.5):
        fanout.wait()
    assert {"a", "b"} <= set(pulls)
