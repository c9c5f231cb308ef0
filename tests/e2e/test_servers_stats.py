"""A server's counts: as lines of its log, on a signal, and for Prometheus."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime

import pytest

from tests.e2e.probes import (
    LOOPBACK,
    events,
    exchange,
    fetch,
    is_dropped,
    metrics,
    wait_for_metric,
    workers,
)
from tests.e2e.servers import receive_all, running

ECHO = ("-v", "echo-server", "-l", LOOPBACK)
MEASURED = (*ECHO, "--metrics", LOOPBACK)
TOTALS = ("open", "accepted", "refused", "received", "sent", "messages")


def totals(fields):
    return {name: int(fields[name]) for name in TOTALS}


def test_stats_logs_the_counts_every_so_often():
    with running(*ECHO, "--stats", "200ms") as server:
        server.wait_for_log("stats", 4)
        times = [
            datetime.fromisoformat(line.split()[0]).timestamp() for line in server.err.splitlines() if "stats" in line
        ]
        assert times[3] - times[0] == pytest.approx(0.6, abs=0.15)


def test_a_line_of_stats_has_the_totals_and_the_rate_since_the_line_before():
    with running(*ECHO, "--stats", "200ms") as server, server.connect() as client:
        server.wait_for_log("stats")
        exchange(client, b"12345")
        exchange(client, b"678")
        server.wait_for_log("messages=2")
        fields = events(server, "stats")[-1]
        assert totals(fields) == {"open": 1, "accepted": 1, "refused": 0, "received": 8, "sent": 8, "messages": 2}
        assert 0 < float(fields["messages_per_s"]) <= 11


def test_a_rate_falls_to_0_when_nothing_comes_any_more():
    with running(*ECHO, "--stats", "100ms") as server, server.connect() as client:
        exchange(client)
        server.wait_for_log("messages=1 ", 3)
        assert events(server, "stats")[-1]["messages_per_s"] == "0.0"


def test_sigusr1_logs_the_counts_at_once_and_the_server_goes_on():
    with running(*ECHO) as server, server.connect() as client:
        exchange(client, b"12345")
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("stats")
        (fields,) = events(server, "stats")
        assert totals(fields) == {"open": 1, "accepted": 1, "refused": 0, "received": 5, "sent": 5, "messages": 1}
        exchange(client)


def test_closed_and_refused_connections_are_counted():
    with running(*ECHO, "--max-connections", "1") as server:
        with server.connect() as client, server.connect() as refused:
            exchange(client)
            assert is_dropped(refused)
        server.wait_for_log("connection closed")
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("stats")
        (fields,) = events(server, "stats")
        assert (fields["open"], fields["accepted"], fields["refused"]) == ("0", "1", "1")


def test_sigusr1_logs_the_counts_of_all_workers():
    with running(*ECHO, "--workers", "2") as server, server.connect() as one, server.connect() as other:
        exchange(one)
        exchange(other)
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("stats")
        (fields,) = events(server, "stats")
        assert (fields["open"], fields["accepted"]) == ("2", "2")


def test_stats_sees_the_bytes_that_workers_have_echoed():
    with running(*ECHO, "--workers", "2", "--stats", "100ms") as server, server.connect() as client:
        exchange(client, b"12345")
        server.wait_for_log("received=5 sent=5 messages=1 ")


def test_with_json_the_counts_are_numbers_of_an_object():
    with running("--log-format", "json", "echo-server", "-l", LOOPBACK) as server, server.connect() as client:
        exchange(client, b"12345")
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("\n")
        (line,) = server.err.splitlines()
        record = json.loads(line)
        assert (record["event"], record["level"]) == ("stats", "notice")
        assert [record[name] for name in TOTALS] == [1, 1, 0, 5, 5, 1]
        assert isinstance(record["messages_per_s"], float)


def test_every_line_of_a_json_log_is_an_object_with_a_time_and_an_event():
    with running("--log-format", "json", *ECHO, "--workers", "2", "--stats", "100ms") as server:
        with server.connect() as client:
            exchange(client)
        server.wait_for_log('"stats"')
        records = [json.loads(line) for line in server.stop().err.splitlines()]
        assert {"worker started", "connection open", "connection closed", "stats"} <= {
            record["event"] for record in records
        }
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"]) for record in records)


def test_stats_of_hello_server_count_a_message_for_each_script_said():
    with running("-v", "hello-server", "-l", LOOPBACK) as server:
        with server.connect() as client:
            said = len(receive_all(client))
        server.wait_for_log("connection closed")
        server.send_signal(signal.SIGUSR1)
        server.wait_for_log("stats")
        (fields,) = events(server, "stats")
        assert totals(fields) == {"open": 0, "accepted": 1, "refused": 0, "received": 0, "sent": said, "messages": 1}


def test_the_ready_line_tells_the_port_of_the_metrics():
    with running(*MEASURED, listeners=2) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/metrics", server.urls[1])
        status, content_type, _ = fetch(server.urls[1])
        assert (status, content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")


def test_metrics_are_the_counts():
    with running(*MEASURED, "--max-connections", "2", listeners=2) as server:
        with server.connect() as client:
            exchange(client, b"12345")
        server.wait_for_log("connection closed")
        with server.connect() as client, server.connect(), server.connect() as refused:
            exchange(client, b"678")
            assert is_dropped(refused)
            found = metrics(server)
        refusals = {name: value for name, value in found.items() if name.startswith("refused_connections_total{")}
        assert {name: value for name, value in found.items() if name not in refusals} == {
            "open_connections": 2,
            "connections_total": 3,
            "received_bytes_total": 8,
            "sent_bytes_total": 8,
            "messages_total": 2,
            "dropped_messages_total": 0,
        }
        assert {name for name, value in refusals.items() if value} == {'refused_connections_total{reason="full"}'}


def test_metrics_are_in_the_text_format_of_prometheus():
    sample = r'gtool_\w+(?:\{reason="\w+"\})? \d+'
    with running(*MEASURED, listeners=2) as server:
        lines = fetch(server.urls[1])[2].splitlines()
    typed = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE ")}
    samples = [line for line in lines if not line.startswith("#")]
    assert [line for line in samples if not re.fullmatch(sample, line)] == []
    assert {re.split(r"[{ ]", line)[0] for line in samples} == set(typed)
    assert {kind for name, kind in typed.items() if name.endswith("_total")} == {"counter"}
    assert typed["gtool_open_connections"] == "gauge"


def test_metrics_count_datagrams():
    with running("echo-server", "-l", f"udp://{LOOPBACK}", "--metrics", LOOPBACK, listeners=2) as server:
        with server.connect() as client:
            exchange(client, b"12345")
        found = metrics(server)
        assert (found["received_bytes_total"], found["sent_bytes_total"], found["messages_total"]) == (5, 5, 1)


def test_metrics_are_of_all_workers():
    with running(*MEASURED, "--workers", "2", listeners=2) as server:
        with server.connect() as one, server.connect() as other:
            exchange(one)
            exchange(other)
            assert metrics(server)["open_connections"] == 2
        wait_for_metric(server, "messages_total", 2)


def test_metrics_are_served_by_whichever_worker_is_left():
    with running(*MEASURED, "--workers", "2", listeners=2) as server:
        first, _ = workers(server, 2)
        os.kill(first, signal.SIGKILL)
        server.wait_for_log("a worker has ended")
        assert fetch(server.urls[1])[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics2", "/../metrics"])
def test_there_is_nothing_elsewhere(path):
    with running(*MEASURED, listeners=2) as server:
        assert fetch(server.urls[1].removesuffix("/metrics") + path)[0] == 404


def test_connections_for_metrics_are_none_of_those_that_are_counted():
    with running(*MEASURED, "--once", listeners=2) as server:
        assert metrics(server)["connections_total"] == 0
        assert metrics(server)["connections_total"] == 0
        with server.connect() as client:
            exchange(client)


def test_metrics_can_be_read_while_the_server_drains():
    with running(*MEASURED, listeners=2) as server, server.connect() as client:
        exchange(client)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        assert metrics(server)["open_connections"] == 1


def test_a_client_of_the_metrics_that_says_nothing_does_not_hold_up_the_end():
    with running(*MEASURED, listeners=2) as server, server.connect(1):
        assert metrics(server)["open_connections"] == 0  # the silent one has been accepted before
        assert server.stop().code == 0


def test_metrics_over_anything_but_tcp_are_a_usage_error(gtool):
    result = gtool("echo-server", "-l", LOOPBACK, "--metrics", f"udp://{LOOPBACK}")
    assert result.code == 2
    assert "--metrics" in result.err
