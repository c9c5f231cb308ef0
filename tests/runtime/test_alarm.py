"""The loop's timer: when it calls, and when it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from gevent.event import Event

from gtool.runtime.alarm import NEVER, Alarm

SOON_S = 0.01
LATER_S = 0.03
MUCH_LATER_S = 3600
TIMEOUT_S = 10

Make = Callable[[Callable[[], None]], Alarm]


@pytest.fixture
def alarm() -> Iterator[Make]:
    """Make alarms that are closed at the end."""
    made: list[Alarm] = []

    def make(callback: Callable[[], None]) -> Alarm:
        made.append(Alarm(callback))
        return made[-1]

    yield make
    for one in made:
        one.close()


def wait(event: Event) -> None:
    assert event.wait(TIMEOUT_S), "it does not ring"


def pass_time(alarm: Make, until: float) -> None:
    """Run the loop until that time."""
    over = Event()
    alarm(over.set).set(until)
    wait(over)


def test_it_calls_back_and_not_before_its_time(alarm):
    rung = Event()
    at = time.monotonic() + SOON_S
    alarm(rung.set).set(at)
    wait(rung)
    assert time.monotonic() >= at


def test_a_time_that_has_passed_rings_on_the_loop_and_not_inside_set(alarm):
    rung = Event()
    alarm(rung.set).set(time.monotonic() - 1)
    assert not rung.is_set()
    wait(rung)


def test_it_rings_once(alarm):
    calls = []
    now = time.monotonic()
    alarm(lambda: calls.append(1)).set(now + SOON_S)
    pass_time(alarm, now + LATER_S)
    assert calls == [1]


def test_an_earlier_time_counts_at_once(alarm):
    rung = Event()
    one = alarm(rung.set)
    one.set(time.monotonic() + MUCH_LATER_S)
    one.set(time.monotonic() + SOON_S)
    wait(rung)


def test_a_later_time_is_waited_for(alarm):
    rung = Event()
    one = alarm(rung.set)
    one.set(time.monotonic() + SOON_S)
    at = time.monotonic() + LATER_S
    one.set(at)
    wait(rung)
    assert time.monotonic() >= at


def test_a_later_time_may_be_written_to_it_directly(alarm):
    rung = Event()
    one = alarm(rung.set)
    one.set(time.monotonic() + SOON_S)
    one.at = at = time.monotonic() + LATER_S
    wait(rung)
    assert time.monotonic() >= at


def test_never_is_a_later_time(alarm):
    rung = Event()
    one = alarm(rung.set)
    now = time.monotonic()
    one.set(now + SOON_S)
    one.at = NEVER
    pass_time(alarm, now + LATER_S)
    assert not rung.is_set()


def test_it_can_be_set_again_after_never(alarm):
    rung = Event()
    one = alarm(rung.set)
    one.set(NEVER)
    one.set(time.monotonic() + SOON_S)
    wait(rung)


def test_a_closed_one_does_not_ring(alarm):
    rung = Event()
    one = alarm(rung.set)
    now = time.monotonic()
    one.set(now + SOON_S)
    one.close()
    pass_time(alarm, now + LATER_S)
    assert not rung.is_set()


def test_its_callback_may_set_it_again(alarm):
    calls, over = [], Event()

    def again() -> None:
        calls.append(one.at)
        if len(calls) == 3:
            over.set()
        else:
            one.set(time.monotonic())

    one = alarm(again)
    one.set(time.monotonic())
    wait(over)
    assert calls == [NEVER] * 3


def test_putting_it_off_again_and_again_makes_no_new_timer(alarm):
    class Loop:
        timers = 0

        def timer(self, after_s):
            self.timers += 1
            return real.timer(after_s)

    one = alarm(lambda: None)
    real, one._loop = one._loop, Loop()
    for seconds in range(100, 200):
        one.set(time.monotonic() + seconds)
    assert one._loop.timers == 1
