"""What is held goes on when the valve opens, once, and waits if it closes again."""

from __future__ import annotations

from gtool.fetch.valve import Valve


def test_it_is_open_until_it_is_closed():
    assert not Valve().is_closed


def test_what_it_has_held_goes_on_in_order_and_once():
    valve, resumed = Valve(), []
    valve.is_closed = True
    valve.hold(lambda: resumed.append("one"))
    valve.hold(lambda: resumed.append("two"))
    valve.open()
    valve.open()
    assert (resumed, valve.is_closed) == (["one", "two"], False)


def test_one_that_closes_again_while_it_opens_holds_for_the_next_time():
    valve, resumed = Valve(), []
    valve.is_closed = True

    def close_again() -> None:
        valve.is_closed = True
        valve.hold(lambda: resumed.append("later"))

    valve.hold(close_again)
    valve.open()
    assert (resumed, valve.is_closed) == ([], True)
