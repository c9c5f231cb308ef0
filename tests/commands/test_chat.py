"""`gtool chat`: from the options to the settings, the plan and the store; what they do is tested where it is done."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import Any, NamedTuple

import pytest

import gtool.chat.in_redis
import gtool.chat.in_sqlite
import gtool.chat.run
import gtool.chat.store
import gtool.streams.redis.location
from gtool.chat.chat import Settings as ChatSettings
from gtool.chat.run import Settings
from gtool.chat.store import InMemory
from gtool.cli import run as run_command_line
from gtool.runtime.address import Address
from gtool.runtime.serve import Plan
from gtool.streams.redis.location import Location
from gtool.web.guard import LOOPBACK_NAMES, Guard

HOSTS = frozenset(LOOPBACK_NAMES)
URL = "redis://localhost/0?stream=news"
MEMORY = ("--store", "memory:")


class Made(NamedTuple):
    """What a command line comes to."""

    plan: Plan
    settings: Settings
    open_store: Any


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command line that is a good one: what it comes to."""
    seen: list[Made] = []
    monkeypatch.setattr(gtool.chat.run, "run", lambda *args: seen.append(Made(*args)) or 0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def parse(*args: str) -> Made:
        assert run_command_line(["chat", *args]) == 0
        return seen[-1]

    return parse


@pytest.fixture
def calls(monkeypatch):
    """What stores are made of, none of which are really."""
    seen: dict[str, tuple[Any, ...]] = {}

    def stand_in(module: Any, name: str) -> None:
        monkeypatch.setattr(module, name, lambda *args: seen.update({name: args}) or name)

    stand_in(gtool.chat.store, "InMemory")
    stand_in(gtool.chat.in_sqlite, "InSqlite")
    stand_in(gtool.chat.in_redis, "InRedis")
    stand_in(gtool.streams.redis.location, "check")
    return seen


def test_without_options_it_serves_two_rooms_on_loopback_from_a_file(run, calls, tmp_path):
    made = run()
    assert made.settings == Settings(guard=Guard(HOSTS))
    assert (made.plan.listen, made.plan.default_listen) == ((), Address(None, "127.0.0.1", 5000))
    assert (made.plan.is_web, made.plan.workers) == (True, 1)
    assert made.open_store() == "InSqlite"
    assert calls["InSqlite"] == (str(tmp_path / "state/gtool/chat.db"), ["topic1", "topic2"], None, None)


def test_the_state_directory_is_the_users(run, calls, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    run().open_store()
    assert calls["InSqlite"][0] == str(tmp_path / ".local/state/gtool/chat.db")


def test_the_options_of_all_servers_are_its_own(run):
    plan = run("-l", ":7", "--max-connections", "5", *MEMORY).plan
    assert (plan.listen, plan.settings.limits.max_connections) == ((Address(None, "", 7),), 5)


def test_the_exit_code_is_that_of_the_server(monkeypatch):
    monkeypatch.setattr(gtool.chat.run, "run", lambda *args: 130)
    assert run_command_line(["chat", *MEMORY]) == 130


@pytest.mark.parametrize(
    ("args", "name", "expected"),
    [
        (["--max-message", "1k"], "chat", ChatSettings(max_message=1024)),
        (["--post-rate", "60/m"], "chat", ChatSettings(rate=1.0)),
        (["--post-burst", "3"], "chat", ChatSettings(burst=3)),
        (["--allow-new-rooms", "--max-rooms", "7"], "chat", ChatSettings(allows_new_rooms=True, max_rooms=7)),
        (["--base-path", "chat/"], "base_path", "/chat"),
        (["--base-path", "/"], "base_path", ""),
        (["--handshake-timeout", "3s"], "head_timeout", 3.0),
        (["--handshake-timeout", "0"], "head_timeout", None),
        (["--allow-host", "Chat.lan"], "guard", Guard(HOSTS | {"chat.lan"})),
        (["--allow-origin", "https://Example.com/"], "guard", Guard(HOSTS, frozenset(["https://example.com"]))),
        (["-l", "chat.lan:80"], "guard", Guard(HOSTS | {"chat.lan"})),
    ],
)
def test_an_option_is_a_setting(run, args, name, expected):
    assert getattr(run(*args, *MEMORY).settings, name) == expected


def test_the_token_is_in_a_file(run, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    assert run("--token", str(tmp_path / "token"), *MEMORY).settings.guard.token == "secret"


# --- the store


@pytest.mark.parametrize(
    ("args", "name", "expected"),
    [
        (MEMORY, "InMemory", (["topic1", "topic2"], None, 10_000)),
        ([*MEMORY, "--room", "a", "--room", "b"], "InMemory", (["a", "b"], None, 10_000)),
        ([*MEMORY, "--retain", "30d", "--max-messages", "9"], "InMemory", (["topic1", "topic2"], 30 * 86400.0, 9)),
        (["--store", "sqlite:x.db"], "InSqlite", ("x.db", ["topic1", "topic2"], None, None)),
        (["--store", "sqlite:///x.db"], "InSqlite", ("/x.db", ["topic1", "topic2"], None, None)),
        (["--store", "sqlite::memory:"], "InSqlite", (":memory:", ["topic1", "topic2"], None, None)),
        (["--store", "sqlite:x", "--max-messages", "9"], "InSqlite", ("x", ["topic1", "topic2"], None, 9)),
        (
            ["--store", URL, "--workers", "3"],
            "InRedis",
            (Location("redis://localhost/0", "news"), ["topic1", "topic2"], None, 10_000),
        ),
        (
            ["--store", "redis://localhost/0"],
            "InRedis",
            (Location("redis://localhost/0", "gtool-chat"), ["topic1", "topic2"], None, 10_000),
        ),
    ],
)
def test_the_store_is_the_one_that_is_named(run, calls, args, name, expected):
    assert run(*args).open_store() == name
    assert calls[name] == expected


def test_nothing_is_opened_before_the_process_is_there_that_is_to_have_it(run, calls, tmp_path):
    run("--store", f"sqlite:{tmp_path}/x.db")
    run(*MEMORY)
    assert calls == {}


def test_redis_is_asked_for_before_anything_is_served(run, calls):
    run("--store", URL)
    assert calls == {"check": (Location("redis://localhost/0", "news"),)}


def test_the_store_can_be_opened(run):
    with closing(run(*MEMORY).open_store()) as store:
        assert isinstance(store, InMemory)


def test_a_redis_that_is_not_there_is_exit_5_without_its_password(capsys, refused_port):
    assert run_command_line(["chat", "--store", f"redis://:pass@127.0.0.1:{refused_port}/0"]) == 5
    err = capsys.readouterr().err
    assert (err.count("\n"), "cannot use redis://127.0.0.1" in err, "pass@" in err) == (1, True, False)


def test_without_the_package_redis_it_is_told_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gtool.streams.redis.location", None)
    assert run_command_line(["chat", "--store", URL]) == 2
    assert "pip install 'gtool[redis]'" in capsys.readouterr().err


# --- rooms


@pytest.mark.parametrize(
    ("given", "rooms"), [(["a", "a"], ["a"]), ([" a "], ["a"]), (["ä"], ["ä"]), (["e\u0301"], ["\u00e9"])]
)
def test_rooms_are_names(run, calls, given, rooms):
    run(*MEMORY, *(word for room in given for word in ("--room", room))).open_store()
    assert calls["InMemory"][0] == rooms


# --- the environment


def test_the_environment_sets_options(run, calls, monkeypatch):
    monkeypatch.setenv("GTOOL_CHAT_STORE", "memory:")
    monkeypatch.setenv("GTOOL_CHAT_ROOM", "a\nb c".replace(" ", "-"))
    monkeypatch.setenv("GTOOL_CHAT_MAX_MESSAGE", "1k")
    made = run()
    assert (made.open_store(), calls["InMemory"][0]) == ("InMemory", ["a", "b-c"])
    assert made.settings.chat.max_message == 1024


def test_the_clients_variables_are_none_of_the_servers(run, monkeypatch):
    monkeypatch.setenv("GTOOL_CHAT_SERVER", "http://chat.lan")
    monkeypatch.setenv("GTOOL_CHAT_TOKEN_FILE", os.devnull)
    assert run(*MEMORY).settings == Settings(guard=Guard(HOSTS))


# --- what is wrong


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--room", "a/b"], "--room 'a/b': a name is of letters and digits"),
        (["--room", ""], "--room '': a name is wanted"),
        (["--room", "api"], "a name of the server's own"),
        (["--room", "a", "--room", "A"], "--room: A could be taken for a"),
        (["--store", "mysql:x"], "'mysql:x' is no store"),
        (["--store", "memory"], "'memory' is no store"),
        (["--store", "memory:x"], "'memory:x' is no store"),
        (["--store", "sqlite:"], "'sqlite:' is no store"),
        (["--store", "sqlite"], "'sqlite' is no store"),
        (["--store", "redis://localhost/0?stream=a&stream=b"], "the URL of a stream is such as"),
        ([*MEMORY, "--workers", "2"], "--workers: a store in memory: is for one process"),
        (["--store", "sqlite:x", "--workers", "2"], "--workers: a store in sqlite: is for one process"),
        (["--workers", "2"], "several share redis://"),
        (["-l", "udp://127.0.0.1:0"], "udp:// can't be listened on"),
        (["--max-message", "-1"], "'-1' is not a size"),
        (["--post-rate", "many"], "'many' is not a rate"),
        (["--post-burst", "0"], "--post-burst"),
        (["--max-rooms", "0"], "--max-rooms"),
        (["--max-messages", "0"], "--max-messages"),
        (["--retain", "long"], "'long' is not a duration"),
        (["--token", "/no/such/file"], "cannot read the token from /no/such/file: No such file or directory"),
        (["--token", os.devnull], "the token is empty"),
        (["--token", ""], "cannot read the token from "),
        (["--allow-host", "a b"], "'a b' is not a host"),
        (["--allow-origin", "rubbish"], "'rubbish' is not an origin"),
        (["argument"], "argument"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(capsys, args, named):
    assert run_command_line(["chat", *args]) == 2
    err = capsys.readouterr().err
    assert (err.count("\n"), named in err) == (1, True)
