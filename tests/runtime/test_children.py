"""Waiting for processes without holding the loop up."""

from __future__ import annotations

import subprocess

import gevent

from gtool.runtime.children import wait_for_end


def test_the_exit_code_is_given_once_it_has_ended():
    with subprocess.Popen(["sh", "-c", "read line; exit 7"], stdin=subprocess.PIPE) as process:
        waiting = gevent.spawn(wait_for_end, process, None)
        gevent.sleep(0)
        assert not waiting.ready()
        process.stdin.close()
        assert waiting.get() == 7
        assert wait_for_end(process, None) == 7


def test_it_is_none_when_the_time_is_up():
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert wait_for_end(process, 0.01) is None
        process.stdin.close()
        assert wait_for_end(process, 30) == 0
