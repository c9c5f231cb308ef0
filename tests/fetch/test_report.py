from __future__ import annotations

from gtool.fetch.report import Report
from gtool.fetch.stores import NOWHERE


def test_it_keeps_no_bodies():
    assert Report().store(0) is NOWHERE


def test_what_says_nothing_is_out_at_once():
    out = []
    Report().report(0, {}, lambda: out.append("written"))
    assert out == ["written"]


def test_it_holds_nothing_up():
    report = Report()
    report.expect(0)
    assert (report.has_room, report.is_behind, report.valve) == (True, False, None)
