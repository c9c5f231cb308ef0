"""`gtool zmq-pingpong` as its users meet it."""

from __future__ import annotations

import signal
import subprocess

import pytest


def test_without_options_it_is_nine_rounds(gtool):
    done = gtool("zmq-pingpong")
    assert (done.code, done.err) == (0, "")
    lines = done.out.decode().splitlines()
    for number in range(1, 10):
        assert lines[2 * number - 2] == f"Switched to Server for {number}"
        assert lines[2 * number - 1].startswith(f"Switched to Client for {number}   round trip ")
    assert lines[18] == ""
    assert lines[19].startswith("rounds 9   lost 0   ")


def test_bytes_that_are_no_unicode_are_asked_and_answered(gtool):
    assert gtool("zmq-pingpong", "--rounds", "1", "--message", "\udcff", "--reply", "").code == 0


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--rounds", "0"], 2, "0 is not in the range"),
        (["--endpoint", "rubbish"], 2, "endpoints are tcp://host:port"),
        (["--endpoint", "carrier-pigeon://roof"], 2, "'carrier-pigeon://roof'"),
        (["--endpoint", "tcp://127.0.0.1:70000"], 2, "over 65535"),
        (["--endpoint", "tcp://192.0.2.1:5555"], 5, "no interface of this machine"),
        (["--endpoint", "ipc:///none/such"], 5, "No such file or directory"),
        (["--interval", "soon"], 2, "'soon' is not a duration"),
    ],
)
def test_bad_input_is_one_line_and_its_exit_code(gtool, args, code, said):
    done = gtool("zmq-pingpong", *args)
    assert (done.code, done.out) == (code, b"")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(start_gtool, number, code):
    process = start_gtool("zmq-pingpong", "--interval", "1h")
    assert process.stdout.readline() == b"Switched to Server for 1\n"
    process.send_signal(number)
    assert process.wait(10) == code
    assert process.stderr.read() == b""


def test_a_closed_stdout_ends_it_quietly(start_gtool):
    process = start_gtool("zmq-pingpong", "--rounds", "1000000", stdin=subprocess.DEVNULL)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(10) == 141
    assert process.stderr.read() == b""


@pytest.mark.parametrize("side", [["ping", "tcp://127.0.0.1:1"], ["serve"]], ids=lambda side: side[0])
@pytest.mark.parametrize(
    "option",
    [
        ("--rounds", "3"),
        ("--message", "Hi"),
        ("--reply", "Yo"),
        ("--interval", "1s"),
        ("--endpoint", "tcp://127.0.0.1:1"),
        ("--timeout", "1s"),
    ],
    ids=lambda option: option[0],
)
def test_options_of_the_game_are_refused_before_a_command(gtool, option, side):
    done = gtool("zmq-pingpong", *option, *side)
    assert (done.code, done.out) == (2, b"")
    assert f"{option[0]} is for the game: options of '{side[0]}' come after it" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["ping", "tcp://127.0.0.1:1"]], ids=["alone", "ping"])
def test_the_pattern_is_told_where_it_belongs(gtool, command):
    done = gtool("zmq-pingpong", "--pattern", "pub-sub", *command)
    assert (done.code, done.out) == (2, b"")
    assert "error: --pattern is for 'ping', and comes after it: zmq-pingpong ping --pattern pub-sub" in done.err
    assert done.err.count("\n") == 1


def test_a_command_that_is_none_is_refused(gtool):
    done = gtool("zmq-pingpong", "smash")
    assert (done.code, done.out) == (2, b"")
    assert "No such command 'smash'" in done.err
    assert done.err.count("\n") == 1
