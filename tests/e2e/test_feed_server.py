"""ws-feed as a server: its pages over HTTP, who may read them, where it listens, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
import selectors
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import unix_connect

from tests.conftest import TIMEOUT_S, run_gtool
from tests.e2e import probes
from tests.e2e.probes import is_dropped, is_refused
from tests.e2e.servers import GtoolServer, receive_all, running
from tests.e2e.ws import (
    ACCEPT,
    CLOSE,
    FAST,
    LOOPBACK,
    PING,
    SMALL_BUFFER,
    TEXT,
    Raw,
    ask,
    ask_bytes,
    connect,
    end_input,
    events_of,
    fed_by_hand,
    feed,
    frame,
    latest,
    metrics,
    put,
    raw,
    read_answer,
    receive,
    receive_to_end,
    request,
    upgrading,
    wait_for_metric,
    wait_until,
)

SECRET = "wh1sper-it"
PATHS = ["/", "/sse", "/latest", "/healthz", "/metrics", "/nope", "/static/nope.js"]


@pytest.fixture(scope="module")
def walking() -> Iterator[GtoolServer]:
    with feed() as server:
        yield server


@pytest.fixture
def shared(walking: GtoolServer) -> Iterator[GtoolServer]:
    """One for all who only ask; it has to be alive after each, and to have found no bug in itself."""
    yield walking
    assert ask(walking, "/healthz").status == 200
    assert "Traceback" not in walking.err


# --- what stands where


def test_the_ready_line_is_a_url_that_can_be_opened():
    with feed() as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.urls[0])
        assert ask(server, "/").status == 200


def test_the_default_is_port_10000_of_loopback():
    assert "127.0.0.1:10000" in run_gtool("ws-feed", "--help").out.decode()


def test_a_browser_gets_the_page():
    with feed() as server:
        answer = ask(server, "/")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.lower().startswith("<!doctype html>")


def test_the_page_has_no_script_or_style_of_its_own_and_nothing_from_elsewhere():
    with feed() as server:
        page = ask(server, "/").text
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)
        assert "<style" not in page
        assert not re.search(r"\bstyle=|\bon\w+=", page)
        assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page)


def test_all_that_the_page_loads_is_there_and_named_relative_to_it():
    with feed() as server:
        found = re.findall(r"(?:src|href)=\"(?!data:)([^\"#]+)\"", ask(server, "/").text)
        assert found
        for name in found:
            assert not name.startswith(("/", "http"))
            assert ask(server, f"/{name}").status == 200, name


def test_the_policy_of_the_page_allows_nothing_inline_and_no_other_host():
    with feed() as server:
        policy = ask(server, "/").headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers_that_make_it_harmless(shared: GtoolServer, path: str):
    answer = ask(shared, path, method="HEAD")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_says_what_software_has_made_it(shared: GtoolServer, path: str):
    assert "shared" not in ask(shared, path, method="HEAD").headers


def test_latest_is_the_newest_message():
    with fed_by_hand() as server:
        put(server, "a", "b")
        wait_until(lambda: latest(server)["data"] == "b")
        answer = ask(server, "/latest")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert set(answer.json) == {"id", "time", "data"}


def test_latest_before_the_first_message_is_a_place_and_nothing():
    with fed_by_hand() as server:
        found = latest(server)
        assert (found["time"], found["data"]) == (None, None)
        assert found["id"].endswith(":0")


def test_health_is_ok():
    with feed() as server:
        answer = ask(server, "/healthz")
        assert (answer.status, answer.text) == (200, "ok\n")


def test_metrics_are_what_prometheus_reads():
    with feed(*FAST) as server:
        wait_until(lambda: latest(server)["data"])
        answer = ask(server, "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        types: dict[str, str] = {}
        for line in answer.text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in types
                types[name] = kind
            elif not line.startswith("#"):
                name, value = re.fullmatch(r'([a-z_]+)(?:\{[a-z]+="[a-z_]+"\})? (\S+)', line).groups()  # type: ignore[union-attr]
                assert types[name] in ("counter", "gauge")
                assert float(value) >= 0
        assert "gtool_open_connections" in types


def test_metrics_count_connections_and_messages():
    with fed_by_hand() as server, connect(server) as one, connect(server) as other:
        before = metrics(server)
        put(server, *"abc")
        assert receive(one, 3) == receive(other, 3)
        after = metrics(server)
        assert after["open_connections"] == 3
        assert after["feed_messages_total"] - before["feed_messages_total"] == 3
        assert after["messages_total"] - before["messages_total"] == 6


def test_what_is_not_there_is_404():
    with feed() as server:
        assert ask(server, "/nope").status == 404


HIDDEN = ["/static/", "/static/index.html", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py",
          "/static/.hidden", "/static/a%00.js", "/%00", "//", "/static/LIVE.js", "/static/live.js%0a",
          "/static//live.js", "/static/./live.js", "/static/live.js/", "/static/live.py"]  # fmt: skip


@pytest.mark.parametrize("path", HIDDEN)
def test_nothing_but_scripts_and_styles_can_be_had_of_the_package(shared: GtoolServer, path: str):
    assert ask(shared, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_other_methods_than_get_are_405_and_told_which_there_are(shared: GtoolServer, method: str):
    answer = ask(shared, "/", "Content-Length: 0", method=method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/latest", "/healthz", "/metrics", "/nope"])
def test_head_has_the_headers_of_get_and_no_body(path: str):
    with fed_by_hand() as server, server.connect() as sock:
        sock.sendall(request(path, method="HEAD") + request(path, "Connection: close"))
        head = read_answer(sock, is_head=True)
        full = read_answer(sock)
        assert head.status == full.status
        kept = {name: value for name, value in full.headers.items() if name not in ("date", "connection")}
        if path == "/metrics":
            del kept["content-length"]
        assert kept.items() <= head.headers.items()


def test_head_of_an_event_stream_does_not_begin_one():
    with fed_by_hand() as server, server.connect() as sock:
        sock.sendall(request("/sse", method="HEAD") + request("/healthz"))
        assert read_answer(sock, is_head=True).headers["content-type"].startswith("text/event-stream")
        assert read_answer(sock).text == "ok\n"


# --- HTTP/1.1


def test_a_connection_is_kept_for_further_requests():
    with feed() as server, server.connect() as sock:
        for path in ("/", "/latest", "/nope", "/metrics") * 5:
            sock.sendall(request(path))
            assert read_answer(sock).status == (404 if path == "/nope" else 200)


def test_requests_sent_at_once_are_answered_in_order():
    with feed() as server, server.connect() as sock:
        sock.sendall(request("/healthz") * 50 + request("/nope"))
        assert [read_answer(sock).status for _ in range(51)] == [200] * 50 + [404]


def test_a_request_may_come_byte_by_byte():
    with feed() as server, server.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in upgrading():
            sock.sendall(bytes([byte]))
        assert read_answer(sock).status == 101


def test_what_is_sent_behind_the_upgrade_is_not_lost():
    with feed("--echo") as server, server.connect() as sock:
        sock.sendall(request("/healthz") + upgrading() + frame(1, b"early") + frame(PING, b"!"))
        assert read_answer(sock).status == 200
        client = Raw(sock, read_answer(sock))
        assert client.answer.status == 101
        assert client.read_text() == "early"
        assert client.read().data == b"!"


def test_connection_close_is_obeyed():
    with feed() as server, server.connect() as sock:
        sock.sendall(request("/healthz", "Connection: close"))
        assert receive_all(sock).endswith(b"ok\n")


def test_a_client_of_http_1_0_gets_its_answer_and_the_end_of_the_connection():
    with feed() as server, server.connect() as sock:
        sock.sendall(request("/healthz", version="HTTP/1.0"))
        assert receive_all(sock).endswith(b"ok\n")


def test_the_accept_key_is_that_of_rfc_6455():
    with feed() as server, raw(server, Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==") as client:
        assert client.answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("value", ["keep-alive, Upgrade", "UPGRADE", "upgrade,close"])
def test_connection_may_name_more_than_upgrade(shared: GtoolServer, value: str):
    with raw(shared, Connection=value) as client:
        assert client.answer.status == 101


@pytest.mark.parametrize("value", ["websocket, h2c", "h2c, websocket", "WebSocket,h2c", "h2c,  websocket , x/1"])
def test_upgrade_may_name_more_than_websocket(value: str):
    with feed("--echo") as server:
        with raw(server, Upgrade=value) as client:
            assert client.answer.headers["upgrade"].lower() == "websocket"
            assert client.answer.headers["sec-websocket-accept"] == ACCEPT
            client.send(TEXT, b"x")
            assert client.read_text() == "x"
        assert ask(server, "/healthz").status == 200


def test_the_subprotocol_of_envelopes_is_chosen_where_it_is_offered_and_means_them():
    with fed_by_hand() as server, connect(server, subprotocols=["other", "gtool.envelope"]) as client:
        assert client.subprotocol == "gtool.envelope"
        put(server, "a")
        assert json.loads(client.recv(TIMEOUT_S))["data"] == "a"


# --- under a sub-path


def test_under_a_base_path_everything_is_there():
    with fed_by_hand("--base-path", "/my/feed") as server, connect(server, "/my/feed/") as client:
        put(server, "a")
        assert client.recv(TIMEOUT_S) == "a"
        for path in ("", "latest", "healthz", "metrics"):
            assert ask(server, f"/my/feed/{path}").status == 200
        with events_of(server, "/my/feed/sse?since=all") as stream:
            assert stream.take(1)[0].data == "a"


@pytest.mark.parametrize("given", ["feed", "/feed", "/feed/", "feed/"])
def test_a_base_path_needs_no_slashes(given: str):
    with feed("--base-path", given) as server:
        assert ask(server, "/feed/healthz").status == 200


@pytest.mark.parametrize("path", ["/", "/latest", "/feedx/", "/feed/feed/", "/FEED/", "/sse", "/metrics"])
def test_outside_of_the_base_path_is_nothing(path: str):
    with feed("--base-path", "/feed") as server:
        assert ask(server, path).status == 404


@pytest.mark.parametrize("base", ["/feed", "/a/b/feed"])
def test_the_base_path_without_its_slash_is_redirected_relatively(base: str):
    with feed("--base-path", base) as server:
        answer = ask(server, base)
        assert answer.status == 308
        assert answer.headers["location"] == "feed/"


# --- who may read


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost:1234", "127.0.0.1", "[::1]", "[::1]:80", "localhost."]
)
def test_loopback_names_are_served(shared: GtoolServer, host: str):
    assert ask(shared, "/latest", f"Host: {host}").status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1",
                                  "evil.example:80", "xlocalhost"])  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/latest", "/sse", "/metrics", "/healthz"])
def test_a_host_that_we_were_not_told_to_serve_gets_nothing(shared: GtoolServer, host: str, path: str):
    answer = ask(shared, path, f"Host: {host}")
    assert answer.status == 403
    assert "--allow-host" in answer.text


NO_HOSTS = ["", "a b", "user@localhost", "localhost/x", "localhost:x", "[::1", "localhost,localhost", "localhost?x",
            "localhost:99999"]  # fmt: skip


@pytest.mark.parametrize("host", NO_HOSTS)
def test_a_host_that_is_none_is_a_bad_request(shared: GtoolServer, host: str):
    assert ask(shared, "/latest", f"Host: {host}").status == 400


def test_a_foreign_host_opens_no_websocket():
    with feed() as server:
        assert ask_bytes(server, upgrading(Host="evil.example")).status == 403


def test_a_host_that_is_allowed_is_served():
    with feed("--allow-host", "Feed.Example.COM") as server:
        assert ask(server, "/latest", "Host: feed.example.com:8080").status == 200
        assert ask(server, "/latest", "Host: example.com").status == 403


@pytest.mark.parametrize("given", ["", "a b", "http://feed.example", "feed.example/", "user@feed.example", "[::1",
                                   "feed.example:port", "löwe.example", "*.example"])  # fmt: skip
def test_a_host_that_could_never_be_asked_for_is_a_usage_error(given: str):
    result = run_gtool("ws-feed", "-l", LOOPBACK, "--allow-host", given)
    assert result.code == 2
    assert "is not a host" in result.err


@pytest.mark.parametrize("given", ["", "feed.example", "localhost:8000", "https://", "://feed.example", "null",
                                   "https://feed.example/page", "https://user@feed.example"])  # fmt: skip
def test_an_origin_that_no_browser_could_send_is_a_usage_error(given: str):
    result = run_gtool("ws-feed", "-l", LOOPBACK, "--allow-origin", given)
    assert result.code == 2
    assert "is not an origin" in result.err


def test_any_host_can_be_allowed():
    with feed("--allow-host", "*") as server:
        assert ask(server, "/latest", "Host: anything.example").status == 200


def test_a_host_cannot_break_out_of_the_policy_of_the_page():
    with feed("--allow-host", "*") as server:
        answer = ask(server, "/", "Host: x;script-src *")
        assert answer.status == 400 or "script-src *" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("origin", ["http://localhost:8000", "http://LOCALHOST:8000"])
def test_a_page_of_ours_opens_a_websocket(shared: GtoolServer, origin: str):
    with raw(shared, Host="localhost:8000", Origin=origin) as client:
        assert client.answer.status == 101


FOREIGN = ["http://evil.example", "null", "http://localhost:8001", "http://localhost", "file://", "",
           "http://localhost:8000.evil.example", "https://evil.example:8000"]  # fmt: skip


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_page_of_another_site_opens_no_websocket(shared: GtoolServer, origin: str):
    answer = ask_bytes(shared, upgrading(Host="localhost:8000", Origin=origin))
    assert answer.status == 403
    assert "--allow-origin" in answer.text


@pytest.mark.parametrize("path", ["/sse", "/latest", "/metrics"])
def test_a_page_of_another_site_reads_nothing(shared: GtoolServer, path: str):
    assert ask(shared, path, "Origin: http://evil.example").status == 403


def test_an_origin_that_is_allowed_may_read_and_is_told_so():
    with feed("--allow-origin", "https://app.example.com/") as server:
        with raw(server, Origin="https://app.example.com") as client:
            assert client.answer.status == 101
        answer = ask(server, "/latest", "Origin: https://app.example.com")
        assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert answer.headers["vary"] == "Origin"
        with events_of(server, "/sse", "Origin: https://app.example.com") as stream:
            assert stream.answer.headers["access-control-allow-origin"] == "https://app.example.com"
        assert ask(server, "/latest", "Origin: http://app.example.com").status == 403


def test_programs_that_send_no_origin_are_served():
    with feed() as server:
        answer = ask(server, "/latest")
        assert answer.status == 200
        assert "access-control-allow-origin" not in answer.headers


# --- the secret


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GtoolServer]:
    with feed_with_a_token(tmp_path_factory.mktemp("guarded") / "token") as server:
        yield server


@contextmanager
def feed_with_a_token(path: Path) -> Iterator[GtoolServer]:
    path.write_text(f"{SECRET}\n")
    with feed(*FAST, "--token", f"@{path}", options=["-vv"]) as server:
        yield server


def test_the_token_opens_in_a_header_or_in_the_query(guarded: GtoolServer):
    assert ask(guarded, "/latest", f"Authorization: Bearer {SECRET}").status == 200
    assert ask(guarded, "/latest", f"Authorization: bearer {SECRET}").status == 200
    assert ask(guarded, f"/latest?token={SECRET}").status == 200
    with connect(guarded, f"/?token={SECRET}") as client:
        assert "x" in json.loads(client.recv(TIMEOUT_S))
    with connect(guarded, additional_headers={"Authorization": f"Bearer {SECRET}"}) as client:
        assert "x" in json.loads(client.recv(TIMEOUT_S))


@pytest.mark.parametrize("path", ["/", "/sse", "/latest", "/metrics"])
@pytest.mark.parametrize("lines", [[], ["Authorization: Bearer wrong"], ["Authorization: Bearer"],
                                   [f"Authorization: Basic {SECRET}"], [f"Authorization: Bearer {SECRET}x"],
                                   ["Authorization: Bearer \xff\xfe"]], ids=str)  # fmt: skip
def test_without_the_token_there_is_nothing(guarded: GtoolServer, path: str, lines: list[str]):
    if path == "/":
        answer = ask_bytes(guarded, upgrading(**({"Authorization": lines[0].partition(": ")[2]} if lines else {})))
    else:
        answer = ask(guarded, path, *lines)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?token=",
        "?token=wrong",
        f"?token={SECRET}x",
        f"?TOKEN={SECRET}",
        "?token=%ff%fe",
        "?token=%C3%A4",
        "?token=\xe4",
    ],
)
def test_another_token_in_the_query_opens_nothing(guarded: GtoolServer, query: str):
    assert ask(guarded, f"/latest{query}").status == 401


def test_health_is_told_to_everybody(guarded: GtoolServer):
    assert ask(guarded, "/healthz").status == 200


def test_the_token_is_never_in_the_log(tmp_path: Path):
    with feed_with_a_token(tmp_path / "token") as guarded:
        for path in ("/latest", "/nope", "/sse?since=bad", "/?since=bad", "/latest?envelope=1", "/healthz"):
            sign = "&" if "?" in path else "?"
            ask(guarded, f"{path}{sign}token={SECRET}")
            ask(guarded, path, f"Authorization: Bearer {SECRET}")
            ask(guarded, path, f"Authorization: Basic {SECRET}")
            ask(guarded, path, f"Origin: http://x/?{SECRET}".replace(SECRET, "x"), f"Cookie: {SECRET}")
        with connect(guarded, f"/?token={SECRET}") as client:
            client.recv(TIMEOUT_S)
        ask_bytes(guarded, upgrading(f"/?token={SECRET}", Sec_WebSocket_Key="bad"))
        ask_bytes(guarded, f"GET /?token={SECRET} nonsense\r\n\r\n".encode())
        err = guarded.stop().err
        assert "connection closed" in err
        assert SECRET not in err


def test_a_token_may_be_given_as_it_is():
    with feed("--token", SECRET) as server:
        assert ask(server, "/latest").status == 401
        assert ask(server, f"/latest?token={SECRET}").status == 200


def test_a_token_may_be_of_any_characters():
    with feed("--token", "gehei & mnis") as server:
        assert ask(server, "/latest?token=gehei%20%26%20mnis").status == 200


def test_what_else_is_in_the_query_does_not_hide_the_token(guarded: GtoolServer):
    assert ask(guarded, f"/latest?name=l%C3%B6we&token={SECRET}").status == 200


def test_a_token_that_is_not_ascii_opens_in_the_query():
    with feed("--token", "löwe") as server:
        assert ask(server, "/latest?token=l%C3%B6we").status == 200


def test_a_token_that_is_not_ascii_opens_in_the_header_as_utf8():
    with feed("--token", "löwe") as server:
        given = "löwe".encode().decode("latin-1")
        assert ask(server, "/latest", f"Authorization: Bearer {given}").status == 200


@pytest.mark.parametrize("given", ["@/no/such/file", "@/dev/null", ""])
def test_a_token_that_is_not_there_is_a_usage_error(given: str):
    result = run_gtool("ws-feed", "-l", LOOPBACK, "--token", given)
    assert result.code == 2
    assert "token" in result.err


def test_a_websocket_without_the_token_is_refused_before_the_upgrade(guarded: GtoolServer):
    with pytest.raises(InvalidStatus) as refused, connect(guarded):
        pass
    assert refused.value.response.status_code == 401


# --- the end


def test_a_stopping_server_tells_every_websocket_1001_ends_streams_and_exits_0():
    with fed_by_hand() as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(20)]
        streams = [stack.enter_context(events_of(server)) for _ in range(5)]
        put(server, "a")
        for client in clients:
            assert client.recv(TIMEOUT_S) == "a"
        server.send_signal(signal.SIGTERM)
        assert [receive_to_end(client) for client in clients] == [([], 1001)] * 20
        assert [[event.data for event in stream] for stream in streams] == [["a"]] * 5
        assert server.ended().code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_to_stop_ends_it_well(number: int):
    with feed(*FAST) as server, connect(server) as client:
        client.recv(TIMEOUT_S)
        server.send_signal(number)
        assert receive_to_end(client)[1] == 1001
        ended = server.ended()
        assert ended.code == 0
        assert "Traceback" not in ended.err


def test_a_server_that_runs_flat_out_stops_too():
    with feed("--interval", "0") as server, connect(server, close_timeout=0.1) as client:
        receive(client, 100)
        server.send_signal(signal.SIGTERM)
        assert receive_to_end(client)[1] == 1001
        assert server.ended().code == 0


def test_an_idle_connection_does_not_hold_up_the_end():
    with feed("--drain-timeout", "10m") as server, server.connect() as kept, server.connect() as fresh:
        kept.sendall(request("/healthz"))
        read_answer(kept)
        server.send_signal(signal.SIGTERM)
        assert is_dropped(fresh)
        assert server.ended().code == 0


def test_a_client_that_does_not_answer_the_good_bye_is_not_waited_for_long():
    with feed("--drain-timeout", "10m") as server, raw(server) as client:
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        while client.read().opcode != CLOSE:
            pass
        assert server.ended().code == 0
        assert time.monotonic() - begun < 15


def test_a_second_signal_ends_at_once():
    with fed_by_hand("--drain-timeout", "10m") as server, raw(server, buffer=4096), connect(server) as client:
        for number in range(150):  # the first one does not read
            put(server, f"{number}".ljust(100_000))
            client.recv(TIMEOUT_S)
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        begun = time.monotonic()
        assert server.stop(signal.SIGTERM).code == 128 + signal.SIGTERM
        assert time.monotonic() - begun < 5


def test_a_client_that_does_not_read_is_cut_off_at_the_drain_timeout():
    with fed_by_hand("--drain-timeout", "500ms") as server, raw(server, buffer=4096), connect(server) as client:
        for number in range(150):
            put(server, f"{number}".ljust(100_000))
            client.recv(TIMEOUT_S)
        begun = time.monotonic()
        assert server.stop().code == 0
        assert time.monotonic() - begun < 10


def test_nobody_new_is_served_while_it_stops():
    with feed("--drain-timeout", "10m") as server, raw(server):
        server.send_signal(signal.SIGTERM)
        server.wait_for_log("draining")
        assert is_refused(server)


def test_once_serves_one_connection():
    with feed(*FAST, "--once") as server:
        with connect(server) as client:
            client.recv(TIMEOUT_S)
        assert server.ended().code == 0


def test_after_its_duration_it_says_good_bye():
    with feed(*FAST, "--duration", "2s") as server, connect(server) as client:
        assert receive_to_end(client)[1] == 1001
        assert server.ended().code == 0


def test_a_full_server_closes_one_more_connection_at_once():
    with feed("--max-connections", "2") as server, connect(server), events_of(server):
        server.wait_for_counts(open=2)
        with server.connect() as one_more:
            assert is_dropped(one_more)


def test_a_place_that_has_become_free_is_given_to_the_next():
    with feed(*FAST, "--max-connections", "1") as server:
        for _ in range(3):
            with connect(server) as client:
                client.recv(TIMEOUT_S)
            server.wait_for_counts(open=0)


def test_a_silent_connection_is_closed_after_the_idle_timeout():
    with fed_by_hand("--idle-timeout", "500ms") as server, raw(server) as client:
        assert client.read_close().code == 1001


def test_a_client_that_is_sent_messages_is_not_idle():
    with feed("--interval", "50ms", "--idle-timeout", "500ms") as server, connect(server) as client:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.5:
            client.recv(TIMEOUT_S)


def test_a_client_that_reads_nothing_is_idle_whatever_there_is_for_it():
    with fed_by_hand("--idle-timeout", "2s") as server, raw(server, buffer=SMALL_BUFFER), connect(server) as client:
        for number in range(250):  # the kernel's buffers are full before the last
            put(server, f"{number}".ljust(100_000))
            client.recv(TIMEOUT_S)
        begun = time.monotonic()
        while metrics(server)["open_connections"] > 2:  # the one that asks, and the one that is sent messages
            assert time.monotonic() - begun < 10
            put(server, "x")
            client.recv(TIMEOUT_S)
            time.sleep(0.2)


def test_an_event_stream_that_is_sent_messages_is_not_idle():
    with feed("--interval", "50ms", "--idle-timeout", "500ms") as server, events_of(server) as stream:
        assert len(stream.take(30)) == 30


# --- TLS, and other addresses


@pytest.fixture
def secure(certificate: Path) -> list[Any]:
    return ["--tls-cert", certificate]


def test_over_tls_the_ready_line_is_https_and_messages_come(secure: list[Any], trusting: ssl.SSLContext):
    with fed_by_hand(*secure) as server:
        assert server.urls[0].startswith("https://")
        with connect(server, trusting=trusting) as client:
            put(server, "a", "x" * 1_000_000, "b")
            assert receive(client, 3) == ["a", "x" * 1_000_000, "b"]


def test_over_tls_many_get_a_broadcast(secure: list[Any], trusting: ssl.SSLContext):
    lines = [f"{number} {'.' * 3000}" for number in range(200)]
    with fed_by_hand(*secure) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server, trusting=trusting)) for _ in range(20)]
        put(server, *lines)
        for client in clients:
            assert receive(client, 200) == lines


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_over_tls_a_large_echo_comes_back(secure: list[Any], trusting: ssl.SSLContext, compression: str | None):
    message = os.urandom(5_000_000)
    options = {"trusting": trusting, "compression": compression}
    with feed("--echo", *secure) as server, connect(server, **options) as client:
        client.send(message)
        received = client.recv(TIMEOUT_S)
        assert hashlib.sha1(received).digest() == hashlib.sha1(message).digest()


def test_over_tls_all_are_told_that_it_stops(secure: list[Any], trusting: ssl.SSLContext):
    with fed_by_hand(*secure) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server, trusting=trusting)) for _ in range(5)]
        server.send_signal(signal.SIGTERM)
        assert [receive_to_end(client)[1] for client in clients] == [1001] * 5
        assert server.ended().code == 0


def test_over_tls_all_get_the_end_of_the_feed(secure: list[Any], trusting: ssl.SSLContext):
    lines = [f"{number} {'.' * 5000}" for number in range(800)]
    with fed_by_hand(*secure, "--at-eof", "close", "--backlog", "1000") as server:
        put(server, *lines)
        with connect(server, "/?since=all", trusting=trusting) as client:
            end_input(server)
            assert receive_to_end(client) == (lines, 1000)
        assert server.ended().code == 0


def test_over_tls_a_page_of_ours_is_one_of_https(secure: list[Any], trusting: ssl.SSLContext):
    with (
        feed(*secure) as server,
        server.connect() as sock,
        trusting.wrap_socket(sock, server_hostname="localhost") as client,
    ):
        client.sendall(request("/", "Host: localhost", "Origin: https://localhost"))
        assert read_answer(client).status == 200


def test_who_speaks_plain_http_to_a_tls_port_is_dropped(secure: list[Any]):
    with feed(*secure) as server, server.connect() as sock:
        sock.sendall(request("/"))
        with suppress(ConnectionResetError):
            assert b"HTTP/1.1 200" not in receive_all(sock)


def test_a_unix_socket_is_served(tmp_path: Path):
    path = tmp_path / "feed.sock"
    with running("ws-feed", *FAST, "-l", f"unix:{path}") as server:
        assert server.urls == [f"unix:{path}"]
        with unix_connect(str(path), "ws://localhost/", ping_interval=None) as client:
            assert "x" in json.loads(client.recv(TIMEOUT_S))
        assert ask(server, "/healthz").status == 200
        assert server.stop().code == 0
    assert not path.exists()


def test_several_listeners_serve_one_feed(tmp_path: Path):
    path = tmp_path / "feed.sock"
    words = ("-l", LOOPBACK, "-l", f"unix:{path}", *FAST, "--seed", "1")
    with (
        running("ws-feed", *words, listeners=2) as server,
        connect(server, "/?since=all") as one,
        unix_connect(str(path), "ws://localhost/?since=all", ping_interval=None) as other,
    ):
        assert receive(one, 20) == receive(other, 20)


def test_udp_is_refused():
    assert run_gtool("ws-feed", "-l", "udp://127.0.0.1:0").code == 2


def test_behind_a_proxy_the_protocol_of_its_header_is_taken_off():
    with feed(*FAST, "--proxy-protocol") as server, server.connect() as sock:
        sock.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 4242 443\r\n" + request("/healthz"))
        assert read_answer(sock).status == 200


@contextmanager
def reading_all(clients: list[Raw]) -> Iterator[None]:
    """Read all that comes, in a thread."""
    over = threading.Event()

    def read() -> None:
        with selectors.DefaultSelector() as selector:
            for client in clients:
                selector.register(client.sock, selectors.EVENT_READ)
            while not over.is_set():
                for key, _ in selector.select(0.1):
                    key.fileobj.recv(1 << 18)  # type: ignore[union-attr]

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_new_client_is_served_within_a_second_while_the_feed_runs_flat_out():
    with feed("--interval", "0") as server, ExitStack() as stack:
        readers = [stack.enter_context(raw(server)) for _ in range(50)]
        took = []
        with reading_all(readers):
            for _ in range(11):
                begun = time.monotonic()
                with raw(server) as client:
                    client.read()
                took.append(time.monotonic() - begun)
        assert sorted(took)[5] < 1
        assert max(took) < 5


def test_the_counts_are_served_on_an_address_of_their_own_too():
    with feed(*FAST, "--metrics", LOOPBACK, listeners=2) as server, connect(server) as client:
        client.recv(TIMEOUT_S)
        assert probes.metrics(server)["open_connections"] == 1


def test_a_websocket_that_ends_is_no_longer_counted():
    with feed(*FAST) as server:
        with connect(server) as client:
            client.recv(TIMEOUT_S)
        wait_for_metric(server, "open_connections", 1)  # the one that asks
