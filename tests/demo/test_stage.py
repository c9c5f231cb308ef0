"""Processes of a demonstration: they say why they fail, and none is left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gtool.demo.stage import Stage
from gtool.errors import PeerGone


def test_a_server_is_known_by_its_address_and_ends_when_asked_to():
    with Stage() as stage:
        server, url = stage.serve("hello-server", "-l", "127.0.0.1:0")
        assert url.startswith("tcp://127.0.0.1:")
        server.stop()


def test_a_process_reads_what_it_is_told_and_gives_what_it_prints(tmp_path: Path):
    (tmp_path / "page").write_text("one\ntwo\n")
    with Stage() as stage:
        server, url = stage.serve("ws-feed", "-l", "127.0.0.1:0", "--stdin")
        server.say("one\ntwo\nthree\n")
        tail = stage.start("ws-tail", url, "--since", "all", "--count", "3")
        assert tail.line() == "one"
        assert tail.finish() == ["two", "three"]


@pytest.mark.parametrize("wait", ["line", "finish"])
def test_a_process_that_fails_says_why(wait: str):
    with Stage() as stage:
        process = stage.start("echo-server", "-l", "127.0.0.1:1:2")
        with pytest.raises(PeerGone, match=r"echo-server has ended with 2: .*127.0.0.1:1:2"):
            getattr(process, wait)()


def test_the_reason_is_without_time_and_level():
    with Stage() as stage:
        taken, url = stage.serve("echo-server", "-l", "127.0.0.1:0")
        process = stage.start("echo-server", "-l", url)
        with pytest.raises(PeerGone, match="echo-server has ended with 5: cannot listen"):
            process.line()
        taken.stop()


def test_telling_something_to_who_has_ended_is_its_failure():
    with Stage() as stage:
        process = stage.start("ws-feed", "--stdin", "-l", "no address")
        with pytest.raises(PeerGone):
            process.line()
        with pytest.raises(PeerGone, match="ws-feed has ended with 2"):
            process.say("more\n" * 100_000)


def test_nobody_is_left_behind():
    with Stage() as stage:
        server, _ = stage.serve("echo-server", "-l", "127.0.0.1:0")
        pid = server._process.pid
    assert not os.path.exists(f"/proc/{pid}")


def test_what_the_user_has_set_for_gtool_and_proxies_does_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GTOOL_HELLO_SERVER_LISTEN", "no address")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Stage() as stage:
        server, url = stage.serve("ws-feed", "-l", "127.0.0.1:0", "--stdin")
        assert stage.start("fetch", url.replace("ws:", "http:") + "/healthz").finish() == ["ok"]
        hello, _ = stage.serve("hello-server", "-l", "127.0.0.1:0")
        hello.stop()
        server.stop()
