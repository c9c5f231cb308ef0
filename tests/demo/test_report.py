"""Outcomes as text and as JSON."""

from __future__ import annotations

from gtool.demo.report import record, table
from gtool.demo.run import Outcome
from gtool.demo.tools import Demonstration, Found

ECHO = Demonstration("echo-server", "10 round trips", "gtool echo-server", lambda stage: Found("", 0, ""))
GOOD = Outcome(ECHO, Found("all came back", 1234.5, "round trips/s"), "", 0.25)
SLOW = Outcome(ECHO._replace(tool="chat"), Found("stored", 4.56, "ms"), "", 0.5)
BAD = Outcome(ECHO._replace(tool="ws-feed"), None, "ws-feed has ended with 5: cannot listen: somebody is there", 0.5)


def test_a_table_has_a_row_for_each_and_the_command_to_try():
    assert table([GOOD, SLOW, BAD]) == (
        "tool          what was done    result          rate\n"
        "\n"
        "echo-server   10 round trips   all came back   1,234 round trips/s\n"
        "              try: gtool echo-server\n"
        "chat          10 round trips   stored          4.6 ms\n"
        "              try: gtool echo-server\n"
        "ws-feed       10 round trips   FAILED: ws-feed has ended with 5: cannot listen: somebody is there\n"
        "              try: gtool echo-server\n"
    )


def test_a_table_of_failures_only_is_one():
    assert "FAILED: ws-feed has ended with 5" in table([BAD])


def test_records():
    assert record(GOOD) == {
        "tool": "echo-server",
        "ok": True,
        "done": "10 round trips",
        "result": "all came back",
        "rate": 1234.5,
        "unit": "round trips/s",
        "error": None,
        "elapsed_s": 0.25,
        "next": "gtool echo-server",
    }
    bad = record(BAD)
    assert (bad["ok"], bad["rate"], bad["error"]) == (False, None, BAD.reason)
