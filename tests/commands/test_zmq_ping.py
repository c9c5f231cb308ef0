"""`gtool zmq-pingpong ping`: from the options to the settings, and what is refused before anything is measured."""

from __future__ import annotations

import pytest

import gtool.pingpong.run
from gtool.cli import run as run_command_line

ENDPOINT = "tcp://127.0.0.1:1"


@pytest.fixture
def parsed(monkeypatch):
    """Run a command line, and give the settings and the thresholds that it comes to."""

    def parse(*args: str):
        seen = []
        monkeypatch.setattr(gtool.pingpong.run, "run", lambda *given: seen.append(given))
        assert run_command_line(["zmq-pingpong", "ping", ENDPOINT, *args]) == 0
        settings, _output, thresholds = seen[0]
        return settings, thresholds

    return parse


@pytest.fixture
def settings(parsed):
    """Run a command line, and give the settings that it comes to."""
    return lambda *args: parsed(*args)[0]


def refused(gtool, said, *args):
    done = gtool("zmq-pingpong", "ping", *args)
    assert (done.code, done.out) == (2, b"")
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("rubbish", "endpoints are tcp://host:port"),
        ("", "endpoints are tcp://host:port"),
        ("tcp://", "endpoints are tcp://host:port"),
        ("tcp://127.0.0.1", "endpoints are tcp://host:port"),
        ("tcp://127.0.0.1:", "endpoints are tcp://host:port"),
        ("tcp://127.0.0.1:x", "endpoints are tcp://host:port"),
        ("tcp://127.0.0.1:-1", "endpoints are tcp://host:port"),
        ("tcp://127.0.0.1:*", "endpoints are tcp://host:port"),
        ("http://127.0.0.1:80", "'http://127.0.0.1:80'"),
        ("carrier-pigeon://roof", "'carrier-pigeon://roof'"),
        ("tcp://127.0.0.1:65536", "port 65536 is over 65535"),
        ("tcp://127.0.0.1:70000", "port 70000 is over 65535"),
        ("inproc://here", "inproc:// is for one process: nobody is there"),
        ("ipc://", "endpoints are tcp://host:port"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(gtool, endpoint, said):
    refused(gtool, said, endpoint, "--timeout", "300ms")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--pattern", "telepathy"], "'telepathy' is not one of"),
        (["--engine", "steam"], "'steam' is not one of"),
        (["--size", "0"], "--size 0: a message has 1 byte to 64 MiB"),
        (["--size", "1G"], "--size 1073741824: a message has 1 byte to 64 MiB"),
        (["--size", "16,0"], "--size 0: a message has 1 byte to 64 MiB"),
        (["--size", "x"], "'x' is not a list of sizes such as"),
        (["--size", ""], "'' is not a list of sizes such as"),
        (["--size", "16,"], "'16,' is not a list of sizes such as"),
        (["--size", "64..16"], "'64..16' is not a list of sizes such as"),
        (["--size", "-1"], "-1"),
        (["--count", "0"], "0 is not in the range"),
        (["--count", "x"], "'x' is not a valid integer"),
        (["--count", "2", "--clients", "3"], "--count 2 is less than one for each of --clients 3"),
        (["--duration", "0"], "longer than 0"),
        (["--duration", "soon"], "'soon' is not a duration"),
        (["--timeout", "0"], "longer than 0"),
        (["--timeout", "-1s"], "'-1s' is not a duration"),
        (["--warmup", "-1"], "-1 is not in the range"),
        (["--rate", "0"], "'0' is not a rate"),
        (["--rate", "fast"], "'fast' is not a rate"),
        (["--clients", "0"], "0 is not in the range"),
        (["--clients", "1001"], "1001 is not in the range"),
        (["--retries", "-1"], "-1 is not in the range"),
        (["--pipeline", "0"], "0 is not in the range"),
        (["--pipeline", "2"], "--pipeline is for dealer-router: req-rep has no questions open at once"),
        (["--pipeline", "2", "--pattern", "push-pull"], "--pipeline is for dealer-router"),
        (["--pipeline", "256", "--pattern", "dealer-router", "--size", "1"], "messages of 1 B can't be told apart"),
        (["--plain", "--pattern", "push-pull"], "--plain is for round trips: push-pull goes one way"),
        (["--retries", "1", "--pattern", "push-pull"], "--retries is for round trips"),
        (["--retries", "1", "--pattern", "pub-sub"], "--retries is for round trips: pub-sub goes one way"),
        (["--histogram", "--pattern", "push-pull"], "--histogram is for round trips"),
        (["--csv", "--histogram"], "choose one"),
        (["--csv", "--compare", "file"], "--compare shows the change in the table, and in --json"),
        (["--curve-secret", "file"], "--curve-secret needs --curve-server-key"),
        (["--curve-public", "file"], "needs --curve-server-key"),
        (["--curve-public", "file", "--curve-server-key", "file"], "--curve-public needs --curve-secret"),
        (["tcp://127.0.0.1:2"], "unexpected extra argument"),
        (["--no-such-option"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_refused(gtool, args, said):
    refused(gtool, said, ENDPOINT, *args)


@pytest.mark.parametrize("other", ["--csv", "--histogram"])
def test_json_and_another_output_are_refused_together(gtool, other):
    done = gtool("zmq-pingpong", "ping", ENDPOINT, "--json", other)
    assert done.code == 2
    assert "choose one" in done.err
    assert done.err.count("\n") == 1


def test_without_an_endpoint_it_says_so(gtool):
    refused(gtool, "Missing argument 'ENDPOINT'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rubbish", "it wants a name, one of > >= < <=, and a value"),
        ("", "it wants a name"),
        ("p99", "it wants a name"),
        ("p99>", "it wants a name"),
        (">2ms", "it wants a name"),
        ("p99=2ms", "it wants a name"),
        ("p99>x", "x is not a duration such as 2ms"),
        ("p99>2apples", "2apples is not a duration"),
        ("p98>2ms", "p98 is none of min, mean, p50"),
        ("rate<fast", "fast is not a rate such as 10000/s"),
        ("lost>x", "x is not a whole number"),
        ("lost>1.5", "1.5 is not a whole number"),
        ("lost>2ms", "2ms is not a whole number"),
    ],
)
def test_a_threshold_that_is_none_is_refused(gtool, text, said):
    refused(gtool, said, ENDPOINT, "--fail-if", text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("push-pull", "p99>2ms"),
        ("pub-sub", "mean>2ms"),
        ("push-pull", "retried>0"),
        ("pub-sub", "late>0"),
        ("req-rep", "gaps>0"),
        ("dealer-router", "gaps>0"),
    ],
)
def test_a_threshold_for_what_a_pattern_does_not_measure_is_refused(gtool, pattern, text):
    refused(gtool, f"{pattern} does not measure", ENDPOINT, "--pattern", pattern, "--fail-if", text)


# What they come to


def test_it_measures_for_three_seconds_unless_told_otherwise(settings):
    assert (settings().duration, settings().count) == (3.0, None)


def test_with_a_count_the_time_does_not_end_it(settings):
    assert (settings("--count", "7").duration, settings("--count", "7").count) == (None, 7)


def test_with_both_whichever_comes_first_ends_it(settings):
    both = settings("--count", "7", "--duration", "1m")
    assert (both.duration, both.count) == (60.0, 7)


@pytest.mark.parametrize(
    ("text", "sizes"), [("32", (32,)), ("16,1k,64k", (16, 1024, 65536)), ("16..64", (16, 32, 64)), ("64M", (64 << 20,))]
)
def test_sizes_are_a_list(settings, text, sizes):
    assert settings("--size", text).sizes == sizes


@pytest.mark.parametrize(
    ("engine", "engines"), [("green", ("green",)), ("blocking", ("blocking",)), ("both", ("green", "blocking"))]
)
def test_both_engines_are_one_after_the_other(settings, engine, engines):
    assert settings("--engine", engine).engines == engines


def test_a_pipeline_as_deep_as_messages_can_be_told_apart_will_do(settings):
    assert settings("--pattern", "dealer-router", "--size", "1", "--pipeline", "255").pipeline == 255


def test_fail_if_may_be_given_again_and_again(parsed):
    _, thresholds = parsed("--fail-if", "p99>2ms", "--fail-if", "lost>0")
    assert [(each.name, each.limit) for each in thresholds] == [("p99", 0.002), ("lost", 0)]


# The environment


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("SIZE", "16,32", "sizes", (16, 32)),
        ("COUNT", "7", "count", 7),
        ("DURATION", "2m", "duration", 120.0),
        ("PATTERN", "pub-sub", "pattern", "pub-sub"),
        ("ENGINE", "both", "engines", ("green", "blocking")),
        ("RATE", "60/m", "rate", 1.0),
        ("CLIENTS", "3", "clients", 3),
        ("WARMUP", "0", "warmup", 0),
        ("TIMEOUT", "1s", "timeout", 1.0),
        ("RETRIES", "2", "retries", 2),
        ("PLAIN", "1", "is_plain", True),
        ("PLAIN", "0", "is_plain", False),
    ],
)
def test_the_environment_sets_options(settings, monkeypatch, name, text, attribute, value):
    monkeypatch.setenv(f"GTOOL_ZMQ_PINGPONG_PING_{name}", text)
    assert getattr(settings(), attribute) == value


def test_an_option_outweighs_the_environment(settings, monkeypatch):
    monkeypatch.setenv("GTOOL_ZMQ_PINGPONG_PING_SIZE", "16")
    assert settings("--size", "32").sizes == (32,)


def test_the_environment_sets_thresholds_one_a_line(parsed, monkeypatch):
    monkeypatch.setenv("GTOOL_ZMQ_PINGPONG_PING_FAIL_IF", "p99>2ms\nlost > 0")
    assert [each.name for each in parsed()[1]] == ["p99", "lost"]


def test_a_bad_value_in_the_environment_is_a_usage_error(gtool):
    done = gtool("zmq-pingpong", "ping", ENDPOINT, GTOOL_ZMQ_PINGPONG_PING_SIZE="x")
    assert (done.code, done.out) == (2, b"")
    assert "'x' is not a list of sizes" in done.err


def test_the_options_of_the_game_in_the_environment_are_no_matter_to_it(settings, monkeypatch):
    monkeypatch.setenv("GTOOL_ZMQ_PINGPONG_ROUNDS", "3")
    monkeypatch.setenv("GTOOL_ZMQ_PINGPONG_TIMEOUT", "1s")
    assert settings().timeout == 5.0
