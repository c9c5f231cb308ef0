"""What `gtool zmq-pingpong ping` measures against `serve`: two real processes, and what is to come of them."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import zmq

from tests.e2e.zmq_peers import (
    ANY,
    ENGINES,
    ONE_WAY,
    PATTERNS,
    ROUND_TRIPS,
    agreeing,
    document,
    echo,
    ended,
    ping,
    pinging,
    serving,
    zmq_peer,
)

SHORT = ("--count", "60", "--warmup", "5")


@pytest.fixture(scope="module", params=["tcp", "ipc"])
def transport(request):
    return request.param


@pytest.fixture(scope="module", params=ENGINES)
def endpoint(request, transport, tmp_path_factory):
    """The endpoint of a server of either engine, on either transport."""
    bind = ANY if transport == "tcp" else f"ipc://{tmp_path_factory.mktemp('ipc')}/socket"
    with serving("--engine", request.param, bind=bind) as server:
        yield server.urls[0]


@pytest.fixture(scope="module", params=ENGINES)
def tcp_endpoint(request):
    """The endpoint of a server of either engine, on TCP."""
    with serving("--engine", request.param) as server:
        yield server.urls[0]


@pytest.fixture(scope="module")
def green_endpoint():
    """The endpoint of a server, where that its engine is this one does not matter."""
    with serving() as server:
        yield server.urls[0]


def measured(done):
    """Give the rows of a run that has gone well."""
    assert (done.code, done.err) == (0, "")
    found = document(done)
    assert all(row["complete"] for row in found["rows"])
    return found["rows"]


def counts(row):
    return row["sent"], row["received"], row["lost"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_that_is_sent_is_received(endpoint, pattern, engine):
    [row] = measured(ping(endpoint, "--json", "--pattern", pattern, "--engine", engine, *SHORT))
    assert (row["engine"], *counts(row)) == (engine, 60, 60, 0)


@pytest.mark.parametrize("pattern", ROUND_TRIPS)
def test_each_round_trip_is_timed(tcp_endpoint, pattern):
    [row] = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, *SHORT))
    figures = row["round_trip"]
    assert figures["count"] == 60
    assert 0 < figures["min"] <= figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["p99.9"]
    assert figures["p99.9"] <= figures["max"] <= row["elapsed_s"]


@pytest.mark.parametrize("pattern", ONE_WAY)
def test_one_way_there_is_a_rate_and_no_round_trip(tcp_endpoint, pattern):
    [row] = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, "--count", "50000"))
    assert row["rate"] > 0
    assert row["bytes_per_s"] == pytest.approx(row["rate"] * 32)
    assert row["round_trip"] is None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_several_sizes_make_a_row_each(tcp_endpoint, pattern):
    rows = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, "--size", "16,1k..4k", *SHORT))
    assert [row["size"] for row in rows] == [16, 1024, 2048, 4096]


def test_each_size_is_measured_on_each_engine(tcp_endpoint):
    rows = measured(ping(tcp_endpoint, "--json", "--engine", "both", "--size", "16,32", *SHORT))
    assert [(row["size"], row["engine"]) for row in rows] == [
        (16, "green"), (16, "blocking"), (32, "green"), (32, "blocking"),
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_messages_of_1_byte_are_told_apart(tcp_endpoint, pattern, engine):
    """Their numbers wrap around three times."""
    args = ("--size", "1", "--count", "800", "--engine", engine)
    [row] = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, *args))
    assert counts(row) == (800, 800, 0)
    assert (row["duplicates"], row["gaps"] or 0) == (0, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_big_messages_arrive_whole(tcp_endpoint, pattern, engine):
    """No more of them than a queue of libzmq takes: a PUB socket drops what is over."""
    args = ("--size", "512k", "--count", "40", "--warmup", "2", "--engine", engine)
    [row] = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, *args))
    assert counts(row) == (40, 40, 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_pipeline_asks_on_before_it_is_answered(engine):
    held = []

    def answer_ten(sock, frames):
        held.append(frames)
        if len(held) == 10:
            for message in held:
                echo(sock, message)
            held.clear()

    args = ("--pattern", "dealer-router", "--pipeline", "10", "--warmup", "0", "--count", "60", "--engine", engine)
    with zmq_peer(zmq.ROUTER, agreeing(answer_ten)) as endpoint:
        [row] = measured(ping(endpoint, "--json", *args))
    assert counts(row) == (60, 60, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_rate_is_not_exceeded(green_endpoint, pattern, engine):
    """100 messages at 200/s are 99 pauses of 5 ms; on a busy machine they take longer."""
    args = ("--rate", "200/s", "--count", "100", "--engine", engine)
    [row] = measured(ping(green_endpoint, "--json", "--pattern", pattern, *args))
    assert 0.4 < row["elapsed_s"] < 5
    assert row["rate"] < 250


@pytest.mark.parametrize("engine", ENGINES)
def test_the_rate_is_that_of_all_clients_together(tcp_endpoint, engine):
    """Each by itself at the whole rate would be at 900/s."""
    args = ("--rate", "300", "--count", "120", "--clients", "3", "--engine", engine)
    [row] = measured(ping(tcp_endpoint, "--json", *args))
    assert row["rate"] < 400


def test_with_a_rate_there_is_the_time_from_when_each_was_sent_too(tcp_endpoint):
    [row] = measured(ping(tcp_endpoint, "--json", "--rate", "1000", *SHORT))
    assert row["uncorrected"]["count"] == 60


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_duration_ends_it(green_endpoint, pattern, engine):
    args = ("--duration", "200ms", "--rate", "1000", "--engine", engine)
    [row] = measured(ping(green_endpoint, "--json", "--pattern", pattern, *args))
    assert row["elapsed_s"] < 5
    assert 1 < row["received"] <= 201


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_count_ends_it_before_the_duration(tcp_endpoint, pattern):
    args = ("--duration", "1h", "--count", "60")
    [row] = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, *args))
    assert counts(row) == (60, 60, 0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_without_a_warmup_nothing_is_missing(tcp_endpoint, pattern):
    [row] = measured(ping(tcp_endpoint, "--json", "--pattern", pattern, "--warmup", "0", "--count", "10"))
    assert counts(row) == (10, 10, 0)


def test_one_message_is_a_measurement(tcp_endpoint):
    [row] = measured(ping(tcp_endpoint, "--json", "--count", "1"))
    assert row["round_trip"]["min"] == pytest.approx(row["round_trip"]["max"], rel=0.002)  # three digits


@pytest.mark.parametrize("pattern", PATTERNS)
def test_two_pings_at_once_do_not_mix(tcp_endpoint, pattern):
    """No more than a queue of libzmq takes: a PUB socket drops what is over."""
    args = ("--json", "--pattern", pattern, "--count", "800", "--size")
    with ExitStack() as stack:
        processes = [stack.enter_context(pinging(tcp_endpoint, *args, size)) for size in ("16", "64")]
        rows = [measured(ended(process)) for process in processes]
    assert [(row["size"], *counts(row)) for [row] in rows] == [(16, 800, 800, 0), (64, 800, 800, 0)]


def test_a_name_of_a_host_will_do(tcp_endpoint):
    port = tcp_endpoint.rpartition(":")[2]
    [row] = measured(ping(f"tcp://localhost:{port}", "--json", "--pattern", "push-pull", *SHORT))
    assert counts(row) == (60, 60, 0)


def test_ipv6_will_do():
    with serving(bind="tcp://[::1]:*") as server:
        [row] = measured(ping(server.urls[0], "--json", "--pattern", "push-pull", *SHORT))
    assert counts(row) == (60, 60, 0)


@pytest.mark.parametrize("pattern", ROUND_TRIPS)
def test_plain_needs_no_agreement(tcp_endpoint, pattern):
    done = ping(tcp_endpoint, "--json", "--plain", "--pattern", pattern, *SHORT)
    assert counts(measured(done)[0]) == (60, 60, 0)
    assert document(done)["server"] is None


@pytest.mark.parametrize("pattern", ONE_WAY)
def test_one_way_sessions_leave_no_ipc_path_behind(tmp_path, pattern):
    with serving(bind=f"ipc://{tmp_path}/socket") as server:
        measured(ping(server.urls[0], "--json", "--pattern", pattern, "--clients", "2", *SHORT))
        server.wait_for_log("client says bye")
        assert [path.name for path in tmp_path.iterdir()] == ["socket"]
