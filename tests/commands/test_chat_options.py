"""Where the chat server is: from the options, and from the environment, for both of its clients."""

from __future__ import annotations

import click
import pytest

from gtool.chat.remote import DEFAULT, Remote
from gtool.commands.chat_options import server, server_of
from gtool.commands.options import Command, under
from gtool.errors import UsageError


@click.command("chat-x", cls=Command, context_settings={"auto_envvar_prefix": "GTOOL_CHAT_X"})
@under("Where", *server_of("CHAT_X"))
def chat_x(**options):
    return server(options)


def asked(*args: str) -> Remote:
    return chat_x.main(list(args), standalone_mode=False)


@pytest.fixture
def token(tmp_path) -> str:
    (tmp_path / "token").write_text("secret\n")
    return str(tmp_path / "token")


def test_without_options_it_is_the_one_on_this_machine():
    assert asked() == Remote(DEFAULT, None)


def test_it_is_where_it_is_said_to_be():
    assert asked("--server", "chat.lan:80/below/").url == "http://chat.lan:80/below"


def test_the_token_is_in_a_file(token):
    assert asked("--token-file", token).token == "secret"


@pytest.mark.parametrize("name", ["GTOOL_CHAT_X_SERVER", "GTOOL_CHAT_SERVER"])
def test_the_environment_says_where_it_is(monkeypatch, name):
    monkeypatch.setenv(name, "https://chat.lan")
    assert asked().url == "https://chat.lan"


@pytest.mark.parametrize("name", ["GTOOL_CHAT_X_TOKEN_FILE", "GTOOL_CHAT_TOKEN_FILE"])
def test_the_environment_says_where_the_token_is(monkeypatch, name, token):
    monkeypatch.setenv(name, token)
    assert asked().token == "secret"


def test_what_is_said_for_one_command_comes_before_what_is_for_both(monkeypatch):
    monkeypatch.setenv("GTOOL_CHAT_X_SERVER", "http://one")
    monkeypatch.setenv("GTOOL_CHAT_SERVER", "http://both")
    assert asked().url == "http://one"


def test_the_command_line_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv("GTOOL_CHAT_X_SERVER", "http://one")
    assert asked("--server", "http://two").url == "http://two"


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("GTOOL_CHAT_SERVER", "")
    assert asked().url == DEFAULT


@pytest.mark.parametrize(
    ("data", "said"),
    [(None, "No such file or directory"), (b"", "the token is empty"), (b" \n", "empty"), (b"\xff", "it is not UTF-8")],
)
def test_a_token_that_can_not_be_had_is_told(tmp_path, data, said):
    if data is not None:
        (tmp_path / "token").write_bytes(data)
    with pytest.raises(UsageError, match=said):
        asked("--token-file", str(tmp_path / "token"))


@pytest.mark.parametrize("text", ["a\nb", "a\r\nX-Evil: 1", "ä", "\0"])
def test_a_token_that_no_header_can_carry_is_told(tmp_path, text):
    (tmp_path / "token").write_text(text)
    with pytest.raises(UsageError):
        asked("--token-file", str(tmp_path / "token"))


def test_a_url_that_is_none_is_told():
    with pytest.raises(UsageError, match="is no chat server's URL"):
        asked("--server", "ftp://host")
