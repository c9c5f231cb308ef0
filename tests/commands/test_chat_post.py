"""`gtool chat-post`: from the options to what is posted, and what is refused before anything is connected to."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, NamedTuple

import pytest

import gtool.chat.post
from gtool.chat.remote import Remote
from gtool.cli import run as run_command_line
from gtool.commands import chat_post


class Made(NamedTuple):
    """What a command line comes to."""

    server: Remote
    user: str | None
    tls: Any
    timeout_s: float
    posts: list[tuple[str, str]]
    closed: list[bool]


@pytest.fixture
def run(monkeypatch, capfd):
    """Run a command line that is a good one."""
    seen: list[Made] = []

    class Poster:
        def __init__(self, server: Remote, user: str | None, tls: Any, timeout_s: float) -> None:
            self.made = Made(server, user, tls, timeout_s, [], [])
            seen.append(self.made)

        def post(self, room: str, text: str) -> dict[str, Any]:
            self.made.posts.append((room, text))
            return {"id": f"e:{len(self.made.posts)}", "text": text}

        def close(self) -> None:
            self.made.closed.append(True)

    monkeypatch.setattr(gtool.chat.post, "Poster", Poster)

    def parse(*args: str) -> Made:
        assert run_command_line(["chat-post", *args]) == 0
        return seen[-1]

    return parse


@pytest.fixture
def stdin(monkeypatch):
    """Have the process read this."""
    before = os.dup(0)

    def give(data: bytes) -> None:
        reading, writing = os.pipe()
        os.dup2(reading, 0)
        os.close(reading)
        with open(writing, "wb") as pipe:
            pipe.write(data)  # a pipe holds 64 KiB

    monkeypatch.setattr(sys, "stdin", io.StringIO())
    yield give
    os.dup2(before, 0)
    os.close(before)


def refused(capfd, *args: str) -> str:
    """Run a command line that is refused, and give the line that says why."""
    assert run_command_line(["chat-post", *args]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_the_message_is_an_argument(run):
    assert run("room", "hello there").posts == [("room", "hello there")]


def test_without_options_it_is_the_server_here_for_15_seconds(run):
    made = run("room", "x")
    assert (made.server, made.user, made.tls, made.timeout_s) == (Remote("http://127.0.0.1:5000"), None, None, 15.0)


@pytest.mark.parametrize(
    ("args", "name", "expected"),
    [
        (["--as", "ci"], "user", "ci"),
        (["--timeout", "2m"], "timeout_s", 120.0),
        (["--timeout", "0"], "timeout_s", float("inf")),
        (["--server", "host:1/x/"], "server", Remote("http://host:1/x")),
    ],
)
def test_an_option_is_a_setting(run, args, name, expected):
    assert getattr(run("room", "x", *args), name) == expected


def test_tls_is_for_https(run):
    assert run("room", "x", "--server", "https://host").tls is not None


def test_certificates_are_checked_unless_told_otherwise(run):
    made = [run("room", "x", "--server", "https://host", *args) for args in ([], ["-k"])]
    assert [one.tls.check_hostname for one in made] == [True, False]


def test_nothing_is_printed_unless_asked_for(run, capfd):
    run("room", "x")
    assert capfd.readouterr() == ("", "")


def test_json_shows_what_is_stored(run, capfd):
    run("room", "ä", "--json")
    assert capfd.readouterr().out == '{"id": "e:1", "text": "ä"}\n'


def test_what_a_server_says_can_be_no_bug_of_ours(run, capfd):
    run("room", "\ud800", "--json")
    assert capfd.readouterr().out == '{"id": "e:1", "text": "?"}\n'


def test_the_connection_is_closed(run):
    assert run("room", "x").closed == [True]


# --- stdin


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"hello\n", "hello\n"), (b"a\nb", "a\nb"), ("ä".encode(), "ä"), (b"a\xffb", "a\ufffdb"), (b"", "")],
)
def test_without_a_message_it_is_stdin(run, stdin, data, text):
    stdin(data)
    assert run("room").posts == [("room", text)]


def test_an_empty_argument_is_a_message(run, stdin):
    stdin(b"not this")
    assert run("room", "").posts == [("room", "")]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\n\n \nb\n", ["a", "b"]),
        (b"", []),
        (b"\xff\n", ["\ufffd"]),
        ("ä\n日本\n".encode(), ["ä", "日本"]),
    ],
)
def test_each_line_is_a_message(run, stdin, data, texts):
    stdin(data)
    assert run("room", "--lines").posts == [("room", text) for text in texts]


@pytest.mark.usefixtures("run")
def test_a_line_that_is_too_long_is_not_posted_in_part(stdin, monkeypatch, capfd):
    monkeypatch.setattr(chat_post, "MOST_READ", 10)
    stdin(b"0123456789abcdef\nshort\n")
    assert run_command_line(["chat-post", "room", "--lines", "--json"]) == 1
    assert '"text": "short"' in capfd.readouterr().out


def test_a_stdin_that_is_too_long_is_refused_with_what_to_do(run, stdin, monkeypatch, capfd):
    monkeypatch.setattr(chat_post, "MOST_READ", 10)
    stdin(b"0123456789abcdef")
    assert "--lines posts one for each line" in refused(capfd, "room")


@pytest.mark.parametrize("args", [[], ["--lines"]])
def test_a_closed_stdin_is_exit_26(run, monkeypatch, capfd, args):
    monkeypatch.setattr(sys, "stdin", None)
    assert run_command_line(["chat-post", "room", *args]) == 26
    assert "cannot read stdin: it is closed" in capfd.readouterr().err


# --- the environment


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("GTOOL_CHAT_SERVER", "http://host", "server", Remote("http://host")),
        ("GTOOL_CHAT_POST_SERVER", "http://host", "server", Remote("http://host")),
        ("GTOOL_CHAT_POST_AS", "ci", "user", "ci"),
        ("GTOOL_CHAT_POST_TIMEOUT", "1s", "timeout_s", 1.0),
    ],
)
def test_the_environment_sets_options(run, monkeypatch, variable, value, name, expected):
    monkeypatch.setenv(variable, value)
    assert getattr(run("room", "x"), name) == expected


@pytest.mark.parametrize("variable", ["GTOOL_CHAT_TOKEN_FILE", "GTOOL_CHAT_POST_TOKEN_FILE"])
def test_the_environment_says_where_the_token_is(run, monkeypatch, tmp_path, variable):
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv(variable, str(tmp_path / "token"))
    assert run("room", "x").server.token == "secret"


# --- what is wrong


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Missing argument 'ROOM'"),
        (("room", "x", "y"), "unexpected extra argument"),
        (("room", "x", "--lines"), "--lines posts stdin: there is a message too"),
        (("room", "x", "--timeout", "soon"), "'soon' is not a duration"),
        (("room", "x", "--server", "ftp://host"), "'ftp://host' is no chat server's URL"),
        (("room", "x", "--server", "http://me:pass@host"), "--as is a name, --token-file a secret"),
        (("room", "x", "--token-file", "/no/such/file"), "cannot read the token from /no/such/file"),
        (("room", "x", "--token-file", "/"), "'/' is a directory"),
        (("room", "x", "--key", "k.pem"), "--key needs --cert"),
        (("room", "x", "--server", "https://host", "--cacert", "/nowhere"), "cannot use /nowhere: No such file"),
        (("room", "x", "--nonsense"), "--nonsense"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(capfd, args, said):
    assert said in refused(capfd, *args)
