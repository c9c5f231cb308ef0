"""From the options to the settings, the plan and the supply; what they do is tested where it is done."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest

import gtool.feed.command
import gtool.feed.run
import gtool.feed.sources
import gtool.feed.supply
import gtool.streams.redis.location
from gtool.cli import run as run_command_line
from gtool.feed.run import Settings
from gtool.feed.sources import Nothing, Walk
from gtool.live.reader import Bounds
from gtool.runtime.address import Address
from gtool.runtime.serve import Plan
from gtool.streams.redis.location import Location
from gtool.web.guard import LOOPBACK_NAMES, Guard

HOSTS = frozenset(LOOPBACK_NAMES)
URL = "redis://localhost/0?stream=news"


class Made(NamedTuple):
    """What a command line comes to."""

    plan: Plan
    settings: Settings
    make_supply: Any
    is_shared: bool

    @property
    def source(self) -> Any:
        """The source that a supply of our own has."""
        return self.make_supply()._source


@pytest.fixture
def run(monkeypatch):
    """Run a command line that is a good one: what it comes to."""
    seen: list[Made] = []

    def keep(plan, settings, make_supply, is_shared):
        seen.append(Made(plan, settings, make_supply, is_shared))
        return 0

    monkeypatch.setattr(gtool.feed.run, "run", keep)

    def parse(*args: str) -> Made:
        assert run_command_line(["ws-feed", *args]) == 0
        return seen[-1]

    return parse


@pytest.fixture
def calls(monkeypatch):
    """What sources and supplies are made of, none of which are really."""
    seen: dict[str, tuple[Any, ...]] = {}

    def stand_in(module: Any, name: str) -> None:
        monkeypatch.setattr(module, name, lambda *args: seen.update({name: args}) or name)

    stand_in(gtool.feed.command, "Command")
    stand_in(gtool.feed.sources, "stdin")
    stand_in(gtool.feed.sources, "Walk")
    stand_in(gtool.feed.supply, "InRedis")
    stand_in(gtool.streams.redis.location, "check")
    return seen


def test_without_options_it_feeds_a_random_walk_on_loopback(run):
    made = run()
    assert made.settings == Settings(guard=Guard(HOSTS))
    assert (made.plan.listen, made.plan.default_listen) == ((), Address(None, "127.0.0.1", 10000))
    assert (made.plan.is_web, made.plan.workers, made.is_shared) == (True, 1, False)
    assert isinstance(made.source, Walk)


def test_the_options_of_all_servers_are_its_own(run):
    plan = run("-l", ":7", "--workers", "3", "--max-connections", "5").plan
    assert (plan.listen, plan.workers, plan.settings.limits.max_connections) == ((Address(None, "", 7),), 3, 5)


def test_the_exit_code_is_that_of_the_server(monkeypatch):
    monkeypatch.setattr(gtool.feed.run, "run", lambda *args, **options: 130)
    assert run_command_line(["ws-feed"]) == 130


@pytest.mark.parametrize(
    ("args", "name", "expected"),
    [
        (["--backlog", "7"], "backlog", 7),
        (["--backlog-size", "1k"], "backlog_bytes", 1024),
        (["--backlog-size", "0"], "backlog_bytes", 0),
        (["--slow", "latest"], "bounds", Bounds("latest", 1 << 20)),
        (["--slow", "close", "--slow-size", "64k"], "bounds", Bounds("close", 65536)),
        (["--slow-size", "0"], "bounds", Bounds("drop", 0)),
        (["--max-message", "2k"], "max_message", 2048),
        (["--base-path", "/feed"], "base_path", "/feed"),
        (["--base-path", "a/feed/"], "base_path", "/a/feed"),
        (["--base-path", "/"], "base_path", ""),
        (["--at-eof", "close"], "closes_at_end", True),
        (["--at-eof", "stay"], "closes_at_end", False),
        (["--echo"], "is_echo", True),
        (["--echo"], "max_message", 16 << 20),
        (["--echo", "--max-message", "1k"], "max_message", 1024),
        (["--handshake-timeout", "3s"], "head_timeout", 3.0),
        (["--handshake-timeout", "0"], "head_timeout", None),
        (["--allow-host", "Feed.example"], "guard", Guard(HOSTS | {"feed.example"})),
        (["--allow-host", "a", "--allow-host", "*"], "guard", Guard(HOSTS | {"a", "*"})),
        (["-l", "feed.example:80"], "guard", Guard(HOSTS | {"feed.example"})),
        (["-l", ":80"], "guard", Guard(HOSTS)),
        (["-l", "unix:/tmp/feed"], "guard", Guard(HOSTS)),
        (["--allow-origin", "https://Example.com/"], "guard", Guard(HOSTS, frozenset(["https://example.com"]))),
        (["--token", "secret"], "guard", Guard(HOSTS, token="secret")),
    ],
)
def test_an_option_is_a_setting(run, args, name, expected):
    assert getattr(run(*args).settings, name) == expected


def test_a_token_may_stand_in_a_file(run, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    assert run("--token", f"@{tmp_path}/token").settings.guard.token == "secret"


# The source


def test_the_walk_has_its_interval_and_its_seed(run, calls):
    run("--interval", "20ms", "--seed", "0").make_supply()
    assert calls["Walk"] == (0.02, 0)


def test_the_walk_is_every_500_ms_and_another_each_time(run, calls):
    run().make_supply()
    assert calls["Walk"] == (0.5, None)


def test_stdin_is_a_source(run, calls):
    assert run("--stdin", "--max-message", "7").source == "stdin"
    assert calls["stdin"] == (7,)


@pytest.mark.parametrize("args", [[], ["--workers", "2"], ["--publish", URL]])
def test_a_closed_stdin_is_exit_26_before_anything_is_served(calls, monkeypatch, capsys, args):
    monkeypatch.setattr(gtool.feed.run, "run", lambda *args: pytest.fail("it was served"))
    monkeypatch.setattr(sys, "stdin", None)
    assert run_command_line(["ws-feed", "--stdin", *args]) == 26
    assert "cannot read stdin: it is closed" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "restarts"), [([], False), (["--restart"], True)])
def test_a_command_is_a_source(run, calls, args, restarts):
    assert run("--command", "vmstat 1", *args).source == "Command"
    assert calls["Command"] == ("vmstat 1", restarts, 1 << 20)


def test_nothing_is_opened_before_the_process_is_there_that_is_to_have_it(run, calls):
    run("--stdin")
    run("--command", "true")
    run("--publish", URL)
    assert set(calls) == {"check"}


def test_echo_has_no_source_and_each_worker_its_own(run):
    made = run("--echo", "--workers", "2")
    assert (type(made.source), made.is_shared) == (Nothing, True)


def test_a_stream_is_followed_by_each_worker(run, calls):
    made = run("--source", URL, "--backlog", "7")
    made.make_supply()
    assert (calls["InRedis"], made.is_shared) == ((Location("redis://localhost/0", "news"), None, 7, 1 << 20), True)


@pytest.mark.parametrize(("args", "source"), [([], "Walk"), (["--stdin"], "stdin"), (["--command", "x"], "Command")])
def test_a_source_is_published_by_one_process(run, calls, args, source):
    made = run("--publish", URL, *args)
    made.make_supply()
    assert (calls["InRedis"], made.is_shared) == (
        (Location("redis://localhost/0", "news"), source, 1000, 1 << 20),
        False,
    )


@pytest.mark.parametrize("option", ["--source", "--publish"])
def test_a_stream_is_asked_for_before_anything_is_served(run, calls, option):
    run(option, URL)
    assert calls["check"] == (Location("redis://localhost/0", "news"),)


@pytest.mark.parametrize("option", ["--source", "--publish"])
def test_a_redis_that_is_not_there_is_exit_5(capsys, refused_port, option):
    assert run_command_line(["ws-feed", option, f"redis://:pass@127.0.0.1:{refused_port}/0?stream=news"]) == 5
    err = capsys.readouterr().err
    assert (err.count("\n"), "cannot use redis://127.0.0.1" in err, "pass@" in err) == (1, True, False)


def test_without_the_package_redis_it_is_told_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gtool.streams.redis.location", None)
    assert run_command_line(["ws-feed", "--source", URL]) == 2
    assert "pip install 'gtool[redis]'" in capsys.readouterr().err


# The environment


@pytest.mark.parametrize(
    ("name", "value", "setting", "expected"),
    [
        ("SLOW", "close", "bounds", Bounds("close", 1 << 20)),
        ("BACKLOG_SIZE", "1k", "backlog_bytes", 1024),
        ("BASE_PATH", "/feed", "base_path", "/feed"),
        ("AT_EOF", "close", "closes_at_end", True),
        ("ECHO", "1", "is_echo", True),
        ("ECHO", "0", "is_echo", False),
        ("TOKEN", "secret", "guard", Guard(HOSTS, token="secret")),
        ("ALLOW_HOST", "a\nb", "guard", Guard(HOSTS | {"a", "b"})),
    ],
)
def test_the_environment_sets_options(run, monkeypatch, name, value, setting, expected):
    monkeypatch.setenv(f"GTOOL_WS_FEED_{name}", value)
    assert getattr(run().settings, setting) == expected


def test_the_command_line_comes_before_the_environment(run, monkeypatch):
    monkeypatch.setenv("GTOOL_WS_FEED_BACKLOG", "7")
    assert run("--backlog", "8").settings.backlog == 8


# What is wrong


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--stdin", "--echo"], "--stdin and --echo are two sources"),
        (["--command", "true", "--stdin"], "--stdin and --command are two sources"),
        (["--source", URL, "--command", ""], "--command and --source are two sources"),
        (["--echo", "--source", URL, "--stdin"], "--stdin and --source and --echo are two sources"),
        (["--seed", "7", "--echo"], "--interval and --seed are for the random walk, not for --echo"),
        (["--restart"], "--restart is for --command"),
        (["--restart", "--stdin"], "--restart is for --command"),
        (["--publish", URL, "--source", URL], "--publish is for a source of our own"),
        (["--publish", URL, "--echo"], "--publish is for a source of our own"),
        (["-l", "udp://127.0.0.1:0"], "udp:// can't be listened on"),
        (["-l", ":7", "-l", "udp://:7"], "udp:// can't be listened on"),
        (["--source", "http://localhost/"], "the URL of a stream is such as"),
        (["--source", "redis://localhost/0"], "the URL of a stream is such as"),
        (["--publish", "redis://localhost/0?stream=a&stream=b"], "the URL of a stream is such as"),
        (["--slow", "wait"], "--slow"),
        (["--at-eof", "never"], "--at-eof"),
        (["--backlog", "0"], "--backlog"),
        (["--backlog", "-1"], "--backlog"),
        (["--backlog-size", "many"], "'many' is not a size"),
        (["--slow-size", "-1"], "'-1' is not a size"),
        (["--max-message", "1x"], "'1x' is not a size"),
        (["--interval", "soon"], "'soon' is not a duration"),
        (["--interval", "-1s"], "'-1s' is not a duration"),
        (["--seed", "x"], "--seed"),
        (["--token", ""], "the token is empty"),
        (["--token", "@/no/such/file"], "cannot read the token from /no/such/file: No such file or directory"),
        (["--token", "@/dev/null"], "the token is empty"),
        (["--listen"], "--listen"),
        (["--nonsense"], "--nonsense"),
        (["argument"], "argument"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(capsys, args, named):
    assert run_command_line(["ws-feed", *args]) == 2
    err = capsys.readouterr().err
    assert (err.count("\n"), named in err) == (1, True)


def test_a_token_that_is_not_utf_8_is_told(capsys, tmp_path):
    (tmp_path / "token").write_bytes(b"\xff")
    assert run_command_line(["ws-feed", "--token", f"@{tmp_path}/token"]) == 2
    assert "it is not UTF-8" in capsys.readouterr().err
