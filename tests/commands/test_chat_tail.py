"""`gtool chat-tail`: from the options to the settings, and what is refused before anything is connected to."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

import gtool.chat.output
import gtool.live.tail
from gtool.chat.received import SUBPROTOCOL, ChatLanguage
from gtool.cli import run as run_command_line


class Made(NamedTuple):
    """What a command line comes to."""

    settings: Any
    output: tuple[Any, ...]  #: is_json, command, until, state


@pytest.fixture
def run(monkeypatch):
    """Run a command line that is a good one."""
    seen: list[Any] = []

    class Messages:
        def __init__(self, *args: Any) -> None:
            seen.append(args)

        def close(self) -> None:
            pass

    class Tail:
        def __init__(self, settings: Any, _output: Any, language: Any) -> None:
            seen.append(settings)
            assert isinstance(language, ChatLanguage)

        def run(self) -> None:
            pass

    monkeypatch.setattr(gtool.chat.output, "Messages", Messages)
    monkeypatch.setattr(gtool.live.tail, "Tail", Tail)

    def parse(*args: str, rooms: tuple[str, ...] = ("a",)) -> Made:
        assert run_command_line(["chat-tail", *rooms, *args]) == 0
        return Made(seen[-1], seen[-2])

    return parse


def refused(capfd, *args: str) -> str:
    """Run a command line that is refused, and give the line that says why."""
    assert run_command_line(["chat-tail", *args]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_without_options_it_goes_on_for_ever_from_now(run):
    found = run().settings
    assert (found.most, found.timeout, found.since, found.reconnects, found.is_strict) == (
        None,
        None,
        None,
        True,
        False,
    )
    assert (found.connect_timeout, found.awaits, found.tls) == (10.0, "", None)


def test_without_options_messages_are_lines(run):
    assert run().output == (False, [], None, None)


def test_the_rooms_are_in_the_url(run):
    wanted = run(rooms=("a", "b c")).settings.wanted
    assert (wanted.url, wanted.subprotocols) == ("ws://127.0.0.1:5000/api/ws?room=a&room=b+c", (SUBPROTOCOL,))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("host", ("host", 80, False)),
        ("http://host:8080/below", ("host", 8080, False)),
        ("https://host", ("host", 443, True)),
    ],
)
def test_the_place_is_that_of_the_server(run, url, place):
    assert run("--server", url).settings.place[:3] == place


def test_the_token_is_a_header(run, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    wanted = run("--token-file", str(tmp_path / "token")).settings.wanted
    assert wanted.headers == (("Authorization", "Bearer secret"),)


def test_the_end_is_as_told(run):
    found = run("--count", "3", "--timeout", "90s", "--no-reconnect", "--strict").settings
    assert (found.most, found.timeout, found.reconnects, found.is_strict) == (3, 90.0, False, True)


@pytest.mark.parametrize("option", ["--timeout", "--connect-timeout"])
def test_a_timeout_of_0_is_none(run, option):
    assert getattr(run(option, "0").settings, option[2:].replace("-", "_")) is None


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("all", "all"),
        ("abc:12", "abc:12"),
        ("1h", "-3600.000"),
        ("500ms", "-0.500"),
        ("0", "-0.000"),
        ("2d", "-172800.000"),
        ("10", "-10.000"),
    ],
)
def test_since_is_an_id_a_time_or_all(run, text, since):
    assert run("--since", text).settings.since == since


def test_what_was_kept_comes_before_since(run, tmp_path):
    (tmp_path / "id").write_text("abc:7\n")
    made = run("--since", "all", "--state", str(tmp_path / "id"))
    assert (made.settings.since, made.output[3]) == ("abc:7", str(tmp_path / "id"))


def test_since_is_for_the_first_run(run, tmp_path):
    assert run("--since", "all", "--state", str(tmp_path / "id")).settings.since == "all"


def test_a_word_is_waited_for(run):
    made = run("--until", "^deployed")
    assert (made.output[2], made.settings.awaits) == (re.compile("^deployed"), "no message that matches")


@pytest.mark.parametrize(
    ("text", "words"),
    [("./page", ["./page"]), ("notify -u 'a b'", ["notify", "-u", "a b"]), ("a $HOME `b`", ["a", "$HOME", "`b`"])],
)
def test_a_command_is_words(run, text, words):
    assert run("--exec", text).output[1] == words


def test_json_is_asked_for(run):
    assert run("--json").output[0] is True


# --- the environment


@pytest.mark.parametrize("variable", ["GTOOL_CHAT_SERVER", "GTOOL_CHAT_TAIL_SERVER"])
def test_the_environment_says_where_the_server_is(run, monkeypatch, variable):
    monkeypatch.setenv(variable, "http://host:7")
    assert run().settings.place[:2] == ("host", 7)


@pytest.mark.parametrize("variable", ["GTOOL_CHAT_TOKEN_FILE", "GTOOL_CHAT_TAIL_TOKEN_FILE"])
def test_the_environment_says_where_the_token_is(run, monkeypatch, tmp_path, variable):
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv(variable, str(tmp_path / "token"))
    assert run().settings.wanted.headers == (("Authorization", "Bearer secret"),)


@pytest.mark.parametrize(
    ("name", "value", "setting", "expected"),
    [("COUNT", "3", "most", 3), ("SINCE", "1h", "since", "-3600.000"), ("STRICT", "1", "is_strict", True)],
)
def test_the_environment_sets_options(run, monkeypatch, name, value, setting, expected):
    monkeypatch.setenv(f"GTOOL_CHAT_TAIL_{name}", value)
    assert getattr(run().settings, setting) == expected


# --- what is wrong


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Missing argument 'ROOM...'"),
        (("a", "--count", "0"), "--count"),
        (("a", "--timeout", "soon"), "'soon' is not a duration"),
        (("a", "--since", "rubbish"), "--since: 'rubbish' is no id, which is epoch:offset, or a time such as 1h"),
        (("a", "--since", ""), "--since: '' is no id"),
        (("a", "--since", "-1h"), "--since"),
        (("a", "--since", "ALL"), "--since: 'ALL' is no id"),
        (("a", "--until", "("), "--until: '(' is no regular expression"),
        (("a", "--exec", ""), "--exec: a command is wanted"),
        (("a", "--exec", "  "), "--exec: a command is wanted"),
        (("a", "--exec", "a 'b"), "--exec: No closing quotation"),
        (("a", "--server", "ftp://host"), "'ftp://host' is no chat server's URL"),
        (("a", "--token-file", "/no/such/file"), "cannot read the token from /no/such/file"),
        (("a", "--key", "k.pem"), "--key needs --cert"),
        (("a", "--server", "https://host", "--cacert", "/nowhere"), "cannot use /nowhere: No such file"),
        (("a", "--state", "/"), "'/' is a directory"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(capfd, args, said):
    assert said in refused(capfd, *args)


@pytest.mark.parametrize("text", ["rubbish\n", "a:1\nb:2\n", "\0", "all\n"])
def test_a_state_that_is_no_id_is_exit_26_and_names_the_file(capfd, tmp_path, text):
    (tmp_path / "id").write_text(text)
    assert run_command_line(["chat-tail", "a", "--state", str(tmp_path / "id")]) == 26
    assert f"cannot go on from {tmp_path}/id: it holds no id" in capfd.readouterr().err
