"""`gtool ws-tail`: from the options to the settings, and what is refused before anything is connected to."""

from __future__ import annotations

import pytest

import gtool.feed.tail
from gtool.cli import run as run_command_line
from gtool.feed.view import SUBPROTOCOL

URL = "ws://127.0.0.1:1/"


@pytest.fixture
def sending() -> list[bool]:
    """Whether each run sends lines."""
    return []


@pytest.fixture
def settings(sending, monkeypatch, capfd):
    """Run a command line, and give the settings that it comes to."""

    def parse(*args: str, url: str = URL):
        seen = []

        class Tail:
            def __init__(self, settings, _output, sends):
                seen.append(settings)
                sending.append(sends)

            def run(self):
                pass

        monkeypatch.setattr(gtool.feed.tail, "Tail", Tail)
        assert run_command_line(["ws-tail", url, *args]) == 0
        return seen[0]

    return parse


def refused(capfd, *args: str) -> str:
    """Run a command line that is refused, and give the line that says why."""
    assert run_command_line(["ws-tail", *args]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_without_options_it_goes_on_for_ever_from_now(settings):
    found = settings()
    assert (found.most, found.timeout, found.since, found.reconnects) == (None, None, None, True)


def test_without_options_it_sends_nothing_and_takes_gaps(settings, sending):
    found = settings()
    assert (sending, found.is_strict) == ([False], False)


def test_ids_are_asked_for_unless_a_subprotocol_is(settings):
    assert settings().wanted.subprotocols == (SUBPROTOCOL,)


def test_subprotocols_are_those_that_are_asked_for(settings):
    assert settings("--subprotocol", "a", "--subprotocol", "b").wanted.subprotocols == ("a", "b")


def test_the_end_is_as_told(settings):
    found = settings("--count", "3", "--timeout", "90s", "--no-reconnect", "--strict")
    assert (found.most, found.timeout, found.reconnects, found.is_strict) == (3, 90.0, False, True)


@pytest.mark.parametrize("since", ["all", "abc:0", "abc:12"])
def test_since_is_an_id_or_all(settings, since):
    assert settings("--since", since).since == since


def test_what_was_kept_comes_before_since(settings, tmp_path):
    (tmp_path / "id").write_text("abc:7\n")
    assert settings("--since", "all", "--state", str(tmp_path / "id")).since == "abc:7"


def test_since_is_for_the_first_run(settings, tmp_path):
    assert settings("--since", "all", "--state", str(tmp_path / "id")).since == "all"


def test_headers_are_name_and_value(settings):
    assert settings("-H", "A: b: c", "-H", "D:").wanted.headers == (("A", "b: c"), ("D", ""))


def test_the_token_is_a_header(settings):
    assert settings("--token", "s").wanted.headers == (("Authorization", "Bearer s"),)


def test_the_request_is_as_told(settings):
    wanted = settings("--origin", "https://a", "--max-message", "1k", "--send").wanted
    assert (wanted.origin, wanted.max_message) == ("https://a", 1024)


def test_the_longest_message_is_16_mebibytes(settings):
    assert settings().wanted.max_message == 16 << 20


def test_a_connect_timeout_of_0_is_none(settings):
    assert settings("--connect-timeout", "0").connect_timeout is None


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("ws://host/", ("host", 80, False)),
        ("wss://host", ("host", 443, True)),
        ("http://host:8080/x", ("host", 8080, False)),
        ("https://host", ("host", 443, True)),
        ("host:10000", ("host", 10000, False)),
        ("[::1]:10000", ("::1", 10000, False)),
    ],
)
def test_the_place_is_that_of_the_url(settings, url, place):
    assert settings(url=url).place[:3] == place


@pytest.mark.parametrize("url", ["ws://me:s3cret@host/x", "host/x?token=s3cret", "http://me:s3cret@host:80/x?t=s3cret"])
def test_the_name_of_the_place_has_neither_password_nor_query(settings, url):
    assert settings(url=url).place.name == "ws://host:80/x"


def test_a_place_in_ipv6_is_named_with_brackets(settings):
    assert settings(url="wss://[::1]/").place.name == "wss://[::1]:443/"


def test_tls_is_for_wss(settings):
    assert (settings().tls is None, settings(url="wss://host").tls is None) == (True, False)


def test_certificates_are_checked_unless_told_otherwise(settings):
    contexts = settings(url="wss://host").tls, settings("-k", url="wss://host").tls
    assert [context.check_hostname for context in contexts] == [True, False]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "Missing argument 'URL'"),
        (("ftp://host/",), "'ftp://host/' is not a URL"),
        ((URL, "--count", "0"), "--count"),
        ((URL, "--timeout", "soon"), "--timeout"),
        ((URL, "--since", "rubbish"), "--since: 'rubbish' is no id"),
        ((URL, "-H", "rubbish"), "'rubbish' is not a header"),
        ((URL, "-H", "a b: c"), "'a b: c' is not a header"),
        ((URL, "-H", "a: \x01"), "is not a header"),
        ((URL, "--subprotocol", "a,b"), "'a,b' is not the name of a subprotocol"),
        ((URL, "--key", "k.pem"), "--key needs --cert"),
        ((URL, "--token", ""), "the token is empty"),
        ((URL, "--max-message", "much"), "--max-message"),
        (("wss://host", "--cacert", "/nowhere"), "cannot use /nowhere: No such file"),
    ],
)
def test_what_makes_no_sense_is_refused(capfd, args, said):
    assert said in refused(capfd, *args)


@pytest.mark.parametrize("text", ["rubbish\n", "a:1\nb:2\n", "\0"])
def test_a_state_that_is_no_id_is_an_error_that_names_the_file(capfd, tmp_path, text):
    (tmp_path / "id").write_text(text)
    assert run_command_line(["ws-tail", URL, "--state", str(tmp_path / "id")]) == 26
    assert f"cannot go on from {tmp_path}/id: it holds no id" in capfd.readouterr().err


@pytest.mark.parametrize("url", ["ws://me:s3cret@host:x/", "ftp://me:s3cret@host/", "ws://me:s3cret@host/#b"])
def test_a_password_is_not_shown_when_the_url_is_refused(capfd, url):
    assert "s3cret" not in refused(capfd, url)
