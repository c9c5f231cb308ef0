"""From the options to the settings and the plan; what they do is tested where it is done."""

from __future__ import annotations

import json

import pytest

import gtool.echo.run
import gtool.runtime.serve
from gtool.cli import run as run_command_line
from gtool.echo.faults import After, Faults
from gtool.echo.run import Settings
from gtool.runtime.address import Address


@pytest.fixture
def run(monkeypatch):
    """Run a command line; give its exit code, and the plan and the settings that it comes to."""

    def parse(*args: str):
        seen = []
        monkeypatch.setattr(gtool.echo.run, "EchoService", lambda settings, server: settings)
        monkeypatch.setattr(gtool.runtime.serve, "serve", lambda plan, make: seen.extend([plan, make(None)]) or 0)
        return run_command_line(["--log-format", "json", "echo-server", *args]), *seen

    return parse


@pytest.fixture
def settings(run):
    def parse(*args: str) -> Settings:
        code, _, settings = run(*args)
        assert code == 0
        return settings

    return parse


@pytest.fixture
def faults(settings):
    return lambda *args: settings("--seed", "0", *args).faults


def test_without_options_it_echoes_bytes_on_loopback(run):
    code, plan, settings = run()
    assert (code, plan.listen, plan.default_listen) == (0, (), Address(None, "127.0.0.1", 8000))
    assert settings == Settings()


def test_the_options_of_all_servers_are_its_own(run):
    _, plan, _ = run("-l", ":7", "--max-connections", "5")
    assert (plan.listen, plan.settings.limits.max_connections) == ((Address(None, "", 7),), 5)


def test_the_exit_code_is_that_of_the_server(monkeypatch):
    monkeypatch.setattr(gtool.runtime.serve, "serve", lambda plan, make: 130)
    assert run_command_line(["echo-server"]) == 130


def test_the_environment_sets_options(settings, monkeypatch):
    monkeypatch.setenv("GTOOL_ECHO_SERVER_SERVICE", "chargen")
    assert settings().service == "chargen"


# The service


@pytest.mark.parametrize("name", ["echo", "discard", "chargen", "daytime", "time"])
def test_every_service_can_be_chosen(settings, name):
    assert settings("--service", name).service == name


def test_lines_have_a_length_unless_it_is_said_of_64_kib(settings):
    lengths = [settings("--line", *args).max_line for args in ([], ["--max-line", "1k"])]
    assert lengths == [65536, 1024]


def test_bytes_may_be_limited(settings):
    assert settings("--max-bytes", "1M").max_bytes == 1 << 20


def test_any_source_is_answered_on_request(settings):
    assert settings("--allow-any-source").any_source


# Faults


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--latency", "100ms"], Faults(latency=0.1)),
        (["--jitter", "20ms"], Faults(jitter=0.02)),
        (["--bandwidth", "64k"], Faults(bandwidth=65536)),
        (["--slice", "10"], Faults(slice=10)),
        (["--corrupt-rate", "1%"], Faults(corrupt_rate=0.01)),
        (["--drop-rate", "0.3"], Faults(drop_rate=0.3)),
        (["--reset-after", "64k"], Faults(reset_after=After(size=65536))),
        (["--reset-after", "5s"], Faults(reset_after=After(seconds=5.0))),
        (["--reset-after", "0"], Faults(reset_after=After(size=0))),
        (["--close-after", "1M"], Faults(close_after=After(size=1 << 20))),
        (["--close-after", "1m"], Faults(close_after=After(seconds=60.0))),
        (["--latency", "1", "--toxicity", "30%"], Faults(latency=1.0, toxicity=0.3)),
    ],
)
def test_an_option_is_a_fault(faults, args, expected):
    assert faults(*args) == expected


def test_the_seed_is_the_one_that_is_given(settings, capsys):
    assert settings("--latency", "1s", "--seed", "7").seed == 7
    assert capsys.readouterr().err == ""


def test_a_seed_of_0_is_one(settings, capsys):
    assert settings("--latency", "1s", "--seed", "0").seed == 0
    assert capsys.readouterr().err == ""


def test_a_seed_that_is_drawn_is_told_to_have_it_again(settings, capsys):
    seed = settings("--latency", "1s").seed
    told = json.loads(capsys.readouterr().err)
    assert (told["seed"], told["level"]) == (seed, "notice")


def test_seeds_are_drawn_anew(settings, capsys):
    assert len({settings("--latency", "1s").seed for _ in range(5)}) == 5


@pytest.mark.parametrize("args", [[], ["--toxicity", "0.5"]])
def test_without_faults_no_seed_is_drawn(settings, capsys, args):
    assert (settings(*args).seed, capsys.readouterr().err) == (0, "")


# What is wrong


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--service", "discard", "--line"], "--line is for echo, not for discard"),
        (["--max-bytes", "9", "--service", "chargen"], "--max-bytes is for echo and discard"),
        (["--max-line", "10"], "--max-line needs --line"),
        (["--max-line", "64k"], "--max-line needs --line"),
        (["--bandwidth", "0"], "--bandwidth of 0"),
        (["--slice", "0"], "--slice of 0"),
        (["--service", "qotd"], "qotd"),
        (["--corrupt-rate", "2"], "'2' is not a share"),
        (["--toxicity", "101%"], "'101%' is not a share"),
        (["--reset-after", "soon"], "'soon' is not a size or duration"),
        (["--seed", "-1"], "--seed"),
        (["--latency", "1x"], "'1x' is not a duration"),
    ],
)
def test_a_bad_command_line_is_one_line_that_names_it_and_exit_2(run, capsys, args, named):
    assert run(*args) == (2,)
    err = capsys.readouterr().err
    assert (err.count("\n"), named in err) == (1, True)
