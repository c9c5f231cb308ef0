"""The rules of delivery: no gap, nothing twice, in order; and what is lost is said."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.streams.log import Cursor
from gtool.streams.memory import MemoryLog
from gtool.streams.subscription import Subscription, TooSlow, can_resume

fixed = settings(derandomize=True, deadline=None, max_examples=300)


def log_of(count: int, most: int = 100) -> MemoryLog:
    log = MemoryLog(most, 10_000)
    for number in range(1, count + 1):
        log.append(b"%d" % number)
    return log


def behind(count: int, most: int = 100) -> tuple[MemoryLog, Subscription]:
    """A log, and one who has read nothing of what has come since he is there."""
    log = log_of(0, most)
    subscription = Subscription(log, "now")
    for number in range(1, count + 1):
        log.append(b"%d" % number)
    return log, subscription


def taken(subscription: Subscription, most: int = 100) -> list[int]:
    return [entry.offset for entry in subscription.take(most)]


def test_a_reader_from_now_on_gets_what_comes_next():
    log = log_of(3)
    subscription = Subscription(log, "now")
    assert taken(subscription) == []
    log.append(b"4")
    assert taken(subscription) == [4]


def test_a_reader_of_all_gets_what_is_kept():
    assert taken(Subscription(log_of(5, most=3), "all")) == [3, 4, 5]


def test_after_a_cursor_comes_what_was_missed_and_then_what_is_new():
    log = log_of(3)
    subscription = Subscription(log, Cursor(log.epoch, 1))
    log.append(b"4")
    assert (taken(subscription), subscription.is_recovered) == ([2, 3, 4], True)


@pytest.mark.parametrize("offset", [2, 5])
def test_the_ends_of_what_is_kept_can_be_gone_on_from(offset):
    log = log_of(5, most=3)
    assert Subscription(log, Cursor(log.epoch, offset)).is_recovered


@pytest.mark.parametrize(("epoch", "offset"), [(None, 1), (None, 6), ("another", 4)])
def test_a_cursor_that_can_not_be_gone_on_from_begins_anew_and_says_so(epoch, offset):
    log = log_of(5, most=3)
    subscription = Subscription(log, Cursor(epoch or log.epoch, offset))
    assert (subscription.is_recovered, taken(subscription)) == (False, [3, 4, 5])


def test_the_position_is_that_of_the_last_that_was_taken():
    log = log_of(3)
    subscription = Subscription(log, "all")
    subscription.take(2)
    assert subscription.position == 2


def test_what_the_log_has_dropped_before_it_was_taken_is_counted():
    log = log_of(2, most=3)
    subscription = Subscription(log, "all")
    for number in range(3, 8):
        log.append(b"%d" % number)
    assert (taken(subscription), subscription.lost) == ([5, 6, 7], 4)


def test_a_reader_who_has_all_has_no_more():
    subscription = Subscription(log_of(2), "all")
    assert subscription.has_more
    subscription.take(10)
    assert not subscription.has_more


@pytest.mark.parametrize("slow", ["latest", "drop", "close"])
def test_a_reader_who_is_not_too_far_behind_keeps_all(slow):
    _, subscription = behind(9)
    subscription.keep_up(9, slow)
    assert (taken(subscription), subscription.lost) == (list(range(1, 10)), 0)


def test_who_drops_skips_the_oldest():
    _, subscription = behind(9)
    subscription.keep_up(3, "drop")
    assert (subscription.lost, taken(subscription)) == (6, [7, 8, 9])


def test_who_wants_the_latest_skips_all_but_that():
    _, subscription = behind(9)
    subscription.keep_up(3, "latest")
    assert (subscription.lost, taken(subscription)) == (8, [9])


def test_who_is_to_be_closed_has_skipped_nothing_and_can_go_on_later():
    log, subscription = behind(9)
    with pytest.raises(TooSlow):
        subscription.keep_up(3, "close")
    assert taken(Subscription(log, Cursor(log.epoch, subscription.position))) == list(range(1, 10))


@pytest.mark.parametrize("slow", ["latest", "drop"])
def test_the_newest_is_given_however_large_it_is(slow):
    log, subscription = behind(3)
    log.append(b"x" * 100)
    subscription.keep_up(10, slow)
    assert taken(subscription) == [4]


@pytest.mark.parametrize("slow", ["latest", "drop", "close"])
def test_nothing_to_come_is_never_too_much(slow):
    subscription = Subscription(log_of(3), "now")
    subscription.keep_up(0, slow)
    assert subscription.lost == 0


@pytest.mark.parametrize("slow", ["latest", "drop", "close"])
def test_what_one_came_back_for_is_given_however_much_it_is(slow):
    subscription = Subscription(log_of(9), "all")
    subscription.take(2)
    subscription.keep_up(3, slow)
    assert taken(subscription) == list(range(3, 10))


def test_who_is_to_be_closed_is_so_before_he_misses_anything():
    _, subscription = behind(9, most=3)
    with pytest.raises(TooSlow):
        subscription.keep_up(1000, "close")


@dataclass
class Reader:
    """What a reader sees over all of its connections."""

    subscription: Subscription
    seen: list[int] = field(default_factory=list)
    lost: int = 0  # as it was told, on connections that are over

    def take(self, most: int) -> None:
        self.seen += taken(self.subscription, most)

    def reconnect(self, log: MemoryLog) -> None:
        position = self.subscription.position
        self.lost += self.subscription.lost
        self.subscription = Subscription(log, Cursor(log.epoch, position))
        if not self.subscription.is_recovered:
            self.lost += self.subscription.position - position


ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.binary(max_size=5)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("reconnect"), st.none()),
    st.tuples(st.just("keep up"), st.tuples(st.integers(0, 20), st.sampled_from(["latest", "drop"]))),
)


@fixed
@given(st.lists(ACTIONS, max_size=60), st.integers(1, 8), st.integers(0, 30), st.sampled_from(["all", "now"]))
def test_whatever_happens_each_message_comes_once_in_order_or_is_told_to_be_lost(actions, most, most_bytes, since):
    log = MemoryLog(most, most_bytes)
    reader = Reader(Subscription(log, since))
    for action, value in actions:
        if action == "append":
            log.append(value)
        elif action == "take":
            reader.take(value)
        elif action == "reconnect":
            reader.reconnect(log)
        else:
            reader.subscription.keep_up(*value)
    reader.take(1000)
    assert reader.seen == sorted(set(reader.seen))
    assert len(reader.seen) + reader.lost + reader.subscription.lost == log.newest
    assert not log.newest or reader.seen[-1] == log.newest


# Offsets with gaps, and what is lost before it comes


def mirror_of(*offsets: int, most: int = 100) -> MemoryLog:
    log = MemoryLog(most, 10_000, "epoch")
    for offset in offsets:
        log.mirror(offset, 1.5, b"x")
    return log


@pytest.mark.parametrize(
    ("offset", "expected"), [(5, [6, 90]), (6, [90]), (7, [90]), (89, [90]), (90, []), (0, [5, 6, 90]), (4, [5, 6, 90])]
)
def test_after_a_cursor_in_a_gap_comes_what_comes_after_the_gap(offset, expected):
    subscription = Subscription(mirror_of(5, 6, 90), Cursor("epoch", offset))
    assert (subscription.is_recovered, taken(subscription)) == (True, expected)


@pytest.mark.parametrize(("offset", "is_recovered"), [(5, False), (6, True), (50, True), (91, True)])
def test_a_cursor_can_be_gone_on_from_if_nothing_after_it_was_dropped(offset, is_recovered):
    assert Subscription(mirror_of(5, 6, 90, 91, most=2), Cursor("epoch", offset)).is_recovered == is_recovered


@pytest.mark.parametrize(("offset", "is_recovered"), [(39, False), (40, True)])
def test_in_a_log_that_begins_somewhere_one_can_go_on_from_there(offset, is_recovered):
    log = MemoryLog(10, 100, "epoch")
    log.begin_after(40)
    assert Subscription(log, Cursor("epoch", offset)).is_recovered == is_recovered


@pytest.mark.parametrize(("offset", "is_recovered"), [(5, False), (6, False), (89, False), (90, True)])
def test_what_was_lost_can_not_be_gone_on_from(offset, is_recovered):
    log = mirror_of(5, 6)
    log.lose(90)
    assert Subscription(log, Cursor("epoch", offset)).is_recovered == is_recovered


def test_what_was_lost_is_counted_with_what_was_not_taken_before_it():
    log = mirror_of(5, 6, 7)
    subscription = Subscription(log, Cursor("epoch", 5))
    log.lose(90)
    log.mirror(91, 1.5, b"x")
    assert (taken(subscription), subscription.lost) == ([91], 3)


def test_of_what_was_lost_all_are_counted():
    log = mirror_of(5, 6, 7)
    subscription = Subscription(log, Cursor("epoch", 5))
    log.lose(90, 10)
    log.mirror(91, 1.5, b"x")
    assert (taken(subscription), subscription.lost) == ([91], 12)


def test_a_reader_has_no_more_when_the_rest_is_lost():
    log = mirror_of(5)
    subscription = Subscription(log, "all")
    log.lose(90)
    subscription.skip_what_is_gone()
    assert (subscription.has_more, subscription.lost) == (False, 2)


def test_who_is_to_be_closed_is_so_when_something_was_lost():
    log = mirror_of(5)
    subscription = Subscription(log, "now")
    log.lose(90)
    with pytest.raises(TooSlow):
        subscription.keep_up(1000, "close")


@pytest.mark.parametrize("slow", ["latest", "drop"])
def test_keeping_up_where_all_the_rest_is_lost_is_to_count_it(slow):
    log = mirror_of(5)
    subscription = Subscription(log, "now")
    log.lose(90)
    subscription.keep_up(0, slow)
    assert (subscription.lost, taken(subscription)) == (1, [])


class Client:
    """What a reader knows over all of its connections, by the offsets that it was told."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._subscription = Subscription(log, "now")
        self.last = log.newest_offset  # of the last message it has
        self.has = 0  # the number of that
        self.missed = 0  # entries between those that it has
        self.told = 0  # how many it was told to have missed, on connections that are over

    def take(self, most: int) -> None:
        for entry in self._subscription.take(most):
            assert entry.offset > self.last, "twice, or not in order"
            self.missed += entry.number - self.has - 1
            self.has, self.last = entry.number, entry.offset
        self._is_honest()

    def keep_up(self, most_bytes: int, slow: str) -> None:
        try:
            self._subscription.keep_up(most_bytes, slow)
        except TooSlow:
            assert slow == "close"
            self.resume()
        self._is_honest()

    def resume(self) -> None:
        self.told = self.missed
        self._subscription = Subscription(self._log, Cursor(self._log.epoch, self.last))
        can_be_given_all = len(self._log.read(self.has, 1000)) == self._log.newest - self.has
        assert self._subscription.is_recovered == can_be_given_all
        if can_be_given_all:
            assert self._subscription.position == self.has
        else:  # it is told so, and of the oldest that there is
            count = self._subscription.position - self.has
            self.missed += count
            self.told += count
            self.has, self.last = self._subscription.position, self._log.floor
        self._is_honest()

    def _is_honest(self) -> None:
        told = self.told + self._subscription.lost
        assert told == self.missed + self._subscription.position - self.has


STEPS = st.one_of(
    st.tuples(st.just("append"), st.binary(max_size=5)),
    st.tuples(st.just("mirror"), st.integers(1, 9)),
    st.tuples(st.just("lose"), st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("resume"), st.none()),
    st.tuples(st.just("keep up"), st.tuples(st.integers(0, 20), st.sampled_from(["latest", "drop", "close"]))),
)


@fixed
@given(st.lists(STEPS, max_size=60), st.integers(1, 8), st.integers(0, 30), st.integers(0, 50))
def test_with_gaps_and_losses_too_each_comes_once_in_order_or_is_told_to_be_lost(steps, most, most_bytes, begin):
    log = MemoryLog(most, most_bytes)
    log.begin_after(begin)
    client = Client(log)
    for step, value in steps:
        if step == "append":
            log.append(value)
        elif step == "mirror":
            log.mirror(log.newest_offset + value, 1.5, b"x" * value)
        elif step == "lose":
            log.lose(log.newest_offset + value[0], value[1])
        elif step == "take":
            client.take(value)
        elif step == "resume":
            client.resume()
        else:
            client.keep_up(*value)
    client.take(1000)
    assert client._subscription.position == log.newest
    assert client.last == log.newest_offset or not log.read(log.newest - 1, 1)


def test_what_a_mirror_has_not_come_to_yet_is_awaited_and_nothing_is_given_twice():
    log = mirror_of(5, 6)
    subscription = Subscription(log, Cursor("epoch", 8))
    assert (subscription.is_recovered, subscription.is_awaited()) == (True, True)
    for offset in (7, 8, 9):
        log.mirror(offset, 0.0, b"data")
    assert not subscription.is_awaited()
    assert taken(subscription) == [9]


def test_what_does_not_come_to_a_mirror_is_not_awaited_for_ever():
    subscription = Subscription(mirror_of(5, 6), Cursor("epoch", 8))
    subscription.begin_anew("all")
    assert (subscription.is_recovered, subscription.is_awaited(), taken(subscription)) == (False, False, [5, 6])


def test_in_a_log_of_our_own_nobody_can_be_ahead_of_us():
    log = log_of(3)
    assert not Subscription(log, Cursor(log.epoch, 4)).is_recovered


# Whether a cursor is of use


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, False), (1, False), (2, True), (5, True), (6, False), (10**30, False)]
)
def test_whether_one_can_go_on_from_a_cursor_is_known_before(offset, expected):
    log = log_of(5, most=3)
    assert can_resume(log, Cursor(log.epoch, offset)) is expected


@pytest.mark.parametrize("offset", [0, 2, 5])
def test_from_a_cursor_of_another_epoch_one_can_not_go_on(offset):
    assert not can_resume(log_of(5), Cursor("another", offset))


@pytest.mark.parametrize(("offset", "expected"), [(4, True), (5, True), (6, True), (7, True), (10**30, True)])
def test_a_mirror_may_be_behind_what_a_cursor_says(offset, expected):
    log = MemoryLog(100, 1000, "epoch")
    log.begin_after(4)
    for number in (5, 6):
        log.mirror(number, 1.5, b"x")
    assert can_resume(log, Cursor("epoch", offset)) is expected


@fixed
@given(st.integers(0, 8), st.integers(1, 6), st.integers(0, 10), st.booleans(), st.booleans())
def test_what_is_known_before_is_what_a_subscription_finds(count, most, offset, is_mirror, is_ours):
    log = log_of(count, most)
    log.is_mirror = is_mirror
    cursor = Cursor(log.epoch if is_ours else "another", offset)
    assert can_resume(log, cursor) == Subscription(log, cursor).is_recovered
