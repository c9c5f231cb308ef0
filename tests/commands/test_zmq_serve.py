"""`gtool zmq-pingpong serve`: from the options to the settings, and what is refused before it listens."""

from __future__ import annotations

import pytest

import gtool.pingpong.serve
from gtool.cli import run as run_command_line
from gtool.pingpong.server import Limits


@pytest.fixture
def settings(monkeypatch):
    """Run a command line, and give the settings that it comes to."""

    def parse(*args: str):
        seen = []
        monkeypatch.setattr(gtool.pingpong.serve, "serve", seen.append)
        assert run_command_line(["zmq-pingpong", "serve", *args]) == 0
        return seen[0]

    return parse


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--bind", "rubbish"], "endpoints are tcp://host:port"),
        (["--bind", ""], "endpoints are tcp://host:port"),
        (["--bind", "tcp://127.0.0.1"], "endpoints are tcp://host:port"),
        (["--bind", "tcp://127.0.0.1:x"], "endpoints are tcp://host:port"),
        (["--bind", "http://127.0.0.1:80"], "'http://127.0.0.1:80'"),
        (["--bind", "carrier-pigeon://roof"], "'carrier-pigeon://roof'"),
        (["--bind", "tcp://127.0.0.1:65536"], "port 65536 is over 65535"),
        (["--bind", "inproc://here"], "inproc:// is for one process: nobody could connect"),
        (["--engine", "both"], "'both' is not one of"),
        (["--max-size", "0"], "--max-size of 0 would take nothing"),
        (["--max-size", "x"], "'x' is not a size"),
        (["--data-ports", "x"], "'x' is not a range of ports"),
        (["--data-ports", "5556"], "'5556' is not a range of ports"),
        (["--data-ports", "5557-5556"], "'5557-5556' is not a range of ports"),
        (["--data-ports", "65000-70000"], "--data-ports are from 1 to 65535"),
        (["--duration", "soon"], "'soon' is not a duration"),
        (["--drain-timeout", "soon"], "'soon' is not a duration"),
        (["--curve-client", "file"], "need --curve-secret"),
        (["--curve-public", "file"], "need --curve-secret"),
        (["one too many"], "unexpected extra argument"),
        (["--no-such-option"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_with_one_line(gtool, args, said):
    done = gtool("zmq-pingpong", "serve", "--bind", "tcp://127.0.0.1:*", "--duration", "0", *args)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_it_listens_on_loopback_unless_told_otherwise(settings):
    assert settings().bind == "tcp://127.0.0.1:5555"


def test_limits_are_taken_as_they_are_given(settings):
    assert settings("--max-size", "64k", "--data-ports", "5556-5559").limits == Limits(65536, (5556, 5559))


def test_without_limits_a_message_has_a_megabyte_and_a_session_any_port(settings):
    assert settings().limits == Limits(1 << 20, None)


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("BIND", "ipc:///tmp/x", "bind", "ipc:///tmp/x"),
        ("ENGINE", "blocking", "engine", "blocking"),
        ("ONCE", "1", "once", True),
        ("DURATION", "1m", "duration", 60.0),
        ("DRAIN_TIMEOUT", "1s", "drain_timeout", 1.0),
        ("READY_FILE", "file", "ready_file", "file"),
    ],
)
def test_the_environment_sets_options(settings, monkeypatch, name, text, attribute, value):
    monkeypatch.setenv(f"GTOOL_ZMQ_PINGPONG_SERVE_{name}", text)
    assert getattr(settings(), attribute) == value
