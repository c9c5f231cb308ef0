"""CURVE between `gtool zmq-pingpong ping` and `serve`: who is let in, who is not, and what keys may look like."""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

import pytest
import zmq
import zmq.auth

from tests.conftest import run_gtool
from tests.e2e.zmq_peers import (
    ENGINES,
    PATTERNS,
    asking,
    client_processes,
    document,
    echo,
    generate_keys,
    ping,
    pinging,
    serving,
    wait_until,
    wait_until_busy,
    zmq_peer,
)

SHORT = ("--count", "60", "--warmup", "5")
AT_ONCE_S = 2.5  #: to begin with Python, and to end, on a busy machine; well below the time-out of 5 s
NAMES = ["client.key", "client.key_secret", "server.key", "server.key_secret"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return generate_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Keys that have nothing to do with the others."""
    return generate_keys(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module", params=ENGINES)
def endpoint(request, keys):
    """A server that lets in everybody who has its key."""
    with serving("--engine", request.param, "--curve-secret", keys / "server.key_secret") as server:
        yield server.urls[0]


@pytest.fixture(scope="module", params=ENGINES)
def guarded(request, keys):
    """A server that lets in one client only."""
    args = ("--curve-secret", keys / "server.key_secret", "--curve-client", keys / "client.key")
    with serving("--engine", request.param, *args) as server:
        yield server


def secret_of(path):
    return zmq.auth.load_certificate(path)[1].decode()


def public_of(path):
    return zmq.auth.load_certificate(path)[0].decode()


def as_client(keys):
    return ("--curve-server-key", keys / "server.key", "--curve-secret", keys / "client.key_secret")


def received(done):
    assert (done.code, done.err) == (0, "")
    return [row["received"] for row in document(done)["rows"]]


def fails_at_once(endpoint, *args, said):
    started = time.monotonic()
    done = ping(endpoint, *args, *SHORT)
    assert time.monotonic() - started < AT_ONCE_S
    assert (done.code, done.out) == (4, b"")
    assert done.err.count("\n") == 1
    assert endpoint in done.err
    assert said in done.err


# Keys are made


@pytest.mark.parametrize("side", ["ping", "serve"])
def test_generate_writes_two_pairs_and_says_where(tmp_path, side):
    directory = tmp_path / "new" / "keys"
    done = run_gtool("zmq-pingpong", side, "--curve-generate", directory)
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.decode().splitlines()) == [str(directory / name) for name in NAMES]
    assert sorted(path.name for path in directory.iterdir()) == NAMES


def test_generated_secrets_are_for_their_owner_only(keys):
    modes = {name: stat.S_IMODE((keys / name).stat().st_mode) for name in NAMES if name.endswith("secret")}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("name", ["server", "client"])
def test_generated_keys_are_certificates_of_zmq_auth(keys, name):
    public, secret = zmq.auth.load_certificate(keys / f"{name}.key_secret")
    assert zmq.curve_public(secret) == public
    assert zmq.auth.load_certificate(keys / f"{name}.key") == (public, None)


@pytest.mark.parametrize("name", NAMES)
def test_generate_overwrites_nothing(tmp_path, name):
    (tmp_path / name).write_text("precious")
    done = run_gtool("zmq-pingpong", "serve", "--curve-generate", tmp_path)
    assert done.code == 23
    assert f"cannot write {tmp_path / name}: File exists" in done.err
    assert done.err.count("\n") == 1
    assert (tmp_path / name).read_text() == "precious"


def test_generate_where_nothing_can_be_written_is_said():
    done = run_gtool("zmq-pingpong", "ping", "--curve-generate", "/proc/none")
    assert done.code == 23
    assert done.err.count("\n") == 1


# Who is let in


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_patterns_go_under_curve(endpoint, keys, pattern, engine):
    args = ("--pattern", pattern, "--engine", engine, "--json", *as_client(keys))
    assert received(ping(endpoint, *args, *SHORT)) == [60]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_key_of_the_server_is_enough(endpoint, keys, pattern):
    args = ("--pattern", pattern, "--json", "--clients", "2", "--curve-server-key", keys / "server.key")
    assert received(ping(endpoint, *args, *SHORT)) == [60]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_who_is_on_the_list_is_let_in(guarded, keys, pattern, engine):
    args = ("--pattern", pattern, "--engine", engine, "--json", *as_client(keys))
    assert received(ping(guarded.urls[0], *args, *SHORT)) == [60]


def test_the_list_may_be_a_directory(keys):
    args = ("--curve-secret", keys / "server.key_secret", "--curve-client", keys)
    with serving(*args) as server:
        assert received(ping(server.urls[0], "--json", *as_client(keys), *SHORT)) == [60]


def test_the_list_may_be_several(keys, others):
    clients = ("--curve-client", others / "client.key", "--curve-client", keys / "client.key")
    with serving("--curve-secret", keys / "server.key_secret", *clients) as server:
        assert received(ping(server.urls[0], "--json", *as_client(keys), *SHORT)) == [60]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_who_is_not_on_the_list_is_refused_at_once(guarded, keys, others, pattern):
    args = ("--curve-server-key", keys / "server.key", "--curve-secret", others / "client.key_secret")
    fails_at_once(guarded.urls[0], "--pattern", pattern, *args, said="refuses this client's key")


def test_a_key_of_this_run_only_is_not_on_the_list(guarded, keys):
    fails_at_once(guarded.urls[0], "--curve-server-key", keys / "server.key", said="refuses this client's key")


def test_the_server_logs_whom_it_has_refused(keys, others):
    args = ("--curve-secret", keys / "server.key_secret", "--curve-client", keys / "client.key")
    with serving(*args) as server:
        wrong = ("--curve-server-key", keys / "server.key", "--curve-secret", others / "client.key_secret")
        ping(server.urls[0], *wrong)
        assert public_of(others / "client.key") in server.wait_for_log("client refused")


def test_a_server_goes_on_after_it_has_refused_one(guarded, keys, others):
    ping(guarded.urls[0], "--curve-server-key", keys / "server.key", "--curve-secret", others / "client.key_secret")
    assert received(ping(guarded.urls[0], "--json", *as_client(keys), *SHORT)) == [60]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_wrong_key_of_a_server_is_said_at_once(endpoint, others, pattern):
    args = ("--pattern", pattern, "--curve-server-key", others / "server.key")
    fails_at_once(endpoint, *args, said="is --curve-server-key its key")


# Of two that do not agree on CURVE one breaks off, and its RST may overtake what it has said. So the other one does not
# always know why, but has to speak of CURVE in any case.


@pytest.mark.parametrize("pattern", PATTERNS)
def test_that_a_server_wants_a_key_is_said_at_once(endpoint, pattern):
    fails_at_once(endpoint, "--pattern", pattern, said="CURVE")


@pytest.mark.parametrize("engine", ENGINES)
def test_that_a_server_wants_a_key_is_said_with_plain_too(endpoint, engine):
    started = time.monotonic()
    done = ping(endpoint, "--plain", "--engine", engine, *SHORT)
    assert time.monotonic() - started < AT_ONCE_S
    assert done.code == 4
    assert "CURVE" in done.err


@pytest.mark.parametrize("pattern", PATTERNS)
def test_that_a_server_has_no_keys_is_said_at_once(keys, pattern):
    with serving() as server:
        fails_at_once(server.urls[0], "--pattern", pattern, *as_client(keys), said="use CURVE")


def test_a_peer_of_another_make_can_speak_curve_too(keys):
    options = {
        "curve_server": True,
        "curve_secretkey": secret_of(keys / "server.key_secret").encode(),
        "curve_publickey": public_of(keys / "server.key").encode(),
    }
    with zmq_peer(zmq.REP, echo, **options) as endpoint:
        assert received(ping(endpoint, "--plain", "--json", *as_client(keys), *SHORT)) == [60]


def test_the_sockets_of_sessions_are_guarded_too(guarded, keys):
    """A client that agrees has the key; who finds the socket of its session need not."""
    args = ("--pattern", "push-pull", "--duration", "1h", *as_client(keys))
    with pinging(guarded.urls[0], *args):
        guarded.wait_for_log("client says hello")
        port = _data_port(guarded)
        with (
            asking(zmq.PUSH, f"tcp://127.0.0.1:{port}", immediate=True, sndtimeo=300) as sock,
            pytest.raises(zmq.Again),
        ):
            sock.send(b"let me in")  # it has nobody to send to


def _data_port(server):
    """Give the port that a server listens on beside its own: proc_net_tcp(5)."""

    def ports():
        inodes = set()
        for name in os.listdir(f"/proc/{server.process.pid}/fd"):
            inodes.add(os.readlink(f"/proc/{server.process.pid}/fd/{name}")[8:-1])
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table][1:]
        listening = {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
        return listening - {server.port}

    wait_until(ports, "it listens nowhere else")
    return ports().pop()


# What keys may look like


def test_keys_may_be_bare(keys, tmp_path):
    files = {
        "server_secret": secret_of(keys / "server.key_secret"),
        "server_public": public_of(keys / "server.key"),
        "client_secret": secret_of(keys / "client.key_secret"),
        "client_public": public_of(keys / "client.key"),
    }
    paths = {name: tmp_path / name for name in files}
    for name, key in files.items():
        paths[name].write_text(f"{key}\n")
        paths[name].chmod(0o600)
    args = ("--curve-secret", paths["server_secret"], "--curve-public", paths["server_public"])
    with serving(*args, "--curve-client", paths["client_public"]) as server:
        args = ("--curve-server-key", paths["server_public"], "--curve-secret", paths["client_secret"])
        done = ping(server.urls[0], *args, "--curve-public", paths["client_public"], "--json", *SHORT)
        assert received(done) == [60]
        assert "WARNING" not in server.err


def test_certificates_of_zmq_auth_will_do(tmp_path):
    for name in ("server", "client"):
        zmq.auth.create_certificates(tmp_path, name)
    (tmp_path / "client.key_secret").chmod(0o600)
    (tmp_path / "server.key_secret").chmod(0o600)
    args = ("--curve-secret", tmp_path / "server.key_secret", "--curve-client", tmp_path)
    with serving(*args) as server:
        assert received(ping(server.urls[0], *as_client(tmp_path), "--json", *SHORT)) == [60]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_secret_that_others_can_read_is_a_warning_and_goes_on(endpoint, keys, tmp_path, mode):
    path = tmp_path / "client.key_secret"
    path.write_bytes((keys / "client.key_secret").read_bytes())
    path.chmod(mode)
    done = ping(endpoint, "--curve-server-key", keys / "server.key", "--curve-secret", path, "--json", *SHORT)
    assert document(done)["rows"][0]["received"] == 60
    assert re.search(rf"WARNING others may read this secret key path={path} hint=\"chmod 600 {path}\"\n", done.err)
    assert done.err.count("\n") == 1


def test_a_server_warns_of_a_secret_that_others_can_read(keys, tmp_path):
    path = tmp_path / "server.key_secret"
    path.write_bytes((keys / "server.key_secret").read_bytes())
    path.chmod(0o644)
    with serving("--curve-secret", path) as server:
        server.wait_for_log("others may read this secret key")


GARBAGE = {"empty": "", "rubbish": "rubbish", "39 characters": "a" * 39, "no Z85": "~" * 40, "no ASCII": "\xe9" * 40}


@pytest.mark.parametrize("option", ["--curve-server-key", "--curve-secret", "--curve-public"])
@pytest.mark.parametrize("text", GARBAGE.values(), ids=GARBAGE)
def test_a_key_file_of_ping_that_holds_no_key_is_said(keys, tmp_path, option, text):
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    options = {"--curve-server-key": keys / "server.key", "--curve-secret": keys / "client.key_secret", option: path}
    done = ping("tcp://127.0.0.1:1", *[word for pair in options.items() for word in pair])
    assert (done.code, done.out) == (26, b"")
    assert str(path) in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--curve-server-key", "--curve-secret", "--curve-public"])
@pytest.mark.parametrize("path", ["/none/such", "/"])
def test_a_key_file_of_ping_that_cannot_be_read_is_said(keys, option, path):
    options = {"--curve-server-key": keys / "server.key", "--curve-secret": keys / "client.key_secret", option: path}
    done = ping("tcp://127.0.0.1:1", *[word for pair in options.items() for word in pair])
    assert (done.code, done.out) == (26, b"")
    assert f"cannot read the key file {path}: " in done.err


@pytest.mark.parametrize("option", ["--curve-secret", "--curve-public", "--curve-client"])
def test_a_key_file_of_serve_that_cannot_be_read_is_said(keys, option):
    options = {"--curve-secret": keys / "server.key_secret", option: "/none/such"}
    done = run_gtool("zmq-pingpong", "serve", *[word for pair in options.items() for word in pair])
    assert (done.code, done.out) == (26, b"")
    assert "cannot read the key file /none/such: No such file or directory" in done.err


def test_a_list_of_nobody_is_refused(keys, tmp_path):
    done = run_gtool("zmq-pingpong", "serve", "--curve-secret", keys / "server.key_secret", "--curve-client", tmp_path)
    assert done.code == 26
    assert f"there is no *.key in {tmp_path} (it would let nobody in)" in done.err


def test_halves_of_two_pairs_are_refused_by_ping(keys):
    args = (*as_client(keys), "--curve-public", keys / "server.key")
    done = ping("tcp://127.0.0.1:1", *args)
    assert (done.code, done.out) == (2, b"")
    assert "are not of one pair" in done.err
    assert done.err.count("\n") == 1


def test_halves_of_two_pairs_are_refused_by_serve(keys):
    args = ("--curve-secret", keys / "server.key_secret", "--curve-public", keys / "client.key")
    done = run_gtool("zmq-pingpong", "serve", *args)
    assert (done.code, done.out) == (2, b"")
    assert "are not of one pair" in done.err


def test_a_public_key_in_the_place_of_a_secret_one_is_said(keys):
    """A certificate that holds no secret key: the file of the other half."""
    done = ping("tcp://127.0.0.1:1", "--curve-server-key", keys / "server.key", "--curve-secret", keys / "client.key")
    assert done.code == 26
    assert f"there is no secret key in {keys / 'client.key'}" in done.err


# Secrets stay secret


@pytest.mark.parametrize("engine", ENGINES)
def test_no_secret_is_in_the_output_nor_in_the_log(keys, engine):
    secrets = [secret_of(keys / f"{name}.key_secret") for name in ("server", "client")]
    with serving("--engine", engine, *("--curve-secret", keys / "server.key_secret")) as server:
        args = ("-vv", "zmq-pingpong", "ping", server.urls[0], "--json", "--engine", engine, *as_client(keys), *SHORT)
        done = run_gtool(*args)
        said = done.out.decode() + done.err + server.stop().err
    assert document(done)["settings"]["curve"] is True
    assert not any(secret in said for secret in secrets)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_secret_is_in_a_command_line(keys, engine):
    """Which everybody on the machine can read."""
    secret = secret_of(keys / "client.key_secret").encode()
    with serving("--curve-secret", keys / "server.key_secret") as server:
        args = ("--engine", engine, "--duration", "1h", *as_client(keys))
        with pinging(server.urls[0], *args) as process:
            wait_until_busy(server)
            pids = [process.pid, *client_processes(process.pid)]
            lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    assert not any(secret in line for line in lines)


def test_the_table_says_that_it_is_under_curve(endpoint, keys):
    assert b", CURVE," in ping(endpoint, *as_client(keys), *SHORT).out
