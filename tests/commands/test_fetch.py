"""From the options to the settings; what the settings do is tested where it is done."""

from __future__ import annotations

import certifi
import pytest

import gtool.fetch.run
from gtool.cli import run as run_command_line


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Run a command line, and give the settings that it comes to."""
    monkeypatch.chdir(tmp_path)

    def parse(*args: str):
        seen = []
        monkeypatch.setattr(gtool.fetch.run, "run", lambda settings: seen.append(settings) or 0)
        assert run_command_line(["fetch", *args]) == 0
        return seen[0]

    return parse


def test_arguments_and_files_are_the_inputs(settings):
    parsed = settings("a", "b", "-i", "one", "-i", "-")
    assert (parsed.urls, parsed.inputs) == (("a", "b"), ("one", "-"))


def test_data_is_joined_as_curl_joins_it(settings):
    assert settings("a", "-d", "x=1", "-d", "y=2").network.data == b"x=1&y=2"


def test_data_from_a_file_is_read_without_its_line_ends(settings, tmp_path):
    (tmp_path / "data").write_bytes(b"x=1\r\n&y=2\n")
    assert settings("a", "-d", "@data").network.data == b"x=1&y=2"


def test_json_data_from_a_file_is_sent_as_it_is(settings, tmp_path):
    (tmp_path / "data").write_bytes(b'{\n"x": 1}\n')
    assert settings("a", "--json-data", "@data").network.data == b'{\n"x": 1}\n'


def test_json_data_has_its_headers_but_those_that_are_given(settings):
    headers = settings("a", "--json-data", "{}", "-H", "accept: text/csv").network.header
    assert headers == ("accept: text/csv", "Content-Type: application/json")


def test_certificates_are_those_of_certifi(settings, monkeypatch):
    for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert settings("a").network.cacert == certifi.where()


def test_certificates_may_be_those_that_the_environment_names_for_curl(settings, monkeypatch, tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))
    assert settings("a").network.cacert == str(bundle)


def test_resumable_bodies_are_not_compressed(settings):
    assert settings("a").network.compressed
    assert not settings("a", "-o", "{seq}", "--resume").network.compressed


def test_an_output_of_a_dash_is_stdout(settings):
    assert settings("a", "-o", "-").output.output is None


def test_null_separates_inputs(settings):
    assert (settings("a").separator, settings("a", "-0").separator) == (b"\n", b"\0")


def test_there_is_no_progress_off_a_terminal(settings):
    assert not settings("a").progress


def test_the_environment_sets_options(settings, monkeypatch):
    monkeypatch.setenv("GTOOL_FETCH_CONCURRENCY", "7")
    assert settings("a").limits.concurrency == 7


@pytest.mark.parametrize(("name", "value"), [("IPV6", "6"), ("IPV4", "4")])
def test_the_environment_chooses_among_flags(settings, monkeypatch, name, value):
    monkeypatch.setenv(f"GTOOL_FETCH_{name}", "1")
    assert settings("a").network.ip_version == value
    monkeypatch.setenv(f"GTOOL_FETCH_{name}", "0")
    assert settings("a").network.ip_version is None


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--cookie-jar", "no/such/jar"], "there is no directory for the cookie jar no/such/jar"),
        (["-X", "G T"], "bad method 'G T'"),
        (["-X", ""], "bad method ''"),
        (["-X", "GET\r\nHost: x"], "bad method"),
    ],
)
def test_what_can_not_be_is_a_usage_error(capsys, args, named):
    assert run_command_line(["fetch", "a", *args]) == 2
    assert named in capsys.readouterr().err
